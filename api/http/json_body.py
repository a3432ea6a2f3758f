"""The body of a request, bounded, as bytes; the parameters of a request that has one stand in it."""

from __future__ import annotations

from starlette.requests import Request

from api.errors import BadParameter, InvalidBody


async def json_body(request: Request, bytes_max: int) -> bytes:
    """The bytes of a body that says it is JSON. Raises InvalidBody; BadParameter where the URL has
    parameters beside it."""
    if request.query_params:
        name = next(iter(request.query_params))
        method = request.method
        raise BadParameter(name, f"The parameters of a {method} stand in its body, not in its URL.")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise InvalidBody(415, "unsupported-media-type", "Send content-type: application/json.")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > bytes_max:
            raise InvalidBody(413, "too-large", f"The body is larger than {bytes_max} bytes.")
    return bytes(body)
