"""Liveness and readiness of the process, without a key."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.store.reader import Store
from schemas.errors import StoreError


async def alive(_request: Request) -> Response:
    """`GET /healthz`: the process answers. It does not ask Redis: a restart would not help there."""
    return JSONResponse({"status": "ok"})


async def ready(_request: Request, store: Store) -> Response:
    """`GET /readyz`: 200 if a question would be answered, else 503 with the reason."""
    try:
        await store.meta()
    except StoreError as error:
        return JSONResponse({"status": "not ready", "reason": f"{error}."}, 503)
    return JSONResponse({"status": "ready"})
