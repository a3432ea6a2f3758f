"""The promises that the simulation checks, against the oracle, while it runs and at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from schemas.store.layout import Meta
from tests.oracles.fold_oracle import Oracle, without_previews
from tests.oracles.price_list import OWN
from tests.oracles.redis_counters import Cell, sums_since
from tests.oracles.redis_users import assert_told
from tests.simulation.log import Appended, Broker
from tests.simulation.store import MORE_VIEWS, FakeStore

ADDED: Final = MORE_VIEWS.views[-1]
COST_TALLIES: Final = ("cost:", "unpriced:", "incomplete:")
OFFSETS_OF_A_LOG: Final = 10**6


class Promises:
    """The checks of a `World`, which has these attributes."""

    broker: Broker
    store: FakeStore
    appended: list[Appended]
    settled: list[Appended]
    counting: dict[int, tuple[int, int]]
    happened: list[str]
    _fresh_meta: Meta | None

    def _positions(self) -> list[int]:
        meta = self.store.state.meta
        parts = meta.partitions if meta else ()
        known = [max(part.position, 0) for part in parts[: len(self.broker.ends)]]
        return known + [0] * (len(self.broker.ends) - len(known))

    def _is_counted(self, appended: Appended, partition: int | None = None) -> bool:
        """Whether it lies between where counting began in its log and the position."""
        log, record = appended
        if partition not in {None, record.partition}:
            return False
        counted_log, first = self._counting_from(record.partition)
        meta = self.store.state.meta
        parts = meta.partitions if meta else ()
        position = parts[record.partition].position if record.partition < len(parts) else 0
        return log == counted_log and first <= record.offset < position

    def _counting_from(self, partition: int) -> tuple[int, int]:
        """Which log the stored position lies in, and from which offset on it was counted."""
        begun = self.counting.get(partition, (0, 0))
        meta = self.store.state.meta
        parts = meta.partitions if meta else ()
        if not self.broker.log or partition >= len(parts):
            return begun
        stored = parts[partition]
        if stored.last_offset < 0:  # nothing was counted since: whatever log it is now
            return (self.broker.log, begun[1] if begun[0] == self.broker.log else 0)
        log = next(
            one.log
            for one in self.appended
            if (one.record.partition, one.record.offset, one.record.append_ms)
            == (partition, stored.last_offset, stored.last_append_ms)
        )
        return (log, begun[1] if begun[0] == log else 0)

    def _is_given_up(self, appended: Appended) -> bool:
        """Whether it was gone when an operator said that counting goes on behind it."""
        counted_log, first = self._counting_from(appended.record.partition)
        return appended.log < counted_log or (
            appended.log == counted_log and appended.record.offset < first
        )

    def _touched(self) -> set[int]:
        """Partitions of which something was counted."""
        meta = self.store.state.meta
        parts = meta.partitions if meta else ()
        return {p for p, part in enumerate(parts) if part.position > 0}

    def _counted(self) -> Oracle:
        """What those records make that lie before the positions, in the order of their appends."""
        oracle = Oracle(OWN)
        settled = set(self.settled)
        for one in self.appended:
            if one in settled or self._is_counted(one):
                unique = one.record.offset + one.log * OFFSETS_OF_A_LOG
                oracle.add(replace(one.record, offset=unique))
        return oracle

    def check(self) -> None:
        """The counters are those of exactly the records before the positions."""
        expected = self._counted().expected()
        self._check_counters(expected.counters)
        assert_told(self.store.state.users, self.store.state.latest_calls(), expected)
        assert self.store.chats() == without_previews(expected.chats), self._describe()
        stored = self.store.state
        counted = {slice_: counts.total() for slice_, counts in stored.id_counts.items()}
        assert counted == {s: len(ids) for s, ids in stored.ids.items() if ids}, self._describe()
        for number, commits in self.store.fake_redis.retired.items():
            retired = self.store.fake_redis.states.get(number)
            is_same = retired is None or retired.meta is None or retired.meta.commits == commits
            assert is_same, f"generation {number} was counted on when it was retired"
        tallies = self.store.state.tallies
        dead = {name[5:]: n for name, n in tallies.items() if name.startswith("dead:")}
        assert dead == dict(expected.letters_by_reason), self._describe()
        assert tallies.get("duplicate", 0) == expected.duplicates, self._describe()
        costs = {n: count for n, count in tallies.items() if n.startswith(COST_TALLIES)}
        assert costs == expected.cost_tallies, self._describe()
        missing = {(p, o % OFFSETS_OF_A_LOG) for p, o in expected.letters} - set(
            self.broker.letters
        )
        assert not missing, f"counted as dead before the letter was there: {missing}"

    def _check_counters(self, expected: Mapping[Cell, tuple[int, ...]]) -> None:
        """The built-in views have this. Since an added one counts, its rows sum to those of the total."""
        counters, state = self.store.counters(), self.store.state
        built_in = {cell: one for cell, one in counters.items() if cell[0] != ADDED.name}
        assert built_in == expected, self._describe()
        if ADDED.id in state.view_starts or f"[{ADDED.id}," in state.about:
            from_ms = state.view_starts.get(ADDED.id, 0)
            found, whole = sums_since(counters, ADDED, from_ms)
            assert found == whole, f"{ADDED.name} since {from_ms}: {self._describe()}"

    def check_freshness(self) -> None:
        """Nothing that was appended before complete_through lies behind the positions."""
        meta = self._fresh_meta = self.store.state.meta
        through_ms = meta.complete_through_ms if meta else 0
        settled = set(self.settled)
        for one in self.appended:
            if one.log == self.broker.log and one.record.append_ms < through_ms:
                is_there = one in settled or self._is_counted(one) or self._is_given_up(one)
                assert is_there, (
                    f"complete through {through_ms} is a lie: {one}, {self._describe()}"
                )

    def check_all_counted(self) -> None:
        """Nothing was given up that need not be: only what the log lost is not counted."""
        if self.broker.log == 0 and not any(self.broker.starts):
            oracle = Oracle(OWN)
            for one in self.appended:
                oracle.add(one.record)
            self._check_counters(oracle.expected().counters)
            assert set(self.broker.letters) == set(oracle.letters)
        settled = set(self.settled)
        for one in self.appended:
            is_held = one.log == self.broker.log and (
                one.record.offset >= self.broker.starts[one.record.partition]
            )
            assert not is_held or one in settled or self._is_counted(one), self._describe()

    def _describe(self) -> str:
        return f"positions {self._positions()}, ends {self.broker.ends}, {self.happened[-12:]}"
