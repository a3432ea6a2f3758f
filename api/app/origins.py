"""The origins whose pages may ask (CORS): as a setting, and for answers that the server gives by itself. No I/O.

A page of another origin must send a key in a header. Cookies, which sessions of browsers use, are not
allowed. So an origin gets no rights from its visitor's browser, and `*` gives nothing to a page that other
clients do not have.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

ANY: Final = "*"
EXPOSED: Final = (
    "etag",
    "content-disposition",
    "odometer-calls-without-cost",
    "odometer-complete-through",
    "odometer-counts-from",
    "odometer-groups",
    "odometer-history-from",
    "odometer-is-changed",
    "odometer-next-cursor",
    "odometer-range-from",
    "odometer-range-to",
    "odometer-refused",
    "retry-after",
    "www-authenticate",
)
"""Headers of an answer that a page of another origin may read, besides those that every page may."""
PREFLIGHT_S: Final = 600
"""How long a browser caches the answer to a preflight."""
_ORIGIN: Final = re.compile(
    r"[a-z][a-z0-9+.-]*://[a-z0-9._-]+(:[0-9]{1,5})?|[a-z]+://\[[0-9a-f:]+\](:[0-9]{1,5})?"
)
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


def parse_origins(text: str) -> tuple[str, ...]:
    """The origins of a setting, separated by commas. Raises ValueError for one that no browser sends."""
    origins = tuple(dict.fromkeys(one.strip() for one in text.split(",") if one.strip()))
    for origin in origins:
        scheme = origin.partition(":")[0]
        if origin != ANY and (
            not _ORIGIN.fullmatch(origin) or origin.endswith(_DEFAULT_PORTS.get(scheme, "/"))
        ):
            raise ValueError(
                f"{origin!r} is no origin as browsers send it: scheme, host and a port other than the default"
                " one, in small letters and without a path, such as https://dash.example.com or"
                " http://localhost:3000; `*` allows all"
            )
    return origins


def refusal_headers(origins: Collection[str], origin: bytes | None) -> bytes:
    """The lines of CORS in the head of an answer that the server gives before the application.

    `origin`: of the request, if it is known. If not, a single allowed origin is named anyway.
    """
    if not origins:
        return b""
    if ANY in origins:
        allowed: str | None = ANY
    elif origin is not None:
        sent = origin.decode("latin-1")
        allowed = sent if sent in origins else None
    else:
        allowed = next(iter(origins)) if len(origins) == 1 else None
    lines = ["vary: origin"]
    if allowed is not None:
        lines += [
            f"access-control-allow-origin: {allowed}",
            f"access-control-expose-headers: {', '.join(EXPOSED)}",
        ]
    return "".join(f"{line}\r\n" for line in lines).encode()
