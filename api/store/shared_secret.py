"""A secret that all processes share, to sign what clients keep. It is drawn once, at random.

If Redis loses it, a process that knows it puts it back. If none does, all that it signed is invalid.
"""

from __future__ import annotations

import secrets  # noqa: TID251  signatures need the system's randomness; no caller may choose another
from collections.abc import Awaitable, Callable
from typing import Any, Final

from schemas.limits import SECOND_MS

SECRET_BYTES: Final = 32
SECRET_AGE_MS: Final = 5 * SECOND_MS
"""How long a process uses the secret before it asks Redis for it again. So another one, which an operator has
drawn, is that of all processes within this time."""

Command = Callable[..., Awaitable[Any]]


class SharedSecret:
    """The secret at `redis_key`. `command` sends one command to Redis; `ticks` is a steady clock in ms."""

    def __init__(self, redis_key: str, command: Command, ticks: Callable[[], int]) -> None:
        self._redis_key = redis_key
        self._command = command
        self._ticks = ticks
        self._asked_ms = 0
        self.known = b""
        """The secret as Redis last had it; empty before the first read."""

    @property
    def age_ms(self) -> int:
        """How long ago this process last asked Redis."""
        return self._ticks() - self._asked_ms

    async def current(self) -> bytes:
        """The secret that Redis had within SECRET_AGE_MS. Raises StoreError."""
        is_old = not self.known or self.age_ms > SECRET_AGE_MS
        return await self.read() if is_old else self.known

    async def read(self) -> bytes:
        """The secret that Redis has now. Raises StoreError.

        Redis is written only if it has none: a full one rejects writes, and signatures stay valid.
        """
        self._asked_ms = self._ticks()
        found: bytes | None = await self._command("GET", self._redis_key)
        if found is None:
            drawn = self.known or secrets.token_bytes(SECRET_BYTES)
            await self._command("SET", self._redis_key, drawn, "NX")
            found = await self._command("GET", self._redis_key) or drawn
        self.known = found
        return found
