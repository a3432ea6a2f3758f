"""`Meter`: what an app adds to itself to record its calls of models.

    from streams.meter import Meter
    meter = Meter("http://127.0.0.1:3400", key="als_...", source="voice-agent")
    meter.record("llm", provider="openai", model="gpt-4o", input_tokens=1200, output_tokens=300)

`record` puts the event into a bounded queue: it never waits and never raises. A thread sends
batches and retries what did not arrive. `record` makes the event's id, so a retry is recognised as a
duplicate. Threads and coroutines may share one meter; only waiting has an async form.

- When the interpreter ends, the meter sends its queue for up to `close_s`. A killed process loses
  what it recorded in the last `linger_s`, and what waits for a server that is unreachable. A process
  that ends with `os._exit`, as a child of `multiprocessing` does, must call `close` itself.
- A fork (gunicorn, uwsgi) is safe at any time. The child starts with an empty queue, its own ids and
  its own thread. The parent sends what was queued.
- The meter counts what it drops (`Meter.counts`) and reports it in the log "odometer.meter", at most
  once a minute.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time as clock
import weakref
from collections.abc import Mapping
from concurrent.futures import Future, wait
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from schemas.errors import InvalidConfig
from streams.meter.clients.client_call import ClientCall, Recorder
from streams.meter.clients.wrap import wrap
from streams.meter.livekit_session import Listened, listen
from streams.meter.queue import LONG_ENTRIES, Counts, QueueOptions, SendQueue
from streams.meter.queued import LibraryObject, RecordedEvent
from streams.meter.transport import open_target

QUEUE_EVENTS_MAX: Final = 50_000
"""Events that wait. At 1 kB an event: 50 MB, or 50 s of 1,000 events/s without a server."""
LINGER_S: Final = 0.2
"""How long a batch collects events."""
CLOSE_S: Final = 5.0
"""For sending the queue at the end: half of the time that containers get to stop."""
JOIN_S: Final = 1.0
"""Beyond `close_s`, which the thread keeps itself: a host name lookup may block it longer."""

T = TypeVar("T")


class Meter:
    """Records events and sends them in the background; see the module."""

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
        """Opens no connection before there is an event; InvalidConfig for an option that is wrong.

        Args:
            url: `http://HOST:PORT`, `https://HOST` or `kafka://HOST:PORT/TOPIC`. Add `?tenant=T` to
                an HTTP URL if the key may write to several tenants.
            source: the app's name. It is the `source` of all events.
            key: an API key that may write, for HTTP.
            common: fields for events that do not give them, such as `agent_id` or `service`.
            queue_max: events that may wait; beyond that, new events are dropped.
            linger_s: how long a batch collects events.
            close_s: how long `close` tries to send the queue.
        """
        if not source:
            raise InvalidConfig("the meter's source is empty: name the app, such as 'voice-agent'")
        fields = {"source": source, **(common or {})}
        self._options = QueueOptions(lambda: open_target(url, key), fields, queue_max, linger_s)
        self._close_s = close_s
        self._queue = SendQueue(self._options)
        self._streams: weakref.WeakSet[Any] = weakref.WeakSet()  # of wrapped clients, perhaps open
        atexit.register(self.close)
        _METERS.add(self)

    def record(
        self,
        kind: str,
        /,
        *,
        id: str | None = None,  # noqa: A002  the contract's word
        time: datetime | str | None = None,
        **fields: Any,  # noqa: ANN401  the server validates them
    ) -> str:
        """Records an event and returns its id. Never waits, never raises.

        `fields` are those of schemas/event/usage_event.py. `time` defaults to now; a datetime must have a
        time zone. The app must not change lists and dicts in `fields` afterwards.
        """
        queue = self._queue
        event_id = id or queue.next_id()
        if time is not None:
            fields["time"] = time
        queue.put(RecordedEvent(event_id, clock.time_ns() // 1_000_000, kind, fields))
        return event_id

    def record_from(
        self,
        answer: object,
        /,
        *,
        format: str | None = None,  # noqa: A002  the contract's word
        **context: str | int,
    ) -> None:
        """Records the usage in an object or dict of a library. Never waits, never raises.

        It may be an OpenAI or Anthropic answer, each event of their streams, LiteLLM's payload or
        LiveKit's metrics. Its texts stay in the app: only fields of the contract are sent. `format`
        defaults to the one that the object shows. `context` adds what it lacks, such as `agent_id`,
        `call_id` or `latency_ms`.
        """
        queue = self._queue
        at_ms = clock.time_ns() // 1_000_000
        queue.put(LibraryObject(queue.next_id(), at_ms, answer, format, context, _place()))

    def wrap(self, client: T, /, *, ask_usage: bool = True, **context: str | int) -> T:
        """Records each call of a client of openai, anthropic or google-genai from now on; returns the same
        client. Never raises, and sends no texts.

        It records usage, latency, the time to the first output, and errors, also of streams that are
        closed early. `context` is added to each event, such as `agent_id`; wrap a `client.copy()` to give
        a user or a call its own. OpenAI's streams are asked for their usage, and the extra chunk with it is
        hidden from the app; `ask_usage=False` does not ask.
        """
        recorder = Recorder(self._ended, self._once, self._streams)
        try:
            return wrap(client, recorder, context, ask_usage=ask_usage)
        except Exception as error:  # noqa: BLE001  the client is the app's
            self._once(f"a client cannot be wrapped: it raises {type(error).__name__}")
            return client

    def livekit(self, session: T, /, **context: str | int) -> T:
        """Records what a session of LiveKit Agents uses from now on; returns the same session. Never raises.

        It listens to `metrics_collected` and `session_usage_updated`, and counts what both tell once.
        `context` is added to each event, such as `call_id` or `agent_id`.
        """
        try:
            can_listen = listen(session, self._heard, context)
        except Exception as error:  # noqa: BLE001  the session is the app's
            self._once(f"a session cannot be listened to: it raises {type(error).__name__}")
            return session
        if not can_listen:
            self._once(
                f"{type(session).__qualname__} sends no events: pass an AgentSession of LiveKit Agents"
            )
        return session

    def _heard(self, event: object, session: Listened) -> None:
        queue = self._queue
        at_ms = clock.time_ns() // 1_000_000
        queue.put(
            LibraryObject(queue.next_id(), at_ms, event, None, session.context, session=session)
        )

    def _ended(self, call: ClientCall) -> None:
        if self._queue.put(call) >= LONG_ENTRIES:
            call.let_go()

    def _once(self, line: str) -> None:
        self._queue.notices.once(line)

    @property
    def counts(self) -> Counts:
        """Events of this process since the meter was created or the process forked."""
        return self._queue.counts

    @property
    def skipped(self) -> Mapping[str, int]:
        """Numbers of objects that `record_from` read and that count nothing, by reason. `counts` does not
        have them."""
        return self._queue.notices.skipped

    def flush(self, within_s: float = CLOSE_S) -> bool:
        """Waits until all events so far are sent, refused or dropped; False after `within_s`.

        Coroutines call `flushed` instead.
        """
        settled: Future[None] = self._queue.mark()
        return bool(wait([settled], within_s).done)

    async def flushed(self, within_s: float = CLOSE_S) -> bool:
        """`flush` for coroutines."""
        return await asyncio.to_thread(self.flush, within_s)

    def close(self) -> None:
        """Sends the queue for up to `close_s`; events that are recorded later are dropped.

        Runs by itself when the interpreter ends.
        """
        atexit.unregister(self.close)
        for stream in list(self._streams):
            stream.abandon()
        self._queue.close(self._close_s, JOIN_S)

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

    def _reset_after_fork(self) -> None:
        """In a forked child: the thread is gone, and locks may be held forever."""
        self._queue = SendQueue(self._options)


def _place() -> object:
    """The thread or task that calls: the events of a stream come from one."""
    loop = asyncio._get_running_loop()  # noqa: SLF001  `current_task` raises where there is none
    return threading.get_ident(), 0 if loop is None else id(asyncio.current_task(loop))


_METERS: Final[weakref.WeakSet[Meter]] = weakref.WeakSet()


def _after_fork() -> None:
    for meter in list(_METERS):
        meter._reset_after_fork()  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
