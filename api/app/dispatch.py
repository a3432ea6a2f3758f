"""The whole API as one application: each request goes to the dialect that its path begins with.

Starlette's own Mount does the same, but takes 19 us a request, a fifth of an answer from the cache.
This takes less than 1 us, and a dialect's routes keep their whole paths.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any, cast

from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from api.app.access_log import logged
from api.app.big_integers import TextIntegers
from api.app.caching import with_caching
from api.app.compression import Compression
from api.app.metrics import ApiMetrics
from api.app.origins import EXPOSED, PREFLIGHT_S
from api.app.sending import ErrorHandler, Sending, Unread
from api.http.caller import CALLER, caller_of
from api.ingest.otlp import is_otlp
from schemas.errors import OdometerError

Dialects = Sequence[tuple[str, Starlette]]
"""Beginning of a path -> application; the first that fits. `/x/` is all below /x, `/x` is /x too."""


class Application(Starlette):
    """`dialects` answer the paths that are theirs, `otlp` all that end as OTLP's do, and Starlette's own routes answer the others.

    Each dialect has its own handlers of errors, so it does not run inside those of the others.
    `cors_origins`: pages of these origins may ask; their preflights need no key.
    """

    def __init__(
        self,
        dialects: Dialects,
        *,
        otlp: Starlette,
        access_log: bool = False,
        metrics: ApiMetrics | None = None,
        unread: Unread | None = None,
        cors_origins: Collection[str] = (),
        **options: Any,  # noqa: ANN401  as Starlette has them
    ) -> None:
        super().__init__(**options)
        self.otlp = otlp
        self.access_log = access_log
        self.metrics = metrics
        self.unread = unread or Unread()
        self.router.redirect_slashes = False
        self.dialects = dialects
        self.answer: ASGIApp = self._answer
        if cors_origins:
            self.answer = CORSMiddleware(
                self._answer,
                allow_origins=cors_origins,
                allow_methods=("*",),
                allow_headers=("*",),
                allow_credentials=False,
                expose_headers=EXPOSED,
                max_age=PREFLIGHT_S,
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        caller = caller_of(scope)
        CALLER.set(caller)
        if self.access_log:
            send = logged(scope, caller, send)
        if self.metrics is not None:
            send = self.metrics.watched(scope, caller, send)
        await self.answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app_of(scope["method"], scope["path"])
        await app(scope, receive, with_caching(send))

    def _app_of(self, method: str, path: str) -> ASGIApp:
        if is_otlp(method, path):
            return self._otlp
        for start, app in self._stacks:
            if path.startswith(start) and (start[-1] == "/" or path[len(start) :][:1] in {"", "/"}):
                return app
        return self._others

    @cached_property
    def _stacks(self) -> Sequence[tuple[str, ASGIApp]]:
        """Each dialect inside its handlers of errors: calling them directly saves 1.5 us a request."""
        return [(start, self._stack(app)) for start, app in self.dialects]

    @cached_property
    def _otlp(self) -> ASGIApp:
        return self._stack(self.otlp)

    @cached_property
    def _others(self) -> ASGIApp:
        return self._stack(self)

    def _stack(self, app: Starlette) -> ASGIApp:
        handler = cast("ErrorHandler", app.exception_handlers[OdometerError])
        inner = TextIntegers(app.build_middleware_stack())
        return Compression(Sending(inner, self.unread, handler))
