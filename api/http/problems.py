"""Errors of `/v1` as RFC 9457 problems: which field is wrong, and what is allowed instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.errors import (
    BadParameter,
    CountersMissing,
    CountingBehind,
    DeadLettersUnavailable,
    ExpiredKey,
    FilterNotApplied,
    ForgedRequest,
    InvalidBody,
    InvalidKey,
    NoCredentials,
    NoSuchDeadLetter,
    NoSuchKey,
    NoSuchTenant,
    NotAcceptable,
    NotPermitted,
    RateLimited,
    RefusedEvents,
    RepeatedHeader,
    RoleTooLow,
    TenantNotNamed,
    TooBusy,
    TooManyKeys,
    UnanswerableQuestion,
    Unauthenticated,
)
from api.http.json_encoding import to_json
from schemas.errors import LogError, StoreError

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 1
"""A restart of Redis takes about a second."""

NOT_CONFIRMED: Final = (
    "Kafka is not available, so it has confirmed none of these events. Send them again with the same"
    " ids, or with the same Idempotency-Key: then each is counted once."
)

BEHIND: Final = (
    "No event was accepted, because {why}. Events older than an hour, or sent with `priority: u=7`, wait"
    " until the workers have caught up, so that they do not delay live events. Send them again."
)

TITLES: Final = {
    "invalid-parameter": "Invalid parameter",
    "invalid-body": "Invalid request body",
    "invalid-events": "Invalid events",
    "unanswerable": "No view can answer this query",
    "unauthenticated": "Missing or invalid API key",
    "forbidden": "Permission denied",
    "rate-limited": "Rate limit exceeded",
    "too-many-keys": "Too many keys",
    "not-found": "Not found",
    "method-not-allowed": "Method not allowed",
    "not-acceptable": "No acceptable format",
    "too-large": "Request body too large",
    "too-slow": "Request body timeout",
    "unsupported-media-type": "Unsupported media type",
    "unavailable": "Service unavailable",
    "internal": "Internal server error",
}
"""Type of a problem (the last part of its URI) -> title. /docs lists them."""

PLAIN: Final[Mapping[type[Exception], tuple[int, str]]] = {
    RoleTooLow: (403, "forbidden"),
    NoSuchTenant: (403, "forbidden"),
    ForgedRequest: (403, "forbidden"),
    FilterNotApplied: (403, "forbidden"),
    NoSuchKey: (404, "not-found"),
    NoSuchDeadLetter: (404, "not-found"),
    TooManyKeys: (409, "too-many-keys"),
}
"""Errors whose text is the whole detail -> status and type of the problem."""


def error_response(request: Request, error: Exception) -> Response:  # noqa: C901, PLR0911, PLR0912  a table
    """Any error, as a problem."""
    match error:
        case BadParameter():
            return problem(
                400,
                "invalid-parameter",
                str(error),
                parameter=error.parameter,
                allowed=list(error.allowed),
                nearest=error.nearest,
            )
        case UnanswerableQuestion():
            return problem(400, "unanswerable", str(error))
        case InvalidBody():
            return problem(error.status, error.kind, str(error))
        case RefusedEvents():
            return _refused(error)
        case TooBusy():
            return _unavailable(f"{error} Try again in a moment.")
        case CountingBehind():
            return _unavailable(BEHIND.format(why=error.why))
        case LogError():
            return _unavailable(NOT_CONFIRMED)
        case NotAcceptable():
            return problem(406, "not-acceptable", str(error), allowed=error.allowed)
        case Unauthenticated():
            return _unauthenticated(error)
        case RepeatedHeader():
            return problem(400, "invalid-parameter", f"{error}.", parameter=error.header)
        case TenantNotNamed():
            return problem(400, "invalid-parameter", f"{error}.", parameter="tenant")
        case InvalidKey():
            return problem(400, "invalid-parameter", f"{error}.", parameter=error.field)
        case DeadLettersUnavailable():
            return _unavailable(f"{error}.")
        case RoleTooLow() | NotPermitted() | ForgedRequest() | TooManyKeys():
            return problem(*PLAIN[type(error)], f"{error}.")
        case NoSuchKey() | NoSuchDeadLetter():
            return problem(*PLAIN[type(error)], f"{error}.")
        case RateLimited():
            wait = {"retry-after": str(error.retry_after_s)}
            return problem(429, "rate-limited", f"{error}.", wait)
        case HTTPException():
            return _no_such_route(request, error)
        case CountersMissing():
            return _unavailable(f"There are no counters to read: {error}.")
        case StoreError():
            return _unavailable("The counters cannot be read at the moment. Try again.")
        case _:
            return problem(500, "internal", "Internal server error.")


def problem(
    status: int,
    kind: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    **more: Any,  # noqa: ANN401  extension members of any JSON type
) -> Response:
    body = {
        "type": f"/docs#{kind}",
        "title": TITLES[kind],
        "status": status,
        "detail": detail,
        **{name: value for name, value in more.items() if value},
    }
    return Response(to_json(body), status, headers, media_type=MEDIA_TYPE)


def _unauthenticated(error: Unauthenticated) -> Response:
    if isinstance(error, NoCredentials):
        detail, challenge = (
            "Send an API key in the header `Authorization: Bearer KEY` or `x-api-key: KEY`.",
            "Bearer",
        )
    elif isinstance(error, ExpiredKey):
        detail, challenge = (
            "The API key has expired. Use another key.",
            'Bearer error="invalid_token"',
        )
    else:
        detail, challenge = (
            "The API key does not exist, or it is revoked.",
            'Bearer error="invalid_token"',
        )
    return problem(401, "unauthenticated", detail, {"www-authenticate": challenge})


def _refused(error: RefusedEvents) -> Response:
    detail = "No event is valid; `refusals` has the reason for each."
    if error.is_atomic:
        detail = "Some events are invalid, so none was accepted (atomic=true)."
    return problem(400, "invalid-events", detail, refusals=error.refusals, more_refusals=error.more)


def _no_such_route(request: Request, error: HTTPException) -> Response:
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        detail = f"This path does not allow {request.method}. Use {allowed}."
        return problem(405, "method-not-allowed", detail, {"allow": allowed})
    return problem(404, "not-found", "There is no such path. /docs lists all paths.")


def _unavailable(detail: str) -> Response:
    return problem(503, "unavailable", detail, {"retry-after": str(RETRY_AFTER_S)})
