"""Usage as metrics: requests, tokens and cost by tenant, kind, provider and model, from the store.

The counters are in one hash in Redis, and every API process shows what is there, so all show the same. One
process at a time has the turn: it reads the sums of the store, and writes what they have grown by
(deploy/monitor/usage_counters.py). A turn begins after the one before has written, so it reads later sums.
A process that loses its turn while it reads writes nothing (usage.lua).
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.query.plan import Question, Term, plan
from api.store.reader import Store
from deploy.monitor.background import BackgroundLoop
from deploy.monitor.usage_counters import MEASURES, Amounts, UsageRow, UsageSeries, advanced
from deploy.settings import Settings, read_catalog
from schemas.catalog.measures import COST_EVENTS, COST_NANO_USD, EVENTS, INPUT_TOKENS, OUTPUT_TOKENS
from schemas.errors import OdometerError
from schemas.event.kinds import USAGE_KINDS
from schemas.limits import NANO_PER_USD
from schemas.store.layout import HASH_TAG, tenants_list_key
from schemas.tiers import DAY, ceil_to

COUNTERS_KEY: Final = HASH_TAG + "usage-metrics"
TURN_KEY: Final = HASH_TAG + "usage-metrics-turn"
ABOUT: Final = "about"
"""The field of the hash that says when the sums were read. Series are JSON arrays."""
EVERY_MS: Final = 15_000
"""As often as Prometheus scrapes, usually."""
LEASE_MS: Final = 120_000
"""Reading 10,000 tenants takes some 20 s. A process that dies meanwhile is replaced after this."""
SHARE_MAX: Final = 10
"""Reading takes at most a tenth of the time, also where it takes long."""
LOOK_EVERY_S: Final = 5.0
FIRST_S: Final = 8.0
"""Prometheus waits 10 s by default. Before the first turn is over there are no counters."""
TERMS: Final = (
    Term(EVENTS, USAGE_KINDS),
    Term(COST_EVENTS, USAGE_KINDS),
    Term(INPUT_TOKENS, USAGE_KINDS),
    Term(OUTPUT_TOKENS, USAGE_KINDS),
    Term(COST_NANO_USD, USAGE_KINDS),
)
"""Those of MEASURES."""
SCRIPT: Final = (Path(__file__).parent / "usage.lua").read_text(encoding="utf-8")

log = logging.getLogger("odometer.monitor")


class UsageState(NamedTuple):
    """`read_ms`: when the sums were read; None: not yet."""

    rows: Mapping[UsageSeries, UsageRow]
    read_ms: int | None


NO_USAGE: Final = UsageState({}, None)


async def load(store: Store) -> UsageState:
    """What Redis has of the counters. Raises StoreError."""
    found = await store.ask("HGETALL", COUNTERS_KEY)
    fields = dict(found)
    about = fields.pop(ABOUT.encode(), None)
    rows = {
        UsageSeries(*json.loads(series)): UsageRow(*map(tuple, json.loads(amounts)))
        for series, amounts in fields.items()
    }
    return UsageState(rows, None if about is None else json.loads(about)["read_ms"])


async def take_turn(store: Store, token: str) -> bool:
    """Whether this process is the one that reads now."""
    return await store.ask("SET", TURN_KEY, token, "NX", "PX", LEASE_MS) is not None


async def read_and_write(store: Store, token: str, now_ms: int, series_max: int) -> bool:
    """Read the sums of the store and write the counters; False if the turn was over. Raises OdometerError."""
    began_s = time.monotonic()
    before = await load(store)
    generation = (await store.state()).generation
    tenants = [
        one.decode() for one in await store.ask("LRANGE", tenants_list_key(generation), 0, -1)
    ]
    oldest_ms = _oldest_ms(now_ms)
    expired: dict[UsageSeries, Amounts] = {}
    if before.read_ms is not None and _oldest_ms(before.read_ms) < oldest_ms:
        for tenant in tenants:  # their keys stay for two hours more
            expired |= await _sums(store, tenant, oldest_ms, before.read_ms)
    sums: dict[UsageSeries, Amounts] = {}
    for tenant in tenants:
        sums |= await _sums(store, tenant, None, now_ms)
    changed = advanced(before.rows, sums, expired, series_max)
    texts = [json.dumps({"read_ms": now_ms})]
    fields = [ABOUT]
    for series, row in changed.items():
        fields.append(json.dumps(series, ensure_ascii=False))
        texts.append(json.dumps(row))
    wait_ms = max(EVERY_MS, int((time.monotonic() - began_s) * 1000) * SHARE_MAX)
    pairs = [text for pair in zip(fields, texts, strict=True) for text in pair]
    written = await store.ask("EVAL", SCRIPT, 2, COUNTERS_KEY, TURN_KEY, token, wait_ms, *pairs)
    return bool(written)


def _oldest_ms(now_ms: int) -> int:
    """The start of the oldest day that is kept."""
    return ceil_to(now_ms - DAY.kept_ms, DAY.bucket_ms)


async def _sums(
    store: Store, tenant: str, to_ms: int | None, now_ms: int
) -> dict[UsageSeries, Amounts]:
    """The sums of a tenant over all buckets that are kept at `now_ms`, before `to_ms` if it is given."""
    end_ms = now_ms + DAY.kept_ms if to_ms is None else to_ms
    question = Question(TERMS, 0, end_ms, now_ms, group_by=("kind", "provider", "model"))
    reading = await store.read(tenant, (plan(question, store.catalog),))
    return {UsageSeries(tenant, *row.group): row.values for row in reading.rows[0]}


class UsageMetrics(Collector):
    """Collects the counters of usage. It may be scraped in any thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._background = BackgroundLoop("odometer-usage")
        self._store: Store | None = None
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._said = ""

    def describe(self) -> Iterator[Metric]:
        return usage_families(NO_USAGE)

    def collect(self) -> Iterator[Metric]:
        found = self._background.result(self._load(), FIRST_S)
        return usage_families(found or NO_USAGE)

    def close(self) -> None:
        self._background.result(self._end(), FIRST_S)
        self._background.close()

    async def _end(self) -> None:
        if self._task is not None and self._store is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await self._store.close()

    async def _load(self) -> UsageState:
        if self._store is None:
            catalog = read_catalog(self._settings)
            self._store = Store(self._settings.redis, self._settings.topic, catalog)
            self._task = asyncio.create_task(self._keep_reading(self._store))
        found = await load(self._store)
        if found.read_ms is None:
            await self._tried.wait()
            found = await load(self._store)
        return found

    async def _keep_reading(self, store: Store) -> None:
        while True:
            token = secrets.token_hex(8)
            try:
                if await take_turn(store, token):
                    now_ms = time.time_ns() // 1_000_000
                    await read_and_write(store, token, now_ms, self._settings.usage_metrics)
                self._said = ""
            except OdometerError as error:
                if str(error) != self._said:  # the metrics say how old they are
                    log.warning("The metrics of usage cannot be read: %s.", error)
                self._said = str(error)
            self._tried.set()
            await asyncio.sleep(LOOK_EVERY_S)


