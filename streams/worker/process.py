"""The fold worker's process: a Faust App that hosts the fold as a supervised service.

Faust supplies signals, logging and supervision. Its own Kafka consumer is off: the
fold reads whole batches, which is 50 times faster than an agent. When the fold fails, the
supervisor starts it again from scratch, with a new consumer. SIGTERM has a hard deadline
(streams/worker/faust_process.py).

A worker whose configuration does not match the counters that answer waits outside the consumer
group. It reports the reason and checks again every 2 s. So it can start before a rebuild, and it
counts from the switch on; until then, the matching workers have all partitions. When a rebuild
replaces the counters of a running worker, or another price list takes effect
(streams/worker/price_switch.py), that worker exits with REPLACED. A supervisor that
restarts it makes it read its configuration again. A worker whose Redis evicts keys, or may evict
some, waits in the same way (streams/redis/eviction.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import faust
from faust.app.base import BootStrategy
from mode import Service
from mode.supervisors import OneForOneSupervisor

from schemas.catalog.views import DEFAULT, Catalog
from schemas.errors import (
    ConsumerBroken,
    OdometerError,
    OtherGeneration,
    StoreFull,
    StoreUnavailable,
)
from schemas.prices.price_list import BUNDLED, Prices
from schemas.prices.tariffs import warm_up
from schemas.store.generation import describe, generation_digest
from schemas.store.layout import LIVE, NO_POSITION
from streams.core.ports import RefusalReason
from streams.core.resume_checks import generation_detail, has_other_prices
from streams.kafka.consumer import KafkaLog, open_log
from streams.redis.eviction import EvictionWatch
from streams.redis.generations import RedisGenerations
from streams.redis.store import RedisStore
from streams.worker.clock import ProcessClock
from streams.worker.faust_process import Monitor, leave, run_process, spare_collector
from streams.worker.health import Minute
from streams.worker.loop import Worker
from streams.worker.metrics import WorkerMetrics, WorkerState
from streams.worker.price_switch import PriceSwitch
from streams.worker.settings import WorkerSettings
from streams.worker.view_switch import add_views, has_other_views

RESTARTS_MAX: Final = 100
"""Within RESTARTS_OVER_S. A fold that fails more often ends the process, so that an orchestrator notices."""
RESTARTS_OVER_S: Final = 60.0
RESTART_PAUSE_S: Final = 1.0
DROP_EVERY_S: Final = 30.0
ADVISE_EVERY_S: Final = 5.0
"""As often as Kafka's own consumers commit."""
REPLACED: Final = 3
"""The exit code of a worker after a rebuild under another configuration replaced its counters, or a worker
with another price list or more views has let these take effect. It is
not 0, so that a supervisor that restarts on failure restarts the worker."""

log = logging.getLogger("odometer.worker")


