"""All counters of one generation, read out of a real Redis by the layout of `schemas.store.layout`.

Tests compare them with the oracle, or with the fake store: cells as `tests.oracles.fold_oracle` has them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import add
from typing import Any, Final, cast

import msgspec
import redis

from schemas.catalog.measures import How
from schemas.catalog.sketches import MARK
from schemas.catalog.views import DEFAULT, TOTAL, Catalog, Table, View
from schemas.store import layout
from schemas.store.chats import (
    CHATS,
    Chat,
    days_key,
    model_key,
    records_key,
    unpack_chat,
    unpack_days,
    updates_key,
)
from schemas.store.chunk_version import ChunkVersion, unpack_chunk_version
from schemas.store.layout import (
    PageKind,
    counters_of,
    sketch_of,
)
from schemas.store.series_names import series_values
from schemas.tiers import ALL_CLOSED, SOURCES, TIERS, Closed, Tier
from streams.core.fold import Delta

Cell = tuple[Any, ...]
"""View, tier, tenant, the series' values in the view's order, start of the bucket in ms; of a
sketch also its name, and which bin or digest."""

AT: Final = 4
"""The place of the start of the bucket in a cell."""
CELL_OF_SUMS: Final = 5
"""So many parts has the cell of a sum; in that of a sketch its name comes next."""
_TIERS: Final = {tier.id: tier for tier in TIERS}


def page_kinds_of(table: Table) -> tuple[PageKind, ...]:
    """All kinds of pages that a table has."""
    own = (counters_of(table),) if table.measures else ()
    return (*own, *(sketch_of(table, sketch) for sketch in table.sketches))


def read_counters(
    redis_url: str,
    generation: int = layout.FIRST_GENERATION,
    catalog: Catalog = DEFAULT,
    *,
    of_fixed_length: bool = False,
) -> dict[Cell, tuple[int, ...]]:
    """Every row that is not all zeros. Read when nothing commits: the pages are not one snapshot."""
    with redis.Redis.from_url(redis_url) as client:
        tenants = _texts(client, layout.tenants_list_key(generation))
        record = cast("bytes | None", client.get(layout.meta_key(generation)))
        closed = layout.unpack_meta(record).closed if record else ALL_CLOSED
        names = {
            (table.id, tenant_id): [
                series_values(name)
                for name in _texts(client, layout.names_list_key(generation, table, tenant_id))
            ]
            for table in catalog.tables
            for tenant_id in range(len(tenants))
        }
        pages: list[tuple[str, bytes]] = []
        for page_kind in (f for table in catalog.tables for f in page_kinds_of(table)):
            head = f"{layout.prefix(generation)}{page_kind.head}."
            keys = sorted(client.scan_iter(match=f"{head}*", count=10_000))
            places = [key.decode().removeprefix(layout.prefix(generation)) for key in keys]
            pages += zip(places, client.mget(keys) if keys else (), strict=True)
    return counters_in(pages, tenants, names, catalog, closed, of_fixed_length=of_fixed_length)


def read_id_counts(
    redis_url: str, generation: int = layout.FIRST_GENERATION
) -> dict[int, Counter[str]]:
    """How many ids each tenant has, by slice. Checks that they are as many as there are in the sets."""
    found: dict[int, Counter[str]] = {}
    stem = layout.prefix(generation)
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(match=f"{stem}q.ids.*", count=10_000):
            counts = client.hgetall(key).items()
            slice_ = int(key.rpartition(b".")[2])
            found[slice_] = Counter({tenant.decode(): int(n) for tenant, n in counts})
        stored: Counter[int] = Counter()
        for key in client.scan_iter(match=f"{stem}i*", count=10_000):
            slice_, _ = key.decode().removeprefix(f"{stem}i").split(".")
            stored[int(slice_)] += client.scard(key)
    assert {slice_: counts.total() for slice_, counts in found.items()} == stored
    return found


def counters_in(
    pages: Iterable[tuple[str, bytes]],
    tenants: Sequence[str],
    names: Mapping[tuple[int, int], Sequence[tuple[str, ...]]],
    catalog: Catalog,
    closed: Closed,
    *,
    of_fixed_length: bool = False,
) -> dict[Cell, tuple[int, ...]]:
    """Every row that is not all zeros, with those of coarser tiers that are not whole yet made from finer
    ones; of pages by their place (`head.tier.chunk.tenant.page`).
    `names`: of each table and tenant."""
    page_kinds = {f.head: f for table in catalog.tables for f in page_kinds_of(table)}
    alike: dict[object, list[tuple[PageKind, str, bytes]]] = {}
    for place, page in pages:
        page_kind = page_kinds[place.rsplit(".", 4)[0]]
        alike.setdefault((page_kind.sketch, page_kind.table.measures), []).append(
            (page_kind, place, page)
        )
    found: dict[PageKind, dict[Cell, tuple[int, ...]]] = {}
    for own in alike.values():  # many small reads would take most of a simulated run
        rows, owner = own[0][0].rows_of_all(
            [page for _, _, page in own], of_fixed_length=of_fixed_length
        )
        places = [tuple(map(int, place.rsplit(".", 4)[1:])) for _, place, _ in own]
        slots, contents = rows["slot"].tolist(), _contents(own[0][0], rows)
        for at, slot, (more, values) in zip(owner.tolist(), slots, contents, strict=True):
            page_kind = own[at][0]
            tier_id, chunk, tenant_id, number = places[at]
            tier = _TIERS[tier_id]
            in_page, bucket = divmod(slot, layout.SLOT_BUCKETS)
            start_ms = chunk * tier.chunk_ms + bucket * tier.bucket_ms
            series = number * page_kind.page_series + in_page
            of = names[page_kind.table.id, tenant_id][series]
            cell = _cell(page_kind.table, tier, tenants[tenant_id], of, start_ms, more)
            cells = found.setdefault(page_kind, {})
            cells[cell] = _plus(page_kind, cells.get(cell), values)
    counters: dict[Cell, tuple[int, ...]] = {}
    for page_kind, cells in found.items():
        counters |= _whole(page_kind, cells, closed)
    return {cell: values for cell, values in counters.items() if any(values)}


def sums_since(
    counters: Mapping[Cell, tuple[int, ...]], view: View, from_ms: int
) -> tuple[Counter[Cell], Counter[Cell]]:
    """The sums of a view in the buckets since an instant, by kind, tier, tenant, bucket and measure; and
    what the total has of the same measures. A view that lacks no event has the same."""
    found: tuple[Counter[Cell], Counter[Cell]] = Counter(), Counter()
    for cell, values in counters.items():
        if cell[0] not in {view.name, TOTAL.name} or len(cell) > CELL_OF_SUMS or cell[AT] < from_ms:
            continue
        of = found[cell[0] == TOTAL.name]
        kind = cell[3][0]
        own = (TOTAL if cell[0] == TOTAL.name else view).tables[kind]
        for measure, value in zip(own.measures, values, strict=True):
            if measure in view.tables[kind].measures and value:
                of[cell[1], cell[2], kind, cell[AT], measure.name] += value
    return found


def _whole(
    page_kind: PageKind, cells: Mapping[Cell, tuple[int, ...]], closed: Closed
) -> dict[Cell, tuple[int, ...]]:
    """The cells of one page kind, each tier complete: from the finer tier where that is not closed."""
    of_tier: dict[str, dict[Cell, tuple[int, ...]]] = {tier.name: {} for tier in TIERS}
    for cell, values in cells.items():
        of_tier[cell[1]][cell] = values
    for tier in page_kind.tiers:
        edge_ms = closed.whole_before(tier, page_kind.tiers)
        if edge_ms is None:
            continue
        own = {c: values for c, values in of_tier[tier.name].items() if c[AT] < edge_ms}
        for cell, values in of_tier[SOURCES[tier].name].items():
            if cell[AT] >= edge_ms:
                start_ms = cell[AT] - cell[AT] % tier.bucket_ms
                coarse = (cell[0], tier.name, *cell[2:AT], start_ms, *cell[AT + 1 :])
                own[coarse] = _plus(page_kind, own.get(coarse), values)
        of_tier[tier.name] = own
    return {cell: values for own in of_tier.values() for cell, values in own.items()}


def read_chunk_versions(
    redis_url: str, generation: int = layout.FIRST_GENERATION
) -> dict[tuple[str, str], ChunkVersion]:
    """By their keys without the tenant's id, and the tenant."""
    with redis.Redis.from_url(redis_url) as client:
        keys = sorted(client.scan_iter(match=f"{layout.prefix(generation)}v*", count=10_000))
        found = client.mget(keys) if keys else []
        tenants = _texts(client, layout.tenants_list_key(generation))
    read = zip(keys, found, strict=True)
    return named_chunk_versions(
        ((k.decode(), unpack_chunk_version(chunk_version)) for k, chunk_version in read),
        tenants,
    )


