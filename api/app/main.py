"""The composition root of the API: clock, store, routes and server."""

from __future__ import annotations

import gc
import logging
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, Router, request_response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import LOGGING_CONFIG

from api.agentlens import endpoints as agentlens_endpoints
from api.agentlens import events as agentlens_events
from api.agentlens import ingest as agentlens_ingest
from api.app import health
from api.app import openapi as app_openapi
from api.app.error_shapes import failed
from api.auth import endpoints as auth_endpoints
from api.auth.key_cache import KeyCache
from api.auth.keys_file import KeysFile
from api.http.singleflight import AnswerCache, Singleflight
from api.ingest import endpoints as ingest_endpoints
from api.ingest import otlp
from api.ingest.backfill import Backfill
from api.ingest.endpoints import Intakes
from api.ingest.pacing import TARGET_MS
from api.ingest.producer import Producer
from api.livekit import endpoints as livekit_endpoints
from api.openwebui import endpoints as openwebui_endpoints
from api.openwebui import users as openwebui_users
from api.store.reader import Store
from api.usage import endpoints as usage_endpoints
from schemas.catalog.views import DEFAULT, Catalog
from schemas.errors import OdometerError, StoreError
from schemas.store.generation import layout_digest
from schemas.store.keys import ID_PATTERN

DEFAULT_TOPIC: Final = "usage.events"
SHUTDOWN_GRACE_S: Final = 5
"""Answers under way at a stop: each has 3 s for Redis, or 4 s for Kafka (`api.ingest.producer.ACK_S`)."""
KEEP_ALIVE_S: Final = 75
"""Longer than the 60 s that proxies keep theirs: the side that closes first races a request."""
BACKLOG_MAX: Final = 2048
GARBAGE_AFTER: Final = 50_000
"""Objects after which cycles are looked for. An answer makes hundreds and hardly a cycle: by Python's
own 700 the search was a quarter of the time of answers that are held."""
GZIP_FROM_BYTES: Final = 1024
"""Below a packet's payload there is nothing to win."""

NATIVE: Final = "/v1"
TAKING_PATHS: Final = frozenset(("/v1/events", "/v1/traces", "/api/events"))

_NO_KEY_ID: Final = re.compile(rf"/v1/keys/(?!(import|audit|{ID_PATTERN})(/|$))[^/]*")

log = logging.getLogger("odometer.api")


def wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


def steady_clock_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def build(
    redis_url: str,
    topic: str = DEFAULT_TOPIC,
    clock: Callable[[], int] = wall_clock_ms,
    *,
    kafka: str | None = None,
    keys_file: Path | None = None,
    catalog: Catalog = DEFAULT,
    backfill_delay_ms: int = TARGET_MS,
) -> Starlette:
    """The application over the counters of `topic` in one Redis; `clock` gives ms since 1970.

    Events are taken where `kafka` says HOST:PORT of the broker that they go to; None: read only.
    Keys that Redis has lost are those of `keys_file`. History waits where counting is more than
    `backfill_delay_ms` behind; 0: never. Raises InvalidConfig.
    """
    store = Store(redis_url, layout_digest(topic, catalog), catalog)
    key_cache = KeyCache(store.ask, steady_clock_ms)
    producer = Producer(topic)
    backfill = Backfill(store, producer, backfill_delay_ms) if backfill_delay_ms else None
    intakes = Intakes(key_cache, clock, producer, backfill)
    if keys_file is not None:
        put_back = KeysFile(keys_file).put_back
        key_cache.put_back = partial(put_back, store=store, clock=clock)
    analytics = partial(
        agentlens_endpoints.llm,
        store=store,
        key_cache=key_cache,
        clock=clock,
        singleflight=Singleflight(),
        answers=AnswerCache(),
    )
    native = Router(
        [
            *usage_endpoints.routes(store, key_cache, clock),
            *auth_endpoints.routes(store, key_cache, clock),
            *(_taking(intakes, "") if kafka else ()),  # which says what their methods are
        ],
        redirect_slashes=False,
    )
    openwebui_routes = Router(
        [
            *openwebui_endpoints.routes(store, key_cache, clock),
            *openwebui_users.routes(store, key_cache, clock),
        ],
        redirect_slashes=False,
    )
    agentlens_intake = partial(agentlens_ingest.events, intakes=intakes)
    unknown_path = partial(agentlens_endpoints.unknown_path, key_cache=key_cache, clock=clock)
    return Starlette(
        routes=[
            # First those that are asked most.
            *usage_endpoints.polled_route(store, key_cache, clock, NATIVE),
            Route("/api/analytics/llm", analytics),
            *(_taking(intakes, NATIVE) if kafka else ()),
            Mount(NATIVE, native),
            *([Route("/api/events", agentlens_intake, methods=["POST"])] if kafka else ()),
            Route("/healthz", health.alive),
            Route("/readyz", partial(health.ready, store=store)),
            Route("/api/health", partial(health.agentlens_health, store=store, clock=clock)),
            Route("/openapi.json", partial(app_openapi.openapi, catalog=catalog)),
            Route("/docs", app_openapi.docs),
            *agentlens_events.routes(store, key_cache, clock),
            Mount("/api/v1", openwebui_routes),
            Mount("/admin", livekit_endpoints.routes(store, key_cache, clock)),
            # Whatever else, any method of the paths above included.
            Mount("", request_response(unknown_path)),
        ],
        exception_handlers=dict.fromkeys((OdometerError, HTTPException, Exception), _failed),
        middleware=[Middleware(_Compressing)],
        lifespan=partial(_lifespan, store=store, producer=producer, kafka=kafka),
    )


