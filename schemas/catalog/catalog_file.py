"""What an operator adds to the catalog: measures, dimensions and views of a file of their own. Pure.

The file is TOML, one table an entry:

    [measures.pages]               # a sum of whole numbers that events have as a label
    label = "pages"
    unit = "pages"
    kinds = ["llm"]                # of events that have it; left out: llm, tts and stt
    how = "sum"                    # or "reported": how many events have the label at all

    [dimensions.team]
    label = "team"                 # or several: the first that an event has
                                   # or field = "source": a text of the event itself
    [views.by_team]
    dimensions = ["team", "model"] # with kind, which is in every view; left out: none
    measures = ["core", "pages"]   # names, or groups of them; left out: core
    histograms = ["latency"]       # left out: none
    distincts = ["chats"]          # left out: none
    tiers = ["15m", "1d"]          # left out: 1m as well
    series_max = 50_000            # a tenant; what goes over it is counted in (other)

What is ours stays as it is: an entry only adds. Views are known to the store by their place in the
file, so a new one goes to its end; the order of all else has no meaning. Everything here is part of
what counters are: a worker with another file refuses to add to them, and `odometer rebuild` counts
the log anew.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from schemas.catalog.measures import (
    BOOKED,
    CORE,
    MEASURES,
    RATED,
    SKETCHES,
    USAGE,
    How,
    Measure,
)
from schemas.catalog.views import (
    COARSE,
    DEFAULT,
    DIMENSIONS,
    LABEL,
    SERIES_MAX,
    VIEWS,
    Catalog,
    View,
)
from schemas.errors import InvalidConfig
from schemas.event.kinds import USAGE_KINDS, Kind
from schemas.limits import LABEL_KEY_CHARS_MAX, LABELS_MAX
from schemas.tiers import TIERS

CATALOG_BYTES_MAX: Final = 1 << 18
"""All entries that there may be, each with a page of comments."""
NAME_CHARS_MAX: Final = 40
"""Of an entry: a column's head."""
MEASURES_MAX: Final = 32
"""8 B each in every row of the views that keep them."""
DIMENSIONS_MAX: Final = LABELS_MAX
"""As many as an event has labels."""
VIEWS_MAX: Final = 32
"""Each is one more roll-up of every event, 0.13 us where it has few series (measured): as many
double what rolling up ours takes (5.3 us). `FIRST_VIEW_ID` has the keys' side."""
FIRST_VIEW_ID: Final = 64
"""A table is view id * 8 + kind (there are six kinds): ours are below 64 * 8 = 512, those of a file
from 512 to (64 + 31) * 8 + 5 = 765, and ids up to 127 are free for more."""
SOURCES_MAX: Final = 4
"""Labels or fields that one dimension is read from."""
VIEW_DIMENSIONS_MAX: Final = 6
"""Besides kind. The longest names of all are 6 * 256 characters a series."""
SERIES_MOST: Final = 1_000_000
"""Of a view of a file: 200 MB of names a tenant, as our own largest."""
FINE_SERIES_MAX: Final = 100_000
"""Views of more series put 32 of them on a page, as ours do: most have one event in a bucket, and a
key costs 100 B."""
SPARSE_PAGE_SERIES: Final = 32

GROUPS: Final[Mapping[str, tuple[Measure, ...]]] = {
    "core": CORE,
    "usage": USAGE,
    "booked": BOOKED,
    "ratings": RATED,
}
"""Names that stand for several measures of ours."""
HISTOGRAMS: Final = {one.name: one for one in SKETCHES if one.how is How.HISTOGRAM}
DISTINCTS: Final = {one.name: one for one in SKETCHES if one.how is How.DISTINCT}
TIER_CHOICES: Final = {tuple(tier.name for tier in tiers): tiers for tiers in (TIERS, COARSE)}
"""Every view keeps quarter-hours, of which the days of any zone are made, and days."""

TAKEN: Final = frozenset(
    (
        # Parameters of questions, and columns of answers.
        *("measures", "from", "to", "granularity", "tz", "group_by", "order_by", "limit", "fill"),
        *("compare", "cumulative", "tenant", "format", "search", "time", "other"),
        # Measures that are made of ours when they are asked for.
        *("requests", "cost_usd", "total_tokens", "avg_latency_ms", "avg_first_output_ms"),
        *("avg_cost_usd", "cost_per_request_usd", "cost_per_1m_tokens_usd", "error_rate"),
        *("cost_coverage", "tokens_per_request", "tokens_per_second", "cache_hit_share"),
        *("reasoning_share", "tts_audio_minutes", "stt_audio_minutes", "call_minutes"),
        *("avg_call_duration_ms", "users"),
        *DIMENSIONS,
        *(measure.name for measure in (*MEASURES, *SKETCHES)),
        *GROUPS,
    )
)
"""Names that mean something else in a question or an answer."""
_PERCENTILE: Final = re.compile(r"p\d+(_\d+)?_.*")
_NAME: Final = re.compile(rf"[a-z][a-z0-9_]{{0,{NAME_CHARS_MAX - 1}}}")
_VIEWS_TAKEN: Final = frozenset((*(view.name for view in VIEWS), "tenant"))
"""`over:tenant` is told of tenants that are too many, as `over:VIEW` is of series."""


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Label = Annotated[str, Field(min_length=1, max_length=LABEL_KEY_CHARS_MAX)]
EventField = Literal[
    "provider", "model", "agent_id", "user_id", "user_email", "user_name", "phone_number",
    "service", "voice", "source", "error",
]  # fmt: skip
"""Texts of an event that name something; ids of single events, calls and chats are as many as they."""
Form = TypeVar("Form", bound=BaseModel)
_FORM: Final = ConfigDict(frozen=True, extra="forbid")


