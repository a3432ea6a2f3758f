"""Whether counting may go on from where the store says it stopped. Pure.

Each refusal is a sentence for an operator: what does not match, and what to do.
"""

from __future__ import annotations

from schemas.store.generation import LAYOUT_BYTES
from schemas.store.layout import NO_POSITION, RETIRED, Meta, PartitionMeta
from streams.core.ports import LastRecord, OffsetBounds, RefusalReason


def stored_of(meta: Meta, partition: int) -> PartitionMeta:
    if partition < len(meta.partitions):
        return meta.partitions[partition]
    return PartitionMeta(NO_POSITION, bytes(16), -1, 0, 0, 0, 0)


def refusal_of(
    stored: PartitionMeta, bounds: OffsetBounds, last_record: LastRecord | None
) -> tuple[RefusalReason, str] | None:
    """None where counting may go on from the stored position; else why not, and what to do."""
    position = stored.position
    if position == NO_POSITION:
        if bounds.start == 0:
            return None
        return RefusalReason.LOG_STARTS_LATER, (
            f"nothing is counted yet, but the log starts at offset {bounds.start}: the store was "
            "emptied, or retention came first. Bring the store's data back, or let counting begin "
            "there: odometer accept"
        )
    if position < bounds.start:
        return RefusalReason.POSITION_EXPIRED, (
            f"the position is {position}, but the log starts at offset {bounds.start}: "
            f"{bounds.start - position} records were removed before they were counted. Bring them "
            "back, or go on without them: odometer accept"
        )
    if position > bounds.end:
        return RefusalReason.POSITION_BEYOND_END, (
            f"the position is {position}, but the log ends at {bounds.end}: it is another log, or "
            "its end was cut. Bring the log back, or begin at its start: odometer accept"
        )
    expected = LastRecord(stored.last_offset, stored.last_append_ms)
    if stored.last_offset >= bounds.start and last_record != expected:
        return RefusalReason.OTHER_LOG, (
            f"the record at offset {expected.offset} was appended at {expected.append_ms} when it "
            "was counted, and is another one now: the topic was made anew. Name its new topic, or "
            "begin at its start: odometer accept"
        )
    return None


def generation_detail(meta: Meta, digest: bytes) -> str:
    if meta.state == RETIRED:
        return "the generation is retired: start a worker of the new one"
    if meta.digest.startswith(digest[:LAYOUT_BYTES]):
        return (
            "the counters were made with other prices than this worker's: start it with the"
            " genai-prices and the prices file that made them, or rebuild with the new ones"
        )
    return (
        f"the counters that answer were made under layout, limits and views {meta.digest.hex()}, "
        f"this worker has {digest.hex()}: start the version and configuration that made them, or "
        "make them anew under this one: odometer rebuild"
    )
