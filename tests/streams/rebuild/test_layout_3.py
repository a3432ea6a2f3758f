"""Counters of layout 3 are carried over, its ids and bookings are not: they were made without a
secret.

`layout_3.json.gz` was recorded by the code of layout 3, on 2026-11-30: all keys of a generation that
counted a week, and the records from which on the log still holds them.
"""

from __future__ import annotations

import base64
import gzip
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import redis

from schemas.catalog.views import DEFAULT
from schemas.errors import RebuildRefused
from schemas.event.identity import SECRET_BYTES, new_secret
from schemas.prices.price_list import BUNDLED
from schemas.store.generation import LAYOUT_VERSION, describe, generation_digest
from schemas.store.layout import CURRENT_KEY, id_secret_key, prefix
from schemas.store.recent_calls import Recent
from schemas.tiers import HOUR, QUARTER, first_closed, floor_to
from streams.rebuild.carry_over import CarryOver, carry_over_before
from streams.rebuild.rebuild_worker import RebuildWorker
from streams.rebuild.report import RebuildResult
from streams.rebuild.shared_history import shared_with
from streams.redis.generations import GenerationEntry, RedisGenerations, RedisPair
from streams.worker.clock import ProcessClock
from tests.oracles.event_logs import Record
from tests.oracles.fold_oracle import Cell, expected
from tests.oracles.redis_counters import page_kinds_of, read_counters
from tests.oracles.redis_users import read_recent
from tests.streams.rebuild.test_carry_over import OLDER, TIMING, TOPIC, ListLog, as_older, kept

RECORDED: Final = Path(__file__).parent / "layout_3.json.gz"
NEW: Final = new_secret(bytes(range(7, 7 + SECRET_BYTES)))


@dataclass(frozen=True)
class Recording:
    """`begin`: the first offset of each partition that the log still holds."""

    begin: dict[int, int]
    records: list[Record]
    keys: dict[str, tuple[str, Any]]


@pytest.fixture(scope="module")
def recorded() -> Recording:
    said = json.loads(gzip.decompress(RECORDED.read_bytes()))
    records = [
        Record(
            partition,
            offset,
            append_ms,
            None if value is None else base64.b64decode(value),
            tuple((name, base64.b64decode(one)) for name, one in headers),
        )
        for partition, offset, append_ms, value, headers in said["records"]
    ]
    return Recording({int(p): at for p, at in said["begin"].items()}, records, said["keys"])


def restore(client: redis.Redis, recorded: Recording) -> None:
    binary = base64.b64decode
    for key, (kind, value) in recorded.keys.items():
        if kind == "string":
            client.set(key, binary(value))
        elif kind == "list":
            client.rpush(key, *map(binary, value))
        elif kind == "set":
            client.sadd(key, *map(binary, value))
        elif kind == "hash":
            client.hset(key, mapping={binary(name): binary(one) for name, one in value.items()})
        else:
            client.zadd(key, {binary(name): score for name, score in value.items()})
    client.set(CURRENT_KEY, "1")


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.mark.servers
async def test_a_rebuild_carries_counters_of_layout_3_over_and_leaves_its_ids(
    redis_url: str, client: redis.Redis, recorded: Recording
) -> None:
    restore(client, recorded)
    before = read_counters(redis_url, 1, OLDER, of_fixed_length=True)
    now_ms = time.time_ns() // 1_000_000
    first_ms = max(
        next(r.append_ms for r in recorded.records if (r.partition, r.offset) == at)
        for at in recorded.begin.items()
    )
    older_ms = carry_over_before(first_ms)
    entry = GenerationEntry(1, now_ms, older_ms, first_ms)
    digest = generation_digest(TOPIC)
    async with (
        RedisGenerations(redis_url) as generations,
        RedisPair(redis_url, 1, 2) as pair,
    ):
        assert (await generations.meta()) is not None
        assert not await generations.has_secret(1)
        about = await generations.about(1)
        assert '"layout":3' in about
        begin = [recorded.begin[p] for p in sorted(recorded.begin)]
        closed = first_closed(now_ms)
        assert await generations.begin(2, entry, digest, begin, 0, describe(TOPIC), NEW, closed)
        worker = RebuildWorker(
            ListLog(recorded.records, recorded.begin),
            pair,
            ProcessClock(),
            digest,
            pair,
            CarryOver(pair, shared_with(about), entry, now_ms),
            timing=TIMING,
            prices=BUNDLED,
        )
        await worker.fill_and_switch(0)
        assert await generations.meta() is not None
        assert generations.generation == 2
        assert await generations.secret() == NEW
    counted = expected(recorded.records, BUNDLED)
    want = {cell: values for cell, values in before.items() if cell[4] < older_ms}
    want |= hours_of(want)  # layout 3 has none: they are made from its quarter-hours
    later = as_older(counted.counters).items()
    want |= {cell: values for cell, values in later if cell[4] >= older_ms}
    got, wanted = kept(as_older(read_counters(redis_url, 2)), now_ms), kept(want, now_ms)
    got, wanted = (  # before that the generation has no hours (`Meta.hours_from_ms`)
        {c: v for c, v in found.items() if c[1] != HOUR.name or c[4] >= closed.quarters_ms}
        for found in (got, wanted)
    )
    wrong = {c: (got.get(c), wanted.get(c)) for c in got.keys() | wanted.keys()}
    wrong = {cell: pair for cell, pair in wrong.items() if pair[0] != pair[1]}
    assert not wrong, f"{len(wrong)} of {len(wanted)}: {dict([*wrong.items()][:5])}"
    days = [cell for cell in wanted if cell[1] == "1d"]
    assert sum(1 for cell in days if cell[4] < older_ms) > 50
    assert sum(1 for cell in days if cell[4] >= older_ms) > 50
    # Those that the log still has are priced again.
    assert without_costs(redis_url, 2) == without_costs(redis_url, 1)
    # Its ids and bookings are those of the log that is left, under the new secret.
    assert ids_of(client, 2) <= counted.accepted
    assert 0 < ids_of(client, 2) < ids_of(client, 1)
    assert all(b":" in field for field in fields_of_calls(client, 2))
    assert not any(b":" in field for field in fields_of_calls(client, 1))


