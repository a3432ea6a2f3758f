"""Reads the questions of equal streams once, keeps their rows, and wakes the streams.

A feed reads at most every `READ_EVERY_S`, all questions in one atomic read. After a slow read it pauses
for `PAUSE_SHARE` times as long as the read took, so that no question takes a process for itself. Once a
second it wakes the streams even if nothing changed: `complete_through` has moved on.

Other requests are answered between two of its questions. What takes long for one question runs in a
thread (`Store.shape`): so the rows and the events of a feed change and are written under one lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple

from api.errors import BadParameter, TooManyStreams, UnanswerableQuestion
from api.http.json_encoding import to_json
from api.http.singleflight import Singleflight, round_to_second
from api.http.tenant_turns import TenantTurns
from api.query.series_index import Filter
from api.query.sums import Sums
from api.store.freshness import iso_ms
from api.store.reader import Reading, Store
from api.stream.changes import RowChanges, Size
from api.usage.bodies import state_of
from api.usage.groups.people import PeopleCache
from api.usage.question import ParsedQuestion, parse_question
from api.usage.sections import Completeness, Section, cells_of
from api.usage.several import OwnedQuestion, owned_questions, read_together
from schemas.errors import OdometerError, StoreError

READ_EVERY_S: Final = 0.25
"""So an event is on the page within half a second of its acknowledgement: a worker counts it within
100 ms, and 125 ms are half of this pause."""
PAUSE_SHARE: Final = 4
"""A feed reads at most a fifth of the time."""
BEAT_S: Final = 1.0
"""How often a stream says `complete_through`. It is also the heartbeat."""
ENCODED_BYTES_MAX: Final = 256 * 1024
"""Encoded events in the cache, by the version that a stream has: most have the one before. Beyond this only
the newest is kept. They are kept until streams are woken again, so none says how fresh the counters were
long ago."""

Count = Callable[[Size], None]
"""Says how much a feed has. Raises UnanswerableQuestion, TooManyStreams."""


class PushedQuestion(NamedTuple):
    """The query string of a question, and its tenants; None: all that have counters, also those to come."""

    text: bytes
    tenants: tuple[str, ...] | None


class Feed:
    """The newest state of some questions, within the filters `only` of a key. `turn`: the tenant whose turn it is
    to read, and whose share of all feeds it takes. `name` is in the ids of its events.

    `streams`: how many use it. `left`: how many have left it. `over`: why it ended; its streams end too.
    """

    def __init__(
        self,
        turn: str,
        questions: Sequence[PushedQuestion],
        name: str,
        clock: Callable[[], int],
        store: Store,
        people: PeopleCache,
        only: tuple[Filter, ...] = (),
    ) -> None:
        self.turn = turn
        self._only = only
        self.questions = tuple(questions)
        self.name = name
        self.streams = 0
        self.left = 0
        self.version = 0
        self.beat = 0
        self.over: OdometerError | None = None
        self._clock = clock
        self._store = store
        self._people = people
        self._parsed: tuple[int, list[ParsedQuestion]] = (0, [])
        self._rows = [RowChanges() for _ in questions]
        self._sizes = [Size() for _ in questions]
        self._sums: Sequence[tuple[Sums, ...]] = ()
        self._asked: Sequence[OwnedQuestion] = ()
        self._states: Sequence[tuple[Completeness, ...]] = ()
        self._reading: Reading | None = None
        self._problem = ""
        self._lock = asyncio.Lock()
        self._encoded: dict[int, bytes] = {}
        self._encoding: Singleflight[tuple[bytes, int]] = Singleflight()
        self._encoded_state = b""
        self._woken = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def _size(self) -> Size:
        return Size(
            sum(one.rows for one in self._sizes),
            sum(one.cells for one in self._sizes),
        )

    async def begin(self, turns: TenantTurns, until_s: float, count: Count) -> None:
        """Read for the first time, then keep reading. `until_s`: the loop's time until which it waits for
        its turn. Raises what the questions and `turns` raise, and StoreError."""
        async with turns.turn(self.turn, until_s):
            await self._read(count)
        self._tasks = [
            asyncio.ensure_future(self._keep_reading(turns, count)),
            asyncio.ensure_future(self._keep_beating()),
        ]

    def cancel(self) -> None:
        """It reads nothing more."""
        for task in self._tasks:
            task.cancel()

    async def stop(self) -> None:
        self.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def wait(self, version: int, beat: int) -> None:
        """Until there is a newer version or beat than these, or the feed is over."""
        while self.over is None and self.version == version and self.beat == beat:
            await self._woken.wait()

    # -- events ------------------------------------------------------------------------------------

    async def changes(self, version: int) -> tuple[bytes, int]:
        """The event that takes a stream from `version` to the newest state, and the version of that; 0: it
        has nothing yet. Encoded once for all streams that are woken together. Raises TooManyQuestions,
        LargeAnswersBusy."""
        if version in self._encoded:
            return self._encoded[version], self.version
        return await self._encoding.once((version, self.version), partial(self._encode, version))

    async def _encode(self, version: int) -> tuple[bytes, int]:
        async with self._lock:
            make = partial(self._changes, version, self._state())
            made = await self._store.shape(self.turn, self._size.cells, make)
            while self._encoded and len(made) + _bytes_of(self._encoded) > ENCODED_BYTES_MAX:
                del self._encoded[next(iter(self._encoded))]
            self._encoded[version] = made
            return made, self.version

    def _changes(self, version: int, state: dict[str, Any]) -> bytes:
        event_id = f"{self.name}.{self.version}"
        if version:
            parts = [rows.since(version) for rows in self._rows]
            if all(part is not None for part in parts):
                changed = [
                    {"question": number, **part}
                    for number, part in enumerate(parts)
                    if part is not None
                ]
                return event("rows", {"answers": changed, **state}, event_id)
        whole = [{"question": number, **rows.whole()} for number, rows in enumerate(self._rows)]
        return event("snapshot", {"answers": whole, **state}, event_id)

    def state(self) -> bytes:
        """The event that says how fresh the newest state is. It has no id: nothing was read with it."""
        if not self._encoded_state:
            self._encoded_state = event("state", self._state())
        return self._encoded_state

    def _state(self) -> dict[str, Any]:
        assert self._reading is not None
        return {
            "now": iso_ms(self._clock()),
            **state_of(self._reading),
            "unavailable": self._problem or None,
        }

    # -- reading -----------------------------------------------------------------------------------

    async def _keep_reading(self, turns: TenantTurns, count: Count) -> None:
        loop = asyncio.get_running_loop()
        while self.over is None:
            async with turns.turn(self.turn):
                began_s = loop.time()
                try:
                    await self._read(count)
                except (UnanswerableQuestion, BadParameter, TooManyStreams) as error:
                    self._end(error)
                except OdometerError as error:  # of the store, or too many questions: it goes on
                    self._problem = _sentence(error)
                took_s = loop.time() - began_s
            await asyncio.sleep(max(READ_EVERY_S - took_s, PAUSE_SHARE * took_s))

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            self.beat += 1
            self._wake()

    async def _read(self, count: Count) -> None:
        parsed = await self._questions_of_now()
        named = [question.tenants for question in self.questions]
        asked = await owned_questions(self._store, self._people, self.turn, parsed, named)
        reading, of_each = await read_together(self._store, self.turn, asked)
        through_ms = reading.meta.complete_through_ms
        states = [one.states(sums, through_ms) for one, sums in zip(asked, of_each, strict=True)]
        made: dict[int, list[Section]] = {}
        for number, (one, sums) in enumerate(zip(asked, of_each, strict=True)):
            if self._is_made(number, one, sums, states[number]):
                continue
            one.check(sums)
            make = partial(one.sections, sums, states[number])
            cells = cells_of(one.parsed.query, sums)
            made[number] = await self._store.shape(self.turn, cells, make)
            self._sizes[number] = Size.of(made[number])
            count(self._size)  # before the next one is made
            await asyncio.sleep(0)
        async with self._lock:
            is_changed = False
            if made:  # all questions change at once
                is_changed = await self._store.shape(
                    self.turn, self._size.cells, partial(self._update, parsed, made)
                )
            is_other = self._reading is None or self._reading.generation != reading.generation
            self._asked, self._sums, self._states = asked, of_each, states
            self._reading, self._problem = reading, ""
            if is_changed or is_other:
                self.version += 1
                self._wake()

    def _is_made(
        self, number: int, one: OwnedQuestion, sums: Sequence[Sums], states: Sequence[Completeness]
    ) -> bool:
        """Whether the rows of a question are those that these sums make."""
        if not self._sums or self._states[number] != states:
            return False
        if self._asked[number].owners.directories != one.owners.directories:
            return False
        before = self._sums[number]
        return len(before) == len(sums) and all(a is b for a, b in zip(before, sums, strict=True))

    async def _questions_of_now(self) -> list[ParsedQuestion]:
        """The questions, parsed once a second: a range that is relative to now has moved on."""
        now_ms, parsed = round_to_second(self._clock()), self._parsed
        if parsed[0] != now_ms:
            parsed = now_ms, []
            for question in self.questions:
                parsed[1].append(
                    parse_question(
                        question.text,
                        "",
                        now_ms,
                        self._store.catalog,
                        is_json=False,
                        only=self._only,
                    )
                )
                await asyncio.sleep(0)
            self._parsed = parsed
        return parsed[1]

    def _update(self, parsed: Sequence[ParsedQuestion], made: Mapping[int, list[Section]]) -> bool:
        """Whether any row changed, as of the next version."""
        version = self.version + 1
        changed = [
            self._rows[number].update(parsed[number].query, current, previous, version)
            for number, (current, *previous) in made.items()
        ]
        return any(changed)

    def _end(self, error: OdometerError) -> None:
        self.over = error
        self._wake()

    def _wake(self) -> None:
        self._encoded.clear()
        self._encoded_state = b""
        self._woken.set()
        self._woken = asyncio.Event()


def event(name: str, content: dict[str, Any], event_id: str = "") -> bytes:
    """One event as it is sent. JSON has no line breaks, so its data is one line."""
    said = f"id: {event_id}\n" if event_id else ""
    return b"%sevent: %s\ndata: %s\n\n" % (said.encode(), name.encode(), to_json(content))


def _bytes_of(encoded: Mapping[int, bytes]) -> int:
    return sum(map(len, encoded.values()))


def _sentence(error: OdometerError) -> str:
    if isinstance(error, StoreError):
        return "The counters cannot be read at the moment."
    return f"{error}."
