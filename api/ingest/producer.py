"""Sends records to Kafka and waits for the acknowledgement: the API's only import of aiokafka.

Requests hand over their records and wait. Records that arrive while a produce request is under way
go together into the next one. So a busy API sends few large batches, and a single event goes at once.

- `send` returns only when the broker has all records (acks=all, idempotent). After our deadline it
  raises. Whether the records arrived is then unknown; if they are sent again with the same ids, each
  counts once.
- The client's own requests never expire (streams/README.md). So the bytes under way are limited, and
  each tenant has a share of them. While a request is overdue, new records are rejected at once. A
  request that hangs, or fails with an error that the client does not retry, closes that client, and a
  new one is created.
- The API starts without a broker and keeps trying to connect.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka_errors

from api.http.shared_bytes import Room, SharedBytes
from api.ingest.partitioner import partitions_of
from schemas.errors import LogUnavailable

ACK_S: Final = 4.0
"""Timeout of a request for the acknowledgement. A busy broker takes tens of ms. Published clients time
out after 5 s and should get our 503 before."""
HANGING_S: Final = 30.0
"""Timeout of one produce request. The restart of a broker takes 5 to 20 s, which the client survives."""
CONNECT_S: Final = 5.0
CLOSE_S: Final = 2.0
"""Timeout for closing a client, whose `stop` hangs if the broker is frozen. No event that was answered
with 202 is lost."""
RECONNECT_S: Final = 1.0
HELD_BYTES_MAX: Final = 32 << 20
"""Limit of the records under way: a second of the fastest ingest (50,000 events of 600 B). 4 MiB of them
are for requests of at most SMALL_BYTES_MAX."""
TENANT_PART: Final = 1 / 2
"""Part of them that one tenant may use: 14 MiB, about a body of the largest size, and 2 MiB in small
requests. Kafka acknowledges within tens of ms, so only a broker that is slow fills this."""
LINGER_S: Final = 0.005
"""After a produce request with the records of several senders, wait this long for them to send again:
then 32 senders share the next request, which costs about 1 ms of CPU. Kafka's own producer lingers as
long. A single sender never waits."""
REQUEST_BYTES_MAX: Final = 4 << 20
"""A produce request of this size takes no more records, so that the first sender need not wait long."""
BATCH_BYTES_MAX: Final = 512 << 10
"""Batch of one partition in a produce request; the limit of a broker is 1 MiB (message.max.bytes)."""
METADATA_AGE_MS: Final = 10_000
"""New partitions are noticed within this time."""

KeyedRecord = tuple[bytes, bytes]
"""Key and value."""
T = TypeVar("T")

log = logging.getLogger("odometer.api")


@dataclass(eq=False, slots=True)
class _Pending:
    """The records of one sender; `done` is set by the acknowledgement, or by the error."""

    records: Sequence[KeyedRecord]
    size_bytes: int
    tenant: str
    room: Room
    done: asyncio.Future[None]
    due_s: float


class IngestProducer:
    """Sends to one topic, while it is `connected`."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._waiting: asyncio.Queue[_Pending] = asyncio.Queue()
        self._due: deque[_Pending] = deque()  # sends that can still time out, the earliest first
        self._timer: asyncio.TimerHandle | None = None
        self._shared = SharedBytes(HELD_BYTES_MAX, TENANT_PART)
        self.reached: dict[int, int] = {}
        """End of the log by the last acknowledgements: partition -> next offset."""
        self._sent_s: float | None = None
        self._away: str | None = None  # records that come before the first connection wait for it

    @property
    def held_bytes(self) -> int:
        """Of records that Kafka has not acknowledged yet."""
        return self._shared.held_bytes

    @property
    def away(self) -> str | None:
        """Why nothing can be sent at the moment; None if sending is possible."""
        if self._away is not None:
            return self._away
        if self._sent_s is None:
            return None
        if asyncio.get_running_loop().time() - self._sent_s > ACK_S:
            return f"Kafka has acknowledged nothing for more than {ACK_S:g} s"
        return None

    async def send(self, records: Sequence[KeyedRecord], tenant: str) -> None:
        """Returns when the broker has acknowledged all records. Raises LogUnavailable if it does not
        within ACK_S, or if too many bytes are under way: then send the same records again.

        `tenant` is whose share they use (`share_of`).
        """
        if not records:
            return
        away = self.away
        if away is not None:
            raise LogUnavailable(away)
        size_bytes = sum(len(key) + len(value) for key, value in records)
        room = self._shared.take_whole(tenant, size_bytes)
        if room is None:
            raise LogUnavailable(
                f"too many bytes are under way to Kafka: the limit is {HELD_BYTES_MAX}, and one tenant"
                f" may use {TENANT_PART:.0%} of it"
            )
        loop = asyncio.get_running_loop()
        done, due_s = loop.create_future(), loop.time() + ACK_S
        pending = _Pending(records, size_bytes, tenant, room, done, due_s)
        self._waiting.put_nowait(pending)
        self._await(pending)
        await pending.done

    def _await(self, pending: _Pending) -> None:
        """Watch the deadline of a send. One timer serves all: a timer for each would cost as much as
        the rest of this module."""
        while self._due and self._due[0].done.done():
            self._due.popleft()
        self._due.append(pending)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(pending.due_s, self._fail_late)

    def _fail_late(self) -> None:
        loop = asyncio.get_running_loop()
        while self._due and (self._due[0].done.done() or self._due[0].due_s <= loop.time()):
            pending = self._due.popleft()
            if not pending.done.done():
                count = len(pending.records)
                late = f"Kafka did not acknowledge {count} records within {ACK_S:g} s"
                pending.done.set_exception(LogUnavailable(late))
        self._timer = loop.call_at(self._due[0].due_s, self._fail_late) if self._due else None

    @asynccontextmanager
    async def connected(self, kafka: str) -> AsyncIterator[None]:
        """Enters at once, even if no broker answers yet."""
        keeper = asyncio.create_task(self._keep(kafka))
        try:
            yield
        finally:
            keeper.cancel()
            await asyncio.wait([keeper])

    async def _keep(self, kafka: str) -> None:
        """Keep a client until cancelled; create a new one whenever it fails."""
        while True:
            try:
                async with _connected(kafka, self._topic) as client:
                    self._away = None
                    await self._send_with(client)
            except Exception as error:  # noqa: BLE001  after any failure a new client is created
                self._away = f"Kafka cannot be written to: {error}"
                log.warning("Events are not accepted: %s.", self._away)
            finally:
                self._fail_waiting()
            await asyncio.sleep(RECONNECT_S)

    def _fail_waiting(self) -> None:
        """Fail all that waits, because there is no client any more."""
        while not self._waiting.empty():
            self._finish(self._waiting.get_nowait(), LogUnavailable(self._away or "shutting down"))

    async def _send_with(self, client: AIOKafkaProducer) -> None:
        """Send one produce request after the other, until one fails."""
        while True:
            request = await self._next_request()
            self._sent_s = asyncio.get_running_loop().time()
            error: LogUnavailable | None = LogUnavailable("the connection to Kafka was given up")
            try:
                await _within(HANGING_S, self._send(client, request), "acknowledge records")
                error = None
            except LogUnavailable as failed:
                error = failed
                raise
            finally:
                self._sent_s = None
                for pending in request:
                    self._finish(pending, error)
            if len(request) > 1:
                await asyncio.sleep(LINGER_S)

    async def _next_request(self) -> list[_Pending]:
        """All that waits, up to the size of a request, without sends that have timed out."""
        request: list[_Pending] = []
        size_bytes = 0
        while not request or (size_bytes < REQUEST_BYTES_MAX and not self._waiting.empty()):
            pending = await self._waiting.get()
            if pending.done.done():
                self._finish(pending, None)
                continue
            request.append(pending)
            size_bytes += pending.size_bytes
        return request

    async def _send(self, client: AIOKafkaProducer, request: Sequence[_Pending]) -> None:
        records = [record for pending in request for record in pending.records]
        partitions = sorted(await client.partitions_for(self._topic))
        places = partitions_of([key for key, _ in records], len(partitions))
        by_partition: dict[int, list[KeyedRecord]] = {}
        for place, record in zip(places, records, strict=True):
            by_partition.setdefault(partitions[place], []).append(record)
        self.reached |= await _appended(client, self._topic, by_partition)

    def _finish(self, pending: _Pending, error: LogUnavailable | None) -> None:
        pending.records = ()  # the loop that sends refers to this request until the next one comes
        pending.room.take(pending.tenant, -pending.size_bytes)
        if pending.done.done():  # it has timed out
            return
        if error is None:
            pending.done.set_result(None)
        else:
            pending.done.set_exception(LogUnavailable(str(error)))


