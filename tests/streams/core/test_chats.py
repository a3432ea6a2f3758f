"""The chats that a log makes: in any order, any number of times, in the fake store and the real one."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import StoreCorrupt
from schemas.limits import DAY_MS
from schemas.store.chats import (
    CHAT_MODELS_MAX,
    CHATS_MAX,
    Chat,
    Days,
    day_of_use,
    is_used,
    merged,
    merged_days,
    pack_chat,
    pack_days,
    unpack_chat,
    unpack_days,
)
from schemas.store.generation import generation_digest
from schemas.store.layout import NO_POSITION
from streams.core.columns import Columns, columns
from streams.core.fold import Delta, fold
from streams.core.ports import Commit, CounterStore, Outcome, Progress
from streams.redis.store import RedisStore
from tests.oracles.event_logs import NOW_MS, SECRET, Record, countable, event, mixed, record
from tests.oracles.fold_oracle import expected
from tests.oracles.redis_counters import read_chats
from tests.simulation.log import PolledRecord
from tests.simulation.store import FakeStore

DIGEST = generation_digest("contract")
TENANT = "acme"
TEXTS = st.sampled_from(["", "a", "b", "ä", "z\x00", "模型"])
MARKS = st.integers(0, 3)
USES = st.integers(0, 95 * DAY_MS)


def days_of(uses: Mapping[str, Sequence[int]]) -> tuple[tuple[str, Days], ...]:
    """The days of models with requests at these times in ms."""
    return tuple(
        (model, reduce(merged_days, [(day_of_use(at_ms),) for at_ms in own]))
        for model, own in sorted(uses.items())
    )


def _sound(chat: Chat) -> Chat:
    """Nothing is said where the time is 0, as the fold makes it; each model has days."""
    chat = msgspec.structs.replace(chat, models=tuple(model for model, _ in chat.days))
    changes = {
        name: type(getattr(chat, name))()
        for name in ("user", "preview", "title", "tags")
        if not getattr(chat, f"{name}_ms")
    }
    return msgspec.structs.replace(chat, **changes)


WORDS = st.builds(
    Chat,
    st.sampled_from(["c1", "c2"]),
    first_ms=st.integers(1, 3),
    last_ms=st.integers(3, 5),
    user_ms=MARKS,
    user=TEXTS,
    preview_ms=MARKS,
    preview=TEXTS,
    title_ms=MARKS,
    title=TEXTS,
    tags_ms=MARKS,
    tags=st.lists(TEXTS, max_size=2).map(tuple),
    days=st.dictionaries(TEXTS, st.lists(USES, min_size=1, max_size=3), max_size=3).map(days_of),
).map(_sound)


@dataclass
class Subject:
    """A store under test, and how to look into it."""

    store: CounterStore
    chats: Callable[[], Mapping[tuple[str, str], Chat]]
    position: int = NO_POSITION

    async def note(self, *said: Chat, tenant: str = TENANT) -> None:
        await self.commit(Delta((), (), (), (), chats=[(tenant, said)]))

    async def commit(self, delta: Delta) -> None:
        if self.position == NO_POSITION:
            await self.store.open(DIGEST, 1, NOW_MS, SECRET)
        end = max(self.position, 0) + 1
        moved = Progress(0, self.position, end, -1, 0, 0)
        commit = Commit(
            end.to_bytes(16, "big"), DIGEST, SECRET.name, NOW_MS, 1, {}, [moved], delta=delta
        )
        assert (await self.store.commit(commit)).outcome is Outcome.COMMITTED
        self.position = end


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.servers)])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    if request.param == "fake":
        fake = FakeStore()
        yield Subject(fake, fake.chats)
        return
    url = request.getfixturevalue("redis_url")
    async with RedisStore(url) as store:
        yield Subject(store, lambda: read_chats(url))


def rows_of(records: Sequence[Record]) -> Columns:
    polled = [PolledRecord(r.offset, r.append_ms, r.value, r.headers) for r in records]
    return columns(countable(polled), secret=SECRET)


# -- the rule --------------------------------------------------------------------------------------


@given(st.lists(WORDS.map(lambda c: msgspec.structs.replace(c, id="c1")), min_size=1, max_size=5))
def test_words_may_come_in_any_order_and_twice(words: list[Chat]) -> None:
    together = reduce(merged, words)
    assert reduce(merged, words[::-1]) == together
    assert reduce(merged, [*words, words[0], together]) == together


@given(WORDS)
def test_a_record_is_what_was_packed(chat: Chat) -> None:
    found = unpack_chat(chat.id, chat.last_ms, pack_chat(chat))
    days = tuple((model, unpack_days(pack_days(own))) for model, own in chat.days)
    assert msgspec.structs.replace(found, days=days) == chat


@given(st.binary(max_size=90))
def test_a_record_of_any_bytes_is_read_or_is_corrupt(record: bytes) -> None:
    try:
        chat = unpack_chat("c1", 1, record)
    except StoreCorrupt:
        return
    assert chat.id == "c1"


# -- the stores ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
async def test_a_log_makes_the_oracles_chats(subject: Subject, seed: int) -> None:
    """Resends with other content change nothing: the first record counts."""
    rng = random.Random(seed)
    log = mixed(rng, 400)
    done = np.empty(0, np.uint64)
    at = 0
    while at < len(log):
        size = rng.randint(1, 90)
        rows = rows_of(log[at : at + size]).without(done)
        await subject.commit(
            fold(
                rows,
                await subject.store.bookings(rows.secret, rows.booked_calls),
                keeps_previews=True,
            )
        )
        done = np.concatenate([done, rows.digests])
        at += size
    assert subject.chats() == expected(log).chats
    assert subject.chats()


@pytest.mark.parametrize("seed", range(40))
async def test_a_store_joins_words_as_they_are_joined(subject: Subject, seed: int) -> None:
    rng = random.Random(seed)
    texts = ["", "a", "b", "ä", "z\x00", "模型", "a" * 400]

    def some_word() -> Chat:
        models = {rng.choice(texts[1:]) for _ in range(rng.randrange(3))}
        uses = {m: [rng.randrange(95 * DAY_MS) for _ in range(2)] for m in sorted(models)}
        return _sound(
            Chat(
                id=rng.choice(["c1", "c2", "ch\x00ät"]),
                first_ms=rng.randint(1, 3),
                last_ms=rng.randint(3, 6),
                user_ms=rng.randrange(3),
                user=rng.choice(texts),
                preview_ms=rng.randrange(3),
                preview=rng.choice(texts),
                title_ms=rng.randrange(3),
                title=rng.choice(texts),
                tags_ms=rng.randrange(3),
                tags=tuple(rng.sample(texts, rng.randrange(3))),
                days=days_of(uses),
            )
        )

    known: dict[tuple[str, str], Chat] = {}
    for _ in range(8):
        said = {word.id: word for word in (some_word() for _ in range(rng.randint(1, 3)))}
        await subject.note(*said.values())
        for word in said.values():
            before = known.get((TENANT, word.id))
            known[TENANT, word.id] = word if before is None else merged(before, word)
    assert subject.chats() == known


async def test_the_chat_that_rested_longest_goes(subject: Subject) -> None:
    days = days_of({"m": [DAY_MS]})
    first = [Chat(f"c{n:05}", n, n, models=("m",), days=days) for n in range(1, CHATS_MAX + 1)]
    await subject.note(*first)
    await subject.note(Chat("c00001", 1, 10**6, models=("m", "n")), Chat("other", 5, 5), tenant="b")
    assert len(subject.chats()) == CHATS_MAX + 2
    more = [Chat(f"d{n:05}", n, n, models=("n",)) for n in range(20_000, 23_000)]
    await subject.note(Chat("c00001", 1, 10**6), *more)
    chats = subject.chats()
    assert len(chats) == CHATS_MAX + 2
    gone = {f"c{n:05}" for n in range(2, 3002)}
    assert {chat.id for chat in (*first, *more)} - {i for t, i in chats if t == TENANT} == gone
    assert chats[TENANT, "c00001"].models == ("m",)


async def test_a_chat_has_so_many_models_at_most(subject: Subject) -> None:
    names = [f"m{n:02}" for n in range(CHAT_MODELS_MAX + 5)]
    for some, at_ms in ((names[:30], 1), (names[20:], DAY_MS), (names[20:], 3 * DAY_MS)):
        days = days_of({name: [at_ms] for name in some})
        await subject.note(Chat("c1", 1, 1, models=tuple(some), days=days))
    chat = subject.chats()[TENANT, "c1"]
    kept = names[:CHAT_MODELS_MAX]
    assert chat.models == tuple(kept)
    assert [model for model, _ in chat.days] == kept
    assert [len(days) for _, days in chat.days] == [1] * 20 + [3] * 10 + [2] * 2


async def test_the_days_of_a_chat_are_the_last_90(subject: Subject) -> None:
    for n in (0, 100, 3, 11, 10, 99, 200, 111, 110):
        days = days_of({"m": [n * DAY_MS + 5_000, n * DAY_MS + 86_399_999]})
        await subject.note(Chat("c1", 1, 1, models=("m",), days=days))
    ((model, found),) = subject.chats()[TENANT, "c1"].days
    assert (model, found) == ("m", ((111, 5, 86_399), (200, 5, 86_399)))
    assert is_used(found, 111 * DAY_MS + 5_000, 111 * DAY_MS + 6_000)
    assert not is_used(found, 111 * DAY_MS, 111 * DAY_MS + 5_000)
    assert not is_used(found, 112 * DAY_MS, 200 * DAY_MS)


async def test_a_preview_leaves_the_fold_only_where_it_is_kept(subject: Subject) -> None:
    fields = event(chat_id="c1", message_preview="x" * 201, tenant=TENANT)
    await subject.commit(fold(rows_of([record(fields)]), {}))
    assert subject.chats()[TENANT, "c1"].preview == ""
    await subject.commit(fold(rows_of([record(fields)]), {}, keeps_previews=True))
    assert subject.chats()[TENANT, "c1"].preview == "x" * 200


def test_only_requests_and_news_of_a_chat_belong_to_it() -> None:
    log = [
        record(event(id=kind, kind=kind, chat_id="c1", model=kind))
        for kind in ("llm", "tts", "stt", "call", "feedback", "chat")
    ]
    ((_, (chat,)),) = fold(rows_of(log), {}).chats
    assert chat.models == ("llm",)
    assert not fold(rows_of(log[1:5]), {}).chats
