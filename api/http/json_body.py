"""Reads the JSON body of a request, within limits.

All other JSON bodies than those of events are small, but a client may stall while it sends them, on as many
connections as its tenant may have. So the bytes of all of them together are limited, too.
"""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from api.errors import BadParameter, InvalidBody, TooBusy
from api.http.shared_bytes import Holding, SharedBytes
from schemas.errors import InvalidEvent
from schemas.formats.body import load

HELD_BYTES_MAX: Final = 32 << 20
"""Limit of the bytes of all bodies that a process is reading: 16 of the largest (2 MiB)."""
TENANT_PART: Final = 3 / 8
"""Part of them that one tenant may use: 10 MiB, and 1.5 MiB more in bodies of at most 64 KiB."""
JSON_BODIES: Final = SharedBytes(HELD_BYTES_MAX, TENANT_PART)
"""Those of this process."""


async def json_body(request: Request, bytes_max: int, tenant: str) -> bytes:
    """The bytes of a native request's body. Raises InvalidBody, TooBusy, and BadParameter if the URL has
    parameters too. `tenant`: as of `received`."""
    if request.query_params:
        name = next(iter(request.query_params))
        method = request.method
        raise BadParameter(
            name, f"A {method} takes its parameters from the body. Remove them from the URL."
        )
    media_type, _, options = request.headers.get("content-type", "").lower().partition(";")
    charset = options.partition("charset=")[2].partition(";")[0].strip(' "')
    if media_type.strip() != "application/json" or charset not in {"", "utf-8", "utf8"}:
        raise InvalidBody(
            415,
            "unsupported-media-type",
            "The body must be JSON in UTF-8: send the header content-type: application/json.",
        )
    return await received(request, bytes_max, tenant)


async def received(
    request: Request, bytes_max: int, tenant: str, shared: SharedBytes = JSON_BODIES
) -> bytes:
    """The bytes of a body. Raises InvalidBody if it is compressed or too large, and TooBusy if
    there is no room for it.

    `tenant` is whose share of the room it uses (`share_of`), while it arrives.
    """
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in {"", "identity"}:
        raise InvalidBody(
            415,
            "unsupported-media-type",
            "The body must not be compressed: send it without content-encoding.",
        )
    holding = Holding(shared, tenant)
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > bytes_max:
                raise InvalidBody(413, "too-large", f"The body is larger than {bytes_max} bytes.")
            if not holding.take(len(part)):
                raise TooBusy("Too many bodies are being read.")
        return bytes(body)
    finally:
        holding.release()


def check_json(body: bytes) -> None:
    """Raises InvalidBody if a body that is not large is no unambiguous JSON: readers differ in which value
    of a repeated member they take."""
    try:
        load(body)
    except InvalidEvent as error:
        raise InvalidBody(400, "invalid-body", f"{error.detail}.") from error
