"""The fold worker's process: a Faust App that hosts the fold as a supervised service.

Faust brings the process: signals, logging, the web page, supervision. Its own Kafka consumer is
off (the fold reads whole batches, 50 times what an agent handles). A fold that fails is built anew
by the supervisor, consumer and all. SIGTERM has a hard deadline: no client, however it hangs on a
frozen broker, holds the process longer, and nothing is lost by leaving, as positions are in Redis.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from typing import Any, Final

import faust
from faust.app.base import BootStrategy
from faust.web import Request, Response, View
from mode import Service
from mode.supervisors import OneForOneSupervisor

from schemas.cost import warm_up
from schemas.errors import ConsumerBroken, OdometerError
from schemas.prices import BUNDLED, Prices
from schemas.views import generation_digest
from streams.kafka import open_log
from streams.process import run_process
from streams.settings import WorkerSettings
from streams.store import RedisStore
from streams.worker import Worker

RESTARTS_MAX: Final = 100
"""Within RESTARTS_OVER_S: a fold that fails more often ends the process, for others to see."""
RESTARTS_OVER_S: Final = 60.0
RESTART_PAUSE_S: Final = 1.0

log = logging.getLogger("odometer.worker")


class ProcessClock:
    """`streams.ports.Clock` of this process."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def commit_id(self) -> bytes:
        return secrets.token_bytes(16)

    async def sleep(self, ms: int) -> None:
        await asyncio.sleep(ms / 1000)

    async def breathe(self) -> None:
        await asyncio.sleep(0)


class FoldService(Service):
    """One life of the fold: opens the log and the store, runs the worker, raises what ends it."""

    def __init__(self, settings: WorkerSettings, prices: Prices = BUNDLED, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(**kwargs)
        self._settings = settings
        self._prices = prices
        self.worker: Worker | None = None
        self.failure = ""

    @Service.task
    async def _fold(self) -> None:
        try:
            await self._one_life()
        except* OdometerError as errors:
            log.error("the fold begins anew: %s", errors.exceptions[0])  # noqa: TRY400
            await self._end_of_life(errors, str(errors.exceptions[0]))
        except* Exception as errors:  # a defect of ours: shown whole, and paused for as well
            log.exception("the fold begins anew")
            await self._end_of_life(errors, repr(errors.exceptions[0]))

    async def _end_of_life(self, errors: BaseExceptionGroup, failure: str) -> None:
        self.worker, self.failure = None, failure
        await self.sleep(RESTART_PAUSE_S)
        await self.crash(errors)

    async def _one_life(self) -> None:
        settings = self._settings
        async with (
            RedisStore(settings.redis) as store,
            open_log(
                settings.kafka, settings.topic, settings.dead_letter_topic, settings.group
            ) as kafka_log,
        ):
            worker = Worker(
                kafka_log,
                store,
                ProcessClock(),
                generation_digest(settings.topic, self._prices.version),
                settings.policy,
                settings.timing,
                self._prices,
                keeps_previews=settings.store_previews,
            )
            self.worker, self.failure = worker, ""
            stopping = lambda: self.should_stop  # noqa: E731
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(worker.watch(stopping))
                guard = tasks.create_task(self._guard(worker))
                await worker.run(stopping)
                watching.cancel()
                guard.cancel()

    async def _guard(self, worker: Worker) -> None:
        """Says what changes, and ends a life in which nothing moves though there is something to
        read: a heartbeat error can leave the consumer broken for ever."""
        said: dict[str, object] = {}
        while not self.should_stop:
            health = worker.health
            now: dict[str, object] = {
                "kafka": health.log_away,
                "store": health.store_away,
                "refused": dict(health.refused),
            }
            for name, state in now.items():
                if said.get(name, "") != state and (state or name in said):
                    log.warning("%s: %s", name, state or "well again")
            said = now
            if worker.is_stalled():
                raise ConsumerBroken(f"{worker.lag()} records wait, and none was counted for long")
            await asyncio.sleep(0.5)


class _Boot(BootStrategy):
    enable_kafka_consumer = False
    enable_kafka_producer = False

    def kafka_conductor(self) -> list[Any]:
        return []

    def tables(self) -> list[Any]:
        return []


class _App(faust.App):
    def _create_directories(self) -> None:
        """None: it keeps no tables, and the working directory may be read-only."""


def build(
    settings: WorkerSettings, prices: Prices = BUNDLED
) -> tuple[faust.App, OneForOneSupervisor]:
    """The App and the supervisor of its fold."""
    app = _App(
        "odometer-worker",
        broker=f"kafka://{settings.kafka}",
        autodiscover=False,
        web_enabled=settings.health_port > 0,
        web_host="127.0.0.1",
        web_port=settings.health_port or 6066,
        worker_redirect_stdouts=False,
    )
    app.boot_strategy = _Boot(app, enable_web=settings.health_port > 0)
    supervisor = OneForOneSupervisor(max_restarts=RESTARTS_MAX, over=RESTARTS_OVER_S)
    fold = FoldService(settings, prices)
    supervisor.add(fold)

    @app.page("/health/")
    async def health(view: View, _request: Request) -> Response:
        answer = describe_health(fold.worker, fold.failure)
        return view.json(answer, status=200 if answer["ok"] else 503)

    return app, supervisor


def describe_health(worker: Worker | None, failure: str) -> dict[str, Any]:
    """Of the fold's progress, not of the process: ok while it counts or has nothing to count.
    `failure` is why the last life of the fold ended, where it has not begun anew."""
    if worker is None:
        return {"ok": False, "state": "starting", "failure": failure}
    health = worker.health
    stuck = health.log_away or health.store_away or worker.is_stalled() or bool(health.refused)
    return {
        "ok": not stuck,
        "state": "refused" if health.refused else "waiting" if stuck else "counting",
        "lag": worker.lag(),
        "commits": health.commits,
        "events": health.events,
        "progress_ms": health.progress_ms,
        "kafka": health.log_away,
        "store": health.store_away,
        "refused": {str(partition): why for partition, why in health.refused.items()},
    }


def run_worker(settings: WorkerSettings, prices: Prices = BUNDLED) -> int:
    """Runs until SIGTERM or SIGINT; the process's exit code. Blocking."""
    warm_up()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    app, supervisor = build(settings, prices)
    return run_process(app, supervisor, loop=loop)