def hours_of(counters: Mapping[Cell, tuple[int, ...]]) -> dict[Cell, tuple[int, ...]]:
    """The sums of quarter-hours. A digest of a set is there, or not."""
    found: dict[Cell, tuple[int, ...]] = {}
    for (view, tier, tenant, series, start_ms, *more), values in counters.items():
        if tier == QUARTER.name:
            cell = (view, HOUR.name, tenant, series, floor_to(start_ms, HOUR.bucket_ms), *more)
            total = zip(found.get(cell, (0,) * len(values)), values, strict=True)
            is_set = more and more[0] == "chats"
            found[cell] = values if is_set else tuple(a + b for a, b in total)
    return found


def without_costs(redis_url: str, generation: int) -> dict[str, list[Recent]]:
    """The latest calls of each tenant, all with cost 0."""
    return {
        tenant: [msgspec.structs.replace(call, cost_nano_usd=0) for call in calls]
        for tenant, calls in read_recent(redis_url, generation).items()
    }


@pytest.mark.servers
async def test_a_secret_that_is_lost_under_way_ends_the_rebuild(
    redis_url: str, client: redis.Redis, recorded: Recording
) -> None:
    """Else ids would be left behind, and nobody would be told."""
    restore(client, recorded)
    client.set(id_secret_key(1), NEW.packed)
    entry = GenerationEntry(1, 1, carry_over_before(1))
    digest = generation_digest(TOPIC)
    begin = [recorded.begin[p] for p in sorted(recorded.begin)]
    async with (
        RedisGenerations(redis_url) as generations,
        RedisPair(redis_url, 1, 2) as pair,
    ):
        assert await generations.begin(2, entry, digest, begin, 0, describe(TOPIC), None)
        assert await pair.shared_secret() == NEW
        client.delete(id_secret_key(1))
        carry_over = CarryOver(pair, shared_with(describe(TOPIC)), entry, 1)
        log = ListLog(recorded.records, recorded.begin)
        worker = RebuildWorker(
            log, pair, ProcessClock(), digest, pair, carry_over, timing=TIMING, prices=BUNDLED
        )
        with pytest.raises(RebuildRefused, match="generation 1 lost its secret"):
            await worker.fill_and_switch(0)
        await generations.meta()
        assert generations.generation == 1


def ids_of(client: Any, generation: int) -> int:
    keys = client.scan_iter(match=f"{prefix(generation)}i*")
    return sum(client.execute_command("SCARD", key) for key in keys)


def fields_of_calls(client: Any, generation: int) -> list[bytes]:
    keys = client.scan_iter(match=f"{prefix(generation)}c*")
    fields = [field for key in keys for field in client.execute_command("HKEYS", key)]
    assert fields
    return fields


@pytest.mark.parametrize(("since_ms", "says"), [(0, False), (1_790_000_000_000, True)])
def test_the_command_says_from_when_resends_are_recognised(since_ms: int, *, says: bool) -> None:
    result = RebuildResult(
        replaced=1, generation=2, resumed=False, events=3, older_ms=1_790_100_000_000,
        recognised_from_ms=since_ms, history_from_ms=0, hours_from_ms=0, missing=[],
        dropped_after_ms=1_790_200_000_000,
    )  # fmt: skip
    assert ("2026-09-21T14:13:20" in result.sentence()) is says
    assert ("counts again" in result.sentence()) is says


def test_layouts_from_3_on_can_be_carried_over() -> None:
    about = json.loads(describe(TOPIC))
    all_heads = {kind.head for table in DEFAULT.tables for kind in page_kinds_of(table)}
    for layout in range(3, LAYOUT_VERSION + 1):
        shared = shared_with(json.dumps(about | {"layout": layout}))
        assert not shared.missing
        assert shared.page_kinds.keys() == all_heads
    for layout in (2, LAYOUT_VERSION + 1):
        with pytest.raises(RebuildRefused, match=f"layout {layout}: only layouts 3 to"):
            shared_with(json.dumps(about | {"layout": layout}))
