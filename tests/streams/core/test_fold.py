"""The fold against the oracle: equal for any log in any batches, and additive."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.catalog.measures import CHATS, COST_NANO_USD, EVENTS
from schemas.catalog.views import VIEWS
from schemas.event.identity import CallKey
from streams.core.calls import StoredCall
from streams.core.columns import columns
from streams.core.decode import BatchDecoder
from streams.core.fold import Delta, fold
from tests.oracles.event_logs import SECRET, Mix, Record, countable, event, logs, mixed, record
from tests.oracles.fold_oracle import expected
from tests.oracles.price_list import OWN
from tests.oracles.redis_counters import CELL_OF_SUMS, Cell, cells_of
from tests.simulation.log import PolledRecord

Sums = dict[Cell, tuple[int, ...]]


def as_polled(records: Iterable[Record]) -> list[PolledRecord]:
    return [PolledRecord(r.offset, r.append_ms, r.value, r.headers) for r in records]


def folded(batches: Sequence[Sequence[Record]]) -> Sums:
    """The sums of all batches, with what the store would remember carried from one to the next."""
    sums: Counter[tuple[Cell, int]] = Counter()
    remembered: set[int] = set()
    held: dict[CallKey, StoredCall | None] = {}
    for batch in batches:
        records = as_polled(batch)
        rows = columns(countable(records), OWN, secret=SECRET)
        rows = rows.without(np.array(sorted(remembered), np.uint64))
        remembered |= set(rows.digests.tolist())
        if not len(rows):
            continue
        delta = fold(rows, {digest: held.get(digest) for digest, _ in rows.booked_calls})
        held |= {update.call: update.new for update in delta.calls}
        add_up(sums, delta)
    return rows_of(sums)


def add_up(sums: Counter[tuple[Cell, int]], delta: Delta) -> None:
    for cell, values in cells_of(delta):
        for index, value in enumerate(values):
            is_set = len(cell) > CELL_OF_SUMS and cell[CELL_OF_SUMS] == CHATS.name
            sums[cell, index] = value if is_set else sums[cell, index] + value


def rows_of(sums: Mapping[tuple[Cell, int], int]) -> Sums:
    rows: dict[Cell, tuple[int, ...]] = {}
    for cell, index in sorted(sums, key=itemgetter(1)):
        rows[cell] = (*rows.get(cell, ()), sums[cell, index])
    return {cell: values for cell, values in rows.items() if any(values)}


def cut(records: Sequence[Record], rng: random.Random) -> list[Sequence[Record]]:
    """Batches of random sizes."""
    batches, at = [], 0
    while at < len(records):
        size = rng.randint(1, 40)
        batches.append(records[at : at + size])
        at += size
    return batches


@settings(max_examples=60)
@given(logs(n_max=30), st.randoms(use_true_random=False))
def test_any_log_in_any_batches_is_what_the_oracle_counts(
    records: list[Record], rng: random.Random
) -> None:
    assert folded(cut(records, rng)) == expected(records, OWN).counters


def test_long_logs_are_what_the_oracle_counts() -> None:
    for seed in range(6):
        rng = random.Random(seed)
        records = mixed(rng, 500, mix=Mix(unreadable=False))
        assert folded(cut(records, rng)) == expected(records, OWN).counters
        assert folded([records]) == expected(records, OWN).counters


@settings(max_examples=40)
@given(logs(n_max=25), st.integers(0, 25))
def test_a_fold_of_two_batches_is_the_fold_of_both(records: list[Record], at: int) -> None:
    assert folded([records[:at], records[at:]]) == folded([records])


@settings(max_examples=40)
@given(logs(n_max=25, mix=Mix(resent_percent=0)), st.randoms(use_true_random=False))
def test_sums_of_usage_do_not_depend_on_the_order(
    records: list[Record], rng: random.Random
) -> None:
    """(Bookings do: a call is booked at its first event in log order.)"""
    shuffled = list(records)
    rng.shuffle(shuffled)
    assert usage_of(folded([shuffled])) == usage_of(folded([records]))


def usage_of(sums: Sums) -> Sums:
    """Without the measures of bookings."""
    return {cell: values for cell, values in sums.items() if cell[3][0] != "call"}


@settings(max_examples=40)
@given(logs(n_max=25))
def test_every_view_and_tier_adds_up_to_the_same(records: list[Record]) -> None:
    sums = folded([records])
    for measure in (EVENTS, COST_NANO_USD):
        totals: Counter[str] = Counter()
        for (view_name, tier_name, _tenant, (kind, *_), _start, *of), values in sums.items():
            table = next(view for view in VIEWS if view.name == view_name).tables[kind]
            if tier_name == "1d" and measure in table.measures and not of:
                totals[view_name] += values[table.measures.index(measure)]
        assert len(set(totals.values())) <= 1, totals


def test_a_call_in_which_nothing_changes_is_checked_by_the_commit_all_the_same() -> None:
    """Else a store that goes back between the look and the commit would lose the booking."""
    records = as_polled([record(event(id=one, call_id="c-1")) for one in ("e-1", "e-2")])
    first, second = (columns(countable([r]), secret=SECRET) for r in records)
    (booked,) = fold(first, {}).calls
    (again,) = fold(second, {booked.call: booked.new}).calls
    assert (booked.old, again.old, again.new) == (None, booked.new, booked.new)


def test_the_dead_letters_are_those_of_the_oracle_with_its_reasons() -> None:
    rng = random.Random(3)
    records = mixed(rng, 2000, mix=Mix(invalid_percent=50))
    polled = as_polled(records)
    letters = expected(records).letters
    assert letters
    places = {id(one): (r.partition, r.offset) for r, one in zip(records, polled, strict=True)}
    reading = BatchDecoder()
    refused = reading.add(polled)
    assert [(places[id(one)], invalid.reason) for one, invalid in refused] == [
        (place, letters[place]) for place in places.values() if place in letters
    ]
    assert len(reading.events()) == len(records) - len(letters)
