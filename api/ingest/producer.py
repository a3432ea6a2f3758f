"""Kafka: the only module of api that imports aiokafka. Records in, the broker's word back.

Requests hand over their records and wait. What waits while a produce request is under way flies
together with the next, so a busy API sends few and large batches, and a lone event goes at once.

- `send` returns only when the broker has all records (acks=all, idempotent); past our deadline it
  raises, and whether they arrived is unknown: sent again under the same ids they count once.
- The client's own sends never expire (design: "Known traps"). So what is held is capped in bytes;
  while a flight is overdue everything is refused at once; and a flight that hangs, or fails with
  whatever the client does not retry by itself, ends that client: a new one is made.
- Without a broker the API starts, and this keeps trying.
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

from api.ingest.partitioner import partitions_of
from schemas.errors import LogUnavailable

ACK_S: Final = 4.0
"""A request's wait for the broker. A busy broker takes tens of ms; published clients give up after
5 s and should see our 503 before."""
HANGING_S: Final = 30.0
"""A flight's longest life: a restart of a broker takes 5 to 20 s and the client gets over it."""
CONNECT_S: Final = 5.0
CLOSE_S: Final = 2.0
"""A client's `stop` hangs on a frozen broker. Nothing that was answered with 202 is lost by it."""
RECONNECT_S: Final = 1.0
HELD_BYTES_MAX: Final = 32 << 20
"""Records that wait or fly: a second of the fastest ingest (50,000 events of 600 B)."""
LINGER_S: Final = 0.005
"""After a flight of several requests the next one waits so long for their senders to come back: 32
of them then share a flight, which costs about 1 ms of CPU, where the first would have left alone. As
long as Kafka's own producer lingers. A lone sender never waits."""
FLIGHT_BYTES_MAX: Final = 4 << 20
"""From here on a flight takes no more requests, so that the first in it need not wait long."""
BATCH_BYTES_MAX: Final = 512 << 10
"""Of one partition in a produce request; a broker's limit is 1 MiB (message.max.bytes)."""
METADATA_AGE_MS: Final = 10_000
"""How soon new partitions are noticed."""

KeyedRecord = tuple[bytes, bytes]
"""Key and value."""
T = TypeVar("T")

log = logging.getLogger("odometer.api")


@dataclass(eq=False, slots=True)
class _Load:
    """What one request hands over; `landed` is set by the broker's word, or by why there is none."""

    records: Sequence[KeyedRecord]
    size_bytes: int
    landed: asyncio.Future[None]
    due_s: float


class IngestProducer:
    """Sends to one topic, while it is `connected`."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._waiting: asyncio.Queue[_Load] = asyncio.Queue()
        self._due: deque[_Load] = deque()  # those that may still be late, soonest first
        self._timer: asyncio.TimerHandle | None = None
        self._held_bytes = 0
        self.reached: dict[int, int] = {}
        """How far the log goes, as the broker's last word has it: by partition, the next offset."""
        self._took_off_s: float | None = None
        self._away: str | None = None  # what comes before the first connection waits for it

    @property
    def away(self) -> str | None:
        """Why nothing can be sent right now; None where it can."""
        if self._away is not None:
            return self._away
        if self._took_off_s is None:
            return None
        if asyncio.get_running_loop().time() - self._took_off_s > ACK_S:
            return f"Kafka has acknowledged nothing for more than {ACK_S:g} s"
        return None

    async def send(self, records: Sequence[KeyedRecord]) -> None:
        """Returns when the broker has acknowledged all records; LogUnavailable where it has not
        within ACK_S, or where more is under way than may be: send them again as they are."""
        if not records:
            return
        away = self.away
        if away is not None:
            raise LogUnavailable(away)
        size_bytes = sum(len(key) + len(value) for key, value in records)
        if self._held_bytes and self._held_bytes + size_bytes > HELD_BYTES_MAX:
            raise LogUnavailable(
                f"{self._held_bytes} bytes are under way to Kafka, the limit is {HELD_BYTES_MAX}"
            )
        loop = asyncio.get_running_loop()
        load = _Load(records, size_bytes, loop.create_future(), loop.time() + ACK_S)
        self._held_bytes += size_bytes
        self._waiting.put_nowait(load)
        self._await(load)
        await load.landed

    def _await(self, load: _Load) -> None:
        """Sees to the load's deadline. One timer for all: one a request would cost as much as the
        rest of this module."""
        while self._due and self._due[0].landed.done():
            self._due.popleft()
        self._due.append(load)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(load.due_s, self._fail_late)

    def _fail_late(self) -> None:
        loop = asyncio.get_running_loop()
        while self._due and (self._due[0].landed.done() or self._due[0].due_s <= loop.time()):
            load = self._due.popleft()
            if not load.landed.done():
                count = len(load.records)
                late = f"Kafka did not acknowledge {count} records within {ACK_S:g} s"
                load.landed.set_exception(LogUnavailable(late))
        self._timer = loop.call_at(self._due[0].due_s, self._fail_late) if self._due else None

    @asynccontextmanager
    async def connected(self, kafka: str) -> AsyncIterator[None]:
        """Enters at once, whether a broker answers or not."""
        keeper = asyncio.create_task(self._keep(kafka))
        try:
            yield
        finally:
            keeper.cancel()
            await asyncio.wait([keeper])

    async def _keep(self, kafka: str) -> None:
        """Until cancelled: a client, and a new one whenever it has failed."""
        while True:
            try:
                async with _connected(kafka, self._topic) as client:
                    self._away = None
                    await self._fly_with(client)
            except Exception as error:  # noqa: BLE001  whatever ended the client, a new one is made
                self._away = f"Kafka cannot be written to: {error}"
                log.warning("Events are not accepted: %s.", self._away)
            finally:
                self._let_down()
            await asyncio.sleep(RECONNECT_S)

    def _let_down(self) -> None:
        """What waits has a client no more."""
        while not self._waiting.empty():
            self._finish(self._waiting.get_nowait(), LogUnavailable(self._away or "shutting down"))

    async def _fly_with(self, client: AIOKafkaProducer) -> None:
        """One flight after the other; ends with the first that fails."""
        while True:
            flight = await self._boarded()
            self._took_off_s = asyncio.get_running_loop().time()
            error: LogUnavailable | None = LogUnavailable("the connection to Kafka was given up")
            try:
                await _within(HANGING_S, self._flown(client, flight), "acknowledge records")
                error = None
            except LogUnavailable as failed:
                error = failed
                raise
            finally:
                self._took_off_s = None
                for load in flight:
                    self._finish(load, error)
            if len(flight) > 1:
                await asyncio.sleep(LINGER_S)

    async def _boarded(self) -> list[_Load]:
        """All that waits, up to the size of a flight; those whose request gave up stay behind."""
        flight: list[_Load] = []
        size_bytes = 0
        while not flight or (size_bytes < FLIGHT_BYTES_MAX and not self._waiting.empty()):
            load = await self._waiting.get()
            if load.landed.done():
                self._finish(load, None)
                continue
            flight.append(load)
            size_bytes += load.size_bytes
        return flight

    async def _flown(self, client: AIOKafkaProducer, flight: Sequence[_Load]) -> None:
        records = [record for load in flight for record in load.records]
        partitions = sorted(await client.partitions_for(self._topic))
        places = partitions_of([key for key, _ in records], len(partitions))
        by_partition: dict[int, list[KeyedRecord]] = {}
        for place, record in zip(places, records, strict=True):
            by_partition.setdefault(partitions[place], []).append(record)
        self.reached |= await _appended(client, self._topic, by_partition)

    def _finish(self, load: _Load, error: LogUnavailable | None) -> None:
        self._held_bytes -= load.size_bytes
        if load.landed.done():  # the request has given up
            return
        if error is None:
            load.landed.set_result(None)
        else:
            load.landed.set_exception(LogUnavailable(str(error)))


