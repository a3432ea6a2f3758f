"""What an operator adds to the catalog: measures, dimensions and views in a TOML file. Pure.

One table per entry:

    [measures.pages]               # the sum of a label that holds whole numbers
    label = "pages"
    unit = "pages"
    kinds = ["llm"]                # kinds of event; default: llm, tts and stt
    how = "sum"                    # or "reported": how many events have the label

    [dimensions.team]
    label = "team"                 # or a list: the first label that an event has
                                   # or field = "source": a text field of the event
    [views.by_team]
    dimensions = ["team", "model"] # besides kind, which is in every view; default: none
    measures = ["core", "pages"]   # names, or groups of measures; default: core
    histograms = ["latency"]       # default: none
    distincts = ["chats"]          # default: none
    tiers = ["15m", "1h", "1d"]    # default: 1m as well
    series_max = 50_000            # per tenant; further series are counted in (other)

A file only adds entries: the built-in ones stay as they are. The store knows a view by its place in
the file, so a new view goes to the end. The order of all other entries has no meaning. Everything
in the file is part of the digest of a generation (schemas/store/generation.py): a worker with
another file does not count, and `odometer rebuild` counts the log again from scratch.
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
from schemas.tiers import HOUR, TIERS

CATALOG_BYTES_MAX: Final = 1 << 18
"""Room for the largest number of entries, each with a page of comments."""
NAME_CHARS_MAX: Final = 40
"""Of an entry's name: it heads a column."""
MEASURES_MAX: Final = 32
"""8 B each in every row of the views that keep them."""
DIMENSIONS_MAX: Final = LABELS_MAX
"""As many as an event has labels."""
VIEWS_MAX: Final = 32
"""Each view is one more roll-up of every event: 0.13 us where it has few series (measured). 32 of
them cost about as much as the built-in views (5.3 us). `FIRST_VIEW_ID` says how they fit into keys."""
FIRST_VIEW_ID: Final = 64
"""The id of a table is view id * 8 + kind (there are six kinds). Built-in tables are below
64 * 8 = 512, those of a file go from 512 to (64 + 31) * 8 + 5 = 765. View ids up to 127 are free."""
SOURCES_MAX: Final = 4
"""Labels, or fields, that one dimension may be read from."""
VIEW_DIMENSIONS_MAX: Final = 6
"""Besides kind. The name of a series has at most 6 * 256 characters."""
SERIES_MOST: Final = 1_000_000
"""The largest `series_max`: 200 MB of names per tenant, as in the largest built-in view."""
FINE_SERIES_MAX: Final = 100_000
"""A view with more series puts 32 of them on one page, as the built-in ones do: most series have one
event in a bucket, and a key costs 100 B."""
SPARSE_PAGE_SERIES: Final = 32

GROUPS: Final[Mapping[str, tuple[Measure, ...]]] = {
    "core": CORE,
    "usage": USAGE,
    "booked": BOOKED,
    "ratings": RATED,
}
"""Names for several built-in measures."""
HISTOGRAMS: Final = {one.name: one for one in SKETCHES if one.how is How.HISTOGRAM}
DISTINCTS: Final = {one.name: one for one in SKETCHES if one.how is How.DISTINCT}
TIER_CHOICES: Final = {
    tuple(tier.name for tier in tiers if tier is not HOUR or has_hours): tiers
    for has_hours in (True, False)
    for tiers in (TIERS, COARSE)
}
"""Every view keeps quarter-hours, hours and days. Days in any time zone are added up from quarter-hours.
Files of before layout 7 have no hours: their lists mean the same."""

TAKEN: Final = frozenset(
    (
        # Parameters of queries, and columns of answers.
        *("measures", "from", "to", "granularity", "tz", "group_by", "order_by", "limit", "fill"),
        *("compare", "cumulative", "tenant", "format", "search", "time", "other", "partial"),
        *("compare_from", "compare_to", "week_start", "max_points", "cursor", "having"),
        *("ignore_case", "layout", "times", "integers", "period", "questions"),
        # Measures that the API derives from the kept ones.
        *("requests", "cost_usd", "total_tokens", "avg_latency_ms", "avg_first_output_ms"),
        *("avg_cost_usd", "cost_per_request_usd", "cost_per_1m_tokens_usd", "error_rate"),
        *("cost_coverage", "tokens_per_request", "tokens_per_second", "cache_hit_share"),
        *("reasoning_share", "tts_audio_minutes", "stt_audio_minutes", "call_minutes"),
        *("avg_call_duration_ms", "users", "successful_requests", "failed_requests"),
        *DIMENSIONS,
        *(measure.name for measure in (*MEASURES, *SKETCHES)),
        *GROUPS,
    )
)
"""Names that have another meaning in a query or an answer."""
_PERCENTILE: Final = re.compile(r"p\d+(_\d+)?_.*")
_NAME: Final = re.compile(rf"[a-z][a-z0-9_]{{0,{NAME_CHARS_MAX - 1}}}")
_VIEWS_TAKEN: Final = frozenset((*(view.name for view in VIEWS), "tenant"))
"""The tally `over:tenant` counts tenants over their limit, as `over:VIEW` counts series."""


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Label = Annotated[str, Field(min_length=1, max_length=LABEL_KEY_CHARS_MAX)]
EventField = Literal[
    "provider", "model", "agent_id", "user_id", "user_email", "user_name", "phone_number",
    "service", "voice", "source", "error",
]  # fmt: skip
"""Text fields with few values. Ids of events, calls and chats are left out: they are all different."""
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
    """`[dimensions.NAME]`: either `label` or `field`, a text or several in order of preference."""

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
    """The built-in catalog with what a file adds.

    InvalidConfig names the file, the entry, its field, the problem, and what is allowed.
    """
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
    """The entries by section and name. All names are checked."""
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
            f"{file}: {others[0]!r} is not a section of a catalog. The sections are"
            " [measures.NAME], [dimensions.NAME] and [views.NAME]."
        )
    found = {section: read.get(section, {}) for section in _MOST}
    for section, entries in found.items():
        if not isinstance(entries, dict) or not all(isinstance(e, dict) for e in entries.values()):
            raise InvalidConfig(f"{file}: {section} must be tables with names: [{section}.NAME].")
        if len(entries) > _MOST[section]:
            raise InvalidConfig(
                f"{file} has {len(entries)} {section}, the limit is {_MOST[section]}."
            )
        for name in entries:
            if problem := _problem_of_name(section, name, found):
                raise InvalidConfig(f"{file}: {section[:-1]} {name}: {problem}.")
    return found


