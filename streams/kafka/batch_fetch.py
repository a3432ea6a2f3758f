"""Hands over what aiokafka has fetched a batch at a time. Uses aiokafka's internals, only here.

aiokafka's `getmany` makes an object of eleven fields for each record, with one generator step each.
That is half of the cost of fetching. A consumer made with `as_fetched` gets the records from the
same `getmany` as aiokafka's parser leaves them (offset, timestamp, key, value, headers), many at
once.

It skips the same records (aborted transactions, markers, compacted ones) and raises the same
errors: a test reads the same logs both ways. Consumers made without `as_fetched` are not changed.
That is how to work without this module, and what happens under another aiokafka version than
PINNED.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer import fetcher
from aiokafka.record.memory_records import MemoryRecords

PINNED: Final = "0.14.0"
"""The version whose internals this module uses."""


def as_fetched(value: bytes | None) -> bytes | None:
    """A consumer's `value_deserializer`: values stay bytes, and records stay as they were
    fetched."""
    return value


def install() -> bool:
    """Makes aiokafka use the classes below. Returns whether they fit its version."""
    fetcher.MemoryRecords = KeptRecords
    if version("aiokafka") != PINNED:
        return False
    fetcher.PartitionRecords = WholeBatches
    fetcher.FetchResult = Fetched
    return True


def refresh_metadata(consumer: AIOKafkaConsumer) -> None:
    """Refreshes the metadata of a consumer at once, in its background, before its maximum age."""
    consumer._client.force_metadata_update()  # noqa: SLF001


class KeptRecords:
    """aiokafka's reader of fetched bytes; it also keeps them, for streams/kafka/salvage.py."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._records = MemoryRecords(raw)

    def has_next(self) -> bool:
        return bool(self._records.has_next())

    def next_batch(self) -> Any:  # noqa: ANN401  aiokafka's batch
        return self._records.next_batch()

    def size_in_bytes(self) -> int:
        return int(self._records.size_in_bytes())


class WholeBatches(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka has no types
    """One partition's response to a fetch. `take` returns its records as they were fetched.

    Invariant: all records before `next_fetch_offset` were returned, or are to be skipped.
    """

    next_fetch_offset: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  aiokafka's own
        super().__init__(*args, **kwargs)
        self._opened: list[Any] = []  # records of the current batch; those from `_at` on are left
        self._at = 0
        self._opened_end = self.next_fetch_offset
        self._is_broken = False

    @property
    def is_taken_whole(self) -> bool:
        return self._value_deserializer is as_fetched

    def take(self, records_max: int | None) -> list[Any]:
        """The next records. Fewer than `records_max` only at the end."""
        taken: list[Any] = []
        while records_max is None or len(taken) < records_max:
            if self._at == len(self._opened) and not self._open_next():
                break
            room = len(self._opened) if records_max is None else records_max - len(taken)
            found = self._opened[self._at : self._at + room]
            self._at += len(found)
            taken += found
            is_whole = self._at == len(self._opened)
            self.next_fetch_offset = self._opened_end if is_whole else found[-1].offset + 1
        return taken

    def _open_next(self) -> bool:
        """Opens the next batch that has records to return. False if there is none."""
        self._opened, self._at = [], 0
        while not self._opened and not self._is_broken and self._records.has_next():
            # If anything below raises, no later record may be returned: the position is before
            # this batch, and everything from there on is fetched again.
            self._is_broken = True
            batch = self._records.next_batch()
            if self._check_crcs and not batch.validate_crc():
                raise fetcher.Errors.CorruptRecordException(f"Invalid CRC - {self._tp}")
            if not self._is_skipped(batch):
                start = self.next_fetch_offset
                opened = list(batch)
                if opened and opened[0].offset < start:
                    opened = [record for record in opened if record.offset >= start]
                self._opened = opened
            self._opened_end = batch.next_offset
            if not self._opened:
                self.next_fetch_offset = batch.next_offset
            self._is_broken = False
        return bool(self._opened)

    def _is_skipped(self, batch: Any) -> bool:  # noqa: ANN401
        """Whether the batch is a marker, or part of an aborted transaction."""
        if self._isolation_level == fetcher.READ_COMMITTED and batch.producer_id is not None:
            self._consume_aborted_up_to(batch.base_offset)
            if batch.is_control_batch and self._contains_abort_marker(batch):
                # It may be missing: an empty transaction has only its marker.
                self._aborted_producers.discard(batch.producer_id)
            if batch.is_transactional and batch.producer_id in self._aborted_producers:
                return True
        return bool(batch.is_control_batch)


class Fetched(fetcher.FetchResult):  # type: ignore[misc]
    """The same response, in the form that `getmany` reads."""

    _partition_records: WholeBatches | None

    def getall(self, max_records: int | None = None) -> list[Any]:
        records = self._partition_records
        if records is None or not records.is_taken_whole:
            found: list[Any] = super().getall(max_records)
            return found
        if not self.check_assignment(self._topic_partition):
            return []
        taken: list[Any] = records.take(max_records)
        self._update_position()
        if max_records is None or len(taken) < max_records:
            self._partition_records = None
        return taken

    def getone(self) -> Any:  # noqa: ANN401  aiokafka's record, or as it was fetched
        if self._partition_records is None or not self._partition_records.is_taken_whole:
            return super().getone()
        return next(iter(self.getall(1)), None)
