"""The queue of a `Meter` and the thread that empties it. Not for direct use.

All that a fork must not share is in an `Outbox`: a forked child makes a new one.
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

import msgspec

from schemas.limits import EVENT_BYTES_MAX
from schemas.units import iso
from streams.meter.transport import (
    BATCH_BYTES_MAX,
    BATCH_EVENTS_MAX,
    BatchRefused,
    NotDelivered,
    Outgoing,
    Target,
)

SEND_S: Final = 15.0
"""For one request. The ingest answers within 10 s, if only to say that Kafka does not."""
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.1, 5.0
RETRY_AFTER_S_MAX: Final = 60.0
TELL_EVERY_S: Final = 60.0
TROUBLE_S: Final = 5.0
"""So long nothing must have arrived before that alone is worth a line: a restart takes less."""
RUN_BYTES: Final = 12
"""Random bytes that an outbox's ids begin with: of 2^96, no two processes ever draw the same."""

log: Final = logging.getLogger("odometer.meter")


class Recorded(NamedTuple):
    """An event of ours, as the app said it."""

    id: str
    at_ms: int
    kind: str
    fields: dict[str, Any]


class Taken(NamedTuple):
    """What a library gave, to be read by schemas.formats. `seed` names its events where nothing in
    it does."""

    seed: str
    at_ms: int
    answer: object
    format: str | None
    context: Mapping[str, str | int]


class Counts(NamedTuple):
    """In events. `dropped`: the queue was full, or the end came before an answer (those of the last
    request may have arrived). `refused`: the receiver will not count them, or they were no events.
    """

    sent: int
    refused: int
    dropped: int
    queued: int


@dataclass(frozen=True)
class Plan:
    open: Callable[[], Target]
    common: Mapping[str, object]
    queue_max: int
    linger_s: float


