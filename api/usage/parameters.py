r"""The parameters of /v1/usage, from a URL or a JSON body, parsed into one `UsageQuery`.

`PARAMETERS` lists every parameter. Every other name must be a filter, or the request is rejected with
the nearest known name. A filter is a dimension (`model=gpt-4o`); `!` negates it (`model!=gpt-4o`).

In a URL, a comma separates values, and repeating a filter adds values. `\,`, `\*` and `\\` are a comma,
a star and a backslash inside a value. In JSON, a list has several values, and a comma is a comma.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from functools import cache, cached_property
from typing import Final, Literal, cast

from api.errors import BadParameter
from api.http.parameters import RawParameters, check_names, nearest, single
from api.query.measures import DEFAULTS, MeasureFormula, Offered, formulas, offered_by, terms_of
from api.query.plan import covered_range, finest_kept, tiers_of, views_that_hold
from api.query.series_index import Filter
from api.query.time_buckets import STEPS, Step, zone_names, zone_of
from api.query.time_range import ALLOWED, InvalidTime, parse_range
from schemas.catalog.views import DEFAULT, Catalog
from schemas.tiers import DAY, QUARTER, TIERS, Tier, kept_from
from schemas.units import iso

VALUES_MAX: Final = 200
"""Values of all filters of a question. A longer list belongs into a label or a view."""
BUCKETS_MAX: Final = 10_000
"""Buckets of a series. 90 days of quarter-hours are 8,640, more than a screen has pixels."""
AUTO_BUCKETS_MAX: Final = 200
"""`auto` takes the shortest step with at most so many buckets: 4 pixels each on a chart of 800."""
LIMIT_MAX: Final = 10_000
"""Groups that `limit` may ask for. Without `limit` an answer has at most `sections.ROWS_MAX` rows."""

Format = Literal["json", "csv", "ndjson"]
Fill = Literal["none", "zero", "null"]
FORMATS: Final[tuple[Format, ...]] = ("json", "csv", "ndjson")
FILLS: Final[tuple[Fill, ...]] = ("none", "zero", "null")
GRANULARITIES: Final = (*(step.name for step in STEPS), "auto", "none")
TIME: Final = "time"
"""The name of a bucket's start, in rows and in `order_by`."""


@dataclass(frozen=True)
class Parameter:
    """A parameter that is not a filter. `is_list`: a comma, or repeating it, gives several values."""

    name: str
    about: str
    example: str
    is_list: bool = False
    allowed: tuple[str, ...] = ()


PARAMETERS: Final = (
    Parameter("measures", f"Measures to answer; /v1/measures lists them. Default: {', '.join(DEFAULTS)}.", "requests,cost_usd", is_list=True),
    Parameter("from", "Start of the range: a time, a date, `now-7d`, or a period such as `this_month`. Default: 24 hours before `to`.", "now-7d"),
    Parameter("to", "End of the range, exclusive. Default: now, or the end of the period in `from`.", "now"),
    Parameter("granularity", "Length of the time buckets. `auto` chooses one. `none` gives one row for the whole range.", "1d", allowed=GRANULARITIES),
    Parameter("tz", "IANA time zone of days, weeks, months and of dates without an offset. Default: UTC.", "Europe/Berlin"),
    Parameter("group_by", "Dimensions: one row for each combination of their values.", "provider,model", is_list=True),
    Parameter("order_by", "Measures, dimensions or `time`; `-` in front means descending. Default: time, then the first measure descending.", "-cost_usd", is_list=True),
    Parameter("limit", "Keep the first groups by `order_by`. One row with `other` = true has the sums of the rest.", "10"),
    Parameter("fill", "Buckets without events: `none` leaves them out, `zero` and `null` fill them.", "zero", allowed=FILLS),
    Parameter("compare", "`previous` adds the range of the same length that ends where this range begins.", "previous", allowed=("previous",)),
    Parameter("cumulative", "If true, each bucket has the sums from the start of the range.", "true", allowed=("true", "false")),
    Parameter("tenant", "The tenant. Needed if the key has several tenants; the header x-odometer-tenant does the same.", "acme"),
    Parameter("format", "Format of the answer. Takes precedence over the Accept header.", "csv", allowed=FORMATS),
)  # fmt: skip
BY_NAME: Final = {parameter.name: parameter for parameter in PARAMETERS}


@dataclass(frozen=True)
class UsageQuery:
    """A parsed question. `order_by` holds (name, is_descending); the first decides."""

    measures: tuple[Offered, ...]
    from_ms: int
    to_ms: int
    step: Step | None
    zone: tzinfo
    zone_name: str
    filters: tuple[Filter, ...]
    group_by: tuple[str, ...]
    order_by: tuple[tuple[str, bool], ...]
    limit: int | None
    fill: Fill
    has_previous: bool
    is_cumulative: bool
    tenant: str | None
    format: Format | None

    @cached_property
    def formulas(self) -> tuple[MeasureFormula, ...]:
        """How to compute the measures from the sums of their terms."""
        return formulas(self.measures, terms_of(self.measures))


