"""What reads and replays dead letters. The command of the API passes it (deploy/dead_letters.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from schemas.responses.dead_letters import (
    DeadLetterDetail,
    DeadLettersAnswer,
    ReplayLine,
    ReplayWish,
)

MaySee = Callable[[str | None], bool]
"""Whether the caller may see what names this tenant; None: a tenant cannot be read."""


@dataclass(frozen=True)
class LettersWanted:
    """Which dead letters are listed; None: any. Times are those of the append, in ms."""

    may_see: MaySee
    limit: int
    reason: str | None = None
    field: str | None = None
    tenant: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None


class DeadLetterSource(Protocol):
    """Each method raises DeadLettersUnavailable if Kafka does not answer in time. Nobody gets a dead letter
    that `may_see` rejects: it is as if there were none."""

    async def listed(self, wanted: LettersWanted) -> DeadLettersAnswer: ...

    async def shown(self, origin: str, may_see: MaySee) -> DeadLetterDetail:
        """Raises NoSuchDeadLetter."""

    async def replayed(
        self, wish: ReplayWish, may_see: MaySee, *, dry_run: bool
    ) -> list[ReplayLine]:
        """Raises NoSuchDeadLetter if one of them does not exist: then none is sent. Raises BadParameter if
        a correction names a field that events do not have."""
