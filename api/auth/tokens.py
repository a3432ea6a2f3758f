"""Signed tokens: a page shows a person only that person's usage, without a key of its own.

A token has its tenant, its filters, its end, and which key made it. It is signed, so nobody changes it, and
nothing of it is stored. A token ends with its key: each request looks up that key, as if the key itself had
been sent. So revocation, expiry and rate limits are those of the key.

The key is named by the SHA-256 of its secret, as in Redis. A token is given to browsers, and an imported key
may be short enough to be guessed from its digest. So the digest is masked under the same secret.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets  # noqa: TID251  tokens need the system's randomness; no caller may choose another
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from itsdangerous import BadData, URLSafeSerializer
from pydantic import TypeAdapter, ValidationError

from api.errors import InvalidKey
from api.store.shared_secret import Command, SharedSecret
from schemas.catalog.views import OTHER, Catalog
from schemas.limits import SECOND_MS
from schemas.store.keys import Bound, BoundField, Key
from schemas.store.layout import HASH_TAG

TOKEN_PREFIX: Final = "alt_"  # noqa: S105  the public start of each
TOKEN_CHARS_MAX: Final = 8192
"""20 values of 256 characters (`schemas.store.keys`) in base64 have 7,000."""
TOKEN_SECRET_KEY: Final = HASH_TAG + "token-secret"
NONCE_BYTES: Final = 16
READ_AGAIN_MS: Final = SECOND_MS
"""After this time an invalid signature makes this process read the secret again: Redis may have another one
since. A client that sends invalid tokens causes one read a second."""
_BOUND: Final[TypeAdapter[Bound]] = TypeAdapter(BoundField)
_SALT: Final = b"odometer token 1"


@dataclass(frozen=True)
class Token:
    """What a valid signature says. `digest`: of the key that made it."""

    digest: str
    tenant: str
    only: Bound
    expires_ms: int

    def narrowed(self, key: Key) -> Key:
        """What may be done with this token: to read one tenant, within the filters of the key and its
        own. The key must see the tenant."""
        changes = {"tenants": (self.tenant,), "role": "viewer", "only": (*key.only, *self.only)}
        return key.model_copy(update=changes)


class TokenSigner:
    """Makes and reads tokens. `command` sends one command to Redis; `ticks` is a steady clock in ms."""

    def __init__(self, command: Command, ticks: Callable[[], int]) -> None:
        self._secret = SharedSecret(TOKEN_SECRET_KEY, command, ticks)

    async def made(self, token: Token) -> str:
        """The text of a token. Raises StoreError."""
        secret = await self._secret.read()
        nonce = secrets.token_hex(NONCE_BYTES)
        masked = _masked(bytes.fromhex(token.digest), secret, nonce).hex()
        content = [masked, nonce, token.tenant, token.only, token.expires_ms]
        signed = _serializer(secret).dumps(content)
        return TOKEN_PREFIX + (signed if isinstance(signed, str) else signed.decode())

    async def read(self, text: str) -> Token | None:
        """The token, if its signature is valid; it may be over. Raises StoreError."""
        if not text.startswith(TOKEN_PREFIX) or len(text) > TOKEN_CHARS_MAX:
            return None
        known = await self._secret.current()
        found = _valid(text, known)
        if found is None and self._secret.age_ms >= READ_AGAIN_MS:
            secret = await self._secret.read()
            found = None if secret == known else _valid(text, secret)
        return found


def check_bound(bound: Bound, catalog: Catalog) -> None:
    """Raise InvalidKey if no question could have these filters: a key or token with them reads nothing. And if
    they have OTHER, which anyone may be called: it would read what all series beyond a limit have together."""
    names = [name for name, _ in bound]
    for name, values in bound:
        if OTHER in values:
            raise InvalidKey(
                f"only.{name}",
                f"must not be {OTHER}: that is not one {name}, but all that are beyond a limit",
            )
    for name in names:
        if name not in catalog.kept_dimensions:
            raise InvalidKey(
                f"only.{name}",
                f"no view keeps this dimension; those kept are {', '.join(catalog.kept_dimensions)}",
            )
    if not any({*names} <= {*view.dimensions, "kind"} for view in catalog.views):
        raise InvalidKey("only", f"no view keeps {' and '.join(names)} together")
    try:
        _BOUND.validate_python(bound)
    except ValidationError as error:
        raise InvalidKey("only", error.errors()[0]["msg"].removeprefix("Value error, ")) from None


def _valid(text: str, secret: bytes) -> Token | None:
    if not secret:
        return None  # it is not read yet, and anyone could sign with an empty one
    try:
        masked, nonce, tenant, only, expires_ms = _serializer(secret).loads(
            text.removeprefix(TOKEN_PREFIX)
        )
    except BadData:
        return None
    digest = _masked(bytes.fromhex(masked), secret, nonce).hex()
    bound = tuple((name, tuple(values)) for name, values in only)
    return Token(digest, tenant, bound, expires_ms)


def _serializer(secret: bytes) -> URLSafeSerializer:
    return URLSafeSerializer(
        secret,
        salt=_SALT,
        serializer=json,
        signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
    )


def _masked(digest: bytes, secret: bytes, nonce: str) -> bytes:
    """The digest under a mask of its length, or a masked one without it."""
    mask = hmac.digest(secret, _SALT + b" key " + nonce.encode(), "sha256")
    return bytes(a ^ b for a, b in zip(digest, mask, strict=True))
