"""Authenticates a request, and finds its tenant: every endpoint that needs a key calls this.

A key is any text that a client sends as `Authorization: Bearer KEY` or `x-api-key: KEY`. Paths that take
events also accept it as the password of Basic authentication, and where exporters of other systems
put it. Our keys begin with `als_`; imported keys begin with anything. Only the SHA-256 is stored and
looked up, so no secret is compared with what was sent. The time of a look-up could reveal at most how the digest of a
guess begins. The guesser knows that digest already, and cannot steer it towards the digest of a key.
A comparison in constant time would prevent nothing more. This holds for Redis and for the dict of
this process alike.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from api.auth.audit import Actor
from api.auth.key_cache import CachedKey, KeyCache
from api.auth.tokens import TOKEN_PREFIX, Token
from api.errors import (
    DifferentKeys,
    ExpiredKey,
    FilterNotApplied,
    NoCredentials,
    NoSuchTenant,
    RepeatedHeader,
    RoleTooLow,
    TenantNotNamed,
    UnknownKey,
)
from api.http.caller import CALLER, Caller
from api.query.series_index import Filter
from schemas.store.keys import ALL, ROLES, WRITERS, Key, Role

KEY_CHARS_MAX: Final = 512
"""Longest key that can be imported; a signed token of 400 characters fits."""
EXPORTER_HEADERS: Final = ("helicone-auth", "api-key", "api_key")
"""Of exporters for Helicone, New Relic and Phoenix. Only paths that take events look there: the answers of
other paths tell caches which headers they vary with."""
READING_HEADERS: Final = ("authorization", "x-api-key")
TAKING_HEADERS: Final = (*READING_HEADERS, *EXPORTER_HEADERS)
"""The headers that may have the key. Each that has one must have the same."""
TENANT_HEADER: Final = "x-odometer-tenant"
CLOSED: Final = "this key or token is bound to filters, and this path cannot apply them"
_ONCE: Final = frozenset(name.encode() for name in (*TAKING_HEADERS, TENANT_HEADER))
"""The headers that decide who asks and for which tenant. A proxy may have checked another value than
the one that we would take, so they have one value."""


async def authenticate(
    key_cache: KeyCache,
    headers: Mapping[str, str],
    now_ms: int,
    *,
    takes: bool = False,
    counts: bool = True,
    filters: bool = False,
) -> Key:
    """The key of the request, if it is valid; of a token, what the token allows. A call with `counts` is a
    request of its rate limit. `takes`: the path takes events, so `EXPORTER_HEADERS` may have the key.
    `filters`: its answer is within `filters_of` the key. All other paths are closed to keys with filters.

    Without a key in a header, the key is that of the browser's session, except where events are taken.

    Raises RepeatedHeader, DifferentKeys, ForgedRequest, NoCredentials, UnknownKey, ExpiredKey, RateLimited,
    TooManyConnections, FilterNotApplied, StoreError.
    """
    caller = CALLER.get() or Caller()
    _check_once(caller.headers)
    digest, token = await _sent(key_cache, caller, headers, now_ms, takes=takes)
    if digest is None:
        key_cache.failures.note("no_key", caller.source, now_ms)
        raise NoCredentials("no API key was sent")
    known = await find_valid(key_cache, digest, caller, now_ms)
    if token is not None and now_ms >= token.expires_ms:
        key_cache.failures.note("expired_token", caller.source, now_ms, known.record)
        raise ExpiredKey("the token's time is over")
    if counts:
        key_cache.take(known)
    record = known.record if token is None else _narrowed(token, known.record)
    tenants = record.tenants
    caller.authenticated(record.id, (tenants,) if isinstance(tenants, str) else tenants)
    caller.key_digest, caller.has_token = digest, token is not None
    caller.only = filters_of(record)
    if record.only and not filters:
        raise FilterNotApplied(CLOSED)
    await key_cache.arrivals.begin(share_of(record))
    return record


async def find_valid(key_cache: KeyCache, digest: str, caller: Caller, now_ms: int) -> CachedKey:
    """The key with this digest; "" is that of no key. Raises UnknownKey, ExpiredKey, StoreError."""
    known = await key_cache.find(digest) if digest else None
    if known is None:
        key_cache.failures.note("unknown_key", caller.source, now_ms)
        raise UnknownKey("the API key is not known, or revoked")
    state = known.record.state(now_ms)
    if state == "active":
        return known
    key_cache.failures.note(f"{state}_key", caller.source, now_ms, known.record)
    if state == "expired":
        raise ExpiredKey("the API key's time is over")
    raise UnknownKey("the API key is not known, or revoked")


def filters_of(key: Key) -> tuple[Filter, ...]:
    """The filters that the key is bound to. Each question of the request must have them all."""
    return tuple(Filter(name, frozenset(values)) for name, values in key.only)


def _narrowed(token: Token, key: Key) -> Key:
    if not key.sees(token.tenant):
        raise NoSuchTenant("the key of this token has no access to its tenant any more")
    return token.narrowed(key)


async def _sent(
    key_cache: KeyCache, caller: Caller, headers: Mapping[str, str], now_ms: int, *, takes: bool
) -> tuple[str | None, Token | None]:
    """The digest of the key that was sent, or of the key of the token or session, and the token. None: no key
    was sent. "": the text is too long to be a key."""
    if key := _sent_key(headers, takes=takes):
        if key.startswith(TOKEN_PREFIX) and (token := await key_cache.tokens.read(key)):
            return token.digest, token
        return digest_of_sent(key), None
    if key_cache.session_of is not None and not takes:
        return await key_cache.session_of(caller, now_ms), None
    return None, None


def _check_once(headers: Sequence[tuple[bytes, bytes]]) -> None:
    said: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _ONCE and said.setdefault(name, value) != value:
            raise RepeatedHeader(name.decode())


async def reader(
    key_cache: KeyCache,
    headers: Mapping[str, str],
    now_ms: int,
    *,
    counts: bool = True,
    filters: bool = False,
) -> Key:
    """The key of the request, as `authenticate`. Raises RoleTooLow if it must not read."""
    key = await authenticate(key_cache, headers, now_ms, counts=counts, filters=filters)
    check_role(key, "viewer")
    return key


def check_role(key: Key, required: Role) -> None:
    """Raise RoleTooLow if the role of the key is below `required`."""
    if ROLES.index(key.role) < ROLES.index(required):
        raise RoleTooLow(required, key.role)


def check_writer(key: Key) -> None:
    """Raise RoleTooLow if the key must not send events."""
    if key.role not in WRITERS:
        raise RoleTooLow("member", key.role)


def share_of(key: Key | Actor) -> str:
    """The tenant whose share the requests of a key use. Before a body is read, nobody knows which of
    its tenants it is for; with the first one, a key's admin has no more shares than tenants."""
    return ALL if key.tenants == ALL else key.tenants[0]


