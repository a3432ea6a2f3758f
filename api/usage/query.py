"""A parsed question of /v1/usage."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import Final, Literal

from api.query.measures import Offered
from api.query.series_index import Filter
from api.query.time_buckets import Step
from api.query.time_range import AskedRange
from api.usage.groups.cursor import Cursor, digest_of
from api.usage.groups.having import Condition
from api.usage.groups.person_dimensions import USER

Format = Literal["json", "csv", "ndjson", "spreadsheet"]
Fill = Literal["none", "zero", "null"]
TIME: Final = "time"
"""The name of a bucket's start, in rows and in `order_by`."""
TENANT: Final = "tenant"
"""The tenant as a dimension of keys that have several."""
EVERY: Final = "*"
"""As the name of a tenant: all tenants of the key."""


@dataclass(frozen=True)
class UsageQuery:
    """A parsed question. `order_by` holds (name, is_descending); the first decides. `columns`: the names of
    the dimensions of `group_by`, as they were asked for. `people_by`: those that the directory tells, as it
    does `person_filters`. `tenants`: those that are named. `compared`: the range to compare with."""

    measures: tuple[Offered, ...]
    from_ms: int
    to_ms: int
    step: Step | None
    zone: tzinfo
    zone_name: str
    compared: AskedRange | None
    filters: tuple[Filter, ...]
    person_filters: tuple[Filter, ...]
    group_by: tuple[str, ...]
    people_by: tuple[str, ...]
    columns: tuple[str, ...]
    order_by: tuple[tuple[str, bool], ...]
    limit: int | None
    cursor: Cursor | None
    having: tuple[Condition, ...]
    is_wide: bool
    fill: Fill
    is_cumulative: bool
    has_times_ms: bool
    tenants: tuple[str, ...]
    format: Format | None

    @property
    def has_other(self) -> bool:
        """Whether a row may have the sums of all groups that are not shown."""
        is_cut = self.limit is not None or bool(self.having)
        return is_cut or (self.compared is not None and bool(self.group_by))

    @property
    def computed(self) -> tuple[Offered, ...]:
        """The measures of the answer, and those of conditions, each once."""
        return tuple(dict.fromkeys((*self.measures, *(one.measure for one in self.having))))

    @property
    def has_tenants(self) -> bool:
        """Whether the answer may be of several tenants, or shows which one it is of."""
        return TENANT in self.group_by or self.tenants == (EVERY,) or len(self.tenants) > 1

    @property
    def tenant(self) -> str | None:
        """The one that is named."""
        return self.tenants[0] if self.tenants else None

    @property
    def stored_group_by(self) -> tuple[str, ...]:
        """The dimensions that counters are kept by: the user, in place of what the directory says."""
        others = {*self.people_by, TENANT}
        stored = tuple(name for name in self.group_by if name not in others)
        return (*stored, USER) if self.people_by and USER not in stored else stored

    @property
    def person_dimensions(self) -> frozenset[str]:
        """What the directory must tell."""
        return frozenset((*self.people_by, *(one.dimension for one in self.person_filters)))

    @property
    def identity(self) -> str:
        """A digest of all that decides which groups an answer has, in which order: not of the range."""
        every = *self.filters, *self.person_filters
        filters = [(sorted(f.values), replace(f, values=frozenset())) for f in every]
        having = [(one.measure.name, one.operator, one.number) for one in self.having]
        names = [measure.name for measure in self.measures]
        step = self.step.name if self.step else "none"
        is_compared = self.compared is not None
        parts = filters, having, names, self.columns, self.order_by, step, self.zone_name
        return digest_of(repr((*parts, is_compared)))
