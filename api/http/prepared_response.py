"""A response that is made once and sent as often as the answer in it stands."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class PreparedResponse(Response):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        # A copy, as whoever compresses the body changes the headers that it is given.
        headers = [*self.raw_headers]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})
