"""What commits say of users and of the latest calls: as the oracle has it, whatever the batches."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.limits import MINUTE_MS
from schemas.store.directory import USERS_MAX, Person, UserUpdate, person_of
from schemas.store.layout import NO_POSITION
from schemas.store.recent_calls import RECENT_MAX, count_in, latest_of
from schemas.units import iso
from streams.core.columns import columns
from streams.core.fold import Delta, fold
from streams.core.ports import Commit, CounterStore, Outcome, Progress
from streams.redis.store import RedisStore
from tests.oracles.event_logs import NOW_MS, SECRET, Record, countable, event, logs, mixed, record
from tests.oracles.fold_oracle import expected
from tests.oracles.redis_users import Calls, assert_told, read_people, read_recent, read_records
from tests.simulation.store import FakeStore
from tests.streams.core.test_fold import as_polled, cut

DIGEST = bytes(16)


def delta_of(records: Sequence[Record]) -> Delta:
    rows = columns(countable(as_polled(records)), secret=SECRET)
    return fold(rows, {digest: None for digest, _ in rows.booked_calls})


def without_counts(delta: Delta) -> Delta:
    return Delta((), (), (), (), delta.users, delta.recent)


@dataclass
class Told:
    """A store, and what it was told so far."""

    store: CounterStore
    position: int = NO_POSITION

    async def tell(self, records: Iterable[Record]) -> None:
        delta = delta_of(list(records))
        commit = Commit(
            id=random.randbytes(16),
            generation_digest=DIGEST,
            secret=SECRET.name,
            now_ms=NOW_MS,
            count=1,
            absent_ms={},
            partitions=[Progress(0, self.position, max(self.position, 0) + 1, -1, 0, 0)],
            delta=without_counts(delta),
        )
        assert (await self.store.commit(commit)).outcome is Outcome.COMMITTED
        self.position = max(self.position, 0) + 1


async def told(store: CounterStore) -> Told:
    await store.open(DIGEST, 1, NOW_MS, SECRET)
    return Told(store)


def log_of(*fields: dict[str, object]) -> list[Record]:
    return [
        record(event(**{"id": f"e{n}", **one}), offset=n, append_ms=NOW_MS)
        for n, one in enumerate(fields)
    ]


# -- the words of a batch --------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(logs(n_max=30), st.randoms(use_true_random=False))
async def test_any_log_in_any_batches_in_any_order_tells_what_the_oracle_says(
    records: list[Record], rng: random.Random
) -> None:
    once = each_once(records)
    batches = cut(once, rng)
    rng.shuffle(batches)
    fake = FakeStore()
    subject = await told(fake)
    for batch in [*batches, *batches[:2]]:  # a word said twice is said once
        await subject.tell(batch)
    assert_told(fake.state.users, fake.state.latest_calls(), expected(once))


def test_a_resend_in_the_batch_says_nothing() -> None:
    sent = log_of({"id": "a", "user_id": "u", "user_name": "Ann"}) * 2
    again = log_of({"id": "a", "user_id": "u", "user_name": "Bob", "model": "other"})
    delta = delta_of([*sent, *again])
    assert [person_of(word).name for _, words in delta.users for word in words] == ["Ann"]
    assert [[one.calls for one in records] for _, records in delta.recent] == [[1]]


def test_who_has_neither_name_nor_address_is_nobody_to_tell_of() -> None:
    nobody: list[dict[str, object]] = [
        {"user_id": "u"},
        {"user_id": "u", "user_email": "", "user_name": ""},
        {"user_name": "Ann"},
        {"user_id": "", "user_email": None, "user_name": "Ann"},
    ]
    assert delta_of(log_of(*nobody)).users == []


def test_a_user_without_an_id_is_known_by_its_address() -> None:
    delta = delta_of(log_of({"user_email": "ann@x", "user_name": "Ann", "tenant": "t"}))
    ((tenant, (word,)),) = delta.users
    assert tenant == "t"
    assert person_of(word) == Person("ann@x", "ann@x", "Ann", NOW_MS, NOW_MS)


def test_a_call_is_told_without_its_content() -> None:
    fields = {
        "provider": "openai",
        "agent_id": "bot",
        "user_email": "ann@x",
        "call_id": "c",
        "chat_id": "chat",
        "chat_title": "a title",
        "message_preview": "a preview",
        "input_tokens": 5,
        "cost_usd": "0.25",
        "error": "rate_limited",
        "latency_ms": 7,
    }
    delta = delta_of(log_of({"model": "m", "output_tokens": None, **fields}, {"kind": "tts"}))
    ((tenant, (told_of,)),) = delta.recent
    (call,) = latest_of([told_of.member(1)])
    assert (tenant, told_of.at_ms, call.at_ms) == ("default", NOW_MS, NOW_MS)
    assert (call.id, call.provider, call.model, call.agent) == ("e0", "openai", "m", "bot")
    assert (call.user, call.call_id, call.chat_id, call.error) == (
        "ann@x",
        "c",
        "chat",
        "rate_limited",
    )
    assert (call.input_tokens, call.output_tokens, call.latency_ms) == (5, None, 7)
    assert call.cost_nano_usd == 250_000_000
    assert b"title" not in told_of.data
    assert b"preview" not in told_of.data


def test_of_a_large_batch_only_what_can_stay_is_told() -> None:
    """One record a minute: it would be wrong to evict calls of an hour with the latest of them."""
    times_ms = [NOW_MS - n // 3 * 1000 for n in range(2 * RECENT_MAX)]
    random.Random(5).shuffle(times_ms)
    sent = [record(event(id=f"e{n}", time=iso(at_ms))) for n, at_ms in enumerate(times_ms)]
    ((_, records),) = delta_of(sent).recent
    calls = latest_of(one.member(1) for one in records)
    assert sum(one.calls for one in records) == len(calls) == RECENT_MAX
    assert [call.at_ms for call in calls] == sorted(times_ms)[-RECENT_MAX:]
    minutes = sorted({call.at_ms // MINUTE_MS for call in calls})
    assert [one.at_ms // MINUTE_MS for one in records] == minutes


# -- both stores -----------------------------------------------------------------------------------


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.servers)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_the_latest_calls_stay_and_the_others_go(
    kind: str, request: pytest.FixtureRequest
) -> None:
    records = [
        record(
            event(id=f"e{n}", tenant=("a", "b:{c}")[n % 2], time=iso(NOW_MS - n * 7 % 3001 * 1000))
        )
        for n in range(2 * RECENT_MAX + 400)
    ]
    random.Random(4).shuffle(records)
    users, calls = await after(kind, request, [records[:900], records[900:1500], records[1500:]])
    assert sorted(len(found) for found in calls.values()) == [RECENT_MAX, RECENT_MAX]
    assert_told(users, calls, expected(records))


@pytest.mark.servers
async def test_both_stores_evict_the_same_records(redis_url: str) -> None:
    """Of tenants with many calls a minute, and with few."""
    rng = random.Random(6)
    fake = FakeStore()
    async with RedisStore(redis_url) as store:
        subjects = [await told(fake), await told(store)]
        for number in range(40):
            sent = [
                record(event(id=f"e{number}-{n}", tenant=rng.choice("aaab"), time=iso(at_ms)))
                for n in range(100)
                for at_ms in (NOW_MS + (number - rng.choice((0, 0, 0, 9))) * rng.randrange(20_000),)
            ]
            for subject in subjects:
                await subject.tell(sent)
    records = read_records(redis_url)
    assert records == fake.state.recent
    held = {tenant: sum(count_in(m) for _, m in some) for tenant, some in records.items()}
    assert RECENT_MAX < held["a"] < 2 * RECENT_MAX  # of 3,000
    assert held["b"] >= 900


async def test_long_logs_tell_what_the_oracle_says(
    kind: str, request: pytest.FixtureRequest
) -> None:
    once = each_once(mixed(random.Random(9), 400))
    users, calls = await after(kind, request, cut(once, random.Random(1)))
    assert_told(users, calls, expected(once))


async def test_a_full_directory_tallies_whom_it_does_not_take(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.simulation.store.USERS_MAX", 2)
    monkeypatch.setattr("streams.redis.commit.directory.USERS_MAX", 2)
    four: list[dict[str, object]] = [{"user_id": f"u{n}", "user_name": "N"} for n in range(4)]
    known = log_of(*four)
    again = log_of({"id": "x", "user_id": "u0", "user_name": "M", "time": iso(NOW_MS + 1)})
    users, _ = await after(kind, request, [known, again], tallied=2)
    assert {key: word.name for (_, key), word in users.items()} == {"u0": "M", "u1": "N"}


def each_once(records: Sequence[Record]) -> list[Record]:
    """The first record of each event."""
    first = {}
    for one, polled in reversed(list(zip(records, as_polled(records), strict=True))):
        for wire in countable([polled]).wires:
            first[wire.tenant or "default", wire.source, wire.id] = one
    return list(first.values())


async def after(
    kind: str, request: pytest.FixtureRequest, batches: Iterable[Sequence[Record]], tallied: int = 0
) -> tuple[dict[tuple[str, str], UserUpdate], Calls]:
    """What the store knows once these batches were committed."""
    if kind == "fake":
        fake = FakeStore()
        subject = await told(fake)
        for batch in batches:
            await subject.tell(batch)
        assert fake.state.tallies.get("directory_full", 0) == tallied
        return fake.state.users, fake.state.latest_calls()
    url = request.getfixturevalue("redis_url")
    async with RedisStore(url) as store:
        subject = await told(store)
        for batch in batches:
            await subject.tell(batch)
        assert (await store.tallies()).get("directory_full", 0) == tallied
    return read_people(url), read_recent(url)


def test_limits_are_what_the_sums_say() -> None:
    word = UserUpdate("u" * 36, 1, 2, 3, "someone@example.com", 4, "Some One")
    assert USERS_MAX * (len(msgspec.json.encode(word)) + 80) < 25_000_000
