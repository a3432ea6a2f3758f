"""One dialect as an application of its own: its routes, and its own answer to every error.

The parts of `api.app.main` are such applications, so a dialect that is copied brings its errors.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import RefusedEvents
from api.http.caller import CALLER
from schemas.errors import OdometerError, StoreError

ErrorResponse = Callable[[Request, Exception], Response]
"""Turns any error into the dialect's response, an unforeseen one into a 500 without its text."""
Handler = Callable[[Request, Exception], Awaitable[Response]]

PATH_SAFE: Final = "/:@!$&'()*+,;=~"
"""What a path may have as it is (RFC 3986)."""

log = logging.getLogger("odometer.api")


def application(
    routes: Sequence[BaseRoute], error_response: ErrorResponse, *, redirects_slashes: bool = False
) -> Starlette:
    """Answers `routes`, whose paths are whole. Unknown paths and wrong methods are errors too.

    `redirects_slashes`: a path that is known with or without a slash at its end gets a 307 to the known
    one, as FastAPI answers.
    """
    app = Starlette(routes=routes, exception_handlers=error_handlers(error_response))
    app.router.redirect_slashes = False
    if redirects_slashes:
        app.router.default = _Slashes(app.router.routes, app.router.default)
    for route in routes:
        if isinstance(route, Route):
            route.path_regex = _with_any_name(route.path_regex.pattern)
    return app


class _Slashes:
    """Redirects paths that are known with or without a slash at their end; `unknown` answers all others.

    Starlette's own redirect names the host and scheme of the request. Anyone can send another host, and
    behind a proxy with TLS the scheme is http: a client would send its key in plain text. This one has
    the path only.
    """

    def __init__(self, routes: Sequence[BaseRoute], unknown: ASGIApp) -> None:
        self._routes = routes
        self._unknown = unknown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        other = path.rstrip("/") if path.endswith("/") else path + "/"
        wanted = {**scope, "path": other}
        answer = self._unknown
        if any(route.matches(wanted)[0] is not Match.NONE for route in self._routes):
            query = scope["query_string"].decode("latin-1")
            target = quote(other, safe=PATH_SAFE) + (f"?{query}" if query else "")
            answer = Response(status_code=307, headers={"location": target})
        await answer(scope, receive, send)


def _with_any_name(pattern: str) -> re.Pattern[str]:
    """The pattern of a path, whose names may have line breaks: events can carry such a name, so it can be
    asked for."""
    return re.compile(pattern.removesuffix("$") + r"\Z", re.DOTALL)


def error_handlers(error_response: ErrorResponse) -> Mapping[type[Exception], Handler]:
    """The handlers of Starlette for every error. They log what the operator must repair."""

    async def handle(request: Request, error: Exception) -> Response:
        caller = CALLER.get()
        if caller is not None:
            caller.error = type(error).__name__
            if isinstance(error, RefusedEvents):
                caller.refused = len(error.refusals) + error.more
        if isinstance(error, StoreError):
            log.warning("No answer: %s.", error)
        response = error_response(request, error)
        if isinstance(error, OdometerError) and response.status_code == 500:
            log.error("The dialect has no answer for this error.", exc_info=error)
        return response

    return dict.fromkeys((OdometerError, HTTPException, Exception), handle)
