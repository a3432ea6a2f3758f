"""Conditions on the measures of groups, such as `requests>=100`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from api.errors import BadParameter
from api.http.parameters import nearest
from api.query.measures import MeasureFormula, Number, Offered
from api.query.plan import Sum

CONDITIONS_MAX: Final = 10
"""Each may need a measure of its own, which is read and summed as those of the answer."""
_COMPARES: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}
OPERATORS: Final = tuple(_COMPARES)
_CONDITION: Final = re.compile(
    rf"([^<>=!\s]+)\s*({'|'.join(OPERATORS)})\s*(-?\d{{1,18}}(?:\.\d{{1,12}})?)", re.ASCII
)


class Condition(NamedTuple):
    """`operator`: one of OPERATORS."""

    measure: Offered
    operator: str
    number: int | float

    def holds(self, value: Number) -> bool:
        """A measure that is not known fulfils no condition."""
        return value is not None and _COMPARES[self.operator](value, self.number)


def parse_having(texts: Sequence[str], offered: Mapping[str, Offered]) -> tuple[Condition, ...]:
    """Raises BadParameter."""
    if len(texts) > CONDITIONS_MAX:
        raise BadParameter(
            "having",
            f"The question has {len(texts)} conditions, more than the limit of {CONDITIONS_MAX}"
            " (CONDITIONS_MAX).",
        )
    return tuple(_parsed(text, offered) for text in texts)


def _parsed(text: str, offered: Mapping[str, Offered]) -> Condition:
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise BadParameter(
            "having",
            f"{text!r} is not a condition: write a measure, one of {' '.join(OPERATORS)} and a"
            " number, such as requests>=100.",
            OPERATORS,
        )
    name, compares, number = found.groups()
    if name not in offered:
        near = nearest(name, tuple(offered))
        meant = f" Did you mean {near}?" if near else ""
        raise BadParameter("having", f"{name!r} is not a measure.{meant}", tuple(offered), near)
    return Condition(offered[name], compares, float(number) if "." in number else int(number))


def holding(
    conditions: Sequence[Condition],
    formulas: Mapping[str, MeasureFormula],
    sums: Sequence[Sequence[Sum]],
    count: int,
) -> list[bool]:
    """Of each of `count` groups, whether all conditions hold. `sums[term][group]`."""
    found = [True] * count
    for one in conditions:
        values = formulas[one.measure.name].column(sums)
        found = [holds and one.holds(value) for holds, value in zip(found, values, strict=True)]
    return found
