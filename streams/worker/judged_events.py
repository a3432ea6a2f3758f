"""Which events a worker has judged, for who watches (`odometer tail`). Never their contents.

The worker only puts them into a bounded list after a commit, and only while somebody watches. Another task
sends them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Literal

import msgspec

from schemas.errors import StoreError
from schemas.event.event_struct import EventStruct
from schemas.event.kinds import DEFAULT_TENANT
from streams.core.columns import Columns
from streams.redis.judged_channel import JudgedChannel

SHOWN_MAX: Final = 200
"""Events of one commit: more than a person reads."""
KEPT_MAX: Final = 2_000
"""Events that wait to be sent: 500 kB."""
LOOK_EVERY_S: Final = 1.0
SEND_EVERY_S: Final = 0.1


class JudgedEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event. `more`: so many others of the same commit are not shown."""

    outcome: Literal["counted", "duplicate", "refused"]
    at_ms: int
    id: str
    source: str = ""
    tenant: str = ""
    kind: str = ""
    provider: str | None = None
    model: str | None = None
    agent: str | None = None
    user: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    reason: str = ""
    field: str = ""
    more: int = 0


class JudgedEvents:
    """The events of the last commits. `is_wanted`: somebody watches."""

    def __init__(self) -> None:
        self.is_wanted = False
        self._waiting: deque[JudgedEvent] = deque(maxlen=KEPT_MAX)

    def note(self, rows: Columns) -> None:
        """A batch was committed: `rows` counted, and the other events of it did not."""
        if not self.is_wanted:
            return
        counted = {*rows.origin.tolist()}
        events = rows.events
        shown = events.wires[:SHOWN_MAX]
        for place, event in enumerate(shown):
            more = len(events) - len(shown) if place == len(shown) - 1 else 0
            outcome: Literal["counted", "duplicate"]
            outcome = "counted" if place in counted else "duplicate"
            self._waiting.append(_judged(event, outcome, int(events.at_ms[place]), more))

    async def keep_sending(self, redis_url: str, stopping: Callable[[], bool]) -> None:
        """Sends them while somebody watches. Redis away: they are lost."""
        async with JudgedChannel(redis_url) as channel:
            look_s = 0.0
            while not stopping():
                if look_s <= 0:
                    look_s = LOOK_EVERY_S
                    wanted = False
                    with suppress(StoreError):
                        wanted = await channel.has_listeners()
                    self.is_wanted = wanted
                if self._waiting:
                    events, self._waiting = list(self._waiting), deque(maxlen=KEPT_MAX)
                    with suppress(StoreError):
                        await channel.send(msgspec.json.encode(events))
                await asyncio.sleep(SEND_EVERY_S)
                look_s -= SEND_EVERY_S


def _judged(
    event: EventStruct, outcome: Literal["counted", "duplicate"], at_ms: int, more: int
) -> JudgedEvent:
    return JudgedEvent(
        outcome,
        at_ms,
        event.id,
        event.source,
        event.tenant or DEFAULT_TENANT,
        event.kind,
        event.provider,
        event.model,
        event.agent_id,
        event.user_id,
        event.input_tokens,
        event.output_tokens,
        more=more,
    )
