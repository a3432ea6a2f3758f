r"""A question as it is sent, understood: parameters of a URL or a JSON body to one value. Pure.

`PARAMETERS` is the whole list: what is not in it and no filter is refused, with the nearest name.
A filter is a dimension (`model=gpt-4o`), negated with a `!` at its end (`model!=gpt-4o`). In a URL a
comma separates values and a repeated parameter adds some; `\,` is a comma, `\*` a star, `\\` a
backslash of the value itself. In JSON a list has several values, and commas stand for themselves.
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
"""Values of all filters of a question: more is a list that a label or a view should hold."""
BUCKETS_MAX: Final = 10_000
"""Buckets of a series: 90 days of quarter-hours are 8,640; no screen has as many pixels."""
AUTO_BUCKETS_MAX: Final = 200
"""`auto` takes the shortest step with at most so many: a chart of 800 pixels has 4 for each."""
LIMIT_MAX: Final = 10_000
"""Groups that `limit` may ask for; without it all are answered, up to `answers.ROWS_MAX`."""

Format = Literal["json", "csv", "ndjson"]
Fill = Literal["none", "zero", "null"]
FORMATS: Final[tuple[Format, ...]] = ("json", "csv", "ndjson")
FILLS: Final[tuple[Fill, ...]] = ("none", "zero", "null")
GRANULARITIES: Final = (*(step.name for step in STEPS), "auto", "none")
TIME: Final = "time"
"""The name of the bucket's start in rows and in `order_by`."""


@dataclass(frozen=True)
class Parameter:
    """One parameter that is no filter. `is_list`: a comma, or repeating it, gives several."""

    name: str
    about: str
    example: str
    is_list: bool = False
    allowed: tuple[str, ...] = ()


PARAMETERS: Final = (
    Parameter("measures", f"What is measured; see /v1/measures. Default: {', '.join(DEFAULTS)}.", "requests,cost_usd", is_list=True),
    Parameter("from", "Start of the range: a time, a date, `now-7d`, or the name of a period such as `this_month`. Default: 24 hours before `to`.", "now-7d"),
    Parameter("to", "End of the range, exclusive. Default: now, or the end of the period that `from` names.", "now"),
    Parameter("granularity", "Length of the buckets of a series; `auto` chooses one; `none`: no series.", "1d", allowed=GRANULARITIES),
    Parameter("tz", "IANA zone in which days, weeks and months begin, and dates are read. Default: UTC.", "Europe/Berlin"),
    Parameter("group_by", "Dimensions: one row for each combination of their values.", "provider,model", is_list=True),
    Parameter("order_by", "Measures, dimensions or `time`; a `-` in front: descending. Default: time, then the first measure descending.", "-cost_usd", is_list=True),
    Parameter("limit", "Keep so many groups, the first by `order_by`; the rest is added up in a row whose `other` is true.", "10"),
    Parameter("fill", "Buckets in which nothing happened: left out, zero, or null.", "zero", allowed=FILLS),
    Parameter("compare", "`previous`: the same for the range of the same length that ends where this begins.", "previous", allowed=("previous",)),
    Parameter("cumulative", "Sums from the start of the range up to each bucket.", "true", allowed=("true", "false")),
    Parameter("tenant", "Whose usage: needed where the key has several tenants; the header x-odometer-tenant says the same.", "acme"),
    Parameter("format", "Form of the answer; wins over the Accept header.", "csv", allowed=FORMATS),
)  # fmt: skip
BY_NAME: Final = {parameter.name: parameter for parameter in PARAMETERS}


@dataclass(frozen=True)
class UsageQuery:
    """A question that is understood. `order_by` is (name, is_descending) in order of weight."""

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
        """Of the measures, over the sums of their terms."""
        return formulas(self.measures, terms_of(self.measures))


def parse(
    raw: RawParameters, now_ms: int, catalog: Catalog = DEFAULT, *, splits: bool
) -> UsageQuery:
    """The question, or BadParameter. `splits`: commas separate, as in a URL."""
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
            "tz", f"{name!r} is no IANA time zone.{meant}", ("UTC", "Europe/Berlin", "..."), near
        )
    return name, zone


