"""History waits for the workers, so that live events need not wait for history.

What a request brings is history where all of its events are older than `HISTORY_MS`, or where it says
so itself, as `odometer send` does: `priority: u=7` (RFC 9218: in the background). Its records go to
Kafka in slices, each as soon as what went before it is counted as far as `api.ingest.pacing` wants it; so
whoever sends history, however he sends it, is as fast as the workers and no faster. Whatever else
comes, a `Meter` or a webhook, is never held back.

How far counting is comes from the meta record, looked at a hundred times a second at most and only
while there is history; how far the log goes, from the broker's own answers. A request whose turn does
not come within `TURN_S` is refused (503, nothing of it is sent); one that has begun is never refused
for that. Where there are no counters yet nobody waits for anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from api.errors import CountersMissing, CountingBehind
from api.ingest.pacing import TARGET_MS, Pacing, Standing
from api.ingest.producer import IngestProducer, KeyedRecord
from api.store.reader import Store
from schemas.errors import StoreError
from schemas.limits import HOUR_MS

HISTORY_MS: Final = HOUR_MS
"""No live producer is that late: what waits in a `Meter` for a receiver is minutes old."""
TURN_S: Final = 3.0
"""Published clients give up after 5 s and should see our 503 before."""
SLICE_RECORDS: Final = 500
"""As few as the window ever is."""
WAITING_BYTES_MAX: Final = 32 << 20
"""Records that wait for their turn: two requests of the largest."""
LOOK_S: Final = 0.01
_BACKGROUND: Final = "u=7"


def is_history(headers: Mapping[str, str], newest_ms: int, now_ms: int) -> bool:
    """`newest_ms`: the time of the newest event that was sent."""
    if newest_ms < now_ms - HISTORY_MS:
        return True
    said = headers.get("priority", "")
    return bool(said) and _BACKGROUND in (part.strip() for part in said.split(","))


class Backfill:
    """The way of history to Kafka: one request at a time, in the order they came."""

    def __init__(self, store: Store, producer: IngestProducer, target_ms: int = TARGET_MS) -> None:
        self._store = store
        self._producer = producer
        self._pacing = Pacing(target_ms)
        self._turn = asyncio.Lock()
        self._waiting_bytes = 0

    async def send(self, records: Sequence[KeyedRecord]) -> None:
        """As `IngestProducer.send`, in time; CountingBehind where the turn does not come, before anything
        is sent."""
        size_bytes = sum(len(key) + len(value) for key, value in records)
        if self._waiting_bytes and self._waiting_bytes + size_bytes > WAITING_BYTES_MAX:
            raise CountingBehind("too much history waits to be sent")
        self._waiting_bytes += size_bytes
        try:
            until_s = _now_s() + TURN_S
            await self._take_turn()
            try:
                await self._send_in_slices(records, until_s)
            finally:
                self._turn.release()
        finally:
            self._waiting_bytes -= size_bytes

    async def _take_turn(self) -> None:
        try:
            async with asyncio.timeout(TURN_S):
                await self._turn.acquire()
        except TimeoutError as error:
            raise CountingBehind("other history was sent before") from error

    async def _send_in_slices(self, records: Sequence[KeyedRecord], until_s: float) -> None:
        for at in range(0, len(records), SLICE_RECORDS):
            standing = await self._room(until_s)
            if not standing.has_room and not at:
                behind_s = standing.behind_ms / 1000
                raise CountingBehind(f"counting is {behind_s:.1f} s behind")
            part = records[at : at + SLICE_RECORDS]
            await self._producer.send(part)
            self._pacing.sent(len(part), self._producer.reached, _now_ms())

    async def _room(self, until_s: float) -> Standing:
        """Until there is room, or the time is over."""
        while True:
            standing = await self._look()
            if standing.has_room or _now_s() >= until_s:
                return standing
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> Standing:
        asked_ms = _now_ms()
        try:
            meta = await self._store.meta()
        except CountersMissing:
            return Standing(has_room=True, behind_ms=0)
        except StoreError:
            return self._pacing.looked((), asked_ms)
        return self._pacing.looked([part.position for part in meta.partitions], asked_ms)


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _now_ms() -> int:
    return int(_now_s() * 1000)
