"""The store reader on a real Valkey: names that grow, generations, other histories, absence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
import redis
import uvloop

from api.agentlens.analytics import MEASURES
from api.errors import CountersMissing, LargeAnswersBusy
from api.query.plan import Question, Term, plan
from api.query.series_index import Filter
from api.store import reader
from api.store.connection import CONNECTIONS_MAX
from api.store.reader import READS_MAX, Reading, Store
from api.store.slots import QUESTIONS
from api.store.snapshot import NOTHING, Snapshot, SnapshotReader, Tail
from deploy.local.servers import Server, free_port
from deploy.local.valkey import url_of
from schemas.catalog.views import MODEL, TOTAL
from schemas.errors import InvalidConfig, StoreCorrupt, StoreFull, StoreUnavailable
from schemas.limits import DAY_MS, HOUR_MS
from schemas.store.generation import generation_digest
from schemas.store.layout import CURRENT_KEY, meta_key, names_list_key
from tests.api.counters import NOW_MS, TOPIC, Event, clear_caches, pack, page_keys
from tests.chaos.proxy import Proxy
from tests.servers import url_as

DIGEST = generation_digest(TOPIC)
RESETS = 50
"""Which of its two ends sees the reset first is luck."""
TERMS = tuple(Term(measure) for measure in MEASURES)
LLM = (Filter("kind", frozenset(("llm",))),)
WHOLE = Question(TERMS, NOW_MS - DAY_MS, NOW_MS, NOW_MS, LLM)
MODELS = Question(TERMS, NOW_MS - DAY_MS, NOW_MS, NOW_MS, LLM, ("model",))


@asynccontextmanager
async def store_at(redis_url: str, topic: str = TOPIC) -> AsyncIterator[Store]:
    store = Store(redis_url, topic)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    async with store_at(redis_url) as store:
        yield store


async def calls_by_model(store: Store, tenant: str = "acme") -> dict[str, int]:
    """Of one read: the whole must be the sum of its models."""
    reading = await store.read(tenant, (plan(WHOLE), plan(MODELS)))
    (whole,), models = reading.rows
    assert whole.values[0] == sum(row.values[0] for row in models)
    return {row.group[0]: row.values[0] for row in models}


def calls(*models: str, tenant: str = "acme") -> list[Event]:
    return [Event(NOW_MS - HOUR_MS, model=model, tenant=tenant) for model in models]


async def test_series_that_are_named_later_are_found(redis_url: str, store: Store) -> None:
    pack(calls("a")).write(redis_url)
    assert await calls_by_model(store) == {"a": 1}
    pack(calls("a", "b", "b"), commits=2).write(redis_url)
    assert await calls_by_model(store) == {"a": 1, "b": 2}
    pack(calls("a", "b", "c", "a"), commits=3).write(redis_url)
    assert await calls_by_model(store) == {"a": 2, "b": 1, "c": 1}


async def test_a_tenant_that_comes_later_is_found(redis_url: str, store: Store) -> None:
    pack(calls("a")).write(redis_url)
    assert await calls_by_model(store, "new") == {}
    log = [*calls("a"), *calls("x", tenant="new")]
    pack(log, commits=2).write(redis_url)
    assert await calls_by_model(store, "new") == {"x": 1}
    assert await calls_by_model(store, "acme") == {"a": 1}


async def test_what_is_known_is_not_asked_again(redis_url: str, store: Store) -> None:
    pack(calls("a", "b")).write(redis_url)
    await calls_by_model(store)
    with redis.Redis.from_url(redis_url) as client:
        client.config_resetstat()
        await calls_by_model(store)
        commands = client.info("commandstats")
    beside = {"cmdstat_config|resetstat", "cmdstat_info", "cmdstat_hgetall"}  # every 2 s: evictions
    assert set(commands) - beside == {"cmdstat_mget"}
    assert commands["cmdstat_mget"]["calls"] == 1


async def test_another_generation_is_read_anew(redis_url: str, store: Store) -> None:
    pack(calls("a")).write(redis_url)
    assert await calls_by_model(store) == {"a": 1}
    pack(calls("z", "y"), generation=2).write(redis_url)
    assert await calls_by_model(store) == {"z": 1, "y": 1}


async def test_counters_that_were_made_anew_are_read_anew(redis_url: str, store: Store) -> None:
    pack(calls("a"), commits=5).write(redis_url)
    assert await calls_by_model(store) == {"a": 1}
    pack(calls("z"), commits=9, created_ms=NOW_MS).write(redis_url)
    assert await calls_by_model(store) == {"z": 1}


async def test_a_store_that_went_back_is_read_anew(redis_url: str, store: Store) -> None:
    pack(calls("a", "b"), commits=5).write(redis_url)
    assert await calls_by_model(store) == {"a": 1, "b": 1}
    pack(calls("a", "c"), commits=4).write(redis_url)
    assert await calls_by_model(store) == {"a": 1, "c": 1}


async def test_a_redis_that_came_back_with_other_names_is_read_anew(own_valkey: Server) -> None:
    """It went back and forward again while nobody asked: as many names, as many commits, but the
    same id is another series now. Nothing in the counters tells; that it is another process does."""
    redis_url = url_of(own_valkey)
    async with store_at(redis_url) as store:
        pack(calls("a", "b"), commits=5).write(redis_url)
        assert await calls_by_model(store) == {"a": 1, "b": 1}
        own_valkey.kill()
        own_valkey.restart()
        pack(calls("a", "c"), commits=5).write(redis_url)
        assert await calls_by_model(store) == {"a": 1, "c": 1}


async def test_an_empty_redis_is_not_zero(store: Store) -> None:
    with pytest.raises(CountersMissing, match="no worker has started"):
        await calls_by_model(store)


async def test_a_generation_without_its_meta_is_not_zero(redis_url: str, store: Store) -> None:
    pack(calls("a")).write(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        client.delete(meta_key(1))
    with pytest.raises(CountersMissing, match="no meta record"):
        await calls_by_model(store)


async def test_counters_that_vanish_are_not_zero(redis_url: str, store: Store) -> None:
    pack(calls("a")).write(redis_url)
    assert await calls_by_model(store) == {"a": 1}
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    with pytest.raises(CountersMissing):
        await calls_by_model(store)
    pack(calls("b")).write(redis_url)
    assert await calls_by_model(store) == {"b": 1}


async def test_counters_of_another_log_are_refused(redis_url: str) -> None:
    pack(calls("a"), topic="other.events").write(redis_url)
    async with store_at(redis_url) as store:
        with pytest.raises(CountersMissing, match="other limits, views or topic"):
            await calls_by_model(store)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (CURRENT_KEY, b"one"),
        (meta_key(1), b"ODO1"),
        (meta_key(1), b"\0" * 96),
        (names_list_key(1, MODEL.tables["llm"], 0), b"not a list"),
        (names_list_key(1, TOTAL.tables["llm"], 0), b"not a list"),
    ],
)
async def test_what_is_not_ours_is_an_error(
    redis_url: str, store: Store, key: str, text: bytes
) -> None:
    counters = pack(calls("a"))
    counters.lists.pop(key, None)
    counters.texts[key] = text
    counters.write(redis_url)
    with pytest.raises(StoreCorrupt):
        await calls_by_model(store)


async def test_many_at_once_learn_the_names_once_each(redis_url: str, store: Store) -> None:
    pack(calls(*"abcdefgh")).write(redis_url)
    many = QUESTIONS.of_tenant_max or 0
    found = await asyncio.gather(*[calls_by_model(store) for _ in range(many)])
    assert found == [dict.fromkeys("abcdefgh", 1)] * many
    pack(calls(*"abcdefghijkl"), commits=2).write(redis_url)
    found = await asyncio.gather(*[calls_by_model(store) for _ in range(many)])
    assert found == [dict.fromkeys("abcdefghijkl", 1)] * many
    with redis.Redis.from_url(redis_url) as client:
        assert client.info("clients")["connected_clients"] <= CONNECTIONS_MAX + 1


async def test_reads_at_the_same_time_are_one_and_each_has_its_own_pages(
    redis_url: str, store: Store
) -> None:
    each = [f"m{n}" for n in range(QUESTIONS.of_tenant * MODEL.page_series)]
    names = each[:: MODEL.page_series]  # no two of them share a page
    pack(calls(*each)).write(redis_url)
    await calls_by_model(store)
    clear_caches(store)

    async def pages(name: str) -> set[str]:
        asked = replace(MODELS, filters=(*LLM, Filter("model", frozenset((name,)))))
        reading = await store.read("acme", (plan(asked),))
        ((row,),) = reading.rows
        assert (row.group, row.values[0]) == ((name,), 1)
        return set(page_keys([one.selection for one in reading.sums]))

    with redis.Redis.from_url(redis_url) as client:
        client.config_resetstat()
        own = await asyncio.gather(*[pages(name) for name in names])
        assert client.info("commandstats")["cmdstat_mget"]["calls"] == 1
    assert not any(one & other for one, other in combinations(own, 2))


async def test_every_read_is_of_one_instant(redis_url: str, store: Store) -> None:
    """A writer adds a model a commit, all in one step; no read sees a part of a commit. Between two
    commits, which are five times as close as those of a worker, a read has time for a try."""
    names = [f"m{n}" for n in range(30)]
    states = [pack(calls(*names[:n]), commits=n) for n in range(1, len(names) + 1)]
    states[0].write(redis_url)

    async def write() -> None:
        for state in states:
            await asyncio.to_thread(state.write, redis_url)
            await asyncio.sleep(0.01)

    writer = asyncio.create_task(write())
    sizes = []
    while not writer.done():
        sizes.append(len(await calls_by_model(store)))
    await writer
    assert sizes == sorted(sizes)
    assert await calls_by_model(store) == dict.fromkeys(names, 1)


async def test_series_that_are_named_before_each_snapshot_do_not_keep_a_question_waiting(
    redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As new users come all the time, and the machine is busy."""
    names = [f"m{n}" for n in range(2 * MODEL.page_series + 40)]
    first = 2 * MODEL.page_series - 2  # those that come begin new pages
    states = [pack(calls(*names[:n]), commits=n) for n in range(len(names) + 1)]
    states[first].write(redis_url)
    later = iter(states[first + 1 :])
    read = SnapshotReader.read

    async def read_later(
        self: SnapshotReader,
        keys: Iterable[str],
        tails: Iterable[Tail] = (),
        bytes_max: Mapping[str, int] = NOTHING,
    ) -> Snapshot | None:
        for _commit in range(3):
            next(later).write(redis_url)
        return await read(self, keys, tails, bytes_max)

    monkeypatch.setattr(SnapshotReader, "read", read_later)
    for _question in range(2):
        reading = await store.read("acme", (plan(MODELS),))
        assert len(reading.rows[0]) == reading.meta.commits
        assert {row.group[0] for row in reading.rows[0]} == {*names[: reading.meta.commits]}


