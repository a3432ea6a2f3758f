"""Rows of exact sums to the rows of an answer: order, limit, fill, running sums, totals. Pure.

Everything is done on sums; a quotient is made of them last, so that the average of the `other` row,
of a total and of a running sum is that of all its events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby
from operator import itemgetter, sub
from typing import Final, NamedTuple

from api.asking import TIME, Asked, BadParameter, finest_kept
from api.axis import label, longest_read_ms
from api.derived import Formula, Number, estimates_of, formulas, terms_of
from api.errors import UnanswerableQuestion
from api.members import by_members, counted_by, together
from api.query import Plan, Question, Sum, plan
from api.sums import Row
from api.sums import Sums as Found
from schemas.units import iso
from schemas.views import DEFAULT, Catalog

ROWS_MAX: Final = 100_000
"""Rows of an answer: 15 MB of JSON. A leaderboard of more groups has a `limit`."""

OTHER: Final = "other"
"""The column that tells the row of all groups beyond `limit`."""

Sums = tuple[Sum, ...]
Cell = str | bool | Number


@dataclass(frozen=True)
class Section:
    """The rows of one range, columns in the order they are sent, and their total. `estimates`:
    how far the measures that are no exact sums may be off."""

    covered: Plan
    rows: list[dict[str, Cell]]
    totals: dict[str, Number]
    estimates: dict[str, float]


class _Line(NamedTuple):
    """One row before quotients: `group` is None for the other row; `is_null`: nothing is said."""

    group: tuple[str, ...] | None
    at_ms: int
    sums: Sums
    is_null: bool = False


def plans_of(asked: Asked, now_ms: int, catalog: Catalog = DEFAULT) -> tuple[Plan, ...]:
    """The plan of the range, and that of the one before it where they are to be compared."""
    current = plan(
        Question(
            terms=terms_of(asked.measures),
            from_ms=asked.from_ms,
            to_ms=asked.to_ms,
            now_ms=now_ms,
            filters=asked.filters,
            group_by=by_members(asked.measures, asked.group_by),
            step=asked.step,
            zone=asked.zone,
        ),
        catalog,
    )
    if not asked.has_previous:
        return (current,)
    length_ms = current.end_ms - current.start_ms
    before = replace(current.question, from_ms=current.start_ms - length_ms, to_ms=current.start_ms)
    previous = plan(before, catalog)
    finest = finest_kept(previous.start_ms, now_ms)
    longest_ms = longest_read_ms(asked.step, asked.zone)
    if asked.step is not None and finest.bucket_ms > longest_ms:
        raise BadParameter(
            "compare",
            f"At {iso(previous.start_ms)}, where the range before begins, {finest.name} is the"
            " shortest bucket that is still kept: ask for longer buckets (in UTC), a later range,"
            " or a shorter one.",
        )
    return current, previous


def section(asked: Asked, found: Found) -> Section:
    covered = found.selection.plan
    terms = covered.question.terms
    shown = formulas(asked.measures, terms)
    width = len(terms)
    first = _first(asked, shown, found)
    if first is None:
        rows = found.rows
        if counted_by(asked.measures):
            rows = together(asked.measures, asked.group_by, terms, rows)
            width += 1
            if not rows and not (asked.group_by or asked.step):
                rows = [Row((), 0, (0,) * width)]
        lines = _lines_of(rows)
        totals = _added(lines, width)
        ranked = _ranked(asked, shown, lines)
        lines = _limited(asked, lines, ranked)
    else:
        lines = _lines_of(first)
        totals = found.totals
        ranked = _ranked(asked, shown, lines)
        shared = _added(lines, len(terms))
        lines.append(_Line(None, 0, tuple(map(sub, totals, shared))))
    if asked.fill != "none":
        lines = _filled(asked, covered, lines, width)
    if len(lines) > ROWS_MAX:
        raise UnanswerableQuestion(
            f"The answer would have {len(lines)} rows, more than {ROWS_MAX} (ROWS_MAX): ask for"
            " fewer buckets, group by less, or set a limit."
        )
    lines = _in_order(asked, shown, lines, ranked)
    if asked.is_cumulative:
        lines = _running(lines)
    return Section(
        covered,
        _cells(asked, shown, lines),
        {formula.name: formula.value(totals) for formula in shown},
        estimates_of(shown, [totals, *(line.sums for line in lines)]),
    )


def _lines_of(rows: Sequence[Row]) -> list[_Line]:
    return [_Line(row.group, row.at_ms, row.sums) for row in rows]


def _first(asked: Asked, shown: Sequence[Formula], found: Found) -> list[Row] | None:
    """Of a leaderboard by one sum the rows that it shows, before any other row is made; None where
    all are needed."""
    if asked.limit is None or asked.step is not None or found.selection.plan.sketches:
        return None
    if counted_by(asked.measures):
        return None
    order = asked.order_by or ((shown[0].name, True),)
    by = next((formula for formula in shown if formula.name == order[0][0]), None)
    if by is None or by.under or len(order) > 1:
        return None
    return found.top(by.over, asked.limit, is_descending=order[0][1])


def _ranked(
    asked: Asked, shown: Sequence[Formula], rows: Sequence[_Line]
) -> dict[tuple[str, ...] | None, int]:
    """The place of each group by `order_by`, judged by its whole range; the other row is last."""
    if not asked.group_by:
        return {(): 0, None: 1}
    sums: dict[tuple[str, ...], Sums] = {}
    if asked.step is None:
        sums = {row.group or (): row.sums for row in rows}
    else:
        members: dict[tuple[str, ...], list[_Line]] = {}
        for row in rows:
            members.setdefault(row.group or (), []).append(row)
        sums = {group: _added(own, len(own[0].sums)) for group, own in members.items()}
    order = [(name, down) for name, down in asked.order_by if name != TIME]
    by_formula = {formula.name: formula for formula in shown}
    groups = sorted(sums)
    for name, down in reversed(order or [(shown[0].name, True)]):
        if name in by_formula:
            formula = by_formula[name]
            value_of = {group: formula.value(sums[group]) for group in groups}
            groups.sort(key=lambda group: _null_last(value_of[group], down=down), reverse=down)
        else:
            groups.sort(key=itemgetter(asked.group_by.index(name)), reverse=down)
    return {group: place for place, group in enumerate([*groups, None])}


def _limited(
    asked: Asked, lines: list[_Line], ranked: Mapping[tuple[str, ...] | None, int]
) -> list[_Line]:
    """The first groups as they are, all others added up bucket by bucket."""
    if asked.limit is None:
        return lines
    kept: list[_Line] = []
    rest: dict[int, list[_Line]] = {}
    for line in lines:
        if ranked[line.group] < asked.limit:
            kept.append(line)
        else:
            rest.setdefault(line.at_ms, []).append(line)
    others = [_Line(None, at_ms, _added(own, len(own[0].sums))) for at_ms, own in rest.items()]
    return kept + others


def _filled(asked: Asked, covered: Plan, lines: Sequence[_Line], width: int) -> list[_Line]:
    groups = dict.fromkeys(line.group for line in lines)
    if not asked.group_by:
        groups = {(): None}
    starts_ms = covered.starts_ms.tolist()
    if len(groups) * len(starts_ms) > ROWS_MAX:
        raise UnanswerableQuestion(
            f"Filled, the answer would have {len(groups)} groups x {len(starts_ms)} buckets ="
            f" {len(groups) * len(starts_ms)} rows, more than {ROWS_MAX} (ROWS_MAX): ask for fewer"
            " buckets, set a limit, or do not fill."
        )
    there = {(line.group, line.at_ms): line for line in lines}
    nothing = (0,) * width
    is_null = asked.fill == "null"
    return [
        there.get((group, at_ms)) or _Line(group, at_ms, nothing, is_null)
        for at_ms in starts_ms
        for group in groups
    ]


def _in_order(
    asked: Asked,
    shown: Sequence[Formula],
    lines: list[_Line],
    ranked: Mapping[tuple[str, ...] | None, int],
) -> list[_Line]:
    """By time and rank; a series without groups by whatever `order_by` says."""
    is_back_in_time = (TIME, True) in asked.order_by
    ordered = sorted(lines, key=lambda line: ranked[line.group])
    ordered.sort(key=lambda line: line.at_ms, reverse=is_back_in_time)
    if not asked.group_by:
        by_formula = {formula.name: formula for formula in shown}
        for name, down in reversed(asked.order_by):
            if name == TIME:
                ordered.sort(key=lambda line: line.at_ms, reverse=down)
                continue
            formula = by_formula[name]
            ordered.sort(
                key=lambda line: _null_last(formula.value(line.sums), down=down),
                reverse=down,
            )
    return ordered


def _running(lines: Sequence[_Line]) -> list[_Line]:
    """Each line's sums with those of all earlier buckets of its group, places unchanged."""
    place_of = {id(line): place for place, line in enumerate(lines)}
    summed = list(lines)
    # Groups have no order of their own here: any that keeps equals together will do.
    by_group = sorted(lines, key=lambda line: (line.group is None, line.group or (), line.at_ms))
    for _group, members in groupby(by_group, key=lambda line: line.group):
        own = list(members)
        for line, sums in zip(own, accumulate((line.sums for line in own), _plus), strict=True):
            summed[place_of[id(line)]] = line._replace(sums=sums)
    return summed


