"""Sends history to Kafka only as fast as the workers count, so that live events do not wait.

A request is history if all of its events are older than `HISTORY_MS`, or if it says so with
`priority: u=7` (RFC 9218: in the background), as `odometer send` does. Its records go to Kafka in
slices, each after enough of the earlier ones is counted (`api.ingest.pacing`). So any client that
sends history is as fast as the workers. Other requests, such as those of a `Meter`, never wait.

The counted offsets come from the meta record, read at most a hundred times a second and only while
there is history; the end of the log comes from Kafka's acknowledgements. A request that waits longer
than `TURN_S` for its turn gets a 503, and none of its records is sent. A request that has started is
never rejected for that. Without counters nothing waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from api.errors import CountersMissing, CountingBehind
from api.http.shared_bytes import SharedBytes
from api.http.tenant_turns import TenantTurns, TurnLimits
from api.ingest.pacing import TARGET_MS, CountingDelay, Pacing
from api.ingest.producer import TENANT_PART, IngestProducer, KeyedRecord
from api.store.reader import Store
from schemas.errors import StoreError
from schemas.limits import HOUR_MS

HISTORY_MS: Final = HOUR_MS
"""No live producer is that late: events that wait in a `Meter` are minutes old."""
TURN_S: Final = 3.0
"""Published clients time out after 5 s and should get our 503 before."""
SLICE_RECORDS: Final = 500
"""The smallest window (`api.ingest.pacing.WINDOW_MIN`)."""
WAITING_BYTES_MAX: Final = 32 << 20
"""Limit of the records that wait for their turn: two of the largest requests. One tenant may use half
(`TENANT_PART`)."""
LOOK_S: Final = 0.01
_BACKGROUND: Final = "u=7"


def is_history(headers: Mapping[str, str], newest_ms: int, now_ms: int) -> bool:
    """`newest_ms`: the time of the newest event in the request."""
    if newest_ms < now_ms - HISTORY_MS:
        return True
    said = headers.get("priority", "")
    return bool(said) and _BACKGROUND in (part.strip() for part in said.split(","))


class Backfill:
    """Sends history to Kafka: one request at a time, and each tenant in its turn."""

    def __init__(self, store: Store, producer: IngestProducer, target_ms: int = TARGET_MS) -> None:
        self._store = store
        self._producer = producer
        self._pacing = Pacing(target_ms)
        self._turns = TenantTurns(TurnLimits(timeout_s=TURN_S), _late)
        self._waiting = SharedBytes(WAITING_BYTES_MAX, TENANT_PART)

    @property
    def held_bytes(self) -> int:
        """Of history that waits for its turn."""
        return self._waiting.held_bytes

    async def send(self, records: Sequence[KeyedRecord], tenant: str) -> None:
        """As `IngestProducer.send`. Raises CountingBehind, before any record is sent, if the turn does
        not come in time."""
        size_bytes = sum(len(key) + len(value) for key, value in records)
        room = self._waiting.take_whole(tenant, size_bytes)
        if room is None:
            raise CountingBehind("too much history waits to be sent")
        try:
            until_s = _now_s() + TURN_S
            async with self._turns.turn(tenant):
                await self._send_in_slices(records, tenant, until_s)
        finally:
            room.take(tenant, -size_bytes)

    async def _send_in_slices(
        self, records: Sequence[KeyedRecord], tenant: str, until_s: float
    ) -> None:
        for at in range(0, len(records), SLICE_RECORDS):
            delay = await self._room(until_s)
            if not delay.has_room and not at:
                behind_s = delay.behind_ms / 1000
                raise CountingBehind(f"counting is {behind_s:.1f} s behind")
            part = records[at : at + SLICE_RECORDS]
            await self._producer.send(part, tenant)
            self._pacing.sent(len(part), self._producer.reached, _now_ms())

    async def _room(self, until_s: float) -> CountingDelay:
        """Wait until the window has room, or until `until_s`."""
        while True:
            delay = await self._look()
            if delay.has_room or _now_s() >= until_s:
                return delay
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> CountingDelay:
        asked_ms = _now_ms()
        try:
            meta = await self._store.meta()
        except CountersMissing:
            return CountingDelay(has_room=True, behind_ms=0)
        except StoreError:
            return self._pacing.looked((), asked_ms)
        return self._pacing.looked([part.position for part in meta.partitions], asked_ms)


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _now_ms() -> int:
    return int(_now_s() * 1000)


def _late(_own: int) -> CountingBehind:
    return CountingBehind("other history was sent before")