def tenant_of(key: Key, headers: Mapping[str, str], named: str | None = None) -> str:
    """The tenant of a request: `named`, or named by its header, or the only one of the key.

    `named` comes from the dialect, such as the parameter `tenant` of /v1. The header must not name
    another. Raises TenantNotNamed, NoSuchTenant.
    """
    tenant = _tenant_of(key, _tenant_of_header(headers), named)
    caller = CALLER.get()
    if caller is not None:
        caller.tenant = tenant
    return tenant


def _tenant_of(key: Key, by_header: str | None, named: str | None) -> str:
    if named is not None and by_header is not None and named != by_header:
        raise TenantNotNamed(f"the parameter tenant and the header {TENANT_HEADER} disagree")
    wanted = named if named is not None else by_header
    if wanted is None:
        if key.tenants == ALL or len(key.tenants) > 1:
            raise TenantNotNamed(
                f"this key has several tenants: name one, in the header {TENANT_HEADER}"
                " or, under /v1, as the parameter tenant"
            )
        return key.tenants[0]
    if not key.sees(wanted):
        raise NoSuchTenant("this key has no tenant of that name")
    return wanted


def digest_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def digest_of_sent(key: str) -> str:
    """As `digest_of`; "" of a text that is longer than any key."""
    return digest_of(key) if len(key) <= KEY_CHARS_MAX else ""


def _sent_key(headers: Mapping[str, str], *, takes: bool) -> str:
    """The key, "" if there is none. Raises DifferentKeys if several headers have one, and not the same:
    a proxy may have checked another one than the one that we would take."""
    found: dict[str, str] = {}
    for name in TAKING_HEADERS if takes else READING_HEADERS:
        key = _key_in(name, headers.get(name, "").strip(), takes=takes)
        if key:
            found.setdefault(key, name)
    if len(found) > 1:
        raise DifferentKeys([*found.values()])
    return next(iter(found), "")


def _key_in(name: str, text: str, *, takes: bool) -> str:
    """The key in this header. Where events are taken, also as exporters of other systems send it; all
    other paths reject that; so do the servers of the dialects."""
    if name == "x-api-key":
        return text
    scheme, _, credentials = text.partition(" ")
    if scheme.lower() == "bearer":  # RFC 9110: schemes ignore case
        return credentials.strip()
    if not takes:
        return ""
    if scheme.lower() == "basic":
        return _password(credentials.strip())
    return "" if credentials else text  # "": of a scheme that carries no key


def _password(credentials: str) -> str:
    """Of Basic authentication, whose user is of no meaning: Langfuse's SDKs send the secret key so."""
    try:
        user, found, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except ValueError:
        return ""
    return (password or user).strip() if found else ""


def _tenant_of_header(headers: Mapping[str, str]) -> str | None:
    """Headers arrive decoded as Latin-1, but a tenant is UTF-8."""
    text = headers.get(TENANT_HEADER)
    if text is None:
        return None
    try:
        return text.encode("latin-1").decode()
    except UnicodeDecodeError:
        raise NoSuchTenant("this key has no tenant of that name") from None