def named_chunk_versions(
    chunk_versions: Iterable[tuple[str, ChunkVersion]], tenants: Sequence[str]
) -> dict[tuple[str, str], ChunkVersion]:
    named = {}
    for key, chunk_version in chunk_versions:
        stem, _, tenant = key.rpartition(".")
        named[stem, tenants[int(tenant)]] = chunk_version
    return named


def read_chats(redis_url: str) -> dict[tuple[str, str], Chat]:
    """By tenant and id; the sets of models hold the same chats, and the days no others."""
    found: dict[tuple[str, str], Chat] = {}
    head = records_key("")
    with redis.Redis.from_url(redis_url) as client:
        keys = list(client.scan_iter(match=f"{CHATS}d:*"))
        dated = {key.decode(): client.hgetall(key) for key in keys}
        for key in client.scan_iter(match=f"{head}*"):
            tenant = key.decode().removeprefix(head)
            last_ms = dict(client.zrange(updates_key(tenant), 0, -1, withscores=True))
            records = client.hgetall(key)
            assert set(records) == set(last_ms)
            for chat_id, record in records.items():
                chat = unpack_chat(chat_id.decode(), int(last_ms[chat_id]), record)
                days = tuple(
                    (model, unpack_days(dated[days_key(tenant, model)][chat_id]))
                    for model in chat.models
                    if chat_id in dated.get(days_key(tenant, model), {})
                )
                found[tenant, chat.id] = msgspec.structs.replace(chat, days=days)
        listed = {
            (key.decode(), member.decode())
            for key in client.scan_iter(match=f"{CHATS}m:*")
            for member in client.smembers(key)
        }
    assert sum(map(len, dated.values())) == sum(len(chat.days) for chat in found.values())
    assert listed == {
        (model_key(tenant, model), chat.id)
        for (tenant, _), chat in found.items()
        for model in chat.models
    }
    return found