def _cells(asked: Asked, shown: Sequence[Formula], lines: Sequence[_Line]) -> list[dict[str, Cell]]:
    """Column by column, then turned into rows."""
    columns: dict[str, Sequence[Cell]] = {}
    if asked.step is not None:
        labels = {at_ms: label(at_ms, asked.zone) for at_ms in {line.at_ms for line in lines}}
        columns[TIME] = [labels[line.at_ms] for line in lines]
    for place, name in enumerate(asked.group_by):
        columns[name] = [None if line.group is None else line.group[place] for line in lines]
    if asked.limit is not None:
        columns[OTHER] = [line.group is None for line in lines]
    sums = [line.sums for line in lines]
    nulls = [place for place, line in enumerate(lines) if line.is_null]
    for formula in shown:
        column = formula.column(sums)
        for place in nulls:
            column[place] = None
        columns[formula.name] = column
    names = tuple(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _null_last(value: Number, *, down: bool) -> tuple[bool, float]:
    return (value is None) is not down, value or 0


def _added(lines: Sequence[_Line], width: int) -> Sums:
    if not lines:
        return (0,) * width
    return tuple(map(sum, zip(*[line.sums for line in lines], strict=True)))


def _plus(left: Sums, right: Sums) -> Sums:
    return tuple(map(sum, zip(left, right, strict=True)))