async def test_an_answer_that_takes_too_long_leaves_the_caches(
    redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis is well. Without the caches, all further answers would take longer."""
    pack(calls("a")).write(redis_url)
    await calls_by_model(store)
    state = store._state
    with monkeypatch.context() as patch:
        patch.setattr(reader, "READ_S", 0.0)
        with pytest.raises(LargeAnswersBusy, match="not read within"):
            await calls_by_model(store)
    assert store._state is state
    assert await calls_by_model(store) == {"a": 1}


class Restless(Store):
    """A store that sees another history at each read."""

    reads = 0

    async def _read_once(self, *arguments: Any) -> Reading | None:
        self.reads += 1
        await super()._read_once(*arguments)
        return None


async def test_counters_that_never_hold_still_end_in_an_error(redis_url: str) -> None:
    pack(calls("a")).write(redis_url)
    store = Restless(redis_url, TOPIC)
    with pytest.raises(StoreUnavailable, match="changed under each of 8 reads"):
        await calls_by_model(store)
    await store.close()
    assert store.reads == READS_MAX == 8


async def test_nobody_there_is_unavailable() -> None:
    async with store_at(f"redis://127.0.0.1:{free_port()}/0") as store:
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await calls_by_model(store)


async def test_a_redis_that_hangs_is_unavailable_in_time(own_valkey: Server) -> None:
    redis_url = url_of(own_valkey)
    pack(calls("a")).write(redis_url)
    async with store_at(redis_url) as store:
        assert await calls_by_model(store) == {"a": 1}
        own_valkey.pause()
        started = asyncio.get_running_loop().time()
        with pytest.raises(StoreUnavailable):
            await calls_by_model(store)
        assert asyncio.get_running_loop().time() - started < 4
        own_valkey.resume()
        assert await calls_by_model(store) == {"a": 1}


def test_a_connection_that_was_reset_is_made_anew_under_uvloop_too(
    valkey: Server, redis_url: str
) -> None:
    """As the API runs: there a write to such a connection is a RuntimeError of the loop."""
    proxy = Proxy(free_port(), valkey.port)
    proxy.start()
    pack(calls("gpt-4o")).write(redis_url)

    async def read_after_resets() -> None:
        async with store_at(redis_url.replace(f":{valkey.port}/", f":{proxy.port}/")) as store:
            for _reset in range(RESETS):
                assert await calls_by_model(store) == {"gpt-4o": 1}
                proxy.reset()

    try:
        uvloop.run(read_after_resets())
    finally:
        proxy.stop()


async def test_a_full_redis_says_so(redis_url: str, store: Store) -> None:
    with redis.Redis.from_url(redis_url) as client:
        before = client.config_get("maxmemory")["maxmemory"]
        client.config_set("maxmemory", "1")
        try:
            with pytest.raises(StoreFull):
                await store.ask("SET", "{od0}:any", b"b")
        finally:
            client.config_set("maxmemory", before)


async def test_a_user_who_may_not_ask_for_the_process_can_still_read(redis_url: str) -> None:
    pack(calls("a")).write(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        client.acl_setuser(
            "reader", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@read"]
        )
        try:
            async with store_at(url_as("reader:pw", redis_url)) as store:
                assert await calls_by_model(store) == {"a": 1}
            async with store_at(url_as("reader:no", redis_url)) as store:
                with pytest.raises(StoreUnavailable):
                    await calls_by_model(store)
        finally:
            client.acl_deluser("reader")


@pytest.mark.parametrize("url", ["", "localhost:6379", "http://localhost", "redis://h:port"])
def test_a_url_that_cannot_be_used_is_a_sentence(url: str) -> None:
    with pytest.raises(InvalidConfig, match="Redis URL"):
        Store(url, TOPIC)


async def test_counters_made_with_other_prices_are_read_all_the_same(redis_url: str) -> None:
    pack(calls("gpt-4o"), prices="others").write(redis_url)
    for topic, is_read in ((TOPIC, True), ("another", False)):
        async with store_at(redis_url, topic) as store:
            if is_read:
                assert await calls_by_model(store) == {"gpt-4o": 1}
                continue
            with pytest.raises(CountersMissing):
                await calls_by_model(store)
