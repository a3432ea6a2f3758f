"""Errors of `/v1` as RFC 9457 problems: what is wrong, where, and what is allowed instead."""

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
    ExpiredKey,
    InvalidBody,
    InvalidKey,
    NoCredentials,
    NoSuchKey,
    NoSuchTenant,
    NotAcceptable,
    RateLimited,
    RefusedEvents,
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
"""A restart of Redis takes about this."""

NOT_CONFIRMED: Final = (
    "Kafka does not take events right now. None of these is confirmed: send them again under the same"
    " ids, or with the same Idempotency-Key, and each counts once."
)

TITLES: Final = {
    "invalid-parameter": "A parameter is not what it may be",
    "invalid-body": "The body cannot be read",
    "invalid-events": "Events cannot be counted as they are",
    "unanswerable": "No kept view answers this",
    "unauthenticated": "Who asks is not known",
    "forbidden": "The key may not do this",
    "rate-limited": "The key asks more often than it may",
    "too-many-keys": "No more keys are kept",
    "not-found": "There is nothing here",
    "method-not-allowed": "Not with this method",
    "not-acceptable": "None of our formats is accepted",
    "too-large": "The body is too large",
    "too-slow": "The body did not arrive in time",
    "unsupported-media-type": "The body is of a kind that is not taken here",
    "unavailable": "Not possible right now",
    "internal": "Something went wrong here",
}
"""Every type of problem, by the last part of its URI; /docs explains them."""

PLAIN: Final[Mapping[type[Exception], tuple[int, str]]] = {
    RoleTooLow: (403, "forbidden"),
    NoSuchTenant: (403, "forbidden"),
    NoSuchKey: (404, "not-found"),
    TooManyKeys: (409, "too-many-keys"),
}
"""Errors whose sentence is all there is to say -> status and type of the problem."""


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
            return _unavailable(f"{error}.")
        case LogError():
            return _unavailable(NOT_CONFIRMED)
        case NotAcceptable():
            return problem(406, "not-acceptable", str(error), allowed=error.allowed)
        case Unauthenticated():
            return _unauthenticated(error)
        case TenantNotNamed():
            return problem(400, "invalid-parameter", f"{error}.", parameter="tenant")
        case InvalidKey():
            return problem(400, "invalid-parameter", f"{error}.", parameter=error.field)
        case RoleTooLow() | NoSuchTenant() | NoSuchKey() | TooManyKeys():
            return problem(*PLAIN[type(error)], f"{error}.")
        case RateLimited():
            wait = {"retry-after": str(error.retry_after_s)}
            return problem(429, "rate-limited", f"{error}.", wait)
        case HTTPException():
            return _no_such_route(request, error)
        case CountersMissing():
            return _unavailable(f"No counters to answer from: {error}.")
        case StoreError():
            return _unavailable("The counters cannot be read right now. Try again in a moment.")
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
        detail, challenge = "Send a key: Authorization: Bearer als_...", "Bearer"
    elif isinstance(error, ExpiredKey):
        detail, challenge = "The key has expired.", 'Bearer error="invalid_token"'
    else:
        detail, challenge = "The key is not known, or revoked.", 'Bearer error="invalid_token"'
    return problem(401, "unauthenticated", detail, {"www-authenticate": challenge})


def _refused(error: RefusedEvents) -> Response:
    detail = "None of the events can be counted."
    if error.is_atomic:
        detail = "Some of the events cannot be counted, so none was taken (atomic=true)."
    return problem(400, "invalid-events", detail, refusals=error.refusals)


def _no_such_route(request: Request, error: HTTPException) -> Response:
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        detail = f"{request.method} is not for this path: use {allowed}."
        return problem(405, "method-not-allowed", detail, {"allow": allowed})
    return problem(404, "not-found", "There is no such path; /docs lists them.")


def _unavailable(detail: str) -> Response:
    return problem(503, "unavailable", detail, {"retry-after": str(RETRY_AFTER_S)})
