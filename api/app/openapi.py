"""OpenAPI 3.1 of everything that answers, built from the data and the models. Pure, but for `/docs`.

`/docs` renders it in the browser: one page of our own, nothing is loaded from elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response

from api.agentlens.analytics import FILTERS, GRANULARITIES
from api.auth import openapi as auth_openapi
from api.http.json_encoding import to_json
from api.http.problems import MEDIA_TYPE, TITLES
from api.ingest import openapi as ingest_openapi
from api.livekit import openapi as livekit_openapi
from api.openwebui import openapi as openwebui_openapi
from api.openwebui import users_openapi
from api.query.measures import offered_by
from api.usage.parameters import BY_NAME, PARAMETERS, Parameter
from api.usage.render import MEDIA_TYPES
from schemas.catalog.views import DEFAULT, Catalog
from schemas.responses.agentlens import AgentLensHealth, AgentLensProblem, LlmAnalytics
from schemas.responses.usage import MeasuresAnswer, Problem, UsageAnswer, ValuesAnswer, ViewsAnswer

Object = dict[str, Any]

PAGE: Final = (Path(__file__).parent / "docs.html").read_text()
EXAMPLE: Final[Object] = {
    "range": {"from": "2026-02-07T00:00:00Z", "to": "2026-02-08T12:03:00Z"},
    "granularity": "1d",
    "tz": "UTC",
    "group_by": ["model"],
    "measures": {"requests": "events", "cost_usd": "USD", "avg_latency_ms": "ms"},
    "rows": [
        {"time": "2026-02-07T00:00:00Z", "model": "gpt-4o", "other": False, "requests": 1204, "cost_usd": 5.418, "avg_latency_ms": 812.5},
        {"time": "2026-02-07T00:00:00Z", "model": None, "other": True, "requests": 31, "cost_usd": 0.02, "avg_latency_ms": None},
        {"time": "2026-02-08T00:00:00Z", "model": "gpt-4o", "other": False, "requests": 640, "cost_usd": 2.88, "avg_latency_ms": 790},
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
    "detail": "'cost_us' is no measure. Did you mean cost_usd?",
    "parameter": "measures",
    "allowed": ["requests", "cost_usd", "..."],
    "nearest": "cost_usd",
}


async def openapi(_request: Request, catalog: Catalog) -> Response:
    """`GET /openapi.json`: without a key, as it says nothing of anybody's counters."""
    return Response(
        _document_bytes(catalog),
        headers={"cache-control": "public, max-age=300"},
        media_type="application/json",
    )


async def docs(_request: Request) -> Response:
    """`GET /docs`. The policy lets the page's own script run, and ask this server only."""
    script = PAGE.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline';"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Response(
        PAGE,
        headers={"content-security-policy": policy, "x-content-type-options": "nosniff"},
        media_type="text/html",
    )


@cache
def _document_bytes(catalog: Catalog) -> bytes:
    return to_json(document(catalog))


def document(catalog: Catalog = DEFAULT) -> Object:
    """The whole description, with the measures, dimensions and views of a catalog."""
    models: tuple[type[BaseModel], ...] = (
        UsageAnswer,
        ValuesAnswer,
        MeasuresAnswer,
        ViewsAnswer,
        Problem,
        LlmAnalytics,
        AgentLensHealth,
        AgentLensProblem,
        *livekit_openapi.MODELS,
        *auth_openapi.MODELS,
        *openwebui_openapi.MODELS,
        *ingest_openapi.MODELS,
        *users_openapi.MODELS,
    )
    forms_of_all = (*auth_openapi.FORMS, *users_openapi.FORMS)
    names, definitions = models_json_schema(
        [
            *((model, "serialization") for model in models),
            *((form, "validation") for form in forms_of_all),
        ],
        ref_template="#/components/schemas/{model}",
    )
    ref = {model: names[model, "serialization"] for model in models}
    forms = {form: names[form, "validation"] for form in forms_of_all}
    paths = _paths(ref, catalog) | auth_openapi.paths(ref, forms, _problems(ref[Problem]))
    for path, methods in users_openapi.paths(ref, forms).items():
        paths[path] = paths.get(path, {}) | methods
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Odometer",
            "version": version("odometer"),
            "description": "Live metering for LLM and speech usage. Every answer is made of counters"
            " only, covers exactly the instants that it states, and says how fresh it is.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "security": [{"bearer": []}, {"header": []}],
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
        "x-problems": TITLES,
    }


