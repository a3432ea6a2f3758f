"""The commit of a batch as a value. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from schemas.catalog.views import SLICE_MS
from schemas.event.identity import CallKey
from schemas.prices.price_list import Prices
from schemas.tiers import Closed
from streams.core.calls import StoredCall
from streams.core.fold import fold
from streams.core.ports import Commit, Progress
from streams.core.tallies import cost_tallies, unpriced
from streams.worker.end_offsets import EndOffsets
from streams.worker.judge import JudgedBatch


def commit_without_events(
    commit_id: bytes,
    generation_digest: bytes,
    secret: str,
    now_ms: int,
    partitions: Sequence[Progress],
    ends: EndOffsets | None,
    clock_skew_ms: int,
) -> Commit:
    """Moves positions only. `ends`: the last poll of the end offsets."""
    return Commit(
        id=commit_id,
        generation_digest=generation_digest,
        secret=secret,
        now_ms=now_ms,
        count=1 + max([p.partition for p in partitions] + ([*ends.bounds] if ends else [])),
        absent_ms={
            p: max(0, ms - clock_skew_ms) for p, ms in (ends.absent_ms.items() if ends else ())
        },
        partitions=partitions,
    )


def with_events(
    empty: Commit,
    judged: JudgedBatch,
    stored_calls: Mapping[CallKey, StoredCall | None],
    closed: Closed,
    prices: Prices,
    *,
    keeps_previews: bool,
) -> Commit:
    """The commit with the events of a batch."""
    rows = judged.columns
    empty = replace(empty, tallies=judged.tallies, named=judged.named)
    if not len(rows):
        return empty
    return replace(
        empty,
        secret=rows.secret,
        digests=rows.digests,
        slices=rows.append_ms // SLICE_MS,
        id_counts=rows.id_counts,
        closed=closed,
        delta=fold(rows, stored_calls, closed, keeps_previews=keeps_previews),
        tallies=judged.tallies | cost_tallies(rows.cost_source),
        named=judged.named | unpriced(rows, prices),
    )