async def _appended(
    client: AIOKafkaProducer, topic: str, by_partition: Mapping[int, Sequence[KeyedRecord]]
) -> dict[int, int]:
    """Hands the records to the client in batches. When the broker has them all: where each partition
    goes on behind them."""
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
    # No offset: the broker had the batch before, and forgot where.
    return {one.partition: one.offset + count for one, count in found if one.offset >= 0}


@asynccontextmanager
async def _connected(kafka: str, topic: str) -> AsyncIterator[AIOKafkaProducer]:
    client = AIOKafkaProducer(
        bootstrap_servers=kafka,
        client_id="odometer-api",
        acks="all",
        enable_idempotence=True,
        linger_ms=0,  # what waits for a flight is batched here
        max_batch_size=BATCH_BYTES_MAX,
        metadata_max_age_ms=METADATA_AGE_MS,
        request_timeout_ms=int(CONNECT_S * 1000),
    )
    # Cut off in the middle, it would leave a connection behind that nobody closes.
    start = asyncio.ensure_future(client.start())
    try:
        await _within(CONNECT_S, asyncio.shield(start), "take a connection")
        await _within(CONNECT_S, client.partitions_for(topic), f"describe the topic {topic}")
        yield client
    finally:
        await _closed(client, start)


async def _closed(client: AIOKafkaProducer, start: asyncio.Future[None]) -> None:
    """Closes a client; what it still holds after the deadline is thrown away with it."""
    done, _ = await asyncio.wait([start], timeout=CLOSE_S)
    if start in done and not start.cancelled():
        start.exception()  # seen, where nobody waited for it any more
    start.cancel()
    stop = asyncio.ensure_future(client.stop())
    await asyncio.wait([stop], timeout=CLOSE_S)
    if stop.done():
        return
    stop.cancel()
    ends: list[asyncio.Future[object]] = [stop, asyncio.ensure_future(client.client.close())]
    sender = client._sender.sender_task  # noqa: SLF001  it would send for ever
    if sender is not None:
        sender.cancel()
        ends.append(sender)
    await asyncio.wait(ends, timeout=CLOSE_S)


async def _within(seconds: float, exchange: Awaitable[T], what: str) -> T:
    """Awaits one exchange with the broker under our own deadline, in our own errors."""
    try:
        async with asyncio.timeout(seconds):
            return await exchange
    except TimeoutError as error:
        raise LogUnavailable(f"Kafka did not {what} within {seconds:g} s") from error
    except (kafka_errors.KafkaError, OSError) as error:
        raise LogUnavailable(f"Kafka did not {what}: {error!r}") from error
