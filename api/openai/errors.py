"""OpenAI's answers to errors (schemas/contracts/openai.md): the client raises its own exceptions for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.errors import (
    BadParameter,
    CountersMissing,
    ExpiredKey,
    NoCredentials,
    NotPermitted,
    RateLimited,
    RepeatedHeader,
    RoleTooLow,
    TenantNotNamed,
    UnanswerableQuestion,
    Unauthenticated,
)
from api.http.json_encoding import to_json
from schemas.errors import StoreError

INVALID: Final = "invalid_request_error"
RETRY_AFTER_S: Final = 1
"""A restart of Redis takes about a second."""


def problem(  # the four members of OpenAI's error, and the status
    status: int,
    message: str,
    *,
    kind: str = INVALID,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    content = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return Response(to_json(content), status, headers, media_type="application/json")


def error_response(request: Request, error: Exception) -> Response:  # noqa: PLR0911  a table
    """Turns any error into OpenAI's response."""
    match error:
        case BadParameter():
            return problem(400, _sentence(error), param=error.parameter)
        case UnanswerableQuestion() | RepeatedHeader() | TenantNotNamed():
            return problem(400, _sentence(error))
        case Unauthenticated():
            return _unauthenticated(error)
        case RoleTooLow() | NotPermitted():
            return problem(403, _sentence(error), code="insufficient_permissions")
        case RateLimited():
            wait = {"retry-after": str(error.retry_after_s)}
            return problem(
                429, _sentence(error), kind="requests", code="rate_limit_exceeded", headers=wait
            )
        case HTTPException():
            return _no_such_route(request, error)
        case CountersMissing():
            return _unavailable(f"There are no counters to read: {error}.")
        case StoreError():
            return _unavailable("The counters cannot be read at the moment. Try again.")
        case _:
            return problem(500, "The server had an error.", kind="server_error")


def _unauthenticated(error: Unauthenticated) -> Response:
    if isinstance(error, NoCredentials):
        message = "You did not provide an API key. Send it as `Authorization: Bearer KEY`."
    elif isinstance(error, ExpiredKey):
        message = "The API key has expired. Use another key."
    else:
        message = "Incorrect API key provided: it does not exist, or it is revoked."
    challenge = {"www-authenticate": "Bearer"}
    return problem(401, message, code="invalid_api_key", headers=challenge)


def _no_such_route(request: Request, error: HTTPException) -> Response:
    if error.status_code == 405:
        message = f"Not allowed to {request.method} on {request.url.path}. Use GET."
        return problem(405, message, code="method_not_supported", headers=error.headers)
    return problem(404, f"Invalid URL ({request.method} {request.url.path})")


def _unavailable(message: str) -> Response:
    return problem(503, message, kind="server_error", headers={"retry-after": str(RETRY_AFTER_S)})


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:].removesuffix(".") + "."
