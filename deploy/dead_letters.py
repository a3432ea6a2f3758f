"""Reads and replays dead letters for `/v1/dead-letters`, as `odometer dead` does, within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from api.dead_letters.source import LettersWanted, MaySee
from api.errors import BadParameter, DeadLettersUnavailable, NoSuchDeadLetter
from schemas.errors import InvalidConfig, LogError
from schemas.responses.dead_letters import (
    DeadLetterDetail,
    DeadLetterLine,
    DeadLettersAnswer,
    EarlierReplay,
    EventNamed,
    ReplayLine,
    ReplayWish,
)
from schemas.units import iso
from streams.core.dead_letters import (
    NO_CHANGE,
    Change,
    DeadLetter,
    EventIdentity,
    prospect,
    tenant_of,
)
from streams.operations.replay import RECENT_MAX, ReplayResult, read_recent_letters, replay

READ_S: Final = 10.0
"""Of the 20,000 newest records; half a second if they are small."""
SEND_S: Final = 30.0
VALUE_BYTES_MAX: Final = 256 * 1024
"""Shown of one record: four times the largest event."""

Result = TypeVar("Result")


class KafkaDeadLetters:
    """The dead letters of one topic. They are read in a thread, so the event loop of the API does not
    wait. `searched_max`: the newest records that one read looks at."""

    def __init__(
        self,
        kafka: str,
        topic: str,
        dead_letter_topic: str,
        now_ms: Callable[[], int],
        searched_max: int = RECENT_MAX,
    ) -> None:
        self._kafka = kafka
        self._topic = topic
        self._dead_letter_topic = dead_letter_topic
        self._now_ms = now_ms
        self._searched_max = searched_max

    async def listed(self, wanted: LettersWanted) -> DeadLettersAnswer:
        def is_wanted(letter: DeadLetter) -> bool:
            return (
                (wanted.reason is None or letter.reason == wanted.reason)
                and (wanted.field is None or letter.field == wanted.field)
                and (wanted.since_ms is None or letter.append_ms >= wanted.since_ms)
                and (wanted.until_ms is None or letter.append_ms < wanted.until_ms)
                and (wanted.tenant is None or _tenant_of(letter) == wanted.tenant)
                and wanted.may_see(_tenant_of(letter))
            )

        reading = read_recent_letters(
            self._kafka,
            self._dead_letter_topic,
            is_wanted,
            limit=wanted.limit,
            since_ms=wanted.since_ms,
            searched_max=self._searched_max,
        )
        try:
            found = await self._run(reading, READ_S)
        except InvalidConfig as missing:
            return DeadLettersAnswer(
                dead_letters=[], reasons={}, searched_from=None, problem=str(missing)
            )
        cut_ms = found.searched_from_ms
        return DeadLettersAnswer(
            dead_letters=[DeadLetterLine(**_line(letter)) for letter in found.letters],
            reasons=dict(found.reasons),
            searched_from=None if cut_ms is None else iso(cut_ms),
            problem=None,
        )

    async def shown(self, origin: str, may_see: MaySee) -> DeadLetterDetail:
        (letter,) = await self._run(self._named([origin], may_see), READ_S)
        value = letter.value
        return DeadLetterDetail(
            **_line(letter),
            value=None
            if value is None
            else value[:VALUE_BYTES_MAX].decode(errors="backslashreplace"),
            value_is_whole=value is None or len(value) <= VALUE_BYTES_MAX,
            headers={name: text.decode(errors="backslashreplace") for name, text in letter.headers},
            replay_would=prospect(letter, NO_CHANGE, self._now_ms()),
        )

    async def replayed(
        self, wish: ReplayWish, may_see: MaySee, *, dry_run: bool
    ) -> list[ReplayLine]:
        value = None if wish.value is None else wish.value.encode()
        try:
            change = Change(value, wish.set)
        except InvalidConfig as unknown:
            raise BadParameter("set", f"Member `set`: {unknown}.") from None
        return await self._run(self._replay(wish, change, may_see, dry_run=dry_run), SEND_S)

    async def _replay(
        self, wish: ReplayWish, change: Change, may_see: MaySee, *, dry_run: bool
    ) -> list[ReplayLine]:
        letters = await self._named(wish.origins, may_see)
        results = replay(
            self._kafka,
            self._topic,
            self._dead_letter_topic,
            _each(letters),
            change,
            self._now_ms,
            again=wish.again,
            dry_run=dry_run,
            may_write=may_see,
        )
        done = {result.origin: result async for result in results}
        return [_replay_line(letter, done[letter.origin]) for letter in letters]

    async def _named(self, origins: Sequence[str], may_see: MaySee) -> list[DeadLetter]:
        """The dead letters of these origins, in their order."""
        wanted = {*origins}
        try:
            read = await read_recent_letters(
                self._kafka,
                self._dead_letter_topic,
                lambda letter: letter.origin in wanted and may_see(_tenant_of(letter)),
                limit=len(wanted),
                searched_max=self._searched_max,
            )
        except InvalidConfig as missing:
            raise NoSuchDeadLetter(str(missing)) from None
        found = {letter.origin: letter for letter in read.letters}
        for origin in origins:
            if origin not in found:
                raise NoSuchDeadLetter(
                    f"there is no dead letter {origin} of your tenants among the newest"
                    f" {self._searched_max} records of their topic (`odometer dead` reads all)"
                )
        return [found[origin] for origin in origins]

    async def _run(self, work: Coroutine[Any, Any, Result], timeout_s: float) -> Result:
        try:
            return await asyncio.to_thread(asyncio.run, _within(work, timeout_s))
        except TimeoutError:
            raise DeadLettersUnavailable(
                f"Kafka did not answer within {timeout_s:g} s: try again. What was sent is marked, and is"
                " not sent twice"
            ) from None
        except LogError as away:
            raise DeadLettersUnavailable(f"Kafka is not available: {away}") from away


async def _within(work: Coroutine[Any, Any, Result], timeout_s: float) -> Result:
    async with asyncio.timeout(timeout_s):
        return await work


async def _each(letters: Sequence[DeadLetter]) -> AsyncIterator[DeadLetter]:
    for letter in letters:
        yield letter


def _tenant_of(letter: DeadLetter) -> str | None:
    return tenant_of(letter) or None


def _line(letter: DeadLetter) -> dict[str, Any]:
    """The fields of a `DeadLetterLine`."""
    mark = letter.replay
    return {
        "origin": letter.origin,
        "tenant": _tenant_of(letter),
        "appended": iso(letter.append_ms),
        "reason": letter.reason,
        "field": letter.field,
        "detail": letter.detail,
        "bytes": len(letter.value or b""),
        "replayed": None
        if mark is None
        else EarlierReplay(
            state=str(mark.state), at=iso(mark.at_ms), **{"as": _named_event(mark.identity)}
        ),
    }


def _named_event(identity: EventIdentity) -> EventNamed:
    return EventNamed(tenant=identity.tenant, source=identity.source, id=identity.id)


def _replay_line(letter: DeadLetter, result: ReplayResult) -> ReplayLine:
    return ReplayLine(
        origin=letter.origin,
        tenant=_tenant_of(letter),
        outcome=result.outcome.value,
        counts_as=None if result.identity is None else _named_event(result.identity),
        detail=result.detail,
    )
