"""`/openapi.json`: OpenAPI 3.1 of all paths, built from the data and the models; and `/docs`.

`/docs` renders it in the browser with a page of our own, which loads nothing from other servers.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response

from api.agentlens import openapi as agentlens_openapi
from api.app.big_integers import PARAMETER
from api.auth import openapi as auth_openapi
from api.dead_letters import openapi as dead_letters_openapi
from api.http.json_encoding import to_json
from api.http.problems import TITLES
from api.ingest import openapi as ingest_openapi
from api.livekit import openapi as livekit_openapi
from api.openai import openapi as openai_openapi
from api.openwebui import openapi as openwebui_openapi
from api.openwebui import users_openapi
from api.status import openapi as status_openapi
from api.stream import openapi as stream_openapi
from api.usage import openapi as usage_openapi
from schemas.catalog.views import DEFAULT, Catalog
from schemas.responses.usage import Problem

Object = dict[str, Any]

TAGS: Final = (
    ("Usage", "Ask: the native API.", ("/v1/",)),
    (
        "Events",
        "Send: events of any supported format, OpenTelemetry, and Langfuse's SDKs.",
        ("/v1/events", "/v1/traces", "/v1/logs", "/v1/metrics", "/api/public/"),
    ),
    ("Keys", "API keys and sessions of browsers.", ("/v1/keys", "/v1/session", "/v1/tokens")),
    (
        "Operations",
        "Whether events are counted, and the metrics, for those who watch the system; dead letters.",
        ("/v1/status", "/metrics", "/v1/dead-letters"),
    ),
    ("AgentLens", "As AgentLens' own server answers.", ("/api/",)),
    ("LiveKit platform", "As the LiveKit voice platform answers.", ("/admin/",)),
    ("OpenAI", "As OpenAI's organization usage API answers, for every provider.", ("/openai/",)),
    ("Open WebUI", "As Open WebUI's own server answers.", ("/api/v1/",)),
    ("Health", "Whether the process answers. No key is needed.", ("/",)),
)
"""Each tag: its name, its description, and the prefixes of its paths. The longest prefix wins."""
PAGE: Final = (Path(__file__).parent / "docs.html").read_text()


async def openapi(_request: Request, catalog: Catalog) -> Response:
    """`GET /openapi.json`: no key is needed, as it describes no counters."""
    return Response(
        _document_bytes(catalog),
        headers={"cache-control": "public, max-age=300"},
        media_type="application/json",
    )


async def docs(_request: Request) -> Response:
    """`GET /docs`. The policy allows only the page's own script, and requests to this server."""
    script = PAGE.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline';"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Response(
        PAGE,
        headers={
            "content-security-policy": policy,
            "x-content-type-options": "nosniff",
            "cache-control": "public, max-age=300",
        },
        media_type="text/html",
    )


def tag_of(path: str) -> str:
    """The tag of a path."""
    return max(
        (len(start), tag) for tag, _, starts in TAGS for start in starts if path.startswith(start)
    )[1]


@cache
def _document_bytes(catalog: Catalog) -> bytes:
    return to_json(document(catalog))


def document(catalog: Catalog = DEFAULT) -> Object:
    """The whole description, with the measures, dimensions and views of `catalog`."""
    models: tuple[type[BaseModel], ...] = (
        *usage_openapi.MODELS,
        *auth_openapi.MODELS,
        *dead_letters_openapi.MODELS,
        *ingest_openapi.MODELS,
        *status_openapi.MODELS,
        *agentlens_openapi.MODELS,
        *livekit_openapi.MODELS,
        *openai_openapi.MODELS,
        *openwebui_openapi.MODELS,
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
    errors = usage_openapi.problems(ref[Problem])
    paths = {
        **usage_openapi.paths(ref, catalog),
        **stream_openapi.paths(ref, catalog),
        **ingest_openapi.paths(ref),
        **auth_openapi.paths(ref, forms, errors),
        **status_openapi.paths(ref, errors),
        **dead_letters_openapi.paths(ref, errors),
        **agentlens_openapi.paths(ref),
        **livekit_openapi.paths(ref),
        **openai_openapi.paths(ref),
        **openwebui_openapi.paths(ref),
        **users_openapi.paths(ref, forms),
        "/healthz": _open("getLiveness", "Whether the process answers", "The process answers."),
        "/readyz": _open(
            "getReadiness", "Whether queries can be answered", "Queries can be answered."
        ),
    }
    for path, methods in paths.items():
        for operation in methods.values():
            operation["tags"] = [tag_of(path)]
            if operation.get("parameters"):  # the others have no counters in their answers
                operation["parameters"] = [*operation["parameters"], PARAMETER]
    return {
        "openapi": "3.1.0",
        "servers": [{"url": "/", "description": "This server"}],
        "tags": [{"name": tag, "description": about} for tag, about, _ in TAGS],
        "info": {
            "title": "Odometer",
            "version": version("odometer"),
            "description": "Live metering for LLM and speech usage. Every answer is read from counters,"
            " states the exact time range that it covers, and says how fresh it is.",
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


def _open(operation: str, summary: str, about: str) -> Object:
    """A path that needs no key."""
    return {
        "get": {
            "operationId": operation,
            "summary": summary,
            "security": [],
            "responses": {"200": {"description": about}},
        }
    }