_FALLS: Final = "It never falls: what a rebuild or expiry takes away stays in it. /v1/usage has the corrected number."
_LABELS: Final = ("tenant", "kind", "provider", "model")


def usage_families(state: UsageState) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "odometer_usage_requests", f"Requests that are counted. {_FALLS}", labels=_LABELS
    )
    with_cost = CounterMetricFamily(
        "odometer_usage_requests_with_cost",
        f"Requests that are counted and have a cost. {_FALLS}",
        labels=_LABELS,
    )
    tokens = CounterMetricFamily(
        "odometer_usage_tokens",
        f"Tokens that are counted, by type: input or output. {_FALLS}",
        labels=(*_LABELS, "type"),
    )
    cost = CounterMetricFamily(
        "odometer_usage_cost_usd",
        f"Cost of the requests that have one, in US dollars. {_FALLS}",
        labels=_LABELS,
    )
    for series, row in sorted(state.rows.items()):
        shown = dict(zip(MEASURES, row.shown, strict=True))
        requests.add_metric(series, shown["requests"])
        with_cost.add_metric(series, shown["requests_with_cost"])
        tokens.add_metric((*series, "input"), shown["input_tokens"])
        tokens.add_metric((*series, "output"), shown["output_tokens"])
        if shown["requests_with_cost"]:  # an unknown cost is not 0
            cost.add_metric(series, shown["cost_nano_usd"] / NANO_PER_USD)
    yield from (requests, with_cost, tokens, cost)
    read = GaugeMetricFamily(
        "odometer_usage_read_timestamp_seconds", "When the counters of usage were last read."
    )
    if state.read_ms is not None:
        read.add_metric([], state.read_ms / 1000)
    yield read
