"""What counters weigh: bytes of a bucket of a series, by view, as Valkey reports its memory.

Pages are as compaction leaves them once their chunk has ended, each with its key. "Busy" means every
bucket of the chunk and every series of the page, with ten calls to a model in each. "Sparse" means
that the series of a page share it, each with one call. An open page may weigh twice as much, and 1 to
32 kB more. `payload`: the numbers alone, of 8 B each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import redis

from schemas.catalog.measures import How
from schemas.catalog.views import VIEWS
from schemas.store.layout import SLOT_BUCKETS, Int64s, PageKind, page_kept_ms, page_key
from schemas.tiers import DAY, Tier
from streams.redis.compaction import QueuedPage, ReadPage, compact_forms
from tests.oracles.redis_counters import page_kinds_of

BINS_BUSY: Final = 30
"""Bins that a busy bucket's latencies fall into."""
GOAL_BUSY_GB, GOAL_SPARSE_BYTES = 0.5, 80


@dataclass(frozen=True)
class Weighed:
    """Bytes a series-bucket; `payload`: the numbers alone, of 8 B each."""

    page_kind: PageKind
    tier: Tier
    payload: int
    busy: float
    sparse: float

    @property
    def name(self) -> str:
        sketch = self.page_kind.sketch
        return self.page_kind.table.view.name + (f" {sketch.name}" if sketch else "")

    @property
    def of_one_series(self) -> float:
        """In every bucket for as long as this tier keeps."""
        return self.busy * self.tier.kept_ms / self.tier.bucket_ms


def weigh(client: redis.Redis, now_ms: int) -> list[Weighed]:
    """All that events of kind llm are kept in."""
    found = []
    for view in VIEWS:
        table = view.tables.get("llm")
        for page_kind in page_kinds_of(table) if table else ():
            if page_kind.sketch is None or page_kind.sketch.how is How.HISTOGRAM:
                for tier in page_kind.tiers:
                    each = BINS_BUSY if page_kind.sketch else 1
                    payload = 8 * (page_kind.form.numbers if page_kind.sketch is None else each)
                    busy = _bytes(client, page_kind, tier, now_ms, tier.chunk_buckets, each)
                    sparse = _bytes(client, page_kind, tier, now_ms, 1, 1)
                    found.append(Weighed(page_kind, tier, payload, busy, sparse))
    return found


def _bytes(
    client: redis.Redis, page_kind: PageKind, tier: Tier, now_ms: int, buckets: int, each: int
) -> float:
    """MEMORY USAGE of a page by the series-buckets in it."""
    series = page_kind.page_series
    rows = np.zeros(series * buckets * each, page_kind.dtype)
    place = np.repeat(np.arange(series), buckets * each) * SLOT_BUCKETS
    rows["slot"] = place + np.tile(np.repeat(np.arange(buckets), each), series)
    if page_kind.sketch is None:
        rows["values"] = _calls(page_kind, len(rows), 1 if buckets == 1 else 10)
        name, tier_id = page_kind.head, tier.id
        queued = QueuedPage(f"{name}.{tier_id}.0.0.0", page_kind.form, is_over=True)
        (data,) = compact_forms([ReadPage(b"", queued, page_kind.packed(rows), 0)])
    else:
        data = page_kind.packed(rows)
    chunk = now_ms // tier.chunk_ms
    until_ms = (chunk + 1) * tier.chunk_ms + page_kept_ms(tier)
    key = page_key(1, page_kind, tier, chunk, 0, 12_345)
    client.set(key, data, pxat=until_ms)
    taken = client.memory_usage(key, samples=0)
    assert taken is not None
    client.delete(key)
    return taken / (series * buckets)


def _calls(page_kind: PageKind, rows: int, calls: int) -> Int64s:
    """Values of the measures of so many calls in each row."""
    rng = np.random.default_rng(1)
    said = {
        "input_tokens": rng.integers(1, 5000, (calls, rows)),
        "output_tokens": rng.integers(1, 2000, (calls, rows)),
        "cost_nano_usd": rng.integers(100_000, 9_000_000, (calls, rows)),
        "latency_ms": rng.lognormal(7, 1, (calls, rows)).astype(np.int64),
        "first_output_ms": rng.lognormal(5, 1, (calls, rows)).astype(np.int64),
    }
    said["cache_read_tokens"] = said["input_tokens"] // 2
    for text, whole in (
        ("input_text_tokens", "input_tokens"),
        ("cache_read_text_tokens", "cache_read_tokens"),
        ("output_text_tokens", "output_tokens"),
    ):
        said[text] = said[whole]
    once = {"events", "cost_events", "latency_events", "first_output_events"}
    values = np.zeros((rows, page_kind.form.numbers), np.int64)
    for column, measure in enumerate(page_kind.table.measures):
        if measure.name in said:
            values[:, column] = said[measure.name].sum(axis=0)
        elif measure.name in once:
            values[:, column] = calls
    return values


def show(found: list[Weighed]) -> None:
    print(
        f"\n{'bytes a series-bucket':32}{'payload':>8}{'busy':>8}{'ratio':>7}{'sparse':>8}"
        f"{'1,000 busy series, MB':>24}"
        f"   goals: {GOAL_BUSY_GB} GB a view, {GOAL_SPARSE_BYTES} B sparse"
    )
    totals: dict[str, float] = {}
    for one in found:
        print(
            f"{one.name + ' ' + one.tier.name:32}{one.payload:8}{one.busy:8.0f}"
            f"{one.busy / one.payload:7.2f}{one.sparse:8.0f}{one.of_one_series / 1000:24.0f}"
        )
        totals[one.name] = totals.get(one.name, 0) + one.of_one_series / 1000
        if one.tier is DAY:
            print(f"{'':63}{totals[one.name]:24.0f} in all tiers")
