"""Reads the good records of a batch that aiokafka cannot read to its end.

One unreadable record (a header key that is not UTF-8, an impossible length) makes every later
record of its batch unreachable, wherever the consumer seeks. But the batch states how long each
record is. So its raw bytes, which `KeptRecords` in streams/kafka/batch_fetch.py keeps, give the
others. Written for the locked version of aiokafka.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.util import decode_varint

from streams.core.decode import Record, Unreadable

RECORD_ERRORS: Final = (
    kafka_errors.CorruptRecordException,
    kafka_errors.RecordTooLargeError,
    kafka_errors.UnsupportedCodecError,
    ValueError,  # a header key that is not UTF-8, an impossible length
    IndexError,
    struct.error,
)
"""What `getmany` raises about a record or a batch of records, not about the connection."""
_LENGTH_AT, _BEFORE_LENGTH_ENDS = 8, 12
"""A batch starts with its first offset (8 B) and the length of what follows (4 B)."""


def failed_batch(error: BaseException) -> tuple[TopicPartition | None, PartitionRecords | None]:
    """Where `getmany` failed. aiokafka does not say it, but the frames of the traceback do."""
    tp, failed = None, None
    trace = error.__traceback__
    while trace is not None:
        names = trace.tb_frame.f_locals
        if isinstance(names.get("tp"), TopicPartition):
            tp = names["tp"]
        if isinstance(names.get("self"), PartitionRecords):
            failed = names["self"]
        trace = trace.tb_next
    return tp, failed


def records_of(failed: PartitionRecords) -> tuple[list[Record], int] | None:
    """The rest of the batch at which aiokafka failed, and the position after it.

    None if the batch as a whole has a wrong checksum or cannot be decompressed."""
    raw, at = memoryview(failed._records.raw), 0  # noqa: SLF001
    while at + _BEFORE_LENGTH_ENDS <= len(raw):
        (length,) = struct.unpack_from(">i", raw, at + _LENGTH_AT)
        batch_bytes = raw[at : at + _BEFORE_LENGTH_ENDS + length]
        at += len(batch_bytes)
        try:
            batch = _DefaultRecordBatchPy(batch_bytes)
            if batch.next_offset <= failed.next_fetch_offset:
                continue  # already read, or skipped as aborted or as a marker
            if not batch.validate_crc():
                return None
            batch._maybe_uncompress()  # noqa: SLF001
        except (*RECORD_ERRORS, RuntimeError, OSError):
            return None
        rest = [r for r in _each(batch) if r.offset >= failed.next_fetch_offset]
        return rest, batch.next_offset
    return None


def _each(batch: _DefaultRecordBatchPy) -> Iterator[Record]:
    """Each record, or `Unreadable`. Without log compaction a batch has no gaps in its offsets."""
    for offset in range(batch.base_offset, batch.next_offset):
        try:
            length, start = decode_varint(batch._buffer, batch._pos)  # noqa: SLF001
            end = start + length
        except RECORD_ERRORS:
            end = batch._pos  # noqa: SLF001  every later one is unreadable too
        try:
            record = batch._read_msg()  # noqa: SLF001
        except RECORD_ERRORS as error:
            detail = f"the client cannot read it: {error}"
            yield Unreadable(offset, batch.max_timestamp, detail)
            batch._pos = end  # noqa: SLF001
        else:
            yield record
