"""`Meter`: what an app that calls models adds to itself. Records at once, sends in the background.

    from streams.meter import Meter
    meter = Meter("http://127.0.0.1:3400", key="als_...", source="voice-agent")
    meter.record("llm", provider="openai", model="gpt-4o", input_tokens=1200, output_tokens=300)

`record` puts the event into a bounded queue: it never waits, and never raises. A thread sends
batches and repeats what did not arrive; the ids are made at record time, so that what arrives twice
counts once. The same object serves threads and coroutines: only waiting has an async face.

- What is still queued at the interpreter's end is sent then, for up to `close_s`. A process that is
  killed loses what was recorded in its last `linger_s` and what waits for a receiver that is away.
  One that ends by `os._exit`, as a child of `multiprocessing` does, calls `close` before.
- A fork (gunicorn, uwsgi) is safe at any time: the child begins with an empty queue, with ids and a
  thread of its own; what was queued is the parent's to send.
- What had to be dropped is counted (`Meter.counts`) and said in the log "odometer.meter", at most
  once a minute.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import time as clock
import weakref
from collections.abc import Mapping
from concurrent.futures import Future, wait
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

from schemas.errors import InvalidConfig
from streams.meter.queue import Counts, Outbox, Plan, Recorded, Taken
from streams.meter.transport import open_target

QUEUE_EVENTS_MAX: Final = 50_000
"""Waiting to be sent: at 1 kB an event 50 MB, and 50 s of 1,000 events/s without a receiver."""
LINGER_S: Final = 0.2
"""How long a batch gathers."""
CLOSE_S: Final = 5.0
"""For what is queued at the end: half of the grace that containers are given."""
JOIN_S: Final = 1.0
"""The thread keeps to the deadline itself; past this it hangs in a look-up of a name."""


class Meter:
    """See the module. `common`: fields that an event gets where it does not say its own, such as
    `agent_id` or `service`; `source` is one of them."""

    def __init__(
        self,
        url: str,
        *,
        source: str,
        key: str = "",
        common: Mapping[str, object] | None = None,
        queue_max: int = QUEUE_EVENTS_MAX,
        linger_s: float = LINGER_S,
        close_s: float = CLOSE_S,
    ) -> None:
        """`url` is `http://HOST:PORT`, `https://HOST` (with `?tenant=T` where the key has several) or
        `kafka://HOST:PORT/TOPIC`; nothing is connected to before there is an event. InvalidConfig
        says what cannot work."""
        if not source:
            raise InvalidConfig("a meter's source is empty: name the app, such as 'voice-agent'")
        fields = {"source": source, **(common or {})}
        self._plan = Plan(lambda: open_target(url, key), fields, queue_max, linger_s)
        self._close_s = close_s
        self._outbox = Outbox(self._plan)
        atexit.register(self.close)
        _METERS.add(self)

    def record(
        self,
        kind: str,
        /,
        *,
        id: str | None = None,  # noqa: A002  the contract's word
        time: datetime | str | None = None,
        **fields: Any,  # noqa: ANN401  of the contract; what it does not take is refused there
    ) -> str:
        """Takes an event of schemas/event/usage_event.py and returns its id. Never waits, never raises.

        `time` is now where none is given; a datetime must have its zone. What `fields` hold (tags,
        labels) must not be changed afterwards.
        """
        outbox = self._outbox
        event_id = id or outbox.next_id()
        if time is not None:
            fields["time"] = time
        outbox.put(Recorded(event_id, clock.time_ns() // 1_000_000, kind, fields))
        return event_id

    def record_from(
        self,
        answer: object,
        /,
        *,
        format: str | None = None,  # noqa: A002  the contract's word
        **context: str | int,
    ) -> None:
        """Takes what a library gave (an OpenAI or Anthropic answer, LiteLLM's payload, LiveKit's
        metrics; an object of theirs or a dict) as schemas/formats reads it. Never waits or raises.

        Its texts stay here: only what is counted is sent. `context` is what it does not say itself,
        such as `agent_id`, `call_id` or `latency_ms`.
        """
        outbox = self._outbox
        at_ms = clock.time_ns() // 1_000_000
        outbox.put(Taken(outbox.next_id(), at_ms, answer, format, context))

    @property
    def counts(self) -> Counts:
        """Of this process, since the meter was made or forked."""
        return self._outbox.counts

    def flush(self, within_s: float = CLOSE_S) -> bool:
        """Waits until all that was recorded before is sent, refused or dropped; False past the
        time. Coroutines call `flushed`."""
        settled: Future[None] = self._outbox.mark()
        return bool(wait([settled], within_s).done)

    async def flushed(self, within_s: float = CLOSE_S) -> bool:
        """`flush` for coroutines."""
        return await asyncio.to_thread(self.flush, within_s)

    def close(self) -> None:
        """Sends what is queued, for up to `close_s`; what is recorded afterwards is dropped.
        Called by itself at the interpreter's end."""
        atexit.unregister(self.close)
        self._outbox.close(self._close_s, JOIN_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.close)

    def _begin_anew(self) -> None:
        """In a forked child: no thread is there any more, and locks are as they were."""
        self._outbox = Outbox(self._plan)


_METERS: Final[weakref.WeakSet[Meter]] = weakref.WeakSet()


def _after_fork() -> None:
    for meter in list(_METERS):
        meter._begin_anew()  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
