"""Liveness and readiness of the process, without a key."""

from __future__ import annotations

import logging
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.errors import CountersMissing
from api.store.reader import Store
from schemas.errors import StoreError

UNREADABLE: Final = "The counters cannot be read: Redis is not available, or holds other data."

log = logging.getLogger("odometer.api")


async def alive(_request: Request) -> Response:
    """`GET /healthz`: the process answers. It does not ask Redis: a restart would not help there."""
    return JSONResponse({"status": "ok"})


async def ready(_request: Request, store: Store) -> Response:
    """`GET /readyz`: 200 if a question would be answered, else 503 with the reason.

    Anybody may ask, so errors of Redis, which name its address and its keys, are only in the log.
    """
    try:
        await store.meta()
    except CountersMissing as error:
        return JSONResponse({"status": "not ready", "reason": f"{error}."}, 503)
    except StoreError as error:
        log.warning("Not ready: %s.", error)
        return JSONResponse({"status": "not ready", "reason": UNREADABLE}, 503)
    return JSONResponse({"status": "ready"})
