"""What OTLP's paths note in Redis: which services send logs, and usage that was not counted.

A coding agent may report the same usage as logs and as metrics. So metrics of a service that also
sends logs do not count, unless the operator chose its metrics; then its logs do not count.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from api.store.reader import Store
from schemas.errors import StoreError
from schemas.formats.parsed import SkippedObject
from schemas.limits import DAY_MS, MINUTE_MS
from schemas.store.layout import LOG_SOURCES_KEY, SKIPPED_KEY, SKIPPED_OF_TENANTS_KEY

SOURCES_KEPT_S: Final = 35 * DAY_MS // 1000
"""A service that has sent no logs for so long may send metrics alone."""
SOURCES_MAX: Final = 1_000
"""Services of one tenant: names of up to 256 characters."""
FRESH_MS: Final = 10 * MINUTE_MS
"""How long a process remembers that it has noted a service."""
REASONS_MAX: Final = 100
"""Reasons that are stored apart: a span may name any operation. The rest is one."""
TENANT_REASONS_MAX: Final = 10
"""Of them, those that came from one tenant first. So operations that it invents hide no other reason."""
WAITING_MAX: Final = 1_000
"""Reasons of tenants that wait to be written, 0.3 kB each, while Redis does not answer."""
OTHER: Final = "(other)"
_SKIPPED: Final = (Path(__file__).parent / "skipped.lua").read_text()


class OtlpSources:
    """`by_metrics`: the services whose metrics count, and whose logs do not."""

    def __init__(
        self, store: Store, clock: Callable[[], int], by_metrics: Iterable[str] = ()
    ) -> None:
        self.by_metrics = frozenset(by_metrics)
        self._store = store
        self._clock = clock
        self._noted: dict[tuple[str, str], int] = {}
        self._skipped: Counter[tuple[str, str]] = Counter()
        self._writing: asyncio.Task[None] | None = None

    async def note_logs(self, tenant: str, services: Iterable[str]) -> None:
        """Remember that the services send logs that count. Raises StoreError."""
        now_ms = self._clock()
        fresh = {
            service
            for service in services
            if now_ms - self._noted.get((tenant, service), -FRESH_MS) >= FRESH_MS
        }
        if not fresh:
            return
        key = LOG_SOURCES_KEY + tenant
        room = SOURCES_MAX - await self._store.ask("SCARD", key)
        if room > 0:
            await self._store.ask_all(
                [("SADD", key, *sorted(fresh)[:room]), ("EXPIRE", key, SOURCES_KEPT_S)]
            )
        if len(self._noted) > SOURCES_MAX:
            self._noted.clear()
        self._noted |= {(tenant, service): now_ms for service in fresh}

    async def that_send_logs(self, tenant: str) -> frozenset[str]:
        """The services whose logs count. Raises StoreError."""
        found = await self._store.ask("SMEMBERS", LOG_SOURCES_KEY + tenant)
        return frozenset(name.decode() for name in found) - self.by_metrics

    def note_skipped(self, tenant: str, skipped: Sequence[SkippedObject]) -> None:
        """Count usage that was not counted, for `odometer status`. Written in the background: an answer
        does not wait for it, and a lost Redis does not lose it."""
        for one in skipped:
            if one.has_usage:
                self._add(tenant, one.reason, 1)
        if self._skipped and (self._writing is None or self._writing.done()):
            self._writing = asyncio.create_task(self._write())

    def _add(self, tenant: str, reason: str, number: int) -> None:
        is_full = (tenant, reason) not in self._skipped and len(self._skipped) >= WAITING_MAX
        self._skipped["" if is_full else tenant, OTHER if is_full else reason] += number

    async def _write(self) -> None:
        """Redis decides which reasons are stored apart, so a restart of this process adds none."""
        counts, self._skipped = self._skipped, Counter()
        keys = 2, SKIPPED_KEY, SKIPPED_OF_TENANTS_KEY
        triples = [text for key, number in counts.items() for text in (*key, number)]
        bounds = REASONS_MAX, TENANT_REASONS_MAX, OTHER
        try:
            await self._store.ask("EVAL", _SKIPPED, *keys, *bounds, *triples)
        except StoreError:
            for (tenant, reason), number in counts.items():
                self._add(tenant, reason, number)

    async def close(self) -> None:
        """Write what is left."""
        if self._writing is not None:
            with suppress(StoreError):
                await self._writing
        if self._skipped:
            await self._write()
