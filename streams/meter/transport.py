"""Where a producer's events go: over HTTP to the ingest, or straight to Kafka. One try a call.

Blocking, for a thread of its own (`streams.meter.meter`, `odometer send`): whoever calls repeats what was
not delivered, as it is, so that its ids count it once.

DeliveryError
|- NotDelivered     no answer, or one that asks for patience: send the same events again
|  '- NotAllowed    the key or the address is wrong, until somebody mends it
'- BatchRefused     the receiver will never take this batch
"""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, ParamSpec, Protocol, TypeVar
from urllib.parse import SplitResult, urlsplit

from schemas.errors import InvalidConfig, LogUnavailable, OdometerError

if TYPE_CHECKING:
    from streams.kafka.producer import KafkaProducer

P = ParamSpec("P")
T = TypeVar("T")

EVENTS_PATH: Final = "/v1/events"
DEFAULT_TOPIC: Final = "usage.events"
BATCH_EVENTS_MAX: Final = 1000
BATCH_BYTES_MAX: Final = 1 << 20
"""Of one request. The ingest takes 10,000 events and 16 MB: smaller ones are acknowledged sooner."""
BACKGROUND: Final = "u=7"
"""RFC 9218: everything else comes first."""
GZIP_LEVEL: Final = 1
"""A batch shrinks to a tenth in 10 us a kB; the higher levels cost five times that for a fifth."""
ANSWER_BYTES_MAX: Final = 4 << 20
"""1,000 refusals of 4 kB."""
SAID_CHARS_MAX: Final = 300
"""Of an error page, as much as says what is wrong."""
ACCEPTED: Final = 202
NEVER: Final = frozenset({400, 409, 413, 415, 422})
"""Answers that are about the batch."""
MENDED: Final = frozenset({401, 403, 404, 405})
"""About the key or the address; all others are about the moment."""


class DeliveryError(OdometerError):
    """A batch that did not arrive, as far as one can tell."""


