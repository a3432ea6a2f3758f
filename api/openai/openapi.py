"""OpenAPI of OpenAI's dialect, built from its table of paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from api.openai.endpoints import PREFIX
from api.openai.questions import PATHS, OrganizationPath
from schemas.responses.openai import CostsPage, OpenAIError, UsagePage

Object = dict[str, Any]

MODELS: Final[tuple[type[BaseModel], ...]] = (UsagePage, CostsPage, OpenAIError)

_ERRORS: Final = {
    "400": "A parameter is invalid, the range has expired or has no whole bucket, or no view can answer.",
    "401": "The API key is missing, unknown, expired or revoked.",
    "403": "The role of the key may not read, or the key has no access to the tenant.",
    "429": "The rate limit of the key is exceeded; see retry-after.",
    "503": "The counters cannot be read at the moment; see retry-after.",
}
_SECONDS: Final = {"type": "integer", "minimum": 0, "maximum": 99_999_999_999}


def paths(ref: Mapping[type[BaseModel], Object]) -> Object:
    """`ref`: the schema of each of MODELS."""
    errors = {status: _of(about, ref[OpenAIError]) for status, about in _ERRORS.items()}
    return {
        PREFIX + path.path: {
            "get": {
                "operationId": "getOrganization" + _camel(path.path),
                "summary": f"{path.about}, as OpenAI's organization usage API answers it",
                "description": "For every provider. Both bounds are rounded up to the bucket size that"
                " is kept at their age; headers state the covered range.",
                "parameters": _parameters(path),
                "responses": {
                    "200": _of(
                        "One page of buckets, ascending.",
                        ref[CostsPage if path.path == "costs" else UsagePage],
                    ),
                    **errors,
                },
            }
        }
        for path in PATHS
    }


def _parameters(path: OrganizationPath) -> list[Object]:
    most = max(path.limits_of(width)[1] for width in path.widths)
    found = [
        _one("start_time", "Unix seconds, inclusive.", _SECONDS) | {"required": True},
        _one("end_time", "Unix seconds, exclusive. Default: now.", _SECONDS),
        _one("bucket_width", "Of UTC. Default: 1d.", {"enum": list(path.widths)}),
        _one("limit", "Buckets of a page.", {"type": "integer", "minimum": 1, "maximum": most}),
        _one("page", "`next_page` of the answer before.", {"type": "string"}),
        _list("group_by", "Dimensions of the results.", {"enum": list(path.groups)}),
    ]
    for name in path.filters:
        if name == "batch":
            found.append(_one(name, "Only batches, or only others.", {"enum": ["true", "false"]}))
        else:
            found.append(_list(name, "Only these.", {"type": "string"}))
    return found


def _one(name: str, about: str, schema: Object) -> Object:
    return {"name": name, "in": "query", "description": about, "schema": schema}


def _list(name: str, about: str, items: Object) -> Object:
    schema = {"type": "array", "items": items}
    return _one(name, about, schema) | {"style": "form", "explode": True}


def _camel(path: str) -> str:
    return "".join(part.capitalize() for part in path.replace("/", "_").split("_"))


def _of(description: str, schema: Object) -> Object:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