def _paths(ref: Mapping[type[BaseModel], Object], catalog: Catalog) -> Object:
    errors = _problems(ref[Problem])
    other_errors = {
        str(status): _of("An error, in the shape of AgentLens.", ref[AgentLensProblem])
        for status in (400, 401, 403, 429, 503)
    }
    usage = {"200": _usage_answer(ref[UsageAnswer]), **errors}
    unchanged = {"304": {"description": "Nothing has changed since the answer with this ETag."}}
    names = {"name": "name", "in": "path", "required": True}
    return {
        "/v1/usage": {
            "get": {
                "operationId": "getUsage",
                "summary": "Any question that the counters hold",
                "description": _ABOUT_USAGE,
                "parameters": [
                    *(_parameter(one, catalog) for one in PARAMETERS),
                    *_filters(catalog),
                    _IF_NONE_MATCH,
                ],
                "responses": usage | unchanged,
            },
            "post": {
                "operationId": "postUsage",
                "summary": "The same, with the parameters as a JSON object",
                "description": "A list has several values, and commas stand for themselves.",
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": _body_schema(catalog),
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
                "responses": usage,
            },
        },
        "/v1/dimensions/{name}": {
            "get": {
                "operationId": "getDimension",
                "summary": "Values seen in a range, most used first",
                "parameters": [
                    names | {"schema": {"enum": list(catalog.kept_dimensions)}},
                    _text("search", "Only values that contain this, in any case.", "gpt"),
                    _parameter(BY_NAME["from"], catalog, "Default: 30 days ago."),
                    *(_parameter(BY_NAME[name], catalog) for name in ("to", "tz", "tenant")),
                    _text("limit", "1 to 1000. Default: 100.", "20"),
                    *_filters(catalog),
                ],
                "responses": {"200": _of("The values.", ref[ValuesAnswer]), **errors, **unchanged},
            }
        },
        "/v1/measures": {
            "get": {
                "operationId": "getMeasures",
                "summary": "What can be measured",
                "responses": {"200": _of("The measures.", ref[MeasuresAnswer]), **errors},
            }
        },
        "/v1/views": {
            "get": {
                "operationId": "getViews",
                "summary": "Which dimensions are kept together, and how long",
                "description": _about_views(catalog),
                "responses": {"200": _of("The views.", ref[ViewsAnswer]), **errors},
            }
        },
        "/api/analytics/llm": {
            "get": {
                "operationId": "getLlmAnalytics",
                "summary": "LLM analytics as AgentLens answers them",
                "parameters": [
                    _text("from", "ISO 8601. Default: 24 hours ago.", "2026-02-07"),
                    _text("to", "ISO 8601. Default: now.", "2026-02-08T10:00:00Z"),
                    _text("granularity", f"{', '.join(GRANULARITIES)}. Default: hour.", "day"),
                    *(_text(name, f"Only this {of}.", "") for name, of in FILTERS.items()),
                ],
                "responses": {
                    "200": _of("Summary, models and series.", ref[LlmAnalytics]),
                    **other_errors,
                },
            }
        },
        **livekit_openapi.paths(ref),
        **openwebui_openapi.paths(ref),
        **ingest_openapi.paths(ref),
        "/api/health": _open(
            "getHealth", "Whether Redis answers", _of("Ok.", ref[AgentLensHealth])
        ),
        "/healthz": _open(
            "getLiveness", "Whether the process answers", {"description": "It does."}
        ),
        "/readyz": _open(
            "getReadiness", "Whether a question would be answered", {"description": "It would."}
        ),
    }


