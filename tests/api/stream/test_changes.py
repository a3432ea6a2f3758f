"""A client that applies changes has the rows of the newest read, from whichever version it comes."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from api.query.measures import Number
from api.stream import changes
from api.stream.changes import RowChanges
from api.usage.question import parse_question
from api.usage.sections import Section
from schemas.catalog.views import DEFAULT
from tests.api.counters import NOW_MS
from tests.api.stream.streaming import Event, Shown

PARSED = parse_question(
    b"measures=requests,errors&group_by=model", "", NOW_MS, DEFAULT, is_json=False
)
OTHER = parse_question(b"measures=requests&group_by=agent", "", NOW_MS, DEFAULT, is_json=False)
Rows = dict[str, tuple[int, int | None]]
READS = st.lists(
    st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.integers(0, 3), st.none())), min_size=1
)


def read(rows: Rows) -> Section:
    columns: dict[str, list[Any]] = {
        "model": [*rows],
        "requests": [one for one, _ in rows.values()],
        "errors": [two for _, two in rows.values()],
    }
    totals: dict[str, Number] = {"requests": sum(one for one, _ in rows.values()), "errors": None}
    return Section(PARSED.plans[0], columns, totals, {})


def told(known: RowChanges, version: int) -> Event:
    part = known.since(version) if version else None
    name = "snapshot" if part is None else "rows"
    content = {"answers": [{"question": 0, **(known.whole() if part is None else part)}]}
    return Event(name, msgspec.json.decode(msgspec.json.encode(content)))


@given(READS, st.lists(st.booleans(), min_size=20), st.integers(0, 3))
def test_each_client_ends_with_the_newest_rows(
    reads: list[Rows], is_read: list[bool], kept: int
) -> None:
    before, changes.REMOVED_MAX = changes.REMOVED_MAX, kept  # type: ignore[misc]
    try:
        known, version, slow, slow_has = RowChanges(), 0, Shown(), 0
        quick = Shown()
        for number, rows in enumerate(reads):
            was = version
            if known.update(PARSED.query, read(rows), (), version + 1):
                version += 1
                quick.apply(told(known, was))
            if is_read[number % len(is_read)] or number == len(reads) - 1:
                slow.apply(told(known, slow_has))
                slow_has = version
            wanted = [{"model": m, "requests": r, "errors": e} for m, (r, e) in rows.items()]
            assert quick.rows() == sorted(wanted, key=str)
            assert quick.answers[0]["totals"] == read(rows).totals
        assert slow.rows() == quick.rows()
        assert slow.answers[0]["totals"] == quick.answers[0]["totals"]
    finally:
        changes.REMOVED_MAX = before  # type: ignore[misc]


def test_nothing_changes_if_nothing_changed() -> None:
    known = RowChanges()
    assert known.update(PARSED.query, read({"a": (1, None)}), (), 1)
    assert not known.update(PARSED.query, read({"a": (1, None)}), (), 2)


def test_other_columns_are_sent_whole() -> None:
    known = RowChanges()
    known.update(PARSED.query, read({"a": (1, None)}), (), 1)
    section = Section(OTHER.plans[0], {"agent": ["x"], "requests": [2]}, {"requests": 2}, {})
    assert known.update(OTHER.query, section, (), 2)
    assert known.since(1) is None
    assert len(known.whole()["rows"]) == 1