class OwnMeasure(BaseModel):
    """`[measures.NAME]`"""

    model_config = _FORM

    label: Label
    unit: Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX, pattern=r"^[\x20-\x7e]+$")]
    kinds: Annotated[tuple[Kind, ...], Field(min_length=1)] = USAGE_KINDS
    how: Literal["sum", "reported"] = "sum"


class OwnDimension(BaseModel):
    """`[dimensions.NAME]`: one of the two, a text or several in order of preference."""

    model_config = _FORM

    label: Annotated[
        tuple[Label, ...], BeforeValidator(_listed), Field(min_length=1, max_length=SOURCES_MAX)
    ] = ()
    field: Annotated[
        tuple[EventField, ...],
        BeforeValidator(_listed),
        Field(min_length=1, max_length=SOURCES_MAX),
    ] = ()


class OwnView(BaseModel):
    """`[views.NAME]`"""

    model_config = _FORM

    dimensions: Annotated[tuple[str, ...], Field(max_length=VIEW_DIMENSIONS_MAX)] = ()
    measures: tuple[str, ...] = ("core",)
    histograms: tuple[str, ...] = ()
    distincts: tuple[str, ...] = ()
    tiers: tuple[str, ...] = tuple(tier.name for tier in TIERS)
    series_max: Annotated[int, Field(strict=True, ge=1, le=SERIES_MOST)] = SERIES_MAX


def parse_catalog(text: bytes, file: str) -> Catalog:
    """Ours and what a file adds; InvalidConfig names file, entry, field, the problem and what is
    allowed."""
    found = _tables(text, file)
    measures = [
        _measure(name, _entry(OwnMeasure, fields, f"{file}: measure {name}"))
        for name, fields in sorted(found["measures"].items())
    ]
    dimensions = {
        name: _sources(
            _entry(OwnDimension, fields, f"{file}: dimension {name}"), f"{file}: dimension {name}"
        )
        for name, fields in sorted(found["dimensions"].items())
    }
    catalog = Catalog({**DIMENSIONS, **dimensions}, (*MEASURES, *measures), VIEWS)
    views = [
        _view(place, name, _entry(OwnView, fields, f"{file}: view {name}"), catalog, file)
        for place, (name, fields) in enumerate(found["views"].items())
    ]
    _check_kept(measures, dimensions, views, file)
    if not views:
        return DEFAULT
    cheapest_first = sorted(views, key=lambda view: (len(view.dimensions), view.series_max))
    return Catalog(catalog.dimensions, catalog.measures, (*VIEWS, *cheapest_first))


# -- the file --------------------------------------------------------------------------------------

_MOST: Final = {"measures": MEASURES_MAX, "dimensions": DIMENSIONS_MAX, "views": VIEWS_MAX}


def _tables(text: bytes, file: str) -> Mapping[str, Mapping[str, Any]]:
    """Entries by section and name; all names are checked."""
    if len(text) > CATALOG_BYTES_MAX:
        raise InvalidConfig(
            f"{file} has {len(text)} bytes; a catalog has at most {CATALOG_BYTES_MAX}."
        )
    try:
        read = tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidConfig(f"{file} is not TOML: {error}.") from error
    if others := sorted(read.keys() - _MOST.keys()):
        raise InvalidConfig(
            f"{file}: {others[0]!r} is nothing that a catalog has: [measures.NAME],"
            " [dimensions.NAME] and [views.NAME]."
        )
    found = {section: read.get(section, {}) for section in _MOST}
    for section, entries in found.items():
        if not isinstance(entries, dict) or not all(isinstance(e, dict) for e in entries.values()):
            raise InvalidConfig(f"{file}: each of the {section} is a table: [{section}.NAME].")
        if len(entries) > _MOST[section]:
            raise InvalidConfig(
                f"{file} has {len(entries)} {section}, the limit is {_MOST[section]}."
            )
        for name in entries:
            if problem := _problem_of_name(section, name, found):
                raise InvalidConfig(f"{file}: {section[:-1]} {name}: {problem}.")
    return found


