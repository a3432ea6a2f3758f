"""Checks of token counts that vendors report in different ways: totals, and fields unknown here. Pure.

The neutral totals are inclusive. Some vendors leave reasoning tokens out of the output, or cached
tokens out of the input. Their own total, and the rule that a part is at most its total, tell which.
Source: schemas/contracts/producers.md, "Totals that are not inclusive".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from schemas.formats.body import Json, count

UNKNOWN_DEPTH_MAX: Final = 4
"""Levels of a usage object that are searched for unknown fields. Real ones have three."""
CONTRADICTION: Final = " (contradicts the parts)"
"""Ends the name of a total that is reported as not understood."""
PROBLEM: Final = "the total of the tokens contradicts their parts"
"""The `cost_problem` of an event with such a total."""
TOTAL_ALONE: Final = "only the total of the tokens is reported"
"""The `cost_problem` of an event without input and output: they have different prices."""
Known = Mapping[str, Any]
"""Names of the fields of a usage object that are known; for a section, those of its fields, and None
for anything else."""


class Totals(NamedTuple):
    """Inclusive input and output. `is_consistent`: whether total and parts agree with them."""

    input: int | None
    output: int | None
    is_consistent: bool = True


def inclusive(
    into: int | None,
    out: int | None,
    total: int | None,
    *,
    cache_read: int | None = None,
    cache_write: int | None = None,
    reasoning: int | None = None,
    hides_output: bool = False,
) -> Totals:
    """Input and output with all their parts.

    Of the readings that agree with the total and hold their parts, the one that adds least counts.
    `hides_output`: tokens that the total has and no part names are output (Gemini's thoughts).
    Without any such reading the numbers stay as they are. A total of 0 beside tokens is none.
    """
    if into is None or out is None:
        return Totals(into, out)
    cached, written, thought = cache_read or 0, cache_write or 0, reasoning or 0
    inputs = dict.fromkeys((into, into + cached, into + written, into + cached + written))
    outputs = dict.fromkeys((out, out + thought))
    fitting = [
        (whole_in, whole_out)
        for whole_out in outputs
        for whole_in in inputs
        if whole_in >= cached + written and whole_out >= thought
    ]
    whole = total or into + out
    found = [pair for pair in fitting if sum(pair) == whole][:1]
    if found:
        return Totals(*found[0])
    if hides_output and total is not None and total > into + out and into >= cached + written:
        return Totals(into, total - into)
    return Totals(into, out, is_consistent=False)


def unknown_fields(usage: Json, known: Known, path: str, depth: int = 0) -> list[str]:
    """Paths of the fields that are not known and say something: not null, 0, false or empty."""
    found: list[str] = []
    for name, value in usage.items():
        if not value:
            continue
        if name not in known:
            found.append(f"{path}{name}")
            continue
        part = known[name]
        if part is not None and isinstance(value, dict) and depth < UNKNOWN_DEPTH_MAX:
            found += unknown_fields(value, part, f"{path}{name}.", depth + 1)
    return found


def first_count(
    holder: Json,
    names: tuple[str, ...],
    path: str,
    read: Callable[[Json, str, str], int | None] = count,
) -> int | None:
    for name in names:
        found = read(holder, name, path)
        if found is not None:
            return found
    return None


def items_of(holder: Json, key: str) -> list[Json]:
    """The objects of an array; nothing where it is none."""
    found = holder.get(key)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def has_any(usage: Json, names: tuple[str, ...]) -> bool:
    return any(usage.get(name) is not None for name in names)