_ABOUT_USAGE: Final = (
    "Bounds go up to the next boundary of the grid that is kept at their age and are half-open, so"
    " adjacent ranges add up; `range` says which instants were covered. A filter is a dimension,"
    " with a `!` at its end: all but these. In a URL a comma separates values and a repeated"
    " parameter adds some; a `*` at the end makes a value a prefix; `\\,`, `\\*` and `\\\\` stand"
    ' for the characters themselves; the empty value is "not reported". In CSV, texts that a'
    " spreadsheet would take for a formula begin with a `'`."
)


def _about_views(catalog: Catalog) -> str:
    listed = "; ".join(f"{view.name} ({', '.join(view.dimensions)})" for view in catalog.views)
    return f"A question is answered by the first that holds its dimensions and measures: {listed}."


_IF_NONE_MATCH: Final = {
    "name": "if-none-match",
    "in": "header",
    "description": "The ETag of the answer that is already there.",
    "schema": {"type": "string"},
}


def _open(operation: str, summary: str, answer: Object) -> Object:
    """Without a key."""
    return {
        "get": {
            "operationId": operation,
            "summary": summary,
            "security": [],
            "responses": {"200": answer},
        }
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
        return {"type": "array", "items": {"enum": list(catalog.kept_dimensions)}}
    if parameter.is_list:
        return {"type": "array", "items": {"type": "string"}}
    if parameter.name == "limit":
        return {"type": "integer", "minimum": 1}
    return {"type": "string", "enum": list(parameter.allowed)} if parameter.allowed else {
        "type": "string"
    }  # fmt: skip


def _filters(catalog: Catalog) -> list[Object]:
    return [
        {
            "name": name + end,
            "in": "query",
            "description": f"{'All but these' if end else 'Only these'} values of {name}.",
            "schema": {"type": "array", "items": {"type": "string"}},
            "style": "form",
            "explode": False,
        }
        for name in catalog.kept_dimensions
        for end in ("", "!")
    ]


def _text(name: str, about: str, example: str) -> Object:
    found: Object = {"name": name, "in": "query", "description": about}
    found["schema"] = {"type": "string"}
    return found | ({"example": example} if example else {})


def _body_schema(catalog: Catalog) -> Object:
    texts = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    more = {"from": {"type": ["string", "integer"]}, "to": {"type": ["string", "integer"]}}
    more["cumulative"] = {"type": ["boolean", "string"]}
    return {
        "type": "object",
        "properties": {
            **{one.name: _schema(one, catalog) | {"description": one.about} for one in PARAMETERS},
            **more,
            **{name + end: texts for name in catalog.kept_dimensions for end in ("", "!")},
        },
        "additionalProperties": False,
    }


def _usage_answer(ref: Object) -> Object:
    content: Object = {
        media_type.partition(";")[0]: {"schema": {"type": "string"}}
        for media_type in MEDIA_TYPES.values()
    }
    content["application/json"] = {"schema": ref, "examples": {"days": {"value": EXAMPLE}}}
    headers = {
        "etag": "Over what the answer holds; send it back as if-none-match.",
        "odometer-complete-through": "How fresh it is; of a 304 too.",
        "odometer-range-from": "First instant that is covered.",
        "odometer-range-to": "The instant after the last.",
    }
    return {
        "description": "Rows, totals, and what they cover.",
        "headers": {
            name: {"description": about, "schema": {"type": "string"}}
            for name, about in headers.items()
        },
        "content": content,
    }


def _problems(ref: Object) -> Object:
    of = {
        "400": "A parameter is wrong, or no kept view answers this.",
        "401": "No key, or one that is not known.",
        "403": "The key may not read, or has no such tenant.",
        "429": "The key asks more often than it may; Retry-After says how long to wait.",
        "503": "The counters cannot be read right now; never zeros instead.",
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


def _of(description: str, schema: Object) -> Object:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
