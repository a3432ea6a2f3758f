"""The parameters of /v1/usage, from a URL or a JSON body, parsed into one `UsageQuery`.

`PARAMETERS` lists every parameter. Every other name must be a filter, or the request is rejected with
the nearest known name. `filters` says how filters are written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Final, NoReturn, cast

from api.errors import BadParameter
from api.http.parameters import RawParameters, check_names, nearest, single
from api.query.comparison import KINDS, compared_range
from api.query.measures import DEFAULTS, Offered, offered_by
from api.query.series_index import Filter
from api.query.time_buckets import Step, zone_names, zone_of
from api.query.time_range import ALLOWED, AskedRange, InvalidTime, parse_range
from api.usage.filters import aliases, filter_names, parse_filters, parse_person_filters
from api.usage.groups.cursor import Cursor, check_question, parse_cursor
from api.usage.groups.having import parse_having
from api.usage.groups.person_dimensions import USER, person_dimensions, person_filter_names
from api.usage.query import EVERY, TENANT, TIME, Fill, Format, UsageQuery
from api.usage.steps import (
    AUTO_BUCKETS_MAX,
    BUCKETS_MAX,
    GRANULARITIES,
    WEEK_STARTS,
    Grid,
    check_kept,
    check_range,
    chosen_step,
    tiers_for,
)
from schemas.catalog.views import DEFAULT, Catalog

LIMIT_MAX: Final = 10_000
"""Groups that `limit` may ask for. Without `limit` an answer has at most `sections.ROWS_MAX` rows."""

FORMATS: Final[tuple[Format, ...]] = ("json", "csv", "ndjson", "spreadsheet")
LAYOUTS: Final = ("long", "wide")
FILLS: Final[tuple[Fill, ...]] = ("none", "zero", "null")
TENANTS_MAX: Final = 500
"""Tenants of one question. Each is read as a question of its own, within the limits of one."""
IGNORED: Final = "_"
"""A parameter that clients add to get past caches. It means nothing."""


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
    Parameter("max_points", "Chooses the shortest buckets of which the range has at most so many, as `auto` does with 200.", "600"),
    Parameter("tz", "IANA time zone of days, weeks, months and of dates without an offset. Default: UTC.", "Europe/Berlin"),
    Parameter("week_start", "The day on which weeks begin, in `1w` and in the weeks that `from` names.", "sunday", allowed=WEEK_STARTS),
    Parameter("group_by", "Dimensions: one row for each combination of their values.", "provider,model", is_list=True),
    Parameter("order_by", "Measures, dimensions or `time`; `-` in front means descending. Default: time, then the first measure descending.", "-cost_usd", is_list=True),
    Parameter("limit", "Keep the first groups by `order_by`. One row with `other` = true has the sums of the rest.", "10"),
    Parameter("cursor", "The `next_cursor` of an answer with `limit`: the page of groups after it, of the same range.", "WzEsIjg2Li4u"),
    Parameter("having", "Conditions on the measures of groups over the whole range. Groups that do not fulfil all of them are summed in the row with `other` = true.", "requests>=100", is_list=True),
    Parameter("layout", "`wide`: a series has one column for each group and measure. `long`: a row for each group.", "wide", allowed=LAYOUTS),
    Parameter("fill", "Buckets without events: `none` leaves them out, `zero` and `null` fill them.", "zero", allowed=FILLS),
    Parameter("compare", "Adds another range, and the change of each group. `previous`: the period before: the month, quarter or year before a named one or with steps of `1mo`, `1q` or `1y`; as many local days before a range of whole local days; else the same time before. `previous_week`, `previous_month` and `previous_year` move both bounds by that unit.", "previous", allowed=KINDS),
    Parameter("compare_from", "Start of a range of your own to compare with. In place of `compare`.", "2025-12-24"),
    Parameter("compare_to", "Its end, exclusive. Default: the end of the period in `compare_from`.", "2025-12-27"),
    Parameter("cumulative", "If true, each bucket has the sums from the start of the range.", "true", allowed=("true", "false")),
    Parameter("ignore_case", "If true, filters ignore case.", "true", allowed=("true", "false")),
    Parameter("times", "How `time` is written: `iso` or `ms`, milliseconds since 1970.", "ms", allowed=("iso", "ms")),
    Parameter("tenant", "The tenant. Needed if the key has several tenants; the header x-odometer-tenant does the same.", "acme"),
    Parameter("format", "Format of the answer. Takes precedence over the Accept header. `spreadsheet` is CSV as a file to save, with the byte order mark from which spreadsheets tell UTF-8.", "csv", allowed=FORMATS),
)  # fmt: skip
BY_NAME: Final = {parameter.name: parameter for parameter in PARAMETERS}


def parse(
    raw: RawParameters,
    now_ms: int,
    catalog: Catalog = DEFAULT,
    *,
    splits: bool,
    only: tuple[Filter, ...] = (),
) -> UsageQuery:
    """Parse the parameters. `splits`: commas separate values, as in a URL. `only`: the filters that the key
    is bound to. Raises BadParameter."""
    of_persons = person_dimensions(catalog)
    names = (*BY_NAME, *filter_names(catalog), *person_filter_names(catalog), IGNORED)
    check_names(raw, names)
    zone_name, zone = parse_zone(raw)
    first_day = 6 if _choice(raw, "week_start") == "sunday" else 0
    cursor = parse_cursor(single(raw, "cursor"))
    if cursor is None:
        asked = parse_bounds(raw, now_ms, zone, first_day)
    else:
        asked = AskedRange(cursor.from_ms, cursor.to_ms)
    measures = _measures(listed(raw, "measures", splits=splits), catalog)
    columns, group_by = _dimensions("group_by", listed(raw, "group_by", splits=splits), catalog)
    people_by = tuple(name for name in group_by if name in of_persons)
    having = parse_having(listed(raw, "having", splits=splits), offered_by(catalog))
    ignores_case = _choice(raw, "ignore_case") == "true"
    wanted = parse_filters(raw, catalog, splits=splits, ignores_case=ignores_case)
    filters = (*wanted, *only)
    persons = parse_person_filters(raw, catalog, splits=splits, ignores_case=ignores_case)
    dimensions = {*group_by, *(one.dimension for one in filters)} - {*people_by, TENANT}
    if people_by or persons:
        dimensions.add(USER)
    computed = (*measures, *(one.measure for one in having))
    tiers = tiers_for(computed, dimensions, catalog)
    grid = Grid(now_ms, zone, zone_name, tiers, first_day)
    check_range(asked, grid)
    step = chosen_step(*_granularity(raw), asked, grid)
    names = (*(measure.name for measure in measures), *columns, *([TIME] if step else []))
    query = UsageQuery(
        measures=measures,
        from_ms=asked.from_ms,
        to_ms=asked.to_ms,
        step=step,
        zone=zone,
        zone_name=zone_name,
        compared=_compared(raw, asked, step, grid, cursor),
        filters=filters,
        person_filters=persons,
        group_by=group_by,
        people_by=people_by,
        columns=columns,
        order_by=_order(listed(raw, "order_by", splits=splits), names),
        limit=parse_limit(raw, LIMIT_MAX),
        cursor=cursor,
        having=having,
        is_wide=_choice(raw, "layout") == "wide",
        fill=cast("Fill", _choice(raw, "fill") or "none"),
        is_cumulative=_choice(raw, "cumulative") == "true",
        has_times_ms=_choice(raw, "times") == "ms",
        tenants=_tenants(raw),
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


def parse_bounds(
    raw: RawParameters,
    now_ms: int,
    zone: tzinfo,
    first_day: int = 0,
    names: tuple[str, str] = ("from", "to"),
) -> AskedRange:
    texts = single(raw, names[0]), single(raw, names[1])
    try:
        asked = parse_range(*texts, now_ms, zone, first_day, names)
    except InvalidTime as error:
        name = str(error)
        raise BadParameter(name, f"{single(raw, name)!r} is not a time.", ALLOWED) from error
    if asked.from_ms > asked.to_ms:
        raise BadParameter(names[0], f"`{names[0]}` is after `{names[1]}`.")
    return asked


def _granularity(raw: RawParameters) -> tuple[str, int]:
    """The name of a step, and the most buckets of `auto`, which `max_points` chooses too."""
    name = single(raw, "granularity")
    points = parse_count(raw, "max_points", BUCKETS_MAX)
    if points is None:
        return ("none" if name is None else name), AUTO_BUCKETS_MAX
    if name not in {None, "auto"}:
        raise BadParameter(
            "max_points", "`max_points` chooses the length of buckets: use `granularity=auto`."
        )
    return "auto", points


def _compared(
    raw: RawParameters, asked: AskedRange, step: Step | None, grid: Grid, cursor: Cursor | None
) -> AskedRange | None:
    """The range to compare with, if there is one. That of a cursor is the one of the first page."""
    kind, own = _choice(raw, "compare"), ("compare_from", "compare_to")
    if kind is None and not any(single(raw, name) is not None for name in own):
        return None
    if kind is None:
        compared = parse_bounds(raw, grid.now_ms, grid.zone, grid.first_day, own)
        blamed = "compare_from"
        if single(raw, blamed) is None:
            raise BadParameter("compare_to", "`compare_to` needs `compare_from`.")
    else:
        if given := next((name for name in own if single(raw, name) is not None), ""):
            raise BadParameter(given, f"`{given}` and `compare` exclude each other.")
        compared = compared_range(kind, asked, step, grid.zone)
        blamed = "compare"
    if cursor is not None and cursor.compared is not None:
        compared = AskedRange(*cursor.compared)
    check_range(compared, grid, blamed)
    if step is not None:
        check_kept(step, compared, grid, blamed)
    return compared


def parse_limit(raw: RawParameters, most: int) -> int | None:
    return parse_count(raw, "limit", most)


def parse_count(raw: RawParameters, name: str, most: int) -> int | None:
    text = single(raw, name)
    if text is None:
        return None
    whole = text.removesuffix(".0")
    if not (whole.isascii() and whole.isdigit() and len(whole) <= 9 and 1 <= int(whole) <= most):
        raise BadParameter(
            name, f"{text!r} is not a whole number from 1 to {most}.", (f"1 to {most}",)
        )
    return int(whole)


def listed(raw: RawParameters, name: str, *, splits: bool) -> list[str]:
    """The values of a parameter, each once. `splits`: commas separate values, as in a URL."""
    texts = raw.get(name, ())
    parts = [part for text in texts for part in (text.split(",") if splits else [text])]
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _measures(names: Sequence[str], catalog: Catalog) -> tuple[Offered, ...]:
    offered = offered_by(catalog)
    for name in names:
        if name not in offered:
            reject("measures", name, "measure", tuple(offered))
    return tuple(offered[name] for name in names or DEFAULTS)


def _dimensions(
    parameter: str, names: Sequence[str], catalog: Catalog
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names as they were sent, each dimension once, and the dimensions."""
    known = (*catalog.kept_dimensions, *person_dimensions(catalog), TENANT)
    other_names = aliases(catalog)
    found: dict[str, str] = {}
    for name in names:
        dimension = other_names.get(name, name)
        if dimension not in known:
            reject(parameter, name, "dimension of a view", known)
        found.setdefault(dimension, name)
    return tuple(found.values()), tuple(found)