class Outbox:
    """The invariant: whatever was put is queued, in the thread's hand, or counted as sent, refused
    or dropped. `put` and `mark` are for any thread, the rest is the own thread's."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._target = plan.open()
        self._queue: deque[Recorded | Taken | Future[None]] = deque()
        self._run = secrets.token_hex(RUN_BYTES)
        self._numbers = count()
        self._some = threading.Event()  # there is something to do
        self._many = threading.Event()  # there is a batch of it, or somebody waits
        self._ending = threading.Event()
        self._end_s = 0.0  # on the monotonic clock, once `_ending` is set
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._sent = self._refused = self._dropped = self._in_hand = self._marks = 0
        self._told_s = float("-inf")
        self._told_of = 0
        self._trouble = ""  # why nothing arrives at present
        self._trouble_s = 0.0  # since when
        self._lost_by = ""  # why the last event was refused or dropped

    @property
    def counts(self) -> Counts:
        queued = len(self._queue) - self._marks + self._in_hand
        return Counts(self._sent, self._refused, self._dropped, queued)

    # -- any thread --------------------------------------------------------------------------------

    def next_id(self) -> str:
        return f"{self._run}-{next(self._numbers)}"

    def put(self, one: Recorded | Taken) -> None:
        waiting = len(self._queue)
        if waiting >= self._plan.queue_max or self._ending.is_set():
            self._drop(1, "the meter is closed" if self._ending.is_set() else "")
            return
        self._queue.append(one)
        if not self._some.is_set():
            self._wake()
        if waiting >= BATCH_EVENTS_MAX and not self._many.is_set():
            self._many.set()

    def mark(self) -> Future[None]:
        """Done when all that was put before has left the queue and the thread's hand."""
        marker: Future[None] = Future()
        if self._ending.is_set() and (self._thread is None or not self._thread.is_alive()):
            marker.set_result(None)
            return marker
        with self._lock:
            self._marks += 1
            self._queue.append(marker)
        self._wake()
        self._many.set()
        return marker

    def close(self, within_s: float, join_s: float) -> None:
        """Lets the thread send what is queued until the deadline; what is left is dropped."""
        with self._lock:
            if self._ending.is_set():
                return
            self._end_s = time.monotonic() + within_s
            self._ending.set()
        thread = self._thread
        if thread is not None:
            self._some.set()
            self._many.set()
            thread.join(within_s + join_s)
        self._drop_queued()
        self._tell(force=True)

    def _wake(self) -> None:
        self._some.set()
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None and not self._ending.is_set():
                thread = threading.Thread(target=self._work, name="odometer-meter", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # the interpreter is ending: `close` counts it
                    self._trouble = str(error)
                else:
                    self._thread = thread

    def _drop(self, events: int, why: str) -> None:
        with self._lock:
            self._dropped += events
            self._lost_by = why or self._trouble or "the queue is full"

    def _drop_queued(self) -> None:
        while self._queue:
            one = self._queue.popleft()
            if isinstance(one, Future):
                self._reached(one)
            else:
                self._drop(1, "")

    def _reached(self, marker: Future[None]) -> None:
        with self._lock:
            self._marks -= 1
        marker.set_result(None)

    # -- the thread --------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            self._some.wait()
            self._many.wait(self._plan.linger_s)
            # Cleared before they are looked at: what is put afterwards sets them again.
            self._some.clear()
            self._many.clear()
            ending = self._ending.is_set()
            left = len(self._queue)  # what comes meanwhile gathers to a batch of its own
            while self._queue and (left > 0 or ending):
                left -= self._send_next()
            if ending:
                break
        self._target.close()

    def _send_next(self) -> int:
        """One batch, or one marker; how much of the queue that was. The thread must outlive whatever
        an app's objects do."""
        first = self._queue[0]
        if isinstance(first, Future):
            self._queue.popleft()
            self._reached(first)
            return 1
        batch, taken = self._next_batch()
        self._in_hand = len(batch)
        try:
            self._deliver(batch)
        except Exception as error:  # noqa: BLE001  the root of this thread
            self._drop(self._in_hand, f"unexpected: {error!r}")
            self._in_hand = 0
        self._tell()
        return taken

    def _next_batch(self) -> tuple[list[Outgoing], int]:
        """Events for one request, and how much of the queue they were."""
        batch: list[Outgoing] = []
        size_bytes = taken = 0
        while self._queue and len(batch) < BATCH_EVENTS_MAX and size_bytes < BATCH_BYTES_MAX:
            one = self._queue[0]
            if isinstance(one, Future):
                break
            self._queue.popleft()
            taken += 1
            for made in self._events_of(one):
                batch.append(made)
                size_bytes += len(made.value)
        return batch, taken

    def _events_of(self, one: Recorded | Taken) -> Sequence[Outgoing]:
        try:
            if isinstance(one, Recorded):
                return [_outgoing(one, self._plan.common)]
            from streams.meter.library_objects import events_of  # noqa: PLC0415  it needs the whole contract

            made, refused = events_of(one, self._plan.common)
        except Exception as error:  # noqa: BLE001  an app's object may do anything when it is read
            self._refuse(1, f"cannot be sent as an event: {error!r}")
            return ()
        if refused:
            self._refuse(len(refused), refused[0])
        return made

    def _deliver(self, batch: Sequence[Outgoing]) -> None:
        """Until the receiver has it, or the end has come."""
        backoff_s = FIRST_BACKOFF_S
        while batch:
            within_s = self._left_s()
            if within_s <= 0:
                self._in_hand -= len(batch)
                self._drop(len(batch), "")
                return
            try:
                refusals = self._target.send(batch, within_s)
            except BatchRefused as error:
                self._part(batch, str(error))
                return
            except NotDelivered as error:
                self._trouble_s = self._trouble_s if self._trouble else time.monotonic()
                self._trouble = str(error)
                self._tell()
                self._pause(max(backoff_s, min(error.retry_after_s, RETRY_AFTER_S_MAX)))
                backoff_s = min(2 * backoff_s, LAST_BACKOFF_S)
            else:
                self._in_hand -= len(batch)
                self._sent += len(batch) - len(refusals)
                self._trouble = ""
                if refusals:
                    first = refusals[0]
                    self._refuse(len(refusals), f"{first.field}: {first.detail or first.reason}")
                return

    def _part(self, batch: Sequence[Outgoing], why: str) -> None:
        """One event that no receiver can read takes none of the others with it: halves are tried,
        ten levels deep at most."""
        if len(batch) == 1:
            self._in_hand -= 1
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
        """Cut short by the end, which tries once more at once and then as often as there is time."""
        if not self._ending.is_set():
            self._ending.wait(pause_s)
        else:
            time.sleep(max(0.0, min(pause_s, self._left_s())))

    def _refuse(self, events: int, why: str) -> None:
        self._refused += events
        self._lost_by = why

    def _tell(self, *, force: bool = False) -> None:
        """What was lost, and what is wrong, at most once a minute."""
        lost = self._dropped + self._refused
        now_s = time.monotonic()
        told_of = self._told_of
        if lost == told_of and not (self._trouble and now_s - self._trouble_s > TROUBLE_S):
            return
        if now_s - self._told_s < TELL_EVERY_S and not (force and lost > told_of):
            return
        self._told_s, self._told_of = now_s, lost
        log.warning(
            "%d events dropped, %d refused, %d waiting: %s",
            self._dropped,
            self._refused,
            self.counts.queued,
            self._lost_by if lost > told_of else self._trouble,
        )


def _outgoing(one: Recorded, common: Mapping[str, object]) -> Outgoing:
    """The event's JSON; TypeError where a value is no JSON, ValueError where it is too much."""
    fields: dict[str, Any] = {
        "id": one.id, "time": iso(one.at_ms), "kind": one.kind, **common, **one.fields
    }  # fmt: skip
    value = msgspec.json.encode(fields)
    if len(value) > EVENT_BYTES_MAX:
        raise ValueError(f"the event has {len(value)} bytes, the limit is {EVENT_BYTES_MAX}")
    return Outgoing(
        str(fields.get("tenant") or ""),
        str(fields.get("source") or ""),
        one.id,
        str(fields["call_id"]) if fields.get("call_id") else None,
        value,
    )
