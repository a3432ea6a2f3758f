"""AgentLens's answers to errors, with the bodies of its server (schemas/contracts/agentlens.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.errors import (
    CountersMissing,
    CountingBehind,
    ExpiredKey,
    InvalidBody,
    NoCredentials,
    NotPermitted,
    RateLimited,
    RefusedEvents,
    RepeatedHeader,
    RoleTooLow,
    TenantNotNamed,
    TooBusy,
    UnanswerableQuestion,
    Unauthenticated,
)
from schemas.errors import LogError, OdometerError, StoreError
from schemas.responses.agentlens import AgentLensBody, AgentLensProblem, Detail

RETRY_AFTER_S: Final = 1
"""Its SDKs wait as long as this header says, three times. A restart of Redis takes about a second."""


class InvalidQueryParameter(OdometerError):
    """A query parameter is invalid."""


def problem(status: int, error: str, headers: Mapping[str, str] | None = None) -> Response:
    return _problem_response(AgentLensProblem(error=error, status=status), headers)


def error_response(request: Request, error: Exception) -> Response:  # noqa: C901, PLR0911, PLR0912  a table
    """Turns any error into a response with AgentLens's body."""
    match error:
        case InvalidQueryParameter() | UnanswerableQuestion():
            return problem(400, str(error))
        case Unauthenticated():
            return _unauthenticated(error)
        case RoleTooLow():
            return _role_too_low(request.method, error)
        case RepeatedHeader() | TenantNotNamed():
            return problem(400, f"{error}.")
        case NotPermitted():
            return problem(403, f"{error}.")
        case RateLimited():
            return problem(429, f"{error}.", {"retry-after": str(error.retry_after_s)})
        case InvalidBody():
            return problem(error.status, str(error).rstrip("."))
        case RefusedEvents():
            return _refused(error)
        case CountingBehind():
            return _unavailable(f"{error}.")
        case TooBusy():
            return _unavailable(f"{error} Try again in a moment.")
        case LogError():
            return _unavailable("Events cannot be taken right now. Send them again in a moment.")
        case HTTPException():
            return problem(404, "Not found")
        case CountersMissing():
            return _unavailable(f"No counters to answer from: {error}.")
        case StoreError():
            return _unavailable("The counters cannot be read right now. Try again in a moment.")
        case _:
            return problem(500, "Internal server error")


def _refused(error: RefusedEvents) -> Response:
    details = [Detail(path=one["path"], message=one["message"]) for one in error.refusals]
    if error.more:
        details.append(Detail(path="events", message=f"and {error.more} more problems"))
    return _problem_response(
        AgentLensProblem(error="Validation failed", status=400, details=details)
    )


def _unauthenticated(reason: Unauthenticated) -> Response:
    if isinstance(reason, NoCredentials):
        body = AgentLensProblem(
            error="Authentication required",
            hint="Provide an API key via 'Authorization: Bearer als_...' header,"
            " or log in via /auth/login",
            docs="/docs/authentication",
            status=401,
        )
    elif isinstance(reason, ExpiredKey):
        body = AgentLensProblem(
            error="API key expired",
            hint="This API key has been rotated and is no longer valid. Please use the new key.",
            status=401,
        )
    else:
        body = AgentLensProblem(
            error="Invalid or revoked API key",
            hint="This API key is no longer valid. Generate a new key at /api/keys.",
            status=401,
        )
    return _problem_response(body)


def _role_too_low(method: str, reason: RoleTooLow) -> Response:
    return _problem_response(
        AgentLensProblem(
            error="Insufficient permissions",
            hint=f"{method} requires '{reason.required}' role. Your role is '{reason.current}'.",
            required=reason.required,
            current=reason.current,
            status=403,
        )
    )


def _unavailable(sentence: str) -> Response:
    return problem(503, sentence, {"retry-after": str(RETRY_AFTER_S)})


def _problem_response(body: AgentLensBody, headers: Mapping[str, str] | None = None) -> Response:
    assert isinstance(body, AgentLensProblem)
    return Response(body.json_bytes(), body.status, headers, media_type="application/json")
