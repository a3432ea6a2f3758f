"""What every answer says to caches, where its dialect does not say more.

An answer depends on the key, and its counters change. So no cache may give it to anyone else: without
these headers a shared cache may keep an answer that was asked for with `x-api-key` (RFC 9111, 3.5).
"""

from __future__ import annotations

from typing import Final

from starlette.types import Message, Send

from api.auth.authenticate import TENANT_HEADER

NO_STORE: Final = (b"cache-control", b"no-store")
BY_KEY: Final = (b"vary", f"authorization, x-api-key, {TENANT_HEADER}".encode())
_SAID: Final = b"authorization"
"""In a `vary` that names the headers of keys already."""


def with_caching(send: Send) -> Send:
    """`send`, which also adds `cache-control` and `vary` where the answer has none."""

    async def send_with_caching(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": _with_both(message.get("headers", ()))}
        await send(message)

    return send_with_caching


def _with_both(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    control = next((value for name, value in headers if name == b"cache-control"), None)
    more = [] if control is not None else [NO_STORE]
    is_public = control is not None and control.startswith(b"public")
    if not is_public and not any(name == b"vary" and _SAID in value for name, value in headers):
        more.append(BY_KEY)
    return [*headers, *more]
