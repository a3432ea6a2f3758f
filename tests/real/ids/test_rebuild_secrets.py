"""Which secret and which ids the next generation gets, on real servers: `odometer rebuild` chooses."""

from __future__ import annotations

from typing import Any, Final

import pytest
import redis

from schemas.catalog.views import DEFAULT
from schemas.event.identity import IdSecret, unpack_secret
from schemas.prices.price_list import BUNDLED
from schemas.store.generation import LAYOUT_VERSION
from schemas.store.layout import about_key, counters_of, id_secret_key, prefix
from schemas.units import iso
from streams.rebuild.carry_over import carry_over_before
from streams.rebuild.command import rebuild
from streams.rebuild.report import RebuildResult
from streams.redis.generations import RedisGenerations
from tests.oracles.event_logs import event
from tests.real.harness.system import System
from tests.real.harness.topics import Sent, cut, ends_of, now_ms, read_log, sent

pytestmark = pytest.mark.servers

EVENTS: Final = 200


def records(first: int, count: int) -> list[Sent]:
    at = iso(now_ms())
    return [sent(event(id=f"e{n}", time=at)) for n in range(first, first + count)]


async def counted_and_cut(system: System, *, starts: bool) -> list[Sent]:
    """Events that were counted; with `starts`, the topic no longer holds the first half of them."""
    system.worker()
    first = records(0, EVENTS)
    async with system.load() as load:
        await load.send(first)
    await system.caught_up()
    system.workers.pop().kill()
    if starts:
        ends = await ends_of(system.settings.kafka, system.topic)
        await cut(system.settings.kafka, system.topic, {p: end // 2 for p, end in ends.items()})
    return first


def secret_of(client: Any, generation: int) -> IdSecret | None:
    data = client.get(id_secret_key(generation))
    return None if data is None else unpack_secret(data)


def ids_of(client: Any, generation: int) -> int:
    keys = client.scan_iter(match=f"{prefix(generation)}i*")
    return sum(client.scard(key) for key in keys)


def as_layout_3(client: Any) -> None:
    """Generation 1 without a secret, with rows of fixed length, and so described. (Its ids mean nothing
    now either.)"""
    client.delete(id_secret_key(1))
    about, layout = client.get(about_key(1)), f'"layout":{LAYOUT_VERSION}'.encode()
    assert layout in about
    client.set(about_key(1), about.replace(layout, b'"layout":3'))
    for page_kind in (counters_of(table) for table in DEFAULT.tables if table.measures):
        for key in client.scan_iter(match=f"{prefix(1)}{page_kind.head}.*", count=10_000):
            client.set(key, page_kind.rows_of(client.get(key)).tobytes(), keepttl=True)


async def rebuilt(system: System) -> RebuildResult:
    settings = system.settings
    done = await rebuild(
        settings.kafka, settings.redis, system.topic, BUNDLED, 60_000, lambda _: None
    )
    system.generation = done.generation
    return done


async def first_held_ms(system: System) -> int:
    """The latest of the partitions' first append times."""
    log = await read_log(system.settings.kafka, system.topic)
    return max({r.partition: r.append_ms for r in reversed(log)}.values())


async def duplicates_of(system: System, again: list[Sent]) -> int:
    """How many of these a worker then takes for duplicates."""
    system.worker()
    async with system.load() as load:
        await load.send(again)
    await system.caught_up()
    async with system.store() as store:
        await store.meta()
        return (await store.tallies()).get("duplicate", 0)


async def test_a_topic_that_holds_all_records_gives_a_new_secret(system: System) -> None:
    first = await counted_and_cut(system, starts=False)
    done = await rebuilt(system)
    assert (done.older_ms, done.recognised_from_ms) == (0, 0)
    assert "recognised" not in done.sentence()
    with redis.Redis.from_url(system.settings.redis) as client:
        old, new = secret_of(client, 1), secret_of(client, 2)
        assert ids_of(client, 2) == EVENTS
    assert old
    assert new
    assert (old.name, old.key) != (new.name, new.key)
    assert old.key != new.key
    assert await duplicates_of(system, first) == EVENTS


async def test_ids_that_are_copied_keep_their_secret(system: System) -> None:
    first = await counted_and_cut(system, starts=True)
    done = await rebuilt(system)
    assert done.older_ms == carry_over_before(await first_held_ms(system))
    assert done.recognised_from_ms == 0
    with redis.Redis.from_url(system.settings.redis) as client:
        assert secret_of(client, 1) == secret_of(client, 2) is not None
        assert ids_of(client, 2) == EVENTS
    assert await duplicates_of(system, first) == EVENTS


@pytest.mark.parametrize("layout", [3, 4])
async def test_without_a_secret_only_ids_in_the_topic_are_known_and_the_command_says_since_when(
    system: System, layout: int
) -> None:
    """Of layout 3, or where Redis lost the key."""
    first = await counted_and_cut(system, starts=True)
    with redis.Redis.from_url(system.settings.redis) as client:
        as_layout_3(client) if layout == 3 else client.delete(id_secret_key(1))
    since_ms = await first_held_ms(system)
    held = len(await read_log(system.settings.kafka, system.topic))
    done = await rebuilt(system)
    assert (done.older_ms, done.recognised_from_ms) == (carry_over_before(since_ms), since_ms)
    assert f"Resends are recognised from {iso(since_ms)} on." in done.sentence()
    with redis.Redis.from_url(system.settings.redis) as client:
        assert secret_of(client, 2) is not None
        assert ids_of(client, 2) == held < EVENTS
    async with RedisGenerations(system.settings.redis) as generations:
        assert (await generations.entries())[2].recognised_from_ms == since_ms
    assert await duplicates_of(system, first) == held
