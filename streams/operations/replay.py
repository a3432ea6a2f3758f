"""Reads the dead-letter topic and sends dead letters again: the work of `odometer dead`."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from schemas.errors import InvalidEvent
from streams.core.dead_letters import (
    Change,
    DeadLetter,
    EventIdentity,
    ReplayMark,
    ReplayRecord,
    ReplayState,
    already_sent,
    dead_letter_record,
    doubt,
    marked,
    read_dead_letter,
    resend,
)
from streams.kafka.offsets import scan
from streams.kafka.producer import KafkaProducer, open_producer

BATCH_DEAD_LETTERS_MAX: Final = 500
"""Dead letters that are marked and sent together: 32 MB of the largest records."""
RECENT_MAX: Final = 20_000
"""Dead letters that `odometer status` counts: half a second. If there are more, it shows this number."""

OTHER_TENANT: Final = "field `tenant`: it names a tenant that you may not write to"


class ReplayOutcome(StrEnum):
    SENT = "sent"
    SENDABLE = "sendable"  # a dry run: nothing was sent
    REFUSED = "refused"  # it would be a dead letter again
    KEPT = "kept"  # it was sent before, or may have been


class ReplayResult(NamedTuple):
    """The result of one dead letter. `identity` is None where it has none."""

    origin: str
    outcome: ReplayOutcome
    identity: EventIdentity | None
    detail: str = ""


async def read_letters(
    kafka: str, dead_letter_topic: str, wanted: Callable[[DeadLetter], bool]
) -> AsyncIterator[DeadLetter]:
    """Each dead letter once, in the order of writing, with the mark of its last replay.

    Reads the topic twice, because a mark comes after its dead letter."""
    marks: dict[str, ReplayMark] = {}
    async for letter in _letters(kafka, dead_letter_topic):
        if letter.replay is not None:
            marks[letter.origin] = letter.replay
    seen: set[str] = set()
    async for letter in _letters(kafka, dead_letter_topic):
        if letter.origin not in seen:
            seen.add(letter.origin)
            known = marked_as(letter, marks)
            if wanted(known):
                yield known


def marked_as(letter: DeadLetter, marks: Mapping[str, ReplayMark]) -> DeadLetter:
    mark = marks.get(letter.origin)
    return letter if mark is None else marked(letter, mark.state, mark.identity, mark.at_ms)


async def _letters(
    kafka: str, dead_letter_topic: str, since_ms: int | None = None
) -> AsyncIterator[DeadLetter]:
    async for records in scan(kafka, dead_letter_topic, since_ms):
        for record in records:
            letter = read_dead_letter(record.value, record.headers)
            if letter is not None:
                yield letter


async def recent_dead_letters(kafka: str, dead_letter_topic: str, since_ms: int) -> int:
    """How many records became dead letters since then, at most RECENT_MAX. Raises LogError, and
    InvalidConfig where there is no such topic."""
    return sum([1 async for _ in _recent(kafka, dead_letter_topic, since_ms)])


async def _recent(kafka: str, dead_letter_topic: str, since_ms: int) -> AsyncIterator[DeadLetter]:
    origins: set[str] = set()
    async for letter in _letters(kafka, dead_letter_topic, since_ms):
        if letter.replay is not None or letter.origin in origins:
            continue  # the mark of a replay; or a dead letter that was written twice
        origins.add(letter.origin)
        yield letter
        if len(origins) >= RECENT_MAX:
            break


class RecentLetters(NamedTuple):
    """`letters`: the newest first. `reasons`: how many of the wanted ones, by reason, also those that are
    not in `letters`. `searched_from_ms`: dead letters that were written before it were not looked at;
    None: all were."""

    letters: Sequence[DeadLetter]
    reasons: Mapping[str, int]
    searched_from_ms: int | None


async def read_recent_letters(
    kafka: str,
    dead_letter_topic: str,
    wanted: Callable[[DeadLetter], bool],
    *,
    limit: int,
    since_ms: int | None = None,
    searched_max: int = RECENT_MAX,
) -> RecentLetters:
    """The `limit` newest of the wanted dead letters, each with the mark of its last replay. Looks at the
    last `searched_max` records of each partition of the topic, in one pass: a mark comes after its
    dead letter, in the same partition. Raises LogError, and InvalidConfig where there is no such
    topic."""
    kept: dict[str, DeadLetter] = {}
    reasons: dict[str, str] = {}
    searched: dict[int, list[int]] = {}
    async for records in scan(kafka, dead_letter_topic, since_ms, searched_max):
        for record in records:
            seen = searched.setdefault(record.partition, [0, record.timestamp])
            seen[0] += 1
            letter = read_dead_letter(record.value, record.headers)
            if letter is None or not wanted(letter):
                continue
            reasons[letter.origin] = letter.reason
            if letter.replay is not None or letter.origin not in kept:
                kept[letter.origin] = letter
        if len(kept) > 2 * limit:
            kept = {one.origin: one for one in _newest(kept.values(), limit)}
    cut = [first_ms for count, first_ms in searched.values() if count >= searched_max]
    return RecentLetters(
        _newest(kept.values(), limit), Counter(reasons.values()), max(cut, default=None)
    )


def _newest(letters: Iterable[DeadLetter], limit: int) -> list[DeadLetter]:
    return sorted(letters, key=lambda one: (one.append_ms, one.origin), reverse=True)[:limit]


async def replay(
    kafka: str,
    topic: str,
    dead_letter_topic: str,
    letters: AsyncIterator[DeadLetter],
    change: Change,
    now_ms: Callable[[], int],
    *,
    again: bool,
    dry_run: bool,
    may_write: Callable[[str], bool] = lambda _tenant: True,
) -> AsyncIterator[ReplayResult]:
    """Sends dead letters to the events' topic. Yields a result for each. `may_write`: whether the event of
    a dead letter may belong to this tenant: a correction can change it.

    Raises LogUnavailable where Kafka does not answer. Dead letters without a result are marked or
    untouched; replay them again."""
    async with open_producer(kafka) as producer:
        chosen: list[tuple[DeadLetter, ReplayRecord]] = []
        async for letter in letters:
            result, resent = _judge(letter, topic, change, now_ms(), may_write, again=again)
            if resent is None or dry_run:
                yield result
                continue
            chosen.append((letter, resent))
            if len(chosen) == BATCH_DEAD_LETTERS_MAX:
                for sent in await _send(producer, topic, dead_letter_topic, chosen, now_ms):
                    yield sent
                chosen = []
        for sent in await _send(producer, topic, dead_letter_topic, chosen, now_ms):
            yield sent


def _judge(
    letter: DeadLetter,
    topic: str,
    change: Change,
    now_ms: int,
    may_write: Callable[[str], bool],
    *,
    again: bool,
) -> tuple[ReplayResult, ReplayRecord | None]:
    if letter.topic != topic:
        detail = f"belongs to the topic {letter.topic}, not to {topic}"
        return ReplayResult(letter.origin, ReplayOutcome.KEPT, None, detail), None
    if detail := already_sent(letter):
        return ReplayResult(letter.origin, ReplayOutcome.KEPT, None, detail), None
    try:
        resent = resend(letter, change, now_ms)
    except InvalidEvent as invalid:
        return ReplayResult(letter.origin, ReplayOutcome.REFUSED, None, str(invalid)), None
    if not may_write(resent.identity.tenant):
        return ReplayResult(letter.origin, ReplayOutcome.REFUSED, None, OTHER_TENANT), None
    if not again and (detail := doubt(letter, resent.identity, now_ms)):
        return ReplayResult(letter.origin, ReplayOutcome.KEPT, resent.identity, detail), None
    return ReplayResult(letter.origin, ReplayOutcome.SENDABLE, resent.identity), resent


async def _send(
    producer: KafkaProducer,
    topic: str,
    dead_letter_topic: str,
    chosen: Sequence[tuple[DeadLetter, ReplayRecord]],
    now_ms: Callable[[], int],
) -> list[ReplayResult]:
    """Writes the mark, the record and the second mark. Each is acknowledged before the next."""

    async def mark(state: ReplayState) -> None:
        at_ms = now_ms()
        records = [dead_letter_record(marked(one, state, to.identity, at_ms)) for one, to in chosen]
        await producer.send_records(dead_letter_topic, records)

    if not chosen:
        return []
    await mark(ReplayState.SENDING)
    await producer.send_records(topic, [to.record for _, to in chosen])
    await mark(ReplayState.SENT)
    return [ReplayResult(letter.origin, ReplayOutcome.SENT, to.identity) for letter, to in chosen]
