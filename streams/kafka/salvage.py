"""Good records out of a batch that aiokafka cannot read to its end. Pure.

One record that it cannot read (a header key that is no UTF-8, a length that cannot be) makes every
later one of its batch unreachable, wherever one seeks. The batch says how long each record is, so
its own bytes, kept beside what aiokafka makes of them (streams/kafka/batch_fetch.py), give the others. Made
for the version that is locked.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from aiokafka import errors as kafka_errors
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.util import decode_varint

from streams.core.decode import Record, Unreadable

RECORD_ERRORS: Final = (
    kafka_errors.CorruptRecordException,
    kafka_errors.RecordTooLargeError,
    kafka_errors.UnsupportedCodecError,
    ValueError,  # a header key that is no UTF-8, a length that cannot be
    IndexError,
    struct.error,
)
"""What `getmany` raises about a record or a batch of records, not about the connection."""
_LENGTH_AT, _BEFORE_LENGTH_ENDS = 8, 12
"""A batch starts with its first offset (8 B) and the length of what follows (4 B)."""


def records_of(failed: fetcher.PartitionRecords) -> tuple[list[Record], int] | None:
    """The rest of the batch at which aiokafka failed, and the position after it.

    None where the batch as a whole cannot be trusted or opened."""
    raw, at = memoryview(failed._records.raw), 0  # noqa: SLF001
    while at + _BEFORE_LENGTH_ENDS <= len(raw):
        (length,) = struct.unpack_from(">i", raw, at + _LENGTH_AT)
        batch_bytes = raw[at : at + _BEFORE_LENGTH_ENDS + length]
        at += len(batch_bytes)
        try:
            batch = _DefaultRecordBatchPy(batch_bytes)
            if batch.next_offset <= failed.next_fetch_offset:
                continue  # read, or skipped as aborted or as a marker
            if not batch.validate_crc():
                return None
            batch._maybe_uncompress()  # noqa: SLF001
        except (*RECORD_ERRORS, RuntimeError, OSError):
            return None
        rest = [r for r in _each(batch) if r.offset >= failed.next_fetch_offset]
        return rest, batch.next_offset
    return None


def _each(batch: _DefaultRecordBatchPy) -> Iterator[Record]:
    """In a topic that is not compacted, offsets in a batch have no gaps."""
    for offset in range(batch.base_offset, batch.next_offset):
        try:
            length, start = decode_varint(batch._buffer, batch._pos)  # noqa: SLF001
            end = start + length
        except RECORD_ERRORS:
            end = batch._pos  # noqa: SLF001  so is every later one
        try:
            record = batch._read_msg()  # noqa: SLF001
        except RECORD_ERRORS as error:
            detail = f"the client cannot read it: {error}"
            yield Unreadable(offset, batch.max_timestamp, detail)
            batch._pos = end  # noqa: SLF001
        else:
            yield record
