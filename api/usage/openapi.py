"""OpenAPI of the native paths that read the counters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from api.http.problems import MEDIA_TYPE, TITLES
from api.query.measures import offered_by
from api.usage.export import FORMATS as TABLES
from api.usage.filters import aliases, filter_names
from api.usage.groups.person_dimensions import person_dimensions, person_filter_names
from api.usage.latest_calls import FILTERS, LIMIT_DEFAULT, LIMIT_MAX
from api.usage.parameters import BY_NAME, IGNORED, PARAMETERS, Parameter
from api.usage.query import TENANT
from api.usage.render import MEDIA_TYPES
from api.usage.several import QUESTIONS, QUESTIONS_MAX
from schemas.catalog.views import Catalog
from schemas.responses.usage import (
    CallsAnswer,
    MeasuresAnswer,
    Problem,
    SeveralAnswers,
    UsageAnswer,
    ValuesAnswer,
    ViewsAnswer,
)
from schemas.tiers import TIERS

Object = dict[str, Any]

MODELS: Final[tuple[type[BaseModel], ...]] = (
    UsageAnswer,
    SeveralAnswers,
    ValuesAnswer,
    CallsAnswer,
    MeasuresAnswer,
    ViewsAnswer,
    Problem,
)
EXAMPLE: Final[Object] = {
    "range": {"from": "2026-02-07T00:00:00Z", "to": "2026-02-08T12:03:00Z"},
    "granularity": "1d",
    "tz": "UTC",
    "group_by": ["model"],
    "measures": {"requests": "events", "cost_usd": "USD", "avg_latency_ms": "ms"},
    "rows": [
        {"time": "2026-02-07T00:00:00Z", "model": "gpt-4o", "other": False, "requests": 1204, "cost_usd": 5.418, "avg_latency_ms": 812.5, "partial": False},
        {"time": "2026-02-07T00:00:00Z", "model": None, "other": True, "requests": 31, "cost_usd": 0.02, "avg_latency_ms": None, "partial": False},
        {"time": "2026-02-08T00:00:00Z", "model": "gpt-4o", "other": False, "requests": 640, "cost_usd": 2.88, "avg_latency_ms": 790, "partial": True},
    ],
    "totals": {"requests": 1875, "cost_usd": 8.318, "avg_latency_ms": 804.82},
    "estimates": {},
    "complete_through": "2026-02-08T12:02:02.456Z",
    "history_from": None,
    "refused": [],
    "generation": 1,
    "view": "model",
}  # fmt: skip
PROBLEM_EXAMPLE: Final[Object] = {
    "type": "/docs#invalid-parameter",
    "title": TITLES["invalid-parameter"],
    "status": 400,
    "detail": "There is no measure 'cost_us'. Did you mean cost_usd?",
    "parameter": "measures",
    "allowed": ["requests", "cost_usd", "..."],
    "nearest": "cost_usd",
}


def paths(ref: Mapping[type[BaseModel], Object], catalog: Catalog) -> Object:
    """`ref`: the schema of each of MODELS. Measures, dimensions and views are those of `catalog`."""
    persons = person_dimensions(catalog)
    errors = problems(ref[Problem])
    body = bodies(ref[Problem])
    accept = {"406": _problem("The Accept header allows no format of the answer.", ref[Problem])}
    usage = {"200": _usage_answer(ref[UsageAnswer]), **errors, **accept}
    missing = {"404": _problem("No view has this dimension; `allowed` lists all.", ref[Problem])}
    both = {"anyOf": [ref[UsageAnswer], ref[SeveralAnswers]]}
    posted = {"200": _usage_answer(both), **errors, **accept, **body}
    unchanged = {"304": {"description": "Nothing has changed since the answer with this ETag."}}
    names = {"name": "name", "in": "path", "required": True}
    return {
        "/v1/usage": {
            "get": {
                "operationId": "getUsage",
                "summary": "Usage and cost by any measures, groups, filters and time steps",
                "description": _ABOUT_USAGE,
                "parameters": [*question_parameters(catalog), _IF_NONE_MATCH],
                "responses": usage | unchanged,
            },
            "post": {
                "operationId": "postUsage",
                "summary": "The same query, with its parameters as a JSON object",
                "description": "Send several values as a list. Commas in a value have no special meaning here."
                f" `questions` has 1 to {QUESTIONS_MAX} such objects, which are answered from one atomic read.",
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {"anyOf": [_body_schema(catalog), _several_schema(catalog)]},
                            "examples": {
                                "month": {
                                    "value": {
                                        "from": "this_month",
                                        "group_by": ["model"],
                                        "limit": 10,
                                        "kind!": ["chat"],
                                    }
                                }
                            },
                        }
                    },
                },
                "responses": posted,
            },
        },
        "/v1/dimensions/{name}": {
            "get": {
                "operationId": "getDimension",
                "summary": "The values of a dimension in a time range, most used first",
                "parameters": [
                    names | {"schema": {"enum": [*catalog.kept_dimensions, *persons]}},
                    _text(
                        "search", "Only values that contain this text. Case does not matter.", "gpt"
                    ),
                    _parameter(BY_NAME["from"], catalog, "Default: 30 days ago."),
                    *(_parameter(BY_NAME[name], catalog) for name in ("to", "tz", "tenant")),
                    _text("limit", "1 to 1000. Default: 100.", "20"),
                    *_filters(catalog),
                ],
                "responses": {
                    "200": _of("The values.", ref[ValuesAnswer]),
                    **errors,
                    **missing,
                    **unchanged,
                },
            }
        },
        "/v1/calls": {
            "get": {
                "operationId": "getCalls",
                "summary": "The latest calls to models, newest first, without their content",
                "parameters": [
                    *(_text(name, f"Only calls of this {name}.", "") for name in FILTERS),
                    _text("limit", f"1 to {LIMIT_MAX}. Default: {LIMIT_DEFAULT}.", "20"),
                    _parameter(BY_NAME["tenant"], catalog),
                    _IF_NONE_MATCH,
                ],
                "responses": {"200": _of("The calls.", ref[CallsAnswer]), **errors, **unchanged},
            }
        },
        "/v1/export": {"get": _export(ref[Problem], catalog)},
        "/v1/measures": {
            "get": {
                "operationId": "getMeasures",
                "summary": "All measures: names, units and meaning",
                "responses": {"200": _of("The measures.", ref[MeasuresAnswer]), **errors},
            }
        },
        "/v1/views": {
            "get": {
                "operationId": "getViews",
                "summary": "All views: dimensions that can be combined, and how long each is kept",
                "description": _about_views(catalog),
                "responses": {"200": _of("The views.", ref[ViewsAnswer]), **errors},
            }
        },
    }


def question_parameters(catalog: Catalog) -> list[Object]:
    """All parameters of a question in a URL."""
    more = {"tenant": _SEVERAL_TENANTS}
    parameters = [_parameter(one, catalog, more.get(one.name, "")) for one in PARAMETERS]
    return [
        *parameters,
        *_filters(catalog),
    ]


_SEVERAL_TENANTS: Final = "`*`: all tenants of the key. Repeat it for several."
_ABOUT_USAGE: Final = (
    "A group or bucket has a row because it has events, whatever is measured. Time ranges are half-open."
    " Each bound is rounded up to the bucket size that is kept at its age"
    " (minutes for 48 hours, quarter-hours for 90 days, hours for 400 days, then UTC days), so adjacent"
    " ranges add up;"
    " `range` in the answer states the exact instants. A range that contains time but no stored bucket is a"
    " 400 that names the nearest ranges with an answer. A bucket begins where the step of the zone's wall"
    " clock changes. Rows of a series have `partial`: true if the bucket is not over by `complete_through`,"
    " or cut by the range. With `limit`, send `next_cursor` back as `cursor` to get the next groups of the"
    " same range. To filter, use the name of a dimension as a"
    " parameter; append `!` to the name to exclude values. In a URL, a comma separates values and a"
    " repeated parameter adds values. A `*` at the end of a value matches any rest, and one at its start any"
    " beginning. Write `\\,`,"
    ' `\\*` and `\\\\` for the characters themselves. The empty value means "not reported". In'
    " CSV, a `'` is put before texts that a spreadsheet would run as a formula."
)


def _about_views(catalog: Catalog) -> str:
    listed = "; ".join(f"{view.name} ({', '.join(view.dimensions)})" for view in catalog.views)
    return (
        f"A query is answered from the first view that has its dimensions and measures: {listed}."
    )


_IF_NONE_MATCH: Final = {
    "name": "if-none-match",
    "in": "header",
    "description": "The ETag of an earlier answer. The answer is 304 if nothing has changed.",
    "schema": {"type": "string"},
}


def _parameter(parameter: Parameter, catalog: Catalog, more: str = "") -> Object:
    about = f"{parameter.about} {more}".strip()
    schema = _schema(parameter, catalog)
    found: Object = {"name": parameter.name, "in": "query", "description": about, "schema": schema}
    if parameter.is_list:
        found |= {"style": "form", "explode": False, "example": parameter.example.split(",")}
    else:
        found["example"] = parameter.example
    return found


def _schema(parameter: Parameter, catalog: Catalog) -> Object:
    if parameter.name == "measures":
        return {"type": "array", "items": {"enum": list(offered_by(catalog))}}
    if parameter.name == "group_by":
        names = [*catalog.kept_dimensions, *person_dimensions(catalog), TENANT]
        return {"type": "array", "items": {"enum": names}}
    if parameter.is_list:
        return {"type": "array", "items": {"type": "string"}}
    if parameter.name == "limit":
        return {"type": "integer", "minimum": 1}
    return {"type": "string", "enum": list(parameter.allowed)} if parameter.allowed else {
        "type": "string"
    }  # fmt: skip


def _filters(catalog: Catalog) -> list[Object]:
    names = (*catalog.kept_dimensions, *person_dimensions(catalog))
    return _filters_of({name: name for name in names} | {**aliases(catalog)})


def _filters_of(names: Mapping[str, str]) -> list[Object]:
    """The filters of dimensions by their names."""
    return [
        {
            "name": name + end,
            "in": "query",
            "description": f"{'Exclude' if end else 'Include only'} these values of {dimension}.",
            "schema": {"type": "array", "items": {"type": "string"}},
            "style": "form",
            "explode": False,
        }
        for name, dimension in names.items()
        for end in ("", "!")
    ]


def _export(ref: Object, catalog: Catalog) -> Object:
    views = [view.name for view in catalog.views]
    tiers = [tier.name for tier in TIERS]
    text = {"type": "string"}
    names = {"type": "array", "items": text}

    def one(name: str, about: str, schema: Object) -> Object:
        return {"name": name, "in": "query", "description": about, "schema": schema}

    table = {media_type: {"schema": text} for media_type in TABLES.values()}
    return {
        "operationId": "exportRows",
        "summary": "The rows of one view at one tier as a table for warehouses: Parquet or Arrow",
        "description": "All rows are of one atomic read. The metadata `odometer` of the table says what they"
        " are exact to: generation, range, `complete_through` and the position of each partition.",
        "parameters": [
            one("view", "The view whose rows are wanted.", {"enum": views}) | {"required": True},
            one("tier", "The length of the buckets. Default: 1d.", {"enum": tiers}),
            _parameter(BY_NAME["from"], catalog),
            _parameter(BY_NAME["to"], catalog),
            one("dimensions", "Columns; rows of equal values are summed. Default: all.", names)
            | {"style": "form", "explode": False},
            one("measures", "Columns. Default: all sums of the view.", names)
            | {"style": "form", "explode": False},
            _parameter(BY_NAME["tenant"], catalog),
            one("format", "Default: parquet.", {"enum": list(TABLES)}),
        ],
        "responses": {
            "200": {"description": "The table.", "content": table},
            **problems(ref),
            "406": _problem("This API is installed without its extra `export`.", ref),
        },
    }


def _text(name: str, about: str, example: str) -> Object:
    found: Object = {"name": name, "in": "query", "description": about}
    found["schema"] = {"type": "string"}
    return found | ({"example": example} if example else {})


def _body_schema(catalog: Catalog) -> Object:
    texts = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    more: Object = {"from": {"type": ["string", "integer"]}, "to": {"type": ["string", "integer"]}}
    more["tenant"] = {**texts, "description": _SEVERAL_TENANTS}
    more["cumulative"] = more["ignore_case"] = {"type": ["boolean", "string"]}
    return {
        "type": "object",
        "properties": {
            **{one.name: _schema(one, catalog) | {"description": one.about} for one in PARAMETERS},
            **more,
            **dict.fromkeys((*filter_names(catalog), *person_filter_names(catalog)), texts),
            IGNORED: {"description": "Means nothing."},
        },
        "additionalProperties": False,
    }


def _several_schema(catalog: Catalog) -> Object:
    listed = {
        "type": "array",
        "items": _body_schema(catalog),
        "minItems": 1,
        "maxItems": QUESTIONS_MAX,
    }
    return {
        "type": "object",
        "properties": {QUESTIONS: listed, "tenant": {"type": "string"}},
        "required": [QUESTIONS],
        "additionalProperties": False,
    }


def _usage_answer(ref: Object) -> Object:
    content: Object = {
        media_type.partition(";")[0]: {"schema": {"type": "string"}}
        for media_type in MEDIA_TYPES.values()
    }
    content["application/json"] = {"schema": ref, "examples": {"days": {"value": EXAMPLE}}}
    headers = {
        "etag": "Identifies the content of the answer. Send it back as if-none-match.",
        "odometer-complete-through": "All events that Kafka acknowledged before this time are counted. Also sent with 304.",
        "odometer-range-from": "Start of the covered range, inclusive.",
        "odometer-range-to": "End of the covered range, exclusive.",
        "odometer-groups": "Of CSV and NDJSON: the member `groups` of JSON.",
        "odometer-next-cursor": "Of CSV and NDJSON: `next_cursor`, if there is a next page.",
        "odometer-is-changed": "Of CSV and NDJSON: `is_changed`.",
    }
    return {
        "description": "Rows, totals, and the time range that they cover.",
        "headers": {
            name: {"description": about, "schema": {"type": "string"}}
            for name, about in headers.items()
        },
        "content": content,
    }


def problems(ref: Object) -> Object:
    of = {
        "400": "A parameter is invalid, or no view can answer the query.",
        "401": "The API key is missing, unknown, expired or revoked.",
        "403": "The role of the key may not read, or the key has no access to the tenant.",
        "429": "The rate limit of the key is exceeded. Wait as long as Retry-After says.",
        "503": "The counters cannot be read at the moment. Retry after Retry-After.",
    }
    return {
        status: {
            "description": about,
            "content": {
                MEDIA_TYPE: {
                    "schema": ref,
                    **({"examples": {"nearest": {"value": PROBLEM_EXAMPLE}}} if status == "400" else {}),
                }
            },
        }
        for status, about in of.items()
    }  # fmt: skip


def bodies(ref: Object) -> Object:
    """The errors of a JSON body."""
    of = {
        "413": "The body is too large.",
        "415": "The body is not JSON in UTF-8, or it is compressed.",
    }
    return {status: _problem(about, ref) for status, about in of.items()}


def _problem(about: str, ref: Object) -> Object:
    return {"description": about, "content": {MEDIA_TYPE: {"schema": ref}}}


def _of(description: str, schema: Object) -> Object:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
