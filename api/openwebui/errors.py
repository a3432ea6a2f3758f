"""Open WebUI's answers to errors, with the bodies of its server (schemas/contracts/openwebui.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.auth.authenticate import TENANT_HEADER
from api.errors import (
    CountersMissing,
    FilterNotApplied,
    NoCredentials,
    NoSuchTenant,
    RateLimited,
    RepeatedHeader,
    RoleTooLow,
    TenantNotNamed,
    TooBusy,
    UnanswerableQuestion,
    Unauthenticated,
)
from api.http.json_encoding import to_json
from api.store.directory import DirectoryFull, GroupExists, NoSuchGroup
from schemas.errors import OdometerError, StoreError

NOT_AUTHENTICATED: Final = "Not authenticated"
UNKNOWN_KEY: Final = "Your session has expired or the token is invalid. Please sign in again."
FORBIDDEN: Final = (
    "You do not have permission to access this resource."
    " Please contact your administrator for assistance."
)
NOT_FOUND: Final = "We could not find what you're looking for :/"
RETRY_AFTER_S: Final = 1
"""A restart of Redis takes about a second."""
PRIVATE: Final = {
    "cache-control": "no-store",
    "vary": f"authorization, x-api-key, {TENANT_HEADER}",
}
"""Of every answer and error: a cache on the way must not give it to the caller of another key."""


class InvalidQuery(OdometerError):
    """Invalid parameters; `found` says which and why."""

    def __init__(self, found: list[dict[str, Any]]) -> None:
        super().__init__("; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in found))
        self.found = found


class BadRange(OdometerError):
    """The range cannot be divided into the requested buckets."""


class Refused(OdometerError):
    """A request that is rejected, with the `status` and `detail` of its server."""

    def __init__(self, status: int, detail: str | list[dict[str, Any]]) -> None:
        super().__init__(detail if isinstance(detail, str) else f"{len(detail)} invalid fields")
        self.status = status
        self.detail = detail


def error_response(_request: Request, error: Exception) -> Response:  # noqa: C901, PLR0911, PLR0912  a table
    """Turns any error into a response with Open WebUI's body."""
    match error:
        case NoCredentials():
            return problem(401, NOT_AUTHENTICATED)
        case Unauthenticated():
            return problem(401, UNKNOWN_KEY)
        case RoleTooLow() | NoSuchTenant():
            return problem(401, FORBIDDEN)
        case FilterNotApplied():
            return problem(403, f"{error}.")
        case InvalidQuery():
            return problem(422, error.found)
        case BadRange() | UnanswerableQuestion() | RepeatedHeader() | TenantNotNamed():
            return problem(400, str(error))
        case Refused():
            return problem(error.status, error.detail)
        case DirectoryFull() | GroupExists():
            return problem(400, f"{error}.")
        case NoSuchGroup():
            return problem(401, NOT_FOUND)  # its server uses this status
        case RateLimited():
            return problem(429, str(error), {"retry-after": str(error.retry_after_s)})
        case HTTPException():
            return problem(error.status_code, error.detail, error.headers)
        case CountersMissing():
            return _unavailable(f"No counters to answer from: {error}.")
        case TooBusy():
            return _unavailable(f"{error} Try again in a moment.")
        case StoreError():
            return _unavailable("The counters cannot be read right now. Try again in a moment.")
        case _:
            return problem(500, "Internal Server Error")


def problem(
    status: int, detail: str | list[dict[str, Any]], headers: Mapping[str, str] | None = None
) -> Response:
    body = to_json({"detail": detail})
    return Response(body, status, {**PRIVATE, **(headers or {})}, media_type="application/json")


def _unavailable(sentence: str) -> Response:
    return problem(503, sentence, {"retry-after": str(RETRY_AFTER_S)})
