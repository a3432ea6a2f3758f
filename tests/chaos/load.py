"""What producers send during a seed: an endless adversarial log, at an uneven rate.

It has 2% resends (some changed, which must not count), 3% invalid records, events up to years late
and up to an hour ahead, calls and chats over many batches, and bursts of three times the rate.
"""

from __future__ import annotations

import asyncio
import random
import time
import zlib
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.rig import PARTITIONS
from tests.oracles.event_logs import Mix, Record, mixed
from tests.real.harness.topics import Load, now_ms

MIX: Final = Mix(partitions=PARTITIONS, resent_percent=2, invalid_percent=3, step_ms=0)
RECORDS_MAX: Final = 20_000
"""Of a seed: two minutes at the rate; a seed that takes longer goes on with resends of its own."""
PER_S: Final = 150
SLICE_S: Final = 0.1
BURST: Final = 3
BURST_PERCENT: Final = 15
RESENDS: Final = 300
"""At the end, by a producer that does not know what it has sent."""


@dataclass
class Stream:
    """Sends until told to end. A key keeps the partition that it had first, also when partitions
    are added, as log order is what decides between an event and its changed resend."""

    load: Load
    seed: int
    partitions: int = PARTITIONS
    sent: int = 0
    stopping: bool = False
    _places: dict[bytes, int] = field(default_factory=dict)

    async def run(self) -> None:
        rng = random.Random(self.seed)
        records = mixed(rng, RECORDS_MAX, start_ms=now_ms(), mix=MIX)
        due_s = time.monotonic()
        while not self.stopping:
            burst = BURST if rng.randrange(100) < BURST_PERCENT else 1
            count = int(PER_S * SLICE_S) * burst
            await self._send([records[(self.sent + n) % RECORDS_MAX] for n in range(count)])
            self.sent += count
            due_s = max(due_s + SLICE_S, time.monotonic() - 1)  # what was held up comes faster
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        await self._send(rng.sample(records[: self.sent], min(RESENDS, self.sent)))

    async def _send(self, records: list[Record]) -> None:
        await asyncio.gather(
            *(self.load._send((r.key, r.value, r.headers), self._place(r)) for r in records)
        )

    def _place(self, record: Record) -> int:
        key = record.key or b""
        return self._places.setdefault(key, zlib.crc32(key) % self.partitions)