def _problem_of_name(section: str, name: str, found: Mapping[str, Mapping[str, Any]]) -> str:
    """What is wrong with it; "" where nothing is."""
    if not _NAME.fullmatch(name):
        return (
            "the name must have a-z, 0-9 and _ only, begin with a letter, and be no longer than"
            f" {NAME_CHARS_MAX}"
        )
    if section == "views":
        return "there is a view of this name already" if name in _VIEWS_TAKEN else ""
    if name in TAKEN or _PERCENTILE.fullmatch(name):
        return "the name means something else in a question or its answer: choose another"
    if section == "dimensions" and name in found["measures"]:
        return "there is a measure of this name: choose another"
    return ""


def _entry(form: type[Form], fields: Mapping[str, Any], which: str) -> Form:
    try:
        return form.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        problem = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            problem = f"is none of its fields, which are {', '.join(form.model_fields)}"
        raise InvalidConfig(f"{which}: {field}: {problem}.") from error


def _measure(name: str, own: OwnMeasure) -> Measure:
    of = f"of kind {' or '.join(own.kinds)}"
    if own.how == "sum":
        about = (
            f"Sum of the whole numbers in the label `{own.label}` of events {of}, in {own.unit}."
            " Events without that label add 0."
        )
    else:
        about = f"Events {of} that have the label `{own.label}`, whatever it says."
    kinds = tuple(own.kinds)
    return Measure(name, own.unit, How(own.how), LABEL + own.label, kinds=kinds, about=about)


def _sources(own: OwnDimension, which: str) -> tuple[str, ...]:
    if bool(own.label) == bool(own.field):
        raise InvalidConfig(
            f"{which}: it is read from either label = ... or field = ..., one of the two."
        )
    return tuple(LABEL + label for label in own.label) or own.field


def _view(place: int, name: str, own: OwnView, catalog: Catalog, file: str) -> View:
    def refuse(field: str, problem: str) -> InvalidConfig:
        return InvalidConfig(f"{file}: view {name}: {field}: {problem}.")

    def checked(field: str, names: Sequence[str], allowed: Collection[str]) -> Sequence[str]:
        for one in names:
            if one not in allowed:
                raise refuse(field, _unknown(one, allowed))
        if len({*names}) < len(names):
            raise refuse(field, "names something twice")
        return names

    dimensions = checked("dimensions", own.dimensions, catalog.dimensions)
    if "kind" in dimensions:
        raise refuse("dimensions", "kind is in every view by itself: leave it out")
    known = {measure.name: (measure,) for measure in catalog.measures}
    wanted = {
        measure
        for one in checked("measures", own.measures, {**GROUPS, **known})
        for measure in {**GROUPS, **known}[one]
    }
    sketches = {
        *checked("histograms", own.histograms, HISTOGRAMS),
        *checked("distincts", own.distincts, DISTINCTS),
    }
    if not wanted and not sketches:
        raise refuse("measures", "are none, and no histogram or distinct either: it keeps nothing")
    if own.tiers not in TIER_CHOICES:
        choices = " or ".join(f"[{', '.join(names)}]" for names in TIER_CHOICES)
        raise refuse("tiers", f"must be {choices}: days of any zone are made of quarter-hours")
    return View(
        FIRST_VIEW_ID + place,
        name,
        ("kind", *dimensions),
        # In the catalog's order: rows do not change with that of the file.
        tuple(measure for measure in catalog.measures if measure in wanted),
        tuple(sketch for sketch in SKETCHES if sketch.name in sketches),
        # Percentiles of minutes as our own view by model has them; sets are too large for that.
        fine_sketches=tuple(HISTOGRAMS[name] for name in HISTOGRAMS if name in own.histograms),
        tiers=TIER_CHOICES[own.tiers],
        page_series=1 if own.series_max <= FINE_SERIES_MAX else SPARSE_PAGE_SERIES,
        series_max=own.series_max,
    )


def _unknown(name: str, allowed: Collection[str]) -> str:
    near = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    meant = f" (did you mean {near[0]}?)" if near else ""
    return f"{name!r}{meant} is none of {', '.join(allowed)}"


def _check_kept(
    measures: Sequence[Measure],
    dimensions: Collection[str],
    views: Sequence[View],
    file: str,
) -> None:
    """What no view keeps can be neither asked for nor seen."""
    kept = {name for view in views for name in (*view.dimensions, *view.holds)}
    for section, names in (
        ("measures", [measure.name for measure in measures]),
        ("dimensions", dimensions),
    ):
        for name in names:
            if name not in kept:
                raise InvalidConfig(
                    f"{file}: {section[:-1]} {name}: no view keeps it: name it in the {section} of"
                    " a view."
                )