def _problem_of_name(section: str, name: str, found: Mapping[str, Mapping[str, Any]]) -> str:
    """The problem of a name; "" where there is none."""
    if not _NAME.fullmatch(name):
        return (
            "a name must consist of a-z, 0-9 and _, begin with a letter, and have at most"
            f" {NAME_CHARS_MAX} characters"
        )
    if section == "views":
        return "this name is taken: choose another" if name in _VIEWS_TAKEN else ""
    if name in TAKEN or _PERCENTILE.fullmatch(name):
        return "this name has another meaning in queries or their answers: choose another"
    if section == "dimensions" and name in found["measures"]:
        return "a measure has this name: choose another"
    return ""


def _entry(form: type[Form], fields: Mapping[str, Any], which: str) -> Form:
    try:
        return form.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        problem = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            problem = f"unknown field; the fields are {', '.join(form.model_fields)}"
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
        raise InvalidConfig(f"{which}: exactly one of label = ... and field = ... is required.")
    return tuple(LABEL + label for label in own.label) or own.field


def _view(place: int, name: str, own: OwnView, catalog: Catalog, file: str) -> View:
    def refuse(field: str, problem: str) -> InvalidConfig:
        return InvalidConfig(f"{file}: view {name}: {field}: {problem}.")

    def checked(field: str, names: Sequence[str], allowed: Collection[str]) -> Sequence[str]:
        for one in names:
            if one not in allowed:
                raise refuse(field, _unknown(one, allowed))
        if len({*names}) < len(names):
            raise refuse(field, "a name is given twice")
        return names

    dimensions = checked("dimensions", own.dimensions, catalog.dimensions)
    if "kind" in dimensions:
        raise refuse("dimensions", "kind is part of every view: leave it out")
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
        raise refuse("measures", "the view keeps nothing: name a measure, histogram or distinct")
    if own.tiers not in TIER_CHOICES:
        choices = " or ".join(f"[{', '.join(t.name for t in tiers)}]" for tiers in (TIERS, COARSE))
        raise refuse("tiers", f"must be {choices}: days in any zone need quarter-hours")
    return View(
        FIRST_VIEW_ID + place,
        name,
        ("kind", *dimensions),
        # In the catalog's order, so that rows do not depend on the order in the file.
        tuple(measure for measure in catalog.measures if measure in wanted),
        tuple(sketch for sketch in SKETCHES if sketch.name in sketches),
        # Histograms are kept by minutes too, as in the built-in view by model. Sets are too large.
        fine_sketches=tuple(HISTOGRAMS[name] for name in HISTOGRAMS if name in own.histograms),
        tiers=TIER_CHOICES[own.tiers],
        page_series=1 if own.series_max <= FINE_SERIES_MAX else SPARSE_PAGE_SERIES,
        series_max=own.series_max,
    )


def _unknown(name: str, allowed: Collection[str]) -> str:
    near = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    meant = f" (did you mean {near[0]}?)" if near else ""
    return f"{name!r} is unknown{meant}; allowed are {', '.join(allowed)}"


def _check_kept(
    measures: Sequence[Measure],
    dimensions: Collection[str],
    views: Sequence[View],
    file: str,
) -> None:
    """Rejects a measure or dimension that no view keeps: no query could ask for it."""
    kept = {name for view in views for name in (*view.dimensions, *view.holds)}
    for section, names in (
        ("measures", [measure.name for measure in measures]),
        ("dimensions", dimensions),
    ):
        for name in names:
            if name not in kept:
                raise InvalidConfig(
                    f"{file}: {section[:-1]} {name}: no view keeps it: add it to the {section} of"
                    " a view."
                )