def _taking(intakes: Intakes, prefix: str) -> list[Route]:
    """The native paths that take events."""
    return [
        Route(
            f"{prefix}/events", partial(ingest_endpoints.events, intakes=intakes), methods=["POST"]
        ),
        Route(f"{prefix}/traces", partial(otlp.traces, intakes=intakes), methods=["POST"]),
    ]


class _Compressing:
    """Long answers as gzip for those who take it, but of paths that take events: theirs are short,
    and they are many."""

    def __init__(self, app: ASGIApp) -> None:
        self._plain = app
        self._compressed = GZipMiddleware(app, minimum_size=GZIP_FROM_BYTES, compresslevel=5)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"] == "POST" and scope["path"] in TAKING_PATHS):
            await self._plain(scope, receive, send)
        elif any(
            name == b"accept-encoding" and b"gzip" in value for name, value in scope["headers"]
        ):
            await self._compressed(scope, receive, send)
        else:
            await self._plain(scope, receive, partial(_said_to_vary, send))


async def _said_to_vary(send: Send, message: Message) -> None:
    """As the compressed answer says it: a long one would have been another for somebody else."""
    if message["type"] == "http.response.start":
        headers = message["headers"]
        if any(
            name == b"content-length" and int(value) >= GZIP_FROM_BYTES for name, value in headers
        ):
            message = {**message, "headers": [*headers, (b"vary", b"Accept-Encoding")]}
    await send(message)


def serve(
    redis_url: str,
    host: str,
    port: int,
    topic: str = DEFAULT_TOPIC,
    *,
    kafka: str | None = None,
    keys_file: Path | None = None,
    catalog: Catalog = DEFAULT,
    backfill_delay_ms: int = TARGET_MS,
) -> None:
    """Answer until SIGINT or SIGTERM; then finish what is under way, for a few seconds at most."""
    uvicorn.run(
        build(
            redis_url,
            topic,
            kafka=kafka,
            keys_file=keys_file,
            catalog=catalog,
            backfill_delay_ms=backfill_delay_ms,
        ),
        host=host,
        port=port,
        loop="auto",  # uvloop, where there is one
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=log_config(),
        access_log=True,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG_MAX,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
    )


def log_config() -> dict[str, Any]:
    """Uvicorn's own, with paths instead of whole URLs, and our logger beside its own."""
    config: dict[str, Any] = deepcopy(LOGGING_CONFIG)
    config["filters"] = {"no_query": {"()": lambda: without_query}}
    config["handlers"]["access"]["filters"] = ["no_query"]
    config["loggers"]["odometer"] = {"handlers": ["default"], "level": "INFO", "propagate": False}
    return config


def without_query(record: logging.LogRecord) -> bool:
    """Cut the query string out of an access record: filters name users and addresses.

    So is whatever stands in the place of a key's id and is none: it may be the key itself.
    """
    if isinstance(record.args, tuple) and len(record.args) == 5:
        client, method, path, *rest = record.args
        shown = _NO_KEY_ID.sub("/v1/keys/-", str(path).partition("?")[0])
        record.args = (client, method, shown, *rest)
    return True


@asynccontextmanager
async def _lifespan(
    _app: Starlette, store: Store, producer: Producer, kafka: str | None
) -> AsyncIterator[None]:
    gc.freeze()  # what was imported stays
    gc.set_threshold(GARBAGE_AFTER, *gc.get_threshold()[1:])
    async with producer.connected(kafka) if kafka else nullcontext():
        yield
    await store.close()


async def _failed(request: Request, error: Exception) -> Response:
    """Any error, in the shape of the path's dialect; the log has what is the operator's to mend."""
    if isinstance(error, StoreError):
        log.warning("No answer: %s.", error)
    response = failed(request, error)
    if isinstance(error, OdometerError) and response.status_code == 500:
        log.error("An error that no dialect knows.", exc_info=error)
    return response
