"""Sessions of browsers: a key that was typed once, as a signed cookie.

The cookie holds the digest of the key, not the key. Every request looks the key up again, so a session
ends with its key. Scripts cannot read the cookie (HttpOnly), and pages of other sites cannot send it
(SameSite=Strict). SameSite ignores ports, so two more things are checked:

- `sec-fetch-site` must not name another origin;
- a request that may change something must carry the session's CSRF token in a header. Only pages of
  this origin can read that token.

If Redis loses the signing secret and no process knows it, all sessions end. A sign-in link works once,
from the same machine. Its token is stored as SHA-256.
"""

from __future__ import annotations

import hashlib
import re
import secrets  # noqa: TID251  sessions need the system's randomness; no caller may choose another
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from itsdangerous import BadSignature, Signer, URLSafeSerializer

from api.errors import ForgedRequest
from api.http.caller import Caller
from api.store.reader import Store
from api.store.shared_secret import SharedSecret
from schemas.limits import DAY_MS
from schemas.store.layout import HASH_TAG

COOKIE: Final = "odometer_session"
CSRF_HEADER: Final = "x-odometer-csrf"
LIFETIME_MS: Final = 7 * DAY_MS
"""Then the key must be typed again."""
LINK_S: Final = 600
"""How long a sign-in link works."""
SECRET_KEY: Final = HASH_TAG + "session-secret"
LINK_PREFIX: Final = HASH_TAG + "sign-in."
TOKEN_BYTES: Final = 32
COOKIE_CHARS_MAX: Final = 512
SAFE: Final = frozenset(("GET", "HEAD"))
_COOKIES: Final = re.compile(rb"(?:^|;)[ \t]*" + COOKIE.encode() + rb"=([^;]*)")
_COOKIE_TEXT: Final = re.compile(rb"[A-Za-z0-9._-]{1,%d}" % COOKIE_CHARS_MAX)
OWN_SITE: Final = frozenset((b"same-origin", b"none"))
"""`sec-fetch-site` of our own pages, and of what the user opened."""


@dataclass(frozen=True)
class BrowserSession:
    """`digest` is that of its key."""

    digest: str
    expires_ms: int
    csrf: str


class Sessions:
    """Begins sessions, and finds those of requests. `ticks` is a steady clock in ms."""

    def __init__(self, store: Store, ticks: Callable[[], int]) -> None:
        self._store = store
        self._secret = SharedSecret(SECRET_KEY, store.ask, ticks)

    async def begin(self, digest: str, now_ms: int) -> tuple[str, BrowserSession]:
        """A new session of a key, and its cookie."""
        name = secrets.token_urlsafe(12)
        expires_ms = now_ms + LIFETIME_MS
        secret = await self._secret.current()
        cookie = str(_serializer(secret).dumps([digest, expires_ms, name]))
        return cookie, BrowserSession(digest, expires_ms, _csrf(secret, name))

    async def find(self, caller: Caller, now_ms: int) -> BrowserSession | None:
        """The session of a request, or None. Raises ForgedRequest if it may come from another page."""
        cookie = _cookie(caller)
        if not cookie or not caller.path.startswith("/v1/") or not is_own_site(caller):
            return None
        secret = await self._secret.current()
        try:
            digest, expires_ms, name = _serializer(secret).loads(cookie)
        except (BadSignature, ValueError):
            return None
        if expires_ms <= now_ms:
            return None
        session = BrowserSession(digest, expires_ms, _csrf(secret, name))
        if caller.method not in SAFE:
            sent = next(_values(caller, CSRF_HEADER.encode()), b"")
            if not secrets.compare_digest(sent, session.csrf.encode()):
                raise ForgedRequest(
                    f"a request of a session must have its CSRF token in the header {CSRF_HEADER}"
                )
        return session

    async def digest_of(self, caller: Caller, now_ms: int) -> str | None:
        """The digest of the key of a request's session."""
        found = await self.find(caller, now_ms)
        return found.digest if found else None

    async def redeem(self, link: str, caller: Caller) -> str | None:
        """The digest of the key of a sign-in link. A link works once, on this machine."""
        if not _is_loopback(caller.source):
            return None
        found: bytes | None = await self._store.ask("GETDEL", _link_key(link))
        return found.decode() if found else None


async def create_link(store: Store, digest: str) -> str:
    """The token of a new sign-in link for the key with this digest."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    await store.ask("SET", _link_key(token), digest, "EX", LINK_S)
    return token


def _link_key(token: str) -> str:
    return LINK_PREFIX + hashlib.sha256(token.encode()).hexdigest()


def _serializer(secret: bytes) -> URLSafeSerializer:
    return URLSafeSerializer(
        secret, salt="odometer.session", signer_kwargs={"digest_method": hashlib.sha256}
    )


def _csrf(secret: bytes, name: str) -> str:
    signer = Signer(secret, salt="odometer.csrf", digest_method=hashlib.sha256)
    return signer.get_signature(name).decode()


def _cookie(caller: Caller) -> str:
    """The only session cookie of a request; with two of them, there is none. A page of a sibling domain
    can set one too, and nothing says which of them is ours.

    `http.cookies` would need 18 s for a header of 60 kB, before a key is known.
    """
    found = [text for value in _values(caller, b"cookie") for text in _COOKIES.findall(value)]
    if len(found) != 1 or not _COOKIE_TEXT.fullmatch(found[0]):
        return ""
    return str(found[0], "ascii")


def is_own_site(caller: Caller) -> bool:
    """Browsers that do not send the header still keep the cookie from other sites."""
    return all(value in OWN_SITE for value in _values(caller, b"sec-fetch-site"))


def _values(caller: Caller, name: bytes) -> Iterator[bytes]:
    return (value for key, value in caller.headers if key == name)


def _is_loopback(source: str) -> bool:
    try:
        return ip_address(source).is_loopback
    except ValueError:
        return False
