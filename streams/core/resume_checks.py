"""Whether it is safe to continue from the stored position. Pure.

Each refusal is a sentence for an operator: what does not match, and what to do. A worker that
must not continue pauses the partition, reports the refusal and checks again every 2 s.
"""

from __future__ import annotations

from schemas.store.generation import LAYOUT_BYTES
from schemas.store.layout import NO_POSITION, RETIRED, Meta, PartitionMeta
from streams.core.ports import LastRecord, OffsetBounds, RefusalReason


def stored_of(meta: Meta, partition: int) -> PartitionMeta:
    """The stored state of a partition; one without a position where nothing is stored yet."""
    if partition < len(meta.partitions):
        return meta.partitions[partition]
    return PartitionMeta(NO_POSITION, bytes(16), -1, 0, 0, 0, 0)


def refusal_of(
    stored: PartitionMeta, bounds: OffsetBounds, last_record: LastRecord | None
) -> tuple[RefusalReason, str] | None:
    """None where it is safe to continue from the stored position; else the reason, and what to do.

    `last_record`: the record that the log holds now at the offset of the last counted record.
    """
    position = stored.position
    if position == NO_POSITION:
        if bounds.start == 0:
            return None
        return RefusalReason.LOG_STARTS_LATER, (
            f"Redis has no position for this partition, but the topic starts at offset "
            f"{bounds.start}. Either Redis was emptied, or retention removed records before a "
            "worker counted them. Restore the data of Redis, or start counting at that offset: "
            "odometer accept"
        )
    if position < bounds.start:
        return RefusalReason.POSITION_EXPIRED, (
            f"the position is {position}, but the topic starts at offset {bounds.start}: "
            f"retention removed {bounds.start - position} records before they were counted. "
            "Restore the records, or continue without them: odometer accept"
        )
    if position > bounds.end:
        return RefusalReason.POSITION_BEYOND_END, (
            f"the position is {position}, but the topic ends at offset {bounds.end}: this is "
            "another topic, or its end was lost. Restore the topic, or start at its first record: "
            "odometer accept"
        )
    expected = LastRecord(stored.last_offset, stored.last_append_ms)
    if stored.last_offset >= bounds.start and last_record != expected:
        return RefusalReason.OTHER_LOG, (
            f"the counted record at offset {expected.offset} was appended at "
            f"{expected.append_ms} ms, but the topic holds another record there: the topic was "
            "recreated. Name its new topic, or start at its first record: odometer accept"
        )
    return None


def generation_detail(meta: Meta, digest: bytes) -> str:
    """Why a worker of the configuration `digest` must not count into this generation."""
    if meta.state == RETIRED:
        return "the generation is retired: start a worker of the new generation"
    if has_other_prices(meta, digest):
        return (
            "the counters have other prices than this worker's by now: start the worker with their "
            "genai-prices version and prices file (odometer status names the list), or price all "
            "events by this one: odometer rebuild"
        )
    return (
        f"the counters were made under layout, limits and views {meta.digest.hex()}, but this "
        f"worker has {digest.hex()}: start the version and configuration that made them, with every "
        "view that was added to them, or rebuild under this one: odometer rebuild"
    )


def has_other_prices(meta: Meta, digest: bytes) -> bool:
    """Whether the prices are all in which a generation differs from the configuration `digest`."""
    is_layout = meta.digest.startswith(digest[:LAYOUT_BYTES])
    return is_layout and meta.digest != digest and meta.state != RETIRED
