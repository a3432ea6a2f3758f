"""AgentLens's `GET /api/health`, which needs no key."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

from starlette.requests import Request
from starlette.responses import Response

from api.store.reader import Store
from schemas.errors import StoreError
from schemas.responses.agentlens import AgentLensHealth, Database


async def health(_request: Request, store: Store, clock: Callable[[], int]) -> Response:
    """Always 200, as its server answers; `db.ok` tells whether Redis answers."""
    started_ms = clock()
    try:
        await store.ping()
    except StoreError:
        ok = False
    else:
        ok = True
    db = Database(ok=ok, latency_ms=max(0, clock() - started_ms))
    body = AgentLensHealth(status="ok", version=version("odometer"), db=db)
    return Response(body.json_bytes(), media_type="application/json")
