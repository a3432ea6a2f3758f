"""The queue of a `Meter` and the thread that sends it. Not for direct use.

A `SendQueue` holds everything that a fork must not share; a forked child creates a new one.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, NamedTuple

from schemas.errors import InvalidEvent
from schemas.event.event_struct import EventStruct
from schemas.formats.parsed import LastReports, ParsedEvent
from streams.meter.clients.client_call import ClientCall
from streams.meter.fixes import fix_for, said
from streams.meter.library_objects import REPEATED, ObjectRead, ObjectReader, outgoing_of
from streams.meter.notices import Notices
from streams.meter.queued import LibraryObject, RecordedEvent
from streams.meter.transport import (
    BATCH_BYTES_MAX,
    BATCH_EVENTS_MAX,
    BatchRefused,
    NotDelivered,
    Outgoing,
    Target,
)

SEND_S: Final = 15.0
"""For one request. The API answers within 10 s, even if Kafka does not answer."""
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.1, 5.0
RETRY_AFTER_S_MAX: Final = 60.0
LOG_EVERY_S: Final = 60.0
PROBLEM_S: Final = 5.0
"""Log failed requests only after nothing arrived for this long: a restart takes less."""
RUN_BYTES: Final = 12
"""Random bytes at the start of a queue's ids. With 2^96 values, no two processes draw the same."""

LONG_ENTRIES: Final = 1000
"""So many answers of wrapped clients may wait with their texts: 50 MB, if each has 50 kB."""


class ReadObject(NamedTuple):
    """An object that was read while it waited: its events alone are kept."""

    events: Sequence[tuple[ParsedEvent[EventStruct] | None, Outgoing]]


QueuedItem = RecordedEvent | LibraryObject | ClientCall | ReadObject

log: Final = logging.getLogger("odometer.meter")


class Counts(NamedTuple):
    """Numbers of events.

    `dropped`: the queue was full, or the process ended before an answer (events of the last request may
    have arrived). `refused`: the server refused them, or they were not valid events.
    """

    sent: int
    refused: int
    dropped: int
    queued: int


@dataclass(frozen=True)
class QueueOptions:
    open: Callable[[], Target]
    common: Mapping[str, object]
    queue_max: int
    linger_s: float