class FoldService(Service):
    """One run of the fold: opens the log and the store, runs the worker, raises the error that ends it."""

    def __init__(
        self,
        settings: WorkerSettings,
        prices: Prices = BUNDLED,
        catalog: Catalog = DEFAULT,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**kwargs)
        self._settings = settings
        self._prices = prices
        self._catalog = catalog
        self._digest = generation_digest(settings.topic, prices.version, catalog)
        self._price_switch = PriceSwitch(prices, self._digest)
        self.metrics = WorkerMetrics()
        self.metrics.watch(self.worker_state)
        self.worker: Worker | None = None
        self.failure = ""
        self.refusal: tuple[RefusalReason, str] | None = None
        """Why it waits outside the consumer group."""
        self._evicts = False

    def health(self) -> dict[str, Any]:
        refusal = self.refusal
        return describe_health(self.worker, self.failure, "" if refusal is None else refusal[1])

    def worker_state(self) -> WorkerState:
        """For a scrape, in any thread."""
        worker, refusal, state = self.worker, self.refusal, str(self.health()["state"])
        if refusal is not None:
            return WorkerState(state, {}, {refusal[0].name.lower(): 1})
        if worker is None:
            return WorkerState(state, {}, {})
        names = Counter(why.name.lower() for why in list(worker.health.reasons.values()))
        return WorkerState(state, worker.partitions(), names)

    @Service.task
    async def _fold(self) -> None:
        try:
            await self._run_once()
        except* OtherGeneration as errors:
            (other,) = (e for e in errors.exceptions if isinstance(e, OtherGeneration))
            if other.was_ours:
                log.error(  # noqa: TRY400
                    "a rebuild has replaced the counters of this worker, or another price list or more"
                    " views count: %s",
                    other,
                )
                leave(REPLACED)
            await self._end_run(errors, str(other))
        except* OdometerError as errors:
            log.error("the fold failed and starts again: %s", errors.exceptions[0])  # noqa: TRY400
            await self._end_run(errors, str(errors.exceptions[0]))
        except* Exception as errors:  # a bug: log the traceback, then pause and restart as well
            log.exception("the fold failed with a bug and starts again")
            await self._end_run(errors, repr(errors.exceptions[0]))

    async def _end_run(self, errors: BaseExceptionGroup, failure: str) -> None:
        self.worker, self.failure = None, failure
        await self.sleep(RESTART_PAUSE_S)
        await self.crash(errors)

    async def _run_once(self) -> None:
        settings = self._settings
        about = describe(settings.topic, self._catalog)
        async with (
            RedisStore(settings.redis, about=about, tenant_series=settings.tenant_series) as store,
            EvictionWatch(settings.redis, settings.redis_eviction) as watch,
        ):
            while not self.should_stop:
                await self._until_ours(store, watch)
                if not self.should_stop:
                    await self._count(store, watch)

    @Service.task
    async def _drop(self) -> None:
        """Drops generations that a rebuild replaced, once their grace period is over. Every worker does this."""
        async with RedisGenerations(self._settings.redis) as generations:
            while not self.should_stop:
                try:
                    dropped = await generations.drop_due(ProcessClock().now_ms())
                except StoreUnavailable:
                    dropped = []
                for number in dropped:
                    log.info("dropped generation %d: a rebuild had replaced it", number)
                await self.sleep(DROP_EVERY_S)

    async def _until_ours(self, store: RedisStore, watch: EvictionWatch) -> None:
        """Waits while the counters that answer belong to another configuration, or Redis evicts, or
        does not say so because it is away."""
        while not self.should_stop:
            try:
                refusal = await self._refusal(store, watch)
            except (StoreUnavailable, StoreFull) as away:
                self._wait_for_redis(str(away))
                await self.sleep(RESTART_PAUSE_S)
                continue
            if refusal is None:
                break
            with suppress(StoreUnavailable, StoreFull):  # said again at the next check
                await store.refuse(-1, NO_POSITION, *refusal)
            if refusal != self.refusal:
                log.warning(
                    "waits outside the consumer group, checks again every %g s: %s",
                    self._settings.timing.recheck_ms / 1000,
                    refusal[1],
                )
            self.refusal = refusal
            await self.sleep(self._settings.timing.recheck_ms / 1000)
        self.refusal = None

    def _wait_for_redis(self, why: str) -> None:
        if why != self.failure:
            log.warning("waits for Redis: %s", why)
        self.worker, self.failure, self.refusal = None, why, None

    async def _refusal(
        self, store: RedisStore, watch: EvictionWatch
    ) -> tuple[RefusalReason, str] | None:
        meta = await store.meta()
        evicts = await watch.look(store.generation)
        if evicts is not None or meta is None:
            return evicts
        if meta.digest == self._digest and meta.state == LIVE:
            return None
        if has_other_views(meta, self._digest):
            problem = await add_views(store, meta, self._settings.topic, self._catalog)
        elif has_other_prices(meta, self._digest):
            problem = await self._price_switch.take_effect(store, meta)
        else:
            return RefusalReason.OTHER_GENERATION, generation_detail(meta, self._digest)
        if problem is not None:
            return RefusalReason.OTHER_GENERATION, problem
        return await self._refusal(store, watch)

    async def _count(self, store: RedisStore, watch: EvictionWatch) -> None:
        """Counts until the process stops, or Redis evicts."""
        settings = self._settings
        self._evicts = False
        stopping = lambda: self.should_stop or self._evicts  # noqa: E731
        async with open_log(
            settings.kafka, settings.topic, settings.dead_letter_topic, settings.group
        ) as kafka_log:
            worker = Worker(
                kafka_log,
                store,
                ProcessClock(),
                self._digest,
                settings.policy,
                settings.timing,
                self._prices,
                self._catalog,
                keeps_previews=settings.store_previews,
                metrics=self.metrics,
            )
            self.worker, self.failure = worker, ""
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(worker.poll_end_offsets(stopping))
                guard = tasks.create_task(self._guard(worker))
                memory = tasks.create_task(self._watch(store, watch))
                advice = tasks.create_task(self._advise(kafka_log, worker))
                judged = worker.health.judged.keep_sending(settings.redis, stopping)
                told = tasks.create_task(judged)
                await worker.run(stopping)
                for task in (watching, guard, memory, advice, told):
                    task.cancel()

    async def _watch(self, store: RedisStore, watch: EvictionWatch) -> None:
        """Ends the counting when Redis may evict, or has evicted."""
        while not self._evicts:
            with suppress(StoreUnavailable, StoreFull):  # the worker reports it
                self._evicts = await watch.look(store.generation) is not None
            await asyncio.sleep(self._settings.timing.recheck_ms / 1000)

    async def _advise(self, kafka_log: KafkaLog, worker: Worker) -> None:
        """Tells the consumer group the positions of Redis, beside the fold, for lag tools."""
        while not self.should_stop:
            await asyncio.sleep(ADVISE_EVERY_S)
            if not worker.health.log_away:
                now = worker.partitions()
                await kafka_log.advise({number: one.position for number, one in now.items()})

    async def _guard(self, worker: Worker) -> None:
        """Logs each change of state. Ends the run when nothing moves although there are records to
        read: a heartbeat error can leave a consumer broken forever."""
        said: dict[str, object] = {}
        clock, minute = ProcessClock(), Minute(worker.health.events)
        while not self.should_stop:
            health = worker.health
            if (report := minute.report(health, worker.lag(), clock.now_ms())) is not None:
                log.info(*report[0], extra={"fields": report[1]})
            now: dict[str, object] = {
                "kafka": health.log_away,
                "store": health.store_away,
                "paused partitions": dict(health.refused),
            }
            for name, state in now.items():
                if said.get(name, "") != state and (state or name in said):
                    log.warning("%s: %s", name, state or "recovered")
            said = now
            if worker.is_stalled():
                raise ConsumerBroken(
                    f"{worker.lag()} records wait, and none was counted for "
                    f"{self._settings.timing.stalled_ms / 1000:g} s"
                )
            await asyncio.sleep(0.5)


