"""Builds the API from its parts and serves it. Only here are the clock read and ids drawn."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import secrets
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import uvicorn
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.routing import Route
from uvicorn.config import LOGGING_CONFIG

from api.agentlens import errors as agentlens_errors
from api.agentlens.endpoints import agentlens
from api.app import health
from api.app import openapi as app_openapi
from api.app.connections import CONNECTIONS_MAX, Connections
from api.app.dispatch import Application
from api.app.health import Readiness
from api.app.metrics import ApiMetrics
from api.app.sending import Unread
from api.app.server import protocol_of
from api.auth import endpoints as auth_endpoints
from api.auth import session_endpoints
from api.auth.key_cache import KeyCache
from api.auth.keys_file import KeysFile
from api.auth.sessions import Sessions
from api.dead_letters import endpoints as dead_letter_endpoints
from api.dead_letters.source import DeadLetterSource
from api.http import problems
from api.http.answer_cache import AnswerCache
from api.http.application import application, error_handlers
from api.http.durations import Durations
from api.http.json_body import JSON_BODIES
from api.ingest import endpoints as ingest_endpoints
from api.ingest import langfuse
from api.ingest.backfill import Backfill
from api.ingest.endpoints import IngestDeps, seeds_of
from api.ingest.id_quota import IdQuota
from api.ingest.memory import set_up_libc
from api.ingest.otlp import otlp
from api.ingest.otlp_sources import OtlpSources
from api.ingest.pacing import TARGET_MS
from api.ingest.producer import IngestProducer
from api.livekit.endpoints import livekit
from api.openai.endpoints import openai
from api.openwebui.endpoints import openwebui
from api.page import endpoints as page_endpoints
from api.status import endpoints as status_endpoints
from api.status.endpoints import Installation
from api.store.reader import Store
from api.stream import endpoints as stream_endpoints
from api.stream.feeds import Feeds
from api.usage import endpoints as usage_endpoints
from api.usage import latest_calls
from api.usage.groups.people import PeopleCache
from schemas.catalog.views import DEFAULT, Catalog
from schemas.quotas import NO_QUOTA, Quota

DEFAULT_TOPIC: Final = "usage.events"
SHUTDOWN_GRACE_S: Final = 5
"""Requests under way may finish at a stop: each has 3 s for Redis, or 4 s for Kafka
(`api.ingest.producer.ACK_S`)."""
BACKLOG_MAX: Final = 2048
GARBAGE_AFTER: Final = 50_000
"""New objects between two searches for garbage cycles. An answer makes hundreds of objects and hardly a
cycle. With Python's default of 700 the search took a quarter of the time of a cached answer."""
SWITCH_S: Final = 0.0005
"""How long a thread that makes a large answer runs before the event loop may. Python's default is 5 ms, and
a small question waits for it some ten times."""
OTHER_FILES: Final = 128
"""Open files that are no connections of clients: to Redis and Kafka, logs, libraries."""