class SendQueue:
    """Invariant: each event is queued, in flight, or counted as sent, refused or dropped.

    Any thread may call `put`, `mark` and `close`. The rest runs in the queue's own thread.
    """

    def __init__(self, plan: QueueOptions) -> None:
        self._options = plan
        self._reader = ObjectReader(plan.common)
        self.notices = Notices()
        self._target = plan.open()
        self._queue: deque[QueuedItem | Future[None]] = deque()
        self._run = secrets.token_hex(RUN_BYTES)
        self._numbers = count()
        self._has_work = threading.Event()  # the queue is not empty
        self._has_batch = threading.Event()  # a batch is full, or somebody waits
        self._ending = threading.Event()
        self._end_s = 0.0  # on the monotonic clock, once `_ending` is set
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._sent = self._refused = self._dropped = self._in_flight = self._marks = 0
        self._logged_s = float("-inf")
        self._logged_lost = 0
        self._problem = ""  # why nothing arrives now
        self._problem_s = 0.0  # since when
        self._loss_reason = ""  # why the last event was refused or dropped

    @property
    def counts(self) -> Counts:
        queued = len(self._queue) - self._marks + self._in_flight
        return Counts(self._sent, self._refused, self._dropped, queued)

    # -- any thread --------------------------------------------------------------------------------

    def next_id(self) -> str:
        return f"{self._run}-{next(self._numbers)}"

    def put(self, one: QueuedItem) -> int:
        """Returns how many entries wait before this one."""
        waiting = len(self._queue)
        if waiting >= self._options.queue_max or self._ending.is_set():
            self._drop(1, "the meter is closed" if self._ending.is_set() else "")
            return waiting
        self._queue.append(one)
        if not self._has_work.is_set():
            self._wake()
        if waiting >= BATCH_EVENTS_MAX and not self._has_batch.is_set():
            self._has_batch.set()
        return waiting

    def mark(self) -> Future[None]:
        """A future that is done when all events before it are sent, refused or dropped."""
        marker: Future[None] = Future()
        if self._ending.is_set() and (self._thread is None or not self._thread.is_alive()):
            marker.set_result(None)
            return marker
        with self._lock:
            self._marks += 1
            self._queue.append(marker)
        self._wake()
        self._has_batch.set()
        return marker

    def close(self, within_s: float, join_s: float) -> None:
        """Lets the thread send the queue until the deadline, then drops the rest."""
        with self._lock:
            if self._ending.is_set():
                return
            self._end_s = time.monotonic() + within_s
            self._ending.set()
        thread = self._thread
        if thread is not None:
            self._has_work.set()
            self._has_batch.set()
            thread.join(within_s + join_s)
        self._drop_queued()
        self._log(force=True)

    def _wake(self) -> None:
        self._has_work.set()
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None and not self._ending.is_set():
                thread = threading.Thread(target=self._work, name="odometer-meter", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # the interpreter is ending: `close` counts it
                    self._problem = str(error)
                else:
                    self._thread = thread

    def _drop(self, events: int, why: str) -> None:
        with self._lock:
            self._dropped += events
            self._loss_reason = why or self._problem or "the queue is full"

    def _drop_queued(self) -> None:
        while self._queue:
            one = self._queue.popleft()
            if isinstance(one, Future):
                self._resolve(one)
            else:
                self._drop(1, "")

    def _resolve(self, marker: Future[None]) -> None:
        with self._lock:
            self._marks -= 1
        marker.set_result(None)

    # -- the thread --------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            self._has_work.wait()
            self._has_batch.wait(self._options.linger_s)
            # Clear first, then read the queue: an event that is put afterwards sets them again.
            self._has_work.clear()
            self._has_batch.clear()
            ending = self._ending.is_set()
            left = len(self._queue)  # later events wait for a batch of their own
            while self._queue and (left > 0 or ending):
                left -= self._send_next()
            if ending:
                break
        self._end_streams()
        self._target.close()

    def _send_next(self) -> int:
        """Sends one batch or resolves one marker; returns how many entries that took.

        The thread must survive any exception that an app's object raises.
        """
        if isinstance(
            self._queue[0], Future
        ):  # a name for it would hold an answer while it is sent
            marker = self._queue.popleft()
            assert isinstance(marker, Future)
            self._end_streams()
            self._resolve(marker)
            return 1
        batch, taken = self._next_batch()
        self._in_flight = len(batch)
        try:
            self._deliver(batch)
        except Exception as error:  # noqa: BLE001  the root of this thread
            self._drop(self._in_flight, f"unexpected: {error!r}")
            self._in_flight = 0
        self._log()
        return taken

    def _next_batch(self) -> tuple[list[Outgoing], int]:
        """Events for one request, and how many entries of the queue they took.

        Of several reports of one answer in a batch the last counts.
        """
        batch: list[Outgoing | None] = []
        places: dict[int, tuple[object, int]] = {}  # of events that a later report may replace
        reports: LastReports[Any] = LastReports()
        size_bytes = taken = 0
        while self._queue and len(batch) < BATCH_EVENTS_MAX and size_bytes < BATCH_BYTES_MAX:
            one = self._queue[0]
            if isinstance(one, Future):
                break
            self._queue.popleft()
            taken += 1
            for event, outgoing in self._events_of(one):
                if event is not None:
                    replaced = reports.replaced(event)
                    if replaced is not None:
                        self.notices.skip(REPEATED, is_part=True)
                    if replaced is event:
                        continue
                    if replaced is not None:
                        batch[places[id(replaced)][1]] = None
                    places[id(event)] = (event, len(batch))
                batch.append(outgoing)
                size_bytes += len(outgoing.value)
        return [one for one in batch if one is not None], taken

    def _events_of(
        self, one: QueuedItem
    ) -> Sequence[tuple[ParsedEvent[EventStruct] | None, Outgoing]]:
        if isinstance(one, ReadObject):
            return one.events
        try:
            item = one.item(self.next_id()) if isinstance(one, ClientCall) else one
            if item is None:
                return ()
            if isinstance(item, RecordedEvent):
                return [(None, outgoing_of(item, self._options.common))]
            read = self._reader.read(item)
        except InvalidEvent as error:
            self._refuse(1, str(error))
            self.notices.once(f"{_name_of(one)} cannot be read: {error}")
            return ()
        except BaseException as error:  # noqa: BLE001  an app's object may raise anything, in its methods too
            self._refuse(1, f"cannot be sent as an event: {said(error)}")
            if isinstance(one, LibraryObject):
                self.notices.once(f"{_name_of(one)} cannot be read: {fix_for(one.answer)}")
            return ()
        self._notice(read)
        return read.events

    def _notice(self, read: ObjectRead) -> None:
        if read.refused:
            self._refuse(len(read.refused), read.refused[0])
        for why in read.refused:
            self.notices.once(f"an answer cannot be counted: {why}")
        for skipped in read.skipped:
            self.notices.skip(skipped.reason, is_part=skipped.is_part)
        for name in read.unknown:
            self.notices.once(f"an answer has a field that is not counted: {name}")

    def _end_streams(self) -> None:
        for skipped in self._reader.expire():
            self.notices.skip(skipped.reason)
        self.notices.sum_up()

    def _deliver(self, batch: Sequence[Outgoing]) -> None:
        """Retries until the server has the batch or the deadline passes."""
        backoff_s = FIRST_BACKOFF_S
        while batch:
            within_s = self._left_s()
            if within_s <= 0:
                self._in_flight -= len(batch)
                self._drop(len(batch), "")
                return
            try:
                refusals = self._target.send(batch, within_s)
            except BatchRefused as error:
                self._split(batch, str(error))
                return
            except NotDelivered as error:
                self._problem_s = self._problem_s if self._problem else time.monotonic()
                self._problem = str(error)
                self._log()
                self._read_waiting()
                self._pause(max(backoff_s, min(error.retry_after_s, RETRY_AFTER_S_MAX)))
                backoff_s = min(2 * backoff_s, LAST_BACKOFF_S)
            else:
                self._in_flight -= len(batch)
                self._sent += len(batch) - len(refusals)
                self._problem = ""
                if refusals:
                    first = refusals[0]
                    self._refuse(len(refusals), f"{first.field}: {first.detail or first.reason}")
                return

    def _read_waiting(self) -> None:
        """Reads the objects in the queue, so that their texts do not wait with them for a server. Objects
        that come meanwhile may be sent before them, but are read after them."""
        for _ in range(len(self._queue)):
            one = self._queue.popleft()
            if isinstance(one, LibraryObject | ClientCall):
                one = ReadObject(self._events_of(one))
            self._queue.append(one)

    def _split(self, batch: Sequence[Outgoing], why: str) -> None:
        """Sends the two halves, so that an unreadable event is refused alone; at most ten levels."""
        if len(batch) == 1:
            self._in_flight -= 1
            self._refuse(1, why)
            return
        half = len(batch) // 2
        self._deliver(batch[:half])
        self._deliver(batch[half:])

    def _left_s(self) -> float:
        if not self._ending.is_set():
            return SEND_S
        return min(SEND_S, self._end_s - time.monotonic())

    def _pause(self, pause_s: float) -> None:
        """Waits before a retry. `close` ends the wait, for one immediate retry."""
        if not self._ending.is_set():
            self._ending.wait(pause_s)
        else:
            time.sleep(max(0.0, min(pause_s, self._left_s())))

    def _refuse(self, events: int, why: str) -> None:
        self._refused += events
        self._loss_reason = why

    def _log(self, *, force: bool = False) -> None:
        """Logs lost events and failed requests, at most once a minute."""
        lost = self._dropped + self._refused
        now_s = time.monotonic()
        logged_lost = self._logged_lost
        if lost == logged_lost and not (self._problem and now_s - self._problem_s > PROBLEM_S):
            return
        if now_s - self._logged_s < LOG_EVERY_S and not (force and lost > logged_lost):
            return
        self._logged_s, self._logged_lost = now_s, lost
        log.warning(
            "%d events dropped, %d refused, %d waiting: %s",
            self._dropped,
            self._refused,
            self.counts.queued,
            self._loss_reason if lost > logged_lost else self._problem,
        )


def _name_of(one: QueuedItem) -> str:
    kind = type(one.answer if isinstance(one, LibraryObject) else one)
    return f"an object of {kind.__module__}.{kind.__qualname__}"
