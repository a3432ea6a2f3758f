"""Reads the JSON body of a native request, within a size limit."""

from __future__ import annotations

from starlette.requests import Request

from api.errors import BadParameter, InvalidBody


async def json_body(request: Request, bytes_max: int) -> bytes:
    """The bytes of the body. Raises InvalidBody if it is too large or not said to be JSON, and
    BadParameter if the URL has parameters too."""
    if request.query_params:
        name = next(iter(request.query_params))
        method = request.method
        raise BadParameter(
            name, f"A {method} takes its parameters from the body. Remove them from the URL."
        )
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise InvalidBody(
            415,
            "unsupported-media-type",
            "The body must be JSON: send the header content-type: application/json.",
        )
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > bytes_max:
            raise InvalidBody(413, "too-large", f"The body is larger than {bytes_max} bytes.")
    return bytes(body)
