"""Errors of `/v1` as RFC 9457 problems: what is wrong, where, and what is allowed instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from api.asking import BadParameter
from api.errors import ExpiredKey, NoCredentials, Unauthenticated
from api.formats import to_json

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 1
"""A restart of Redis takes about this."""

TITLES: Final = {
    "invalid-parameter": "A parameter is not what it may be",
    "invalid-body": "The body is not a JSON object of parameters",
    "unanswerable": "No kept view answers this",
    "unauthenticated": "Who asks is not known",
    "not-found": "There is nothing here",
    "method-not-allowed": "Not with this method",
    "not-acceptable": "None of our formats is accepted",
    "too-large": "The body is too large",
    "unsupported-media-type": "The body is not JSON",
    "unavailable": "The counters cannot be read right now",
    "internal": "Something went wrong here",
}
"""Every type of problem, by the last part of its URI; /docs explains them."""


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


def bad_parameter(error: BadParameter) -> Response:
    return problem(
        400,
        "invalid-parameter",
        str(error),
        parameter=error.parameter,
        allowed=list(error.allowed),
        nearest=error.nearest,
    )


def unauthenticated(error: Unauthenticated) -> Response:
    if isinstance(error, NoCredentials):
        detail, challenge = "Send a key: Authorization: Bearer als_...", "Bearer"
    elif isinstance(error, ExpiredKey):
        detail, challenge = "The key has expired.", 'Bearer error="invalid_token"'
    else:
        detail, challenge = "The key is not known, or revoked.", 'Bearer error="invalid_token"'
    return problem(401, "unauthenticated", detail, {"www-authenticate": challenge})


def unavailable(detail: str) -> Response:
    return problem(503, "unavailable", detail, {"retry-after": str(RETRY_AFTER_S)})
