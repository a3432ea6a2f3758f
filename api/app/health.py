"""Whether the process lives, whether it can answer, and AgentLens's `/api/health`: without a key."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.store.reader import Store
from schemas.errors import StoreError
from schemas.responses.agentlens import AgentLensHealth, Database


async def alive(_request: Request) -> Response:
    """`GET /healthz`: the process answers. It says nothing of Redis: a restart would not help."""
    return JSONResponse({"status": "ok"})


async def ready(_request: Request, store: Store) -> Response:
    """`GET /readyz`: 200 where a question would be answered, else 503 with the reason."""
    try:
        await store.meta()
    except StoreError as error:
        return JSONResponse({"status": "not ready", "reason": f"{error}."}, 503)
    return JSONResponse({"status": "ready"})


async def agentlens_health(_request: Request, store: Store, clock: Callable[[], int]) -> Response:
    """`GET /api/health`: always 200, as its server; `db.ok` tells whether Redis answers."""
    started_ms = clock()
    try:
        await store.ping()
    except StoreError:
        ok = False
    else:
        ok = True
    db = Database(ok=ok, latency_ms=max(0, clock() - started_ms))
    health = AgentLensHealth(status="ok", version=version("odometer"), db=db)
    return Response(health.json_bytes(), media_type="application/json")
