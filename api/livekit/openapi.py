"""OpenAPI of the LiveKit dialect, built from its table of endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from api.livekit.bodies import AnalyticsEndpoint
from api.livekit.questions import ENDPOINTS
from schemas.responses.livekit import PlatformProblem

Object = dict[str, Any]

ROOT: Final = "/admin/analytics"
MODELS: Final[tuple[type[BaseModel], ...]] = (
    *(endpoint.body for endpoint in ENDPOINTS),
    PlatformProblem,
)

_TEXT: Final = {"type": "string"}
_DATE: Final = (
    "ISO 8601, or seconds or milliseconds since 1970. A time without an offset is UTC. In a URL,"
    " write + as %2B."
)
_PARAMETERS: Final = {
    "start_date": f"{_DATE} Default: 30 days before now.",
    "end_date": f"{_DATE} Default: now.",
    "user_email": "Only users whose latest known address is this. Empty: all users.",
    "assistant_id": "Only this assistant. Empty: all assistants.",
}
_ERRORS: Final = {
    "400": "No view can answer the query, or the key has several tenants and none is named.",
    "401": "The API key is missing, unknown, expired or revoked.",
    "403": "The key does not have the role super-admin.",
    "422": "A date is invalid; `data.errors` lists each.",
    "429": "The rate limit of the key is exceeded; see retry-after.",
    "503": "The counters cannot be read at the moment; see retry-after.",
}


def paths(ref: Mapping[type[BaseModel], Object]) -> Object:
    """`ref`: the schema of each of MODELS."""
    errors = {status: _of(about, ref[PlatformProblem]) for status, about in _ERRORS.items()}
    return {
        ROOT + endpoint.path: {
            "get": {
                "operationId": "getAdmin" + _camel(endpoint.path),
                "summary": f"{_title(endpoint)} as the LiveKit voice platform answers it",
                "description": "Needs a key of a super-admin. Both bounds are rounded up to the"
                " bucket size that is kept at their age; a range without a whole bucket gets the buckets"
                " that cover it. Headers state the covered range.",
                "parameters": [
                    {"name": name, "in": "query", "description": about, "schema": _TEXT}
                    for name, about in _PARAMETERS.items()
                    if name.endswith("_date") or name in endpoint.filters
                ],
                "responses": {"200": _of(endpoint.message, ref[endpoint.body]), **errors},
            }
        }
        for endpoint in ENDPOINTS
    }


def _title(endpoint: AnalyticsEndpoint) -> str:
    return endpoint.message.removesuffix(" fetched successfully")


def _camel(path: str) -> str:
    return "".join(part.capitalize() for part in path.replace("/", "-").split("-"))


def _of(description: str, schema: Object) -> Object:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