def cells_of(delta: Delta) -> Iterator[tuple[Cell, tuple[int, ...]]]:
    """The additions of a commit, in the same form."""
    for page_kind, tier, runs, rows in delta.parts:
        place = 0
        for slot, chunk, count in runs.tolist():
            table, tenant, name = delta.series[slot]
            of = series_values(name)
            own = rows[place : place + count]
            for bucket, (more, values) in zip(
                own["slot"].tolist(), _contents(page_kind, own), strict=True
            ):
                start_ms = chunk * tier.chunk_ms + bucket * tier.bucket_ms
                yield _cell(table, tier, delta.tenants[tenant], of, start_ms, more), values
            place += count


def _cell(  # every part of a cell
    table: Table, tier: Tier, tenant: str, of: tuple[str, ...], start_ms: int, more: tuple[Any, ...]
) -> Cell:
    return (table.view.name, tier.name, tenant, (table.kind, *of), start_ms, *more)


def _plus(
    page_kind: PageKind, before: tuple[int, ...] | None, values: tuple[int, ...]
) -> tuple[int, ...]:
    is_set = page_kind.sketch is not None and page_kind.sketch.how is How.DISTINCT
    if before is None or is_set:
        return values
    return tuple(map(add, before, values))


def _texts(client: redis.Redis, key: str) -> list[str]:
    return [name.decode() for name in cast("list[bytes]", client.lrange(key, 0, -1))]


def _contents(page_kind: PageKind, rows: Any) -> Iterator[tuple[tuple[Any, ...], tuple[int, ...]]]:
    """Of each row, what its cell has beside series and time, and its values."""
    sketch = page_kind.sketch
    if sketch is None:
        for values in rows["values"].tolist():
            yield (), tuple(values)
    elif sketch.how is How.HISTOGRAM:
        for bin_, count in zip(rows["bin"].tolist(), rows["count"].tolist(), strict=True):
            yield (sketch.name, bin_), (count,)
    else:
        for digest in rows["digest"].tolist():
            assert digest < MARK, "a sampled set: too many for the oracle"
            yield (sketch.name, digest), (1,)
