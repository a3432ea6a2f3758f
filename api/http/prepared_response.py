"""A response that is built once and sent many times."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class PreparedResponse(Response):
    """Its status, headers and body do not change between requests."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        # A copy: the middleware that compresses the body changes the list of headers.
        headers = [*self.raw_headers]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})
