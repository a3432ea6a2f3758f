"""The AgentLens dialect: its routes, and its answer to every other path under /api."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, request_response

from api.agentlens.access import authorize
from api.agentlens.analytics import llm
from api.agentlens.errors import error_response, problem
from api.agentlens.events import agent, agents, event, events
from api.agentlens.health import health
from api.agentlens.ingest import post_events
from api.auth.key_cache import KeyCache
from api.http.answer_cache import AnswerCache
from api.http.application import application
from api.http.singleflight import Singleflight
from api.ingest.endpoints import IngestDeps
from api.store.reader import Store

Clock = Callable[[], int]


def agentlens(
    store: Store,
    key_cache: KeyCache,
    clock: Clock,
    answers: AnswerCache,
    deps: IngestDeps | None,
) -> Starlette:
    """The dialect as an application; without `deps` it takes no events."""

    def to(path: str, endpoint: Callable[..., object]) -> Route:
        handler = partial(endpoint, store=store, key_cache=key_cache, clock=clock)
        return Route(path, handler, methods=["GET"])

    analytics = partial(llm, singleflight=Singleflight(), answers=answers)
    taking = (
        [Route("/api/events", partial(post_events, deps=deps), methods=["POST"])] if deps else []
    )
    unknown = partial(unknown_path, key_cache=key_cache, clock=clock)
    return application(
        [
            to("/api/analytics/llm", analytics),  # the first: dashboards poll it
            *taking,
            to("/api/events", events),
            to("/api/events/{id:path}", event),
            to("/api/agents", agents),
            to("/api/agents/{id:path}", agent),
            Route("/api/health", partial(health, store=store, clock=clock)),
            Mount("", request_response(unknown)),  # any other path or method
        ],
        error_response,
    )


async def unknown_path(request: Request, key_cache: KeyCache, clock: Clock) -> Response:
    """404, but only for clients with a valid key: as its server does for any path and method."""
    await authorize(request, key_cache, clock())
    return problem(404, "Not found")