def parse(
    raw: RawParameters, now_ms: int, catalog: Catalog = DEFAULT, *, splits: bool
) -> UsageQuery:
    """Parse the parameters. `splits`: commas separate values, as in a URL. Raises BadParameter."""
    check_names(raw, (*BY_NAME, *filter_names(catalog)))
    zone_name, zone = parse_zone(raw)
    from_ms, to_ms = parse_bounds(raw, now_ms, zone)
    measures = _measures(_listed(raw, "measures", splits=splits), catalog)
    group_by = _dimensions("group_by", _listed(raw, "group_by", splits=splits), catalog)
    granularity = single(raw, "granularity")
    name = "none" if granularity is None else granularity
    filters = parse_filters(raw, catalog, splits=splits)
    tiers = _tiers(measures, {*group_by, *(f.dimension for f in filters)}, catalog)
    step = _step(name, from_ms, to_ms, now_ms, zone, tiers)
    names = (*(measure.name for measure in measures), *group_by, *([TIME] if step else []))
    query = UsageQuery(
        measures=measures,
        from_ms=from_ms,
        to_ms=to_ms,
        step=step,
        zone=zone,
        zone_name=zone_name,
        filters=filters,
        group_by=group_by,
        order_by=_order(_listed(raw, "order_by", splits=splits), names),
        limit=parse_limit(raw, LIMIT_MAX),
        fill=cast("Fill", _choice(raw, "fill") or "none"),
        has_previous=_choice(raw, "compare") == "previous",
        is_cumulative=_choice(raw, "cumulative") == "true",
        tenant=single(raw, "tenant"),
        format=cast("Format | None", _choice(raw, "format")),
    )
    _check_together(query)
    return query


def parse_zone(raw: RawParameters) -> tuple[str, tzinfo]:
    name = single(raw, "tz")
    if name is None:
        return "UTC", UTC
    zone = zone_of(name)
    if zone is None:
        near = nearest(name, sorted(zone_names()))
        meant = f" Did you mean {near}?" if near else ""
        raise BadParameter(
            "tz",
            f"{name!r} is not an IANA time zone.{meant}",
            ("UTC", "Europe/Berlin", "..."),
            near,
        )
    return name, zone


def parse_bounds(raw: RawParameters, now_ms: int, zone: tzinfo) -> tuple[int, int]:
    texts = single(raw, "from"), single(raw, "to")
    try:
        from_ms, to_ms = parse_range(*texts, now_ms, zone)
    except InvalidTime as error:
        name = str(error)
        raise BadParameter(name, f"{single(raw, name)!r} is not a time.", ALLOWED) from error
    if from_ms > to_ms:
        raise BadParameter("from", "`from` is after `to`.")
    return from_ms, to_ms


def parse_filters(
    raw: RawParameters, catalog: Catalog = DEFAULT, *, splits: bool
) -> tuple[Filter, ...]:
    filters = []
    total = 0
    for name in sorted(set(raw) & set(filter_names(catalog))):
        wanted = [value for text in raw[name] for value in split_values(text, splits=splits)]
        total += len(wanted)
        if total > VALUES_MAX:
            raise BadParameter(
                name, f"The filters have more than {VALUES_MAX} values, the limit (VALUES_MAX)."
            )
        filters.append(
            Filter(
                name.removesuffix("!"),
                frozenset(value for value, is_prefix in wanted if not is_prefix),
                tuple(sorted({value for value, is_prefix in wanted if is_prefix})),
                name.endswith("!"),
            )
        )
    return tuple(filters)


def split_values(text: str, *, splits: bool) -> list[tuple[str, bool]]:
    """The values in a filter's text, each with whether it is a prefix."""
    found: list[tuple[str, bool]] = []
    value, is_prefix = "", False
    place = 0
    while place < len(text):
        here, after = text[place], text[place + 1 : place + 2]
        if here == "\\" and after in {",", "*", "\\"} and after:
            value += after
            place += 1
        elif here == "," and splits:
            found.append((value, is_prefix))
            value, is_prefix = "", False
        elif here == "*" and (not after or (splits and after == ",")):
            is_prefix = True
        else:
            value += here
        place += 1
    return [*found, (value, is_prefix)]


def parse_limit(raw: RawParameters, most: int) -> int | None:
    text = single(raw, "limit")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= most):
        raise BadParameter(
            "limit", f"{text!r} is not a whole number from 1 to {most}.", (f"1 to {most}",)
        )
    return int(text)


@cache
def filter_names(catalog: Catalog) -> tuple[str, ...]:
    return tuple(name + end for name in catalog.kept_dimensions for end in ("", "!"))


def _listed(raw: RawParameters, name: str, *, splits: bool) -> list[str]:
    texts = raw.get(name, ())
    parts = [part for text in texts for part in (text.split(",") if splits else [text])]
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _measures(names: Sequence[str], catalog: Catalog) -> tuple[Offered, ...]:
    offered = offered_by(catalog)
    for name in names:
        if name not in offered:
            _reject("measures", name, "measure", tuple(offered))
    return tuple(offered[name] for name in names or DEFAULTS)