def parse_bounds(raw: RawParameters, now_ms: int, zone: tzinfo) -> tuple[int, int]:
    texts = single(raw, "from"), single(raw, "to")
    try:
        from_ms, to_ms = parse_range(*texts, now_ms, zone)
    except InvalidTime as error:
        name = str(error)
        raise BadParameter(name, f"{single(raw, name)!r} is no time.", ALLOWED) from error
    if from_ms > to_ms:
        raise BadParameter("from", "The range ends before it begins: from is after to.")
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
                name, f"The filters have more than {VALUES_MAX} values (VALUES_MAX)."
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
    """(value, whether it is a prefix) of a filter's text."""
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
            "limit", f"{text!r} is no whole number from 1 to {most}.", (f"1 to {most}",)
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
            _refuse("measures", name, "measure", tuple(offered))
    return tuple(offered[name] for name in names or DEFAULTS)


def _dimensions(parameter: str, names: Sequence[str], catalog: Catalog) -> tuple[str, ...]:
    known = catalog.kept_dimensions
    for name in names:
        if name not in known:
            _refuse(parameter, name, "dimension of any kept view", known)
    return tuple(names)


def _refuse(parameter: str, name: str, what: str, known: Sequence[str]) -> None:
    near = nearest(name, known)
    meant = f" Did you mean {near}?" if near else ""
    raise BadParameter(parameter, f"{name!r} is no {what}.{meant}", known, near)


def _choice(raw: RawParameters, name: str) -> str | None:
    text = single(raw, name)
    allowed = BY_NAME[name].allowed
    if text is not None and text not in allowed:
        near = nearest(text, allowed)
        raise BadParameter(
            name, f"{text!r} is no {name}. Use: {', '.join(allowed)}.", allowed, near
        )
    return text


def _order(texts: Sequence[str], names: Sequence[str]) -> tuple[tuple[str, bool], ...]:
    order = []
    for text in texts:
        name = text.removeprefix("-").removeprefix("+")
        if name not in names:
            _refuse("order_by", name, "measure, dimension or time of this question's rows", names)
        order.append((name, text.startswith("-")))
    return tuple(order)


def _tiers(measures: Sequence[Offered], dimensions: set[str], catalog: Catalog) -> tuple[Tier, ...]:
    """Of the views that can answer, those of the one with the shortest buckets; all where none can,
    which the plan then says."""
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
    """The step of this name, where it can be answered over the whole range."""
    if name not in GRANULARITIES:
        near = nearest(name, GRANULARITIES)
        raise BadParameter(
            "granularity",
            f"{name!r} is no granularity. Use: {', '.join(GRANULARITIES)}.",
            GRANULARITIES,
            near,
        )
    start_ms, end_ms = covered_range(from_ms, to_ms, now_ms, tiers)
    finest = finest_kept(start_ms, now_ms, tiers)
    if zone is not UTC and finest.bucket_ms > QUARTER.bucket_ms:
        edge_ms = kept_from(QUARTER, DAY, now_ms)
        raise BadParameter(
            "tz",
            f"Before {iso(edge_ms)} only days of UTC are kept (quarter-hours, of which a day of any"
            f" zone is made, for {QUARTER.kept_ms // DAY.bucket_ms} days): ask in UTC, or from"
            " then on.",
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
            f"The views that hold this have no buckets of {name}: {finest.name} is the shortest."
            if step.length_ms < tiers[0].bucket_ms
            else f"Buckets of {name} are no longer kept at {iso(start_ms)}, where the range begins:"
            f" {finest.name} is the shortest there."
        )
        allowed = (*(one_.name for one_ in kept), "auto", "none")
        raise BadParameter("granularity", why, allowed)
    if (end_ms - start_ms) // step.length_ms > BUCKETS_MAX:
        raise BadParameter(
            "granularity",
            f"The series would have {(end_ms - start_ms) // step.length_ms} buckets; the limit is"
            f" {BUCKETS_MAX} (BUCKETS_MAX). Ask for a shorter range or longer buckets.",
            (*(s.name for s in kept if (end_ms - start_ms) // s.length_ms <= BUCKETS_MAX), "auto"),
        )
    return step


def _check_together(query: UsageQuery) -> None:
    """What makes no sense without something else."""
    if query.step is None and query.fill != "none":
        raise BadParameter("fill", "fill is about the buckets of a series: it needs a granularity.")
    if query.step is None and query.is_cumulative:
        raise BadParameter("cumulative", "A cumulative sum runs over time: it needs a granularity.")
    if query.limit is not None and not query.group_by:
        raise BadParameter("limit", "limit counts groups: it needs group_by.")