async def _appended(
    client: AIOKafkaProducer, topic: str, by_partition: Mapping[int, Sequence[KeyedRecord]]
) -> dict[int, int]:
    """Hand the records to the client in batches. Returns, when the broker has them all, the next
    offset of each partition."""
    counts: list[int] = []
    acknowledged: list[Awaitable[Any]] = []
    for partition, records in by_partition.items():
        batch = client.create_batch()
        for key, value in records:
            if batch.append(timestamp=None, key=key, value=value) is None:
                counts.append(batch.record_count())
                acknowledged.append(await client.send_batch(batch, topic, partition=partition))
                batch = client.create_batch()
                batch.append(timestamp=None, key=key, value=value)
        counts.append(batch.record_count())
        acknowledged.append(await client.send_batch(batch, topic, partition=partition))
    found = zip(await asyncio.gather(*acknowledged), counts, strict=True)
    # Without an offset, the broker had the batch already and no longer knows where.
    return {one.partition: one.offset + count for one, count in found if one.offset >= 0}


@asynccontextmanager
async def _connected(kafka: str, topic: str) -> AsyncIterator[AIOKafkaProducer]:
    client = AIOKafkaProducer(
        bootstrap_servers=kafka,
        client_id="odometer-api",
        acks="all",
        enable_idempotence=True,
        linger_ms=0,  # batches are made here
        max_batch_size=BATCH_BYTES_MAX,
        metadata_max_age_ms=METADATA_AGE_MS,
        request_timeout_ms=int(CONNECT_S * 1000),
    )
    # A start that is cancelled would leave an open connection behind.
    start = asyncio.ensure_future(client.start())
    try:
        await _within(CONNECT_S, asyncio.shield(start), "take a connection")
        await _within(CONNECT_S, client.partitions_for(topic), f"describe the topic {topic}")
        yield client
    finally:
        await _closed(client, start)