def _dimensions(parameter: str, names: Sequence[str], catalog: Catalog) -> tuple[str, ...]:
    known = catalog.kept_dimensions
    for name in names:
        if name not in known:
            _reject(parameter, name, "dimension of a view", known)
    return tuple(names)


def _reject(parameter: str, name: str, what: str, known: Sequence[str]) -> None:
    near = nearest(name, known)
    meant = f" Did you mean {near}?" if near else ""
    raise BadParameter(parameter, f"{name!r} is not a {what}.{meant}", known, near)


def _choice(raw: RawParameters, name: str) -> str | None:
    text = single(raw, name)
    allowed = BY_NAME[name].allowed
    if text is not None and text not in allowed:
        near = nearest(text, allowed)
        raise BadParameter(
            name, f"{text!r} is not a value of `{name}`. Use: {', '.join(allowed)}.", allowed, near
        )
    return text


def _order(texts: Sequence[str], names: Sequence[str]) -> tuple[tuple[str, bool], ...]:
    order = []
    for text in texts:
        name = text.removeprefix("-").removeprefix("+")
        if name not in names:
            _reject(
                "order_by", name, "measure, dimension or `time` of the rows that you ask for", names
            )
        order.append((name, text.startswith("-")))
    return tuple(order)


def _tiers(measures: Sequence[Offered], dimensions: set[str], catalog: Catalog) -> tuple[Tier, ...]:
    """The tiers of the view with the shortest buckets, of those that can answer. All tiers if no view
    can: the plan rejects the question then."""
    terms = [term for measure in measures for term in measure.terms]
    counted = {measure.distinct for measure in measures if measure.distinct}
    holding = views_that_hold(dimensions | counted, [term.measure for term in terms], catalog)
    kept = [tiers_of(view, terms) for view in holding]
    return min(kept, key=lambda tiers: tiers[0].id, default=TIERS)


def _step(
    name: str,
    from_ms: int,
    to_ms: int,
    now_ms: int,
    zone: tzinfo,
    tiers: tuple[Tier, ...],
) -> Step | None:
    """The step of this name. Raises BadParameter if the range has no buckets of it."""
    if name not in GRANULARITIES:
        near = nearest(name, GRANULARITIES)
        raise BadParameter(
            "granularity",
            f"{name!r} is not a granularity. Use: {', '.join(GRANULARITIES)}.",
            GRANULARITIES,
            near,
        )
    start_ms, end_ms = covered_range(from_ms, to_ms, now_ms, tiers)
    finest = finest_kept(start_ms, now_ms, tiers)
    if zone is not UTC and finest.bucket_ms > QUARTER.bucket_ms:
        edge_ms = kept_from(QUARTER, DAY, now_ms)
        raise BadParameter(
            "tz",
            f"Before {iso(edge_ms)} only days of UTC are stored. Quarter-hours, which make the days of"
            f" any zone, are stored for {QUARTER.kept_ms // DAY.bucket_ms} days. Use tz=UTC, or a"
            " later `from`.",
            ("UTC",),
        )
    kept = [step for step in STEPS if step.length_ms >= finest.bucket_ms]
    if name == "none":
        return None
    if name == "auto":
        few = [s for s in kept if (end_ms - start_ms) // s.length_ms <= AUTO_BUCKETS_MAX]
        return (few or kept[-1:])[0]
    step = next(step for step in STEPS if step.name == name)
    if step not in kept:
        why = (
            f"The views with these dimensions and measures have no buckets of {name}. The shortest is"
            f" {finest.name}."
            if step.length_ms < tiers[0].bucket_ms
            else f"Buckets of {name} have expired at {iso(start_ms)}, where the range begins. The"
            f" shortest there is {finest.name}."
        )
        allowed = (*(one_.name for one_ in kept), "auto", "none")
        raise BadParameter("granularity", why, allowed)
    if (end_ms - start_ms) // step.length_ms > BUCKETS_MAX:
        raise BadParameter(
            "granularity",
            f"The series would have {(end_ms - start_ms) // step.length_ms} buckets, more than the"
            f" limit of {BUCKETS_MAX} (BUCKETS_MAX). Use a shorter range or longer buckets.",
            (*(s.name for s in kept if (end_ms - start_ms) // s.length_ms <= BUCKETS_MAX), "auto"),
        )
    return step


def _check_together(query: UsageQuery) -> None:
    """Reject parameters that need another one."""
    if query.step is None and query.fill != "none":
        raise BadParameter(
            "fill", "`fill` needs a `granularity`: it fills the buckets of a series."
        )
    if query.step is None and query.is_cumulative:
        raise BadParameter(
            "cumulative",
            "`cumulative` needs a `granularity`: it sums over the buckets of a series.",
        )
    if query.limit is not None and not query.group_by:
        raise BadParameter("limit", "`limit` needs `group_by`: it counts groups.")
