"""Liveness and readiness of the process, without a key."""

from __future__ import annotations

import logging
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.auth.key_cache import KEYS_KEY, KeyCache
from api.errors import CountersMissing
from api.store.reader import Store
from schemas.errors import StoreError
from schemas.store.layout import LOG_STARTS_LATER, Meta

UNREADABLE: Final = "The counters cannot be read: Redis is not available, or holds other data."

EMPTIED_COUNTERS: Final = "Redis was emptied? It held counters when this process last answered."
EMPTIED_KEYS: Final = (
    "Redis was emptied? It holds no API keys, so every key would seem to be revoked. Restore Redis, or"
    " the keys (odometer keys import)."
)

log = logging.getLogger("odometer.api")


async def alive(_request: Request) -> Response:
    """`GET /healthz`: the process answers. It does not ask Redis: a restart would not help there."""
    return JSONResponse({"status": "ok"})


class Readiness:
    """Whether a question would be answered now, and why not.

    It remembers that this process has answered before. So it can ask whether Redis was emptied, where
    otherwise every key would seem to be revoked.
    """

    def __init__(self, store: Store, key_cache: KeyCache) -> None:
        self._store = store
        self._key_cache = key_cache
        self._was_ready = False

    async def reason(self) -> str:
        """Why no question would be answered; "" if one would.

        Anybody may ask, so errors of Redis, which name its address and its keys, are only in the log.
        """
        try:
            meta = await self._store.meta()
            if not await self._store.ask("EXISTS", KEYS_KEY) and self._had_keys(meta):
                return EMPTIED_KEYS
        except CountersMissing as error:
            return f"{EMPTIED_COUNTERS} {error}." if self._was_ready else f"{error}."
        except StoreError as error:
            log.warning("Not ready: %s.", error)
            return UNREADABLE
        self._was_ready = True
        return ""

    def _had_keys(self, meta: Meta) -> bool:
        """Whether there were keys before. A new installation has none either. With a keys file, keys
        come back by themselves."""
        if self._key_cache.put_back is not None:
            return False
        lost = any(one.refused == LOG_STARTS_LATER for one in meta.partitions)
        return lost or self._key_cache.has_known

    async def report(self) -> dict[str, object]:
        """What the monitor answers to `/readyz`."""
        reason = await self.reason()
        return {"ok": not reason, "reason": reason}

    async def page(self, _request: Request) -> Response:
        """`GET /readyz`: 200 if a question would be answered, else 503 with the reason."""
        reason = await self.reason()
        if reason:
            return JSONResponse({"status": "not ready", "reason": reason}, 503)
        return JSONResponse({"status": "ready"})
