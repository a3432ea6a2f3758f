"""Compresses long answers with gzip for clients that accept it."""

from __future__ import annotations

from functools import partial
from typing import Final

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.ingest.langfuse import PATH
from api.ingest.otlp import ENDS

GZIP_FROM_BYTES: Final = 1024
"""A shorter answer fits into one packet anyway."""
INGEST_PATHS: Final = frozenset(("/v1/events", "/api/events", PATH, *ENDS))


class Compression:
    """Leaves the paths that take events alone: their answers are short, and there are many."""

    def __init__(self, app: ASGIApp) -> None:
        self._plain = app
        self._compressed = GZipMiddleware(app, minimum_size=GZIP_FROM_BYTES, compresslevel=5)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"] == "POST" and scope["path"] in INGEST_PATHS):
            await self._plain(scope, receive, send)
        elif any(
            name == b"accept-encoding" and b"gzip" in value for name, value in scope["headers"]
        ):
            await self._compressed(scope, receive, send)
        else:
            await self._plain(scope, receive, partial(_send_with_vary, send))


async def _send_with_vary(send: Send, message: Message) -> None:
    """Caches must know that another client would have got this answer compressed."""
    if message["type"] == "http.response.start":
        headers = message["headers"]
        if any(
            name == b"content-length" and int(value) >= GZIP_FROM_BYTES for name, value in headers
        ):
            message = {**message, "headers": [*headers, (b"vary", b"Accept-Encoding")]}
    await send(message)
