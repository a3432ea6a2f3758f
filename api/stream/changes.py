"""The rows of a question as they were read last, and which of them changed since a version. No I/O.

Each version is one read that changed something. A stream that has version v gets the newest values of
all rows that changed after v. So a slow stream skips what lies between, and its values are absolute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from api.usage.bodies import compared, form_of, page_in, range_of
from api.usage.query import UsageQuery
from api.usage.render import rows_of
from api.usage.sections import PARTIAL, Cell, Section

REMOVED_MAX: Final = 2000
"""Removed rows that a question remembers. A stream that is further behind gets all rows."""

Labels = tuple[Cell, ...]
"""The cells of a row but measures and `partial`: time, dimensions, `other`. They name the row."""


@dataclass(frozen=True)
class Size:
    """How much the sections of a question have: the range, and the one that it is compared with."""

    rows: int = 0
    cells: int = 0

    @classmethod
    def of(cls, sections: Sequence[Section]) -> Size:
        return cls(
            sum(one.length for one in sections),
            sum(one.length * len(one.columns) for one in sections),
        )


class RowChanges:
    """The newest rows of one question. Versions begin with 1 and grow."""

    def __init__(self) -> None:
        self._columns: Mapping[str, Sequence[Cell]] = {}
        self._labels: Sequence[Labels] = ()
        self._label_names: tuple[str, ...] = ()
        self._values: dict[Labels, tuple[Cell, ...]] = {}
        self._changed: dict[Labels, int] = {}
        self._removed: dict[Labels, int] = {}
        self._whole_since = 0
        self._form: object = None
        self._about: dict[str, Any] = {}
        self._head: dict[str, Any] = {}
        self._previous: dict[str, Any] = {}
        self._previous_since = 0

    def update(
        self, query: UsageQuery, current: Section, before: Sequence[Section], version: int
    ) -> bool:
        """Take the rows of a read. Whether anything differs from those before, as of `version`."""
        about = form_of(query) | {"view": current.covered.view.name}
        form = about["granularity"], about["view"], tuple(current.columns)
        is_other_form = form != self._form
        head = _head(current)
        is_changed = is_other_form or head != self._head
        self._form, self._about, self._head = form, about, head
        if is_other_form:
            self._values, self._changed, self._removed = {}, {}, {}
            self._whole_since = version
        is_changed |= self._take(query, current, version)
        previous = compared(query, current, before)
        if previous != self._previous:
            self._previous, self._previous_since, is_changed = previous, version, True
        return is_changed

    def _take(self, query: UsageQuery, current: Section, version: int) -> bool:
        columns = current.columns
        measured = {PARTIAL, *(measure.name for measure in query.measures)}
        names = tuple(name for name in columns if name not in measured)
        cells = [columns[name] for name in names]
        labels: list[Labels] = [*zip(*cells, strict=True)] if cells else [()] * current.length
        rows = zip(*(columns[name] for name in columns if name in measured), strict=True)
        values = dict(zip(labels, rows, strict=True))
        changed = [row for row, cells in values.items() if self._values.get(row) != cells]
        removed = self._values.keys() - values.keys()
        for row in changed:
            self._changed[row] = version
            self._removed.pop(row, None)
        for row in removed:
            del self._changed[row]
            self._removed[row] = version
        while len(self._removed) > REMOVED_MAX:
            oldest = next(iter(self._removed))
            self._whole_since = max(self._whole_since, self._removed.pop(oldest))
        self._columns, self._labels, self._label_names = columns, labels, names
        self._values = values
        return bool(changed or removed)

    def whole(self) -> dict[str, Any]:
        """All rows, in the order of the answer."""
        return {
            **self._about,
            **self._head,
            "rows": rows_of(self._columns),
            **self._previous,
        }

    def since(self, version: int) -> dict[str, Any] | None:
        """The rows that changed after `version`, and the labels of those that were removed. None if
        that is not known any more: then send all rows."""
        if version < self._whole_since:
            return None
        places = [n for n, row in enumerate(self._labels) if self._changed[row] > version]
        removed = [row for row, at in self._removed.items() if at > version]
        found = {
            **self._head,
            "rows": rows_of(
                {name: [cells[n] for n in places] for name, cells in self._columns.items()}
            ),
            "removed": [dict(zip(self._label_names, row, strict=True)) for row in removed],
        }
        if self._previous_since > version:
            found |= self._previous
        return found


def _head(found: Section) -> dict[str, Any]:
    """What is sent with every change."""
    return {
        "range": range_of(found.covered),
        **page_in(found.page),
        "totals": found.totals,
        "estimates": found.estimates,
    }