Monitor = Callable[
    [asyncio.AbstractEventLoop, CollectorRegistry, Callable[[], Awaitable[Mapping[str, object]]]],
    object,
]
"""Starts to serve metrics and probes of this process: its event loop, its metrics, and what `/readyz`
answers. The command passes it (deploy/monitor/process.py)."""

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
    metrics_sources: Sequence[str] = (),
    access_log: bool = False,
    tenant_ids: Quota = NO_QUOTA,
    cors_origins: Sequence[str] = (),
    dead_letters: DeadLetterSource | None = None,
    monitor: Monitor | None = None,
    installation: Installation | None = None,
) -> Application:
    """The application over the counters of `topic` in one Redis; `clock` gives ms since 1970.

    `kafka`: HOST:PORT of the broker that receives events; None: the API only reads. `keys_file`: keys
    that Redis lost are restored from it. `backfill_delay_ms`: history waits while counting is further
    behind; 0: it never waits. `metrics_sources`: services whose metrics count and whose logs do not.
    `access_log`: log a line for each request. `tenant_ids`: quota of each tenant's event ids; 0: none.
    `cors_origins`: origins whose pages may ask. `dead_letters` reads them from Kafka.
    `monitor` serves metrics and probes. `installation`: reads the status of the whole installation.
    Raises InvalidConfig.
    """
    reads = Durations(time.perf_counter)
    store = Store(redis_url, topic, catalog, reads)
    key_cache = KeyCache(store.ask, steady_clock_ms)
    sessions = Sessions(store, steady_clock_ms)
    key_cache.session_of = sessions.digest_of
    producer = IngestProducer(topic)
    backfill = Backfill(store, producer, backfill_delay_ms) if backfill_delay_ms else None
    seeds = seeds_of(secrets.token_hex(12))
    id_quota = IdQuota(store, tenant_ids, lambda: producer.reached, clock, steady_clock_ms)
    deps = IngestDeps(key_cache, clock, producer, seeds, backfill, id_quota=id_quota)
    if keys_file is not None:
        put_back = KeysFile(keys_file).put_back
        key_cache.put_back = partial(put_back, store=store, clock=clock)
    sources = OtlpSources(store, clock, metrics_sources)
    answers = AnswerCache()
    people = PeopleCache(store)
    feeds = Feeds(store, people, clock, lambda: secrets.token_hex(6))
    readiness = Readiness(store, key_cache)
    unread = Unread()
    held_bytes = {
        "event_bodies": lambda: deps.body_budget.shared.held_bytes,
        "json_bodies": lambda: JSON_BODIES.held_bytes,
        "events_for_kafka": lambda: producer.held_bytes,
        "history_that_waits": lambda: 0 if backfill is None else backfill.held_bytes,
        "unread_answers": lambda: unread.total,
    }
    metrics = ApiMetrics(reads, held_bytes, lambda: feeds.open_streams)
    parts = store, key_cache, clock
    native = [*usage_endpoints.routes(*parts, answers, people), *auth_endpoints.routes(*parts)]
    native += stream_endpoints.routes(*parts, feeds)
    native += latest_calls.routes(*parts)
    native += status_endpoints.routes(*parts, installation)
    native += dead_letter_endpoints.routes(*parts, dead_letters)
    native += session_endpoints.routes(sessions, key_cache, clock)
    if kafka:
        native += ingest_endpoints.routes(deps)
    scraped = status_endpoints.metrics_routes(key_cache, clock, metrics.registry)
    taking = deps if kafka else None

    def watched() -> None:
        if monitor is not None:
            monitor(asyncio.get_running_loop(), metrics.registry, readiness.report)

    return Application(
        otlp=otlp(taking, sources),
        dialects=[
            ("/v1/", application(native, problems.error_response)),
            ("/metrics", application(scraped, problems.error_response)),
            ("/admin/", livekit(*parts)),
            ("/openai/", openai(*parts)),
            (langfuse.PATH, application(langfuse.routes(taking), problems.error_response)),
            ("/api/v1/", openwebui(*parts, lambda: str(uuid4()))),
            ("/api", agentlens(*parts, answers, taking)),
        ],
        routes=[
            Route("/healthz", health.alive),
            Route("/readyz", readiness.page),
            Route("/openapi.json", partial(app_openapi.openapi, catalog=catalog)),
            Route("/docs", app_openapi.docs),
            *page_endpoints.routes(),
        ],
        exception_handlers=error_handlers(agentlens_errors.error_response),
        lifespan=partial(
            _lifespan,
            store=store,
            producer=producer,
            sources=sources,
            feeds=feeds,
            kafka=kafka,
            watched=watched,
        ),
        access_log=access_log,
        metrics=metrics,
        unread=unread,
        cors_origins=cors_origins,
    )


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
    metrics_sources: Sequence[str] = (),
    connections_max: int = CONNECTIONS_MAX,
    access_log: bool = False,
    tenant_ids: Quota = NO_QUOTA,
    cors_origins: Sequence[str] = (),
    dead_letters: DeadLetterSource | None = None,
    monitor: Monitor | None = None,
    installation: Installation | None = None,
    logs: dict[str, Any] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, then finish the requests under way within SHUTDOWN_GRACE_S."""
    set_up_libc()
    uvicorn.run(
        build(
            redis_url,
            topic,
            kafka=kafka,
            keys_file=keys_file,
            catalog=catalog,
            backfill_delay_ms=backfill_delay_ms,
            metrics_sources=metrics_sources,
            access_log=access_log,
            tenant_ids=tenant_ids,
            cors_origins=cors_origins,
            dead_letters=dead_letters,
            monitor=monitor,
            installation=installation,
        ),
        host=host,
        port=port,
        loop="auto",  # uvloop, where there is one
        http=protocol_of(Connections(allow_files(connections_max)), origins=cors_origins),
        ws="none",
        lifespan="on",
        log_config=logs or log_config(),
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG_MAX,
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
    )


def log_config() -> dict[str, Any]:
    """Uvicorn's configuration, with our loggers. Its own access log is off: it has no key and whole URLs."""
    config: dict[str, Any] = deepcopy(LOGGING_CONFIG)
    config["loggers"]["odometer"] = {"handlers": ["default"], "level": "INFO", "propagate": False}
    return config


def allow_files(connections_max: int) -> int:
    """Raise the process's limit of open files for so many connections, as far as the system lets us.

    Returns how many connections fit. Without this, the 1,024 files of most systems are the limit, and
    beyond it the process cannot even connect to Redis.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections_max + OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # macOS has another limit, which it does not tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    if soft == resource.RLIM_INFINITY:
        return connections_max
    fit = max(1, min(connections_max, soft - OTHER_FILES))
    if fit < connections_max:
        log.warning(
            "This process may open only %d files, so the API takes %d connections and not %d. Raise the"
            " limit (ulimit -n, LimitNOFILE) or lower ODOMETER_CONNECTIONS_MAX.",
            soft,
            fit,
            connections_max,
        )
    return fit


@asynccontextmanager
async def _lifespan(
    _app: Starlette,
    store: Store,
    producer: IngestProducer,
    sources: OtlpSources,
    feeds: Feeds,
    kafka: str | None,
    watched: Callable[[], None],
) -> AsyncIterator[None]:
    gc.freeze()  # imported objects are never garbage
    gc.set_threshold(GARBAGE_AFTER, *gc.get_threshold()[1:])
    sys.setswitchinterval(SWITCH_S)
    watched()
    async with producer.connected(kafka) if kafka else nullcontext():
        yield
    await feeds.close()
    await sources.close()
    await store.close()