class NotDelivered(DeliveryError):
    """Some of it may have arrived. `retry_after_s`: how long the receiver wants to be left alone."""

    def __init__(self, text: str, retry_after_s: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class NotAllowed(NotDelivered):
    """Nothing of it was taken; the same will be, with another key or at another address."""


class BatchRefused(DeliveryError):
    """Nothing of it was taken, and nothing ever will be."""


class Outgoing(NamedTuple):
    """One event: its JSON, and what its record's key is made of (tenant "": the default one)."""

    tenant: str
    source: str
    id: str
    call_id: str | None
    value: bytes


class Refusal(NamedTuple):
    """An event that the receiver will not count: its place in the batch, and why."""

    place: int
    field: str
    reason: str
    detail: str


class Target(Protocol):
    """Used by one thread at a time. `send` raises DeliveryError."""

    def send(self, batch: Sequence[Outgoing], within_s: float) -> Sequence[Refusal]:
        """Returns when the receiver has all of the batch for good, but what it refuses."""

    def close(self) -> None: ...


def open_target(url: str, key: str = "", *, is_history: bool = False) -> Target:
    """Of `http://HOST:PORT`, `https://HOST` (with `?tenant=T` for a key of several tenants), or
    `kafka://HOST:PORT[,HOST:PORT]/TOPIC`; no connection is made yet. InvalidConfig for any other.
    `is_history`: the ingest is told to let live events go first."""
    parts = urlsplit(url)
    if parts.scheme in {"http", "https"} and parts.hostname:
        return HttpTarget(parts, key, is_history=is_history)
    if parts.scheme == "kafka" and parts.netloc:
        return KafkaTarget(parts.netloc, parts.path.strip("/") or DEFAULT_TOPIC)
    raise InvalidConfig(
        f"events cannot be sent to {url!r}: it must be http://HOST:PORT, https://HOST, or"
        " kafka://HOST:PORT/TOPIC"
    )


# -- HTTP ------------------------------------------------------------------------------------------


class HttpTarget:
    """The ingest over one kept connection; the standard library's client, so that an app that is
    metered needs no other."""

    def __init__(self, url: SplitResult, key: str, *, is_history: bool = False) -> None:
        self._url = url
        self._where = f"{url.scheme}://{url.netloc}"
        self._path = url.path.rstrip("/") + EVENTS_PATH + (f"?{url.query}" if url.query else "")
        self._headers = {"content-type": "application/json", "content-encoding": "gzip"}
        if key:
            self._headers["authorization"] = f"Bearer {key}"
        if is_history:
            self._headers["priority"] = BACKGROUND
        self._connection: http.client.HTTPConnection | None = None

    def send(self, batch: Sequence[Outgoing], within_s: float) -> Sequence[Refusal]:
        body = gzip.compress(b"[" + b",".join(one.value for one in batch) + b"]", GZIP_LEVEL)
        status, retry_after, answer = self._post(body, within_s)
        refusals = _refusals(answer)
        if status == ACCEPTED or len(refusals) == len(batch):
            return refusals
        text = f"{self._where} answered {status}: {_said(answer)}"
        if status in NEVER:
            raise BatchRefused(text)
        raise (NotAllowed if status in MENDED else NotDelivered)(text, retry_after)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _post(self, body: bytes, within_s: float) -> tuple[int, float, bytes]:
        """Status, Retry-After in s, body. A kept connection that the server has closed meanwhile
        is made anew once; the ids make a request that arrived twice count once."""
        kept = self._connection is not None
        try:
            return self._exchange(body, within_s)
        except (http.client.RemoteDisconnected, ConnectionError) as error:
            self.close()
            if not kept:
                raise NotDelivered(f"{self._where} did not answer: {error!r}") from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise NotDelivered(f"{self._where} did not answer: {error!r}") from error
        return self._post(body, within_s)

    def _exchange(self, body: bytes, within_s: float) -> tuple[int, float, bytes]:
        connection = self._connected(within_s)
        connection.request("POST", self._path, body, self._headers)
        response = connection.getresponse()
        answer = response.read(ANSWER_BYTES_MAX)
        if response.will_close or not response.isclosed():
            self.close()
        return response.status, _seconds(response.headers.get("retry-after")), answer

    def _connected(self, within_s: float) -> http.client.HTTPConnection:
        if self._connection is None:
            host, port = self._url.hostname or "", self._url.port
            if self._url.scheme == "https":
                self._connection = http.client.HTTPSConnection(
                    host, port, timeout=within_s, context=ssl.create_default_context()
                )
            else:
                self._connection = http.client.HTTPConnection(host, port, timeout=within_s)
        self._connection.timeout = within_s
        if self._connection.sock is not None:
            self._connection.sock.settimeout(within_s)
        return self._connection


def _seconds(retry_after: str | None) -> float:
    """Retry-After as seconds; its other form, a date, is not what the ingest sends."""
    return float(retry_after) if retry_after is not None and retry_after.isdecimal() else 0.0


def _refusals(answer: bytes) -> list[Refusal]:
    found = _object(answer).get("refusals")
    return [
        Refusal(
            int(one.get("index", 0)),
            str(one.get("field") or ""),
            str(one.get("reason") or ""),
            str(one.get("detail") or ""),
        )
        for one in (found if isinstance(found, list) else ())
        if isinstance(one, dict)
    ]


def _said(answer: bytes) -> str:
    found = _object(answer)
    text = found.get("detail") or found.get("title") or answer.decode(errors="replace")
    return str(text)[:SAID_CHARS_MAX]


def _object(answer: bytes) -> dict[str, Any]:
    with suppress(ValueError):
        found = json.loads(answer)
        if isinstance(found, dict):
            return found
    return {}


# -- Kafka -----------------------------------------------------------------------------------------


class _Inline(ThreadPoolExecutor):
    """Runs at once what the loop gives it, which is the look-up of host names: at the interpreter's
    exit no thread can be started, and what is still queued must be sent then."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  the future's holder raises it
            future.set_exception(error)
        return future


class KafkaTarget:
    """An idempotent producer on a loop of its own, which runs while something is sent. After a
    failure the producer is made anew: what the old one held is dropped with it."""

    def __init__(self, brokers: str, topic: str) -> None:
        # An app that sends HTTP must need no aiokafka, and waits for no import where it does.
        from streams.kafka.producer import open_producer  # noqa: PLC0415

        self._open = open_producer
        self._brokers = brokers
        self._topic = topic
        self.reached: dict[int, int] = {}
        """How far the log goes, as the broker's last word has it: by partition, the next offset."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._exits = AsyncExitStack()
        self._producer: KafkaProducer | None = None

    def send(self, batch: Sequence[Outgoing], within_s: float) -> Sequence[Refusal]:
        """No refusals: what does not count comes to lie among the dead letters."""
        try:
            self._run(self._send(_records(batch), within_s))
        except (LogUnavailable, TimeoutError) as error:
            self._run(self._leave())
            raise NotDelivered(str(error) or f"Kafka did not answer in {within_s:g} s") from error
        return ()

    def close(self) -> None:
        if self._loop is not None:
            self._run(self._leave())
            self._loop.close()
            self._loop = None

    def _run(self, work: Awaitable[None]) -> None:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._loop.set_default_executor(_Inline())
        self._loop.run_until_complete(work)

    async def _send(self, records: Sequence[tuple[bytes, bytes]], within_s: float) -> None:
        async with asyncio.timeout(within_s):
            if self._producer is None:
                opened = self._open(self._brokers)
                self._producer = await self._exits.enter_async_context(opened)
            self.reached |= await self._producer.send(self._topic, records)

    async def _leave(self) -> None:
        self._producer = None
        with suppress(LogUnavailable):
            await self._exits.aclose()


def _records(batch: Sequence[Outgoing]) -> list[tuple[bytes, bytes]]:
    from schemas.event.kinds import DEFAULT_TENANT  # noqa: PLC0415  as above: it needs pydantic
    from schemas.event.partition_key import partition_key  # noqa: PLC0415

    return [
        (partition_key(one.tenant or DEFAULT_TENANT, one.source, one.id, one.call_id), one.value)
        for one in batch
    ]
