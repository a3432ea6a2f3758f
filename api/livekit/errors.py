"""The LiveKit platform's answers to errors, in its envelope (schemas/contracts/livekit.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api.errors import (
    CountersMissing,
    NoCredentials,
    NotPermitted,
    RateLimited,
    RepeatedHeader,
    RoleTooLow,
    TenantNotNamed,
    UnanswerableQuestion,
    Unauthenticated,
)
from schemas.errors import OdometerError, StoreError

RETRY_AFTER_S: Final = 1
"""A restart of Redis takes about a second."""
ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


class InvalidDates(OdometerError):
    """Query parameters that are not dates; `errors` has an entry of pydantic for each."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__(
            "; ".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in errors)
        )
        self.errors = errors


def problem(
    status: int,
    message: str,
    headers: Mapping[str, str] | None = None,
    data: Mapping[str, Any] | None = None,
) -> Response:
    content = {"success": False, "message": message, "data": data or {}}
    return Response(ENCODER.encode(content), status, headers, media_type="application/json")


def error_response(_request: Request, error: Exception) -> Response:  # noqa: PLR0911  a table
    """Turns any error into a response in the platform's envelope."""
    match error:
        case InvalidDates():
            return problem(422, f"Validation Error: {error}", data={"errors": error.errors})
        case UnanswerableQuestion() | RepeatedHeader() | TenantNotNamed():
            return problem(400, _sentence(error))
        case Unauthenticated() | RoleTooLow() | NotPermitted() | RateLimited():
            return _refused(error)
        case HTTPException():
            return problem(error.status_code, error.detail, error.headers)
        case CountersMissing():
            return _unavailable(f"No counters to answer from: {error}.")
        case StoreError():
            return _unavailable("The counters cannot be read right now. Try again in a moment.")
        case _:
            return problem(500, "Internal Server Error")


def _refused(error: Unauthenticated | RoleTooLow | NotPermitted | RateLimited) -> Response:
    """The answer if the key does not allow the request."""
    match error:
        case NoCredentials():
            return problem(401, "Not authenticated", {"www-authenticate": "Bearer"})
        case Unauthenticated():
            return problem(401, "Invalid or inactive API key", {"www-authenticate": "Bearer"})
        case RoleTooLow():
            return problem(403, "Super admin access required")
        case NotPermitted():
            return problem(403, _sentence(error))
        case RateLimited():
            return problem(429, _sentence(error), {"retry-after": str(error.retry_after_s)})


def _unavailable(message: str) -> Response:
    return problem(503, message, {"retry-after": str(RETRY_AFTER_S)})


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:].removesuffix(".") + "."