class _Boot(BootStrategy):
    enable_kafka_consumer = False
    enable_kafka_producer = False

    def kafka_conductor(self) -> list[Any]:
        return []

    def tables(self) -> list[Any]:
        return []


class _WorkerApp(faust.App):
    def _create_directories(self) -> None:
        """Makes none: the App keeps no tables, and the working directory may be read-only."""


def build(
    settings: WorkerSettings, prices: Prices = BUNDLED, catalog: Catalog = DEFAULT
) -> tuple[faust.App, OneForOneSupervisor, FoldService]:
    """The App, the supervisor of its fold, and the fold."""
    app = _WorkerApp(
        "odometer-worker",
        broker=f"kafka://{settings.kafka}",
        autodiscover=False,
        web_enabled=False,
        worker_redirect_stdouts=False,
    )
    app.boot_strategy = _Boot(app, enable_web=False)
    supervisor = OneForOneSupervisor(max_restarts=RESTARTS_MAX, over=RESTARTS_OVER_S)
    fold = FoldService(settings, prices, catalog)
    supervisor.add(fold)

    return app, supervisor, fold


def describe_health(worker: Worker | None, failure: str, refusal: str = "") -> dict[str, Any]:
    """The health of the fold, not of the process: ok while it counts or has nothing to count.
    `reason`: why it does not, in one sentence. `failure`: why the last run of the fold ended, while the
    next one has not started. `refusal`: why it waits outside the consumer group."""
    if refusal:
        refused = {"generation": refusal}
        return {"ok": False, "state": "refused", "reason": refusal, "refused": refused}
    if worker is None:
        reason = failure or "it joins the consumer group"
        return {"ok": False, "state": "starting", "reason": reason, "failure": failure}
    health = worker.health
    refused = {str(partition): why for partition, why in dict(health.refused).items()}
    reason = health.log_away or health.store_away
    if not reason and worker.is_stalled():
        reason = "records wait, and none was counted for long"
    if not reason and refused:
        reason = f"{len(refused)} partitions are refused: {next(iter(refused.values()))}"
    return {
        "ok": not reason,
        "state": "refused" if refused else "waiting" if reason else "counting",
        "reason": reason,
        "lag": worker.lag(),
        "commits": health.commits,
        "events": health.events,
        "progress_ms": health.progress_ms,
        "kafka": health.log_away,
        "store": health.store_away,
        "refused": refused,
    }


def run_worker(
    settings: WorkerSettings,
    prices: Prices = BUNDLED,
    catalog: Catalog = DEFAULT,
    monitor: Monitor | None = None,
    logs: dict[str, Any] | None = None,
) -> int:
    """Runs until SIGTERM or SIGINT. Returns the exit code of the process. Blocking. `monitor` serves
    metrics and probes; `logs` as `run_process` has it."""
    warm_up()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    app, supervisor, fold = build(settings, prices, catalog)
    if monitor is not None:

        async def ready() -> Mapping[str, object]:
            return fold.health()

        monitor(loop, fold.metrics.registry, ready)
    spare_collector()
    return run_process(app, supervisor, loop=loop, logs=logs)
