"""Sends a producer's events: over HTTP to the API, or directly to Kafka. One attempt per call.

Calls block, so they run in a thread of their own (`Meter`, `odometer send`). The caller retries a
batch that was not delivered, unchanged: its ids make the retry a duplicate.

DeliveryError
|- NotDelivered     no answer, or a temporary failure: send the same events again
|  '- NotAllowed    the key or the address is wrong, until an operator corrects it
'- BatchRefused     the server will never accept this batch
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
from schemas.event.kinds import DEFAULT_TENANT
from schemas.event.partition_key import partition_key

if TYPE_CHECKING:
    from streams.kafka.producer import KafkaProducer

P = ParamSpec("P")
T = TypeVar("T")

EVENTS_PATH: Final = "/v1/events"
DEFAULT_TOPIC: Final = "usage.events"
BATCH_EVENTS_MAX: Final = 1000
BATCH_BYTES_MAX: Final = 1 << 20
"""Of one request. The API accepts 10,000 events and 16 MB; smaller batches are acknowledged sooner."""
BACKGROUND: Final = "u=7"
"""RFC 9218: the lowest priority."""
GZIP_LEVEL: Final = 1
"""A batch shrinks to a tenth in 10 us a kB; the higher levels cost five times that for a fifth."""
ANSWER_BYTES_MAX: Final = 4 << 20
"""100 refusals of 4 kB are a tenth of it; an older API lists 1,000."""
SAID_CHARS_MAX: Final = 300
"""Of an error page: enough to say what is wrong."""
ACCEPTED: Final = 202
NEVER: Final = frozenset({400, 409, 413, 415, 422})
"""Statuses that are about the batch."""
MENDED: Final = frozenset({401, 403, 404, 405})
"""Statuses about the key or the address. All others are temporary."""


class DeliveryError(OdometerError):
    """A batch was not acknowledged."""


class NotDelivered(DeliveryError):
    """Some of the batch may have arrived. `retry_after_s`: how long the server asks to wait."""

    def __init__(self, text: str, retry_after_s: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class NotAllowed(NotDelivered):
    """Nothing was accepted. The same batch will be, with another key or at another address."""


class BatchRefused(DeliveryError):
    """Nothing was accepted, and a retry will not change that."""


class Outgoing(NamedTuple):
    """One event: its JSON, and the parts of its partition key (tenant "": the default tenant)."""

    tenant: str
    source: str
    id: str
    call_id: str | None
    value: bytes


class RefusedEvent(NamedTuple):
    """An event that the server refuses: its index in the batch, and why."""

    event_index: int
    field: str
    reason: str
    detail: str


class Target(Protocol):
    """Used by one thread at a time. `send` raises DeliveryError."""

    def send(self, batch: Sequence[Outgoing], within_s: float) -> Sequence[RefusedEvent]:
        """Returns when the server has stored the batch; the result names the events it refused."""

    def close(self) -> None: ...


def open_target(url: str, key: str = "", *, is_history: bool = False) -> Target:
    """The target of a URL. Opens no connection yet; InvalidConfig for any other URL.

    `http://HOST:PORT`, `https://HOST` (with `?tenant=T` for a key of several tenants), or
    `kafka://HOST:PORT[,HOST:PORT]/TOPIC`. `is_history`: asks the API to serve live events first.
    """
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
    """The API over one persistent connection, with the standard library's HTTP client."""

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

    def send(self, batch: Sequence[Outgoing], within_s: float) -> Sequence[RefusedEvent]:
        """An answer lists the first 100 refusals. If there are more, the events after the last listed
        one are sent again: their ids make those that were accepted duplicates."""
        found: list[RefusedEvent] = []
        start = 0
        while start < len(batch):
            refusals, more = self._send(batch[start:], within_s)
            found += [one._replace(event_index=start + one.event_index) for one in refusals]
            if not more or not refusals:
                break
            start = max(start, found[-1].event_index) + 1  # it ends whatever the answer says
        return found

    def _send(
        self, batch: Sequence[Outgoing], within_s: float
    ) -> tuple[Sequence[RefusedEvent], int]:
        """The refusals that the answer lists, and the number of those that it does not list."""
        body = gzip.compress(b"[" + b",".join(one.value for one in batch) + b"]", GZIP_LEVEL)
        status, retry_after, answer = self._post(body, within_s)
        refusals, more = _refusals(answer)
        if status == ACCEPTED or len(refusals) + more == len(batch):
            return refusals, more
        text = f"{self._where} answered {status}: {_said(answer)}"
        if status in NEVER:
            raise BatchRefused(text)
        raise (NotAllowed if status in MENDED else NotDelivered)(text, retry_after)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _post(self, body: bytes, within_s: float) -> tuple[int, float, bytes]:
        """Status, Retry-After in s, body.

        If the server has closed the persistent connection, this opens a new one and sends the request
        again, once. If the first request did arrive, the events' ids make the second a duplicate.
        """
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
    """Retry-After in seconds. The API does not send its other form, a date."""
    return float(retry_after) if retry_after is not None and retry_after.isdecimal() else 0.0


def _refusals(answer: bytes) -> tuple[list[RefusedEvent], int]:
    said = _object(answer)
    found, more = said.get("refusals"), said.get("more_refusals")
    refusals = [
        RefusedEvent(
            int(one.get("index", 0)),
            str(one.get("field") or ""),
            str(one.get("reason") or ""),
            str(one.get("detail") or ""),
        )
        for one in (found if isinstance(found, list) else ())
        if isinstance(one, dict)
    ]
    return refusals, more if isinstance(more, int) else 0


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
    """Runs the loop's host name lookups in the calling thread.

    At the interpreter's exit no thread can start, but the queue must still be sent.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  the future's holder raises it
            future.set_exception(error)
        return future


class KafkaTarget:
    """An idempotent producer on an event loop of its own, which runs only while a batch is sent.

    After a failure, the target closes the producer, with the records in it, and opens another.
    """

    def __init__(self, brokers: str, topic: str) -> None:
        # An app that sends over HTTP must not need aiokafka, nor wait for its import.
        try:
            from streams.kafka.producer import open_producer  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise InvalidConfig(
                f"kafka:// needs the package {error.name}. Install the wheel with its extra:"
                ' pip install "$(ls dist/odometer_client-*.whl)[kafka]"'
            ) from error

        self._open = open_producer
        self._brokers = brokers
        self._topic = topic
        self.reached: dict[int, int] = {}
        """The next offset of each partition, from the broker's last acknowledgement."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._exits = AsyncExitStack()
        self._producer: KafkaProducer | None = None

    def send(self, batch: Sequence[Outgoing], within_s: float) -> Sequence[RefusedEvent]:
        """No refusals: the worker sends invalid events to the dead letters."""
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
    return [
        (partition_key(one.tenant or DEFAULT_TENANT, one.source, one.id, one.call_id), one.value)
        for one in batch
    ]
