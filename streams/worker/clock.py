"""The clock and the randomness of this process: a composition root, so it may read both."""

from __future__ import annotations

import asyncio
import secrets
import time

from schemas.event.identity import SECRET_BYTES, IdSecret, new_secret


class ProcessClock:
    """`streams.core.ports.Clock` of this process."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def commit_id(self) -> bytes:
        return secrets.token_bytes(16)

    def secret(self) -> IdSecret:
        return new_secret(secrets.token_bytes(SECRET_BYTES))

    async def sleep(self, ms: int) -> None:
        await asyncio.sleep(ms / 1000)

    async def breathe(self) -> None:
        await asyncio.sleep(0)
