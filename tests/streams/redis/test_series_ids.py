"""The cache of ids of series: it asks for few names, and never returns an id of another epoch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalog.views import AGENT, MODEL
from streams.core.fold import Delta
from streams.redis import series_ids
from streams.redis.series_ids import Ids

TABLES = (MODEL.tables["llm"], AGENT.tables["llm"])
BATCH_MAX = 12

places = st.tuples(st.sampled_from(TABLES), st.sampled_from("ab"), st.integers(0, 40))
batches = st.lists(st.sets(places, min_size=1, max_size=BATCH_MAX), min_size=1, max_size=30)


def delta_of(batch: set[tuple[object, str, int]]) -> Delta:
    tenants = tuple(sorted({tenant for _, tenant, _ in batch}))
    series = sorted((TABLES.index(table), tenants.index(t), f"n{n}") for table, t, n in batch)
    return Delta(tenants, tuple((TABLES[table], t, n) for table, t, n in series), (), ())


class Said:
    """The store's part: an id for each name, and which were asked for."""

    def __init__(self) -> None:
        self._ids: dict[object, int] = {}

    def of(self, *scope: object) -> int:
        return self._ids.setdefault(scope, len(self._ids))

    def taught(self, ids: Ids, delta: Delta) -> int:
        """How many names it was asked for."""
        if not (asked := ids.missing(delta)):
            return 0
        said = [self.of(tenant) for tenant in delta.tenants]
        wanted = [(one.table.id, delta.tenants[one.tenant], n) for one in asked for n in one.names]
        ids.learn("epoch", len(self._ids), delta, asked, said + [self.of(*one) for one in wanted])
        return len(wanted)


@given(batches)
def test_cached_ids_are_those_of_the_store_and_few_are_cached(
    batches: list[set[tuple[object, str, int]]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(series_ids, "CACHED_NAMES_MAX", 20)
        ids, store = Ids(), Said()
        for batch in batches:
            delta = delta_of(batch)
            store.taught(ids, delta)
            resolved = ids.resolved(delta)
            for at, (table, tenant, name) in enumerate(delta.series):
                assert resolved.tenants[at] == store.of(delta.tenants[tenant])
                assert resolved.series[at] == store.of(table.id, delta.tenants[tenant], name)
            assert len(ids._cache) <= 2 * (20 + BATCH_MAX + 2)


def test_a_name_of_every_batch_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series_ids, "CACHED_NAMES_MAX", 20)
    ids, store = Ids(), Said()
    busy = {(TABLES[0], "a", n) for n in range(5)}
    asked = [store.taught(ids, delta_of(busy | {(TABLES[1], "a", 100 + n)})) for n in range(100)]
    assert asked == [6] + 99 * [1]
