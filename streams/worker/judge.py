"""Decodes a batch: events that count as columns, all other records with the reason for rejection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from schemas.catalog.views import Catalog
from schemas.errors import InvalidEvent
from schemas.event.identity import IdSecret
from schemas.prices.price_list import Prices
from streams.core.batch import DECODE_SLICE, Batch
from streams.core.columns import Columns, columns
from streams.core.decode import BatchDecoder, Record
from streams.core.ports import Clock, RejectedRecord
from streams.core.tallies import NamedTallies, unknown
from streams.worker.counted_numbers import CountedNumbers


class JudgedBatch(NamedTuple):
    """A decoded batch: columns of the events that count, rejected records, and tallies. `named`: those
    of unknown fields, by tenant and name."""

    columns: Columns
    rejected: Sequence[RejectedRecord]
    tallies: Counter[str]
    named: NamedTallies


async def judge(
    batch: Batch, prices: Prices, catalog: Catalog, secret: IdSecret, clock: Clock
) -> JudgedBatch:
    """Decodes in slices, so that heartbeats get their turn."""
    decoder = BatchDecoder()
    rejected: list[RejectedRecord] = []
    tallies: Counter[str] = Counter()
    for partition, part in sorted(batch.parts.items()):
        for at in range(0, len(part.records), DECODE_SLICE):
            for record, invalid in decoder.add(part.records[at : at + DECODE_SLICE]):
                rejected.append(_rejected(partition, record, invalid))
                tallies[f"dead:{invalid.reason}"] += 1
            await clock.breathe()
    events = decoder.events()
    rows = columns(events, prices, catalog, secret=secret)
    for field_, count in rows.misread.items():
        tallies[f"misread:{field_}"] += count
    if len(rows) < len(events):
        tallies["duplicate"] += len(events) - len(rows)
    if rows.differs:
        tallies["differs"] += rows.differs
    return JudgedBatch(rows, rejected, tallies, unknown(events.unknown))


def without_duplicates(
    judged: JudgedBatch, ids: Sequence[int], counted: CountedNumbers
) -> JudgedBatch:
    """The batch without the events of these ids, which were counted before."""
    rows, again = judged.columns, np.array(ids, np.uint64)
    kept = rows.without(again)
    judged.tallies["duplicate"] += len(rows) - len(kept)
    if differs := counted.differing(rows, again):
        judged.tallies["differs"] += differs
    return judged._replace(columns=kept)


def _rejected(partition: int, record: Record, invalid: InvalidEvent) -> RejectedRecord:
    return RejectedRecord(
        partition,
        record.offset,
        record.timestamp,
        invalid.reason,
        invalid.field,
        invalid.detail,
        record.value,
        record.headers,
    )