def _tenants(raw: RawParameters) -> tuple[str, ...]:
    """The tenants that are named; `*` means all of the key."""
    names = tuple(dict.fromkeys(raw.get("tenant", ())))
    if EVERY in names and len(names) > 1:
        raise BadParameter("tenant", f"`{EVERY}` means all tenants: name no other one.")
    if len(names) > TENANTS_MAX:
        raise BadParameter(
            "tenant",
            f"The question names {len(names)} tenants, more than the limit of {TENANTS_MAX} (TENANTS_MAX).",
        )
    return names


def reject(parameter: str, name: str, what: str, known: Sequence[str]) -> NoReturn:
    """Raise BadParameter with the nearest of the names that are known."""
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
            reject(
                "order_by", name, "measure, dimension or `time` of the rows that you ask for", names
            )
        order.append((name, text.startswith("-")))
    return tuple(order)


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
    for name, is_there in (("limit", query.limit is not None), ("having", bool(query.having))):
        if is_there and not query.group_by:
            raise BadParameter(name, f"`{name}` needs `group_by`: it is about groups.")
    if query.is_wide and (query.step is None or not query.group_by):
        raise BadParameter(
            "layout",
            "`layout=wide` needs `granularity` and `group_by`: it has a column for each group of a series.",
        )
    if query.cursor is not None:
        if query.limit is None:
            raise BadParameter("cursor", "`cursor` needs the `limit` of the page.")
        orders = len([name for name, _ in query.order_by if name != TIME]) or 1
        check_question(query.cursor, query.identity, len(query.columns), orders)
