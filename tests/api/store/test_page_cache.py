"""What is kept between two reads: pages and sums that stand while nothing was added to their chunks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import redis

from api.query.plan import Question, Term, plan
from api.query.series_index import Filter
from api.store.page_cache import PAGES_BYTES_MAX, Page, PageCache
from api.store.reader import Store
from deploy.local.servers import Server
from deploy.local.valkey import url_of
from schemas.catalog.measures import COST_NANO_USD, EVENTS, LATENCY
from schemas.catalog.views import MODEL
from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.store.layout import PageKind, counters_of
from tests.api.counters import NOW_MS, TOPIC, Counters, Event, pack, version_key_of_page

LLM = (Filter("kind", frozenset(("llm",))),)
TERMS = (Term(EVENTS), Term(COST_NANO_USD))
MODELS = Question(TERMS, NOW_MS - 3 * DAY_MS, NOW_MS, NOW_MS, LLM, ("model",))
YESTERDAY = NOW_MS - DAY_MS


async def costs(store: Store, question: Question = MODELS, tenant: str = "acme") -> dict[str, int]:
    """By model, of one read with the whole, which must be their sum."""
    reading = await store.read(tenant, (plan(question), plan(replace(question, group_by=()))))
    models, (whole,) = reading.rows
    assert whole.values == tuple(
        sum(row.values[place] for row in models) for place in range(len(whole.values))
    )
    return {row.group[0]: row.values[1] for row in models}


def event(cost: int, at_ms: int = NOW_MS - HOUR_MS, **others: str) -> Event:
    return Event(at_ms, cost_nano_usd=cost, **{"model": "a", **others})  # type: ignore[arg-type]


def commands(client: redis.Redis) -> Mapping[str, int]:
    found = client.info("commandstats")
    names = {name.removeprefix("cmdstat_"): one["calls"] for name, one in found.items()}
    return {name: n for name, n in names.items() if name in {"mget", "getrange", "lrange", "get"}}


async def test_what_was_appended_is_all_that_is_read(redis_url: str, store: Store) -> None:
    log = [event(n) for n in range(1, 40)]
    pack(log, commits=1, compactions=0).write(redis_url)
    assert await costs(store) == {"a": sum(range(1, 40))}
    pack([*log, event(1000)], commits=2, compactions=0).write(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        client.config_resetstat()
        assert await costs(store) == {"a": sum(range(1, 40)) + 1000}
        found = commands(client)
        assert found["mget"] == 2
        assert found["getrange"] > 0
        client.config_resetstat()
        assert await costs(store) == {"a": sum(range(1, 40)) + 1000}
        assert commands(client) == {"mget": 1}


async def test_a_late_event_in_a_chunk_that_is_held_is_found(redis_url: str, store: Store) -> None:
    log = [event(1, YESTERDAY), event(2)]
    pack(log, compactions=0).write(redis_url)
    assert await costs(store) == {"a": 3}
    late = [*log, event(10, YESTERDAY + MINUTE_MS), event(20, YESTERDAY, model="b")]
    pack(late, commits=2, compactions=0).write(redis_url)
    assert await costs(store) == {"a": 13, "b": 20}
    old = replace(MODELS, from_ms=YESTERDAY - HOUR_MS, to_ms=YESTERDAY + HOUR_MS)
    assert await costs(store, old) == {"a": 11, "b": 20}


def compacted(counters: Counters, page_kinds: Mapping[str, PageKind]) -> Counters:
    """The same sums, one row a slot, shorter than they were."""
    import numpy as np

    for key, page in list(counters.texts.items()):
        page_kind = page_kinds.get(key.partition(":")[2].partition(":")[2].partition(".")[0])
        if page_kind is None or ":v" in key:
            continue
        rows = page_kind.rows_of(page)
        cells, inverse = np.unique(rows["slot"], return_inverse=True)
        made = np.zeros(len(cells), page_kind.dtype)
        made["slot"] = cells
        np.add.at(made["values"], inverse, rows["values"])
        counters.texts[key] = page_kind.packed(made)
    return counters


async def test_a_page_made_compact_between_two_reads_says_the_same(
    redis_url: str, store: Store
) -> None:
    """It is shorter, and then grows to what it was long before: only the version tells."""
    page_kinds = {f"p{t.id}": counters_of(t) for v in (MODEL,) for t in v.tables.values()}
    log = [event(n) for n in range(1, 9)]
    pack(log, compactions=0).write(redis_url)
    assert await costs(store) == {"a": 36}
    more = [event(100, NOW_MS - HOUR_MS - n * MINUTE_MS) for n in range(7)]
    compact = compacted(pack(log, commits=2, compactions=1), page_kinds)
    compact.write(redis_url)
    assert await costs(store) == {"a": 36}
    grown = pack([*log, *more], commits=3, compactions=2)
    compacted(grown, page_kinds).write(redis_url)
    assert await costs(store) == {"a": 736}


async def test_another_generation_keeps_nothing_of_the_one_before(
    redis_url: str, store: Store
) -> None:
    """The switch after a rebuild: as many commits, pages of the same length, other sums."""
    pack([event(5)], commits=4, compactions=0).write(redis_url)
    assert await costs(store) == {"a": 5}
    pack([event(6)], generation=2, commits=4, compactions=0).write(redis_url)
    assert await costs(store) == {"a": 6}


async def test_an_older_copy_with_as_many_commits_keeps_nothing(own_valkey: Server) -> None:
    """Redis came back from an older copy and went on to the very versions that were known: that it is
    another process tells."""
    redis_url = url_of(own_valkey)
    store = Store(redis_url, TOPIC)
    try:
        pack([event(5)], commits=4, compactions=0).write(redis_url)
        assert await costs(store) == {"a": 5}
        own_valkey.kill()
        own_valkey.restart()
        pack([event(7)], commits=4, compactions=0).write(redis_url)
        assert await costs(store) == {"a": 7}
    finally:
        await store.close()


async def test_a_store_that_went_back_keeps_nothing(redis_url: str, store: Store) -> None:
    pack([event(5), event(6)], commits=5, compactions=0).write(redis_url)
    assert await costs(store) == {"a": 11}
    pack([event(5)], commits=4, compactions=0).write(redis_url)
    assert await costs(store) == {"a": 5}


async def test_tenants_share_nothing_that_is_kept(redis_url: str, store: Store) -> None:
    log = [event(5), event(7, tenant="other"), event(9, tenant="other", model="b")]
    pack(log, compactions=0).write(redis_url)
    for _again in range(2):
        assert await costs(store) == {"a": 5}
        assert await costs(store, tenant="other") == {"a": 7, "b": 9}
        assert await costs(store, tenant="nobody") == {}
    pack([*log, event(50)], commits=2, compactions=0).write(redis_url)
    assert await costs(store, tenant="other") == {"a": 7, "b": 9}
    assert await costs(store) == {"a": 55}


async def test_sketches_are_as_of_the_same_instant(redis_url: str, store: Store) -> None:
    asked = replace(MODELS, terms=(Term(EVENTS), Term(LATENCY)))
    log = [replace(event(1), latency_ms=100 * n) for n in range(1, 30)]
    for count in (10, 11, 29):
        pack(log[:count], commits=count, compactions=0).write(redis_url)
        ((row,),) = (await store.read("acme", (plan(asked),))).rows
        (sketch,) = row.sketches
        assert row.values == (count,)
        assert int(sketch.counts.sum()) == count  # type: ignore[union-attr]


async def test_commits_as_fast_as_looks_hold_up_no_answer(redis_url: str, store: Store) -> None:
    """Part of what a question reads is held, of before; and before each look there is a commit."""
    log = [event(n, YESTERDAY + n * HOUR_MS, model=f"m{n % 3}") for n in range(1, 12)]
    pack(log, commits=1).write(redis_url)
    one = replace(MODELS, filters=(*LLM, Filter("model", frozenset(("m1",)))))
    assert len(await costs(store, one)) == 1
    await store.read("acme", (plan(replace(MODELS, group_by=())),))  # so that all names are known
    looks = 0
    read = store._connection.read

    async def committed_before(*asked: Any) -> list[Any]:
        nonlocal looks
        looks += 1
        pack(log, commits=1 + looks).write(redis_url)
        return await read(*asked)

    store._connection.read = committed_before  # type: ignore[method-assign]
    assert await costs(store) == {
        f"m{m}": sum(n for n in range(1, 12) if n % 3 == m) for m in range(3)
    }
    assert looks <= 3


def test_what_is_held_is_bounded_and_the_longest_unused_goes_first() -> None:
    cache = PageCache()
    page = Page(bytes(16), bytes(PAGES_BYTES_MAX // 4))
    for name in ("a", "b", "c"):
        cache.keep(name, {f"{name}.0": page})
    assert cache.pages_of("a")
    cache.keep("d", {"d.0": page})
    assert [bool(cache.pages_of(name)) for name in "abcd"] == [True, False, True, True]


async def test_sums_stand_while_others_are_counted(redis_url: str, store: Store) -> None:
    """Another chunk, another view, another tenant: the very same sums are given again."""
    log = [event(7, YESTERDAY), event(8, tenant="other")]
    old = replace(MODELS, from_ms=YESTERDAY - HOUR_MS, to_ms=YESTERDAY + HOUR_MS)
    pack(log, compactions=0).write(redis_url)
    (before,) = (await store.read("acme", (plan(old),))).sums
    counters = pack([*log, event(9), event(5, tenant="other")], commits=2, compactions=0)
    untouched = pack(log, compactions=0)
    for key, page in untouched.texts.items():
        if counters.texts[key] == page and version_key_of_page(key) in untouched.texts:
            counters.texts[version_key_of_page(key)] = untouched.texts[version_key_of_page(key)]
    counters.write(redis_url)
    reading = await store.read("acme", (plan(old),))
    assert reading.meta.commits == 2
    assert reading.sums[0] is before
    assert await costs(store) == {"a": 16}
