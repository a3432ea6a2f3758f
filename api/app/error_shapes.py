"""Which dialect a path belongs to, and so the shape of whatever goes wrong there. Pure.

A dialect is one module; its `failed` turns every error into a response. Adding one adds its prefix.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from api.agentlens import endpoints as agentlens_endpoints
from api.http import problems
from api.ingest import otlp
from api.livekit import endpoints as livekit_endpoints
from api.openwebui import endpoints as openwebui_endpoints

Shape = Callable[[Request, Exception], Response]

SHAPES: Final[tuple[tuple[str, Shape], ...]] = (
    ("/v1/traces/", otlp.failed),
    ("/v1/", problems.failed),
    ("/admin/", livekit_endpoints.failed),
    ("/api/v1/", openwebui_endpoints.failed),
    # The whole rest, paths where nothing is included: so it stays the last.
    ("/", agentlens_endpoints.failed),
)
"""Start of a path -> the shape of its errors; the first that fits."""


def failed(request: Request, error: Exception) -> Response:
    """`error` as the dialect of the path says it; a 500 without a word of ours for the unforeseen."""
    path = request.url.path + "/"
    shape = next(shape for start, shape in SHAPES if path.startswith(start))
    return shape(request, error)