async def _closed(client: AIOKafkaProducer, start: asyncio.Future[None]) -> None:
    """Close a client. Records that it still has after the timeout are dropped with it."""
    done, _ = await asyncio.wait([start], timeout=CLOSE_S)
    if start in done and not start.cancelled():
        start.exception()  # retrieved, because nobody waits for it any more
    start.cancel()
    stop = asyncio.ensure_future(client.stop())
    await asyncio.wait([stop], timeout=CLOSE_S)
    if stop.done():
        return
    stop.cancel()
    ends: list[asyncio.Future[object]] = [stop, asyncio.ensure_future(client.client.close())]
    sender = client._sender.sender_task  # noqa: SLF001  otherwise it would keep sending
    if sender is not None:
        sender.cancel()
        ends.append(sender)
    await asyncio.wait(ends, timeout=CLOSE_S)


async def _within(seconds: float, exchange: Awaitable[T], what: str) -> T:
    """Await one exchange with the broker, with our own timeout and our own errors."""
    try:
        async with asyncio.timeout(seconds):
            return await exchange
    except TimeoutError as error:
        raise LogUnavailable(f"Kafka did not {what} within {seconds:g} s") from error
    except (kafka_errors.KafkaError, OSError) as error:
        raise LogUnavailable(f"Kafka did not {what}: {error!r}") from error
