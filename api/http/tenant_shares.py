"""What each tenant holds of something limited: as much as is left for others. No I/O.

So one tenant gets half, two get a third each, and the next one finds as much.
"""

from __future__ import annotations

from collections import Counter


class TenantShares:
    """How much each tenant holds, and all together."""

    def __init__(self) -> None:
        self._of: Counter[str] = Counter()
        self.total = 0

    def of(self, tenant: str) -> int:
        return self._of[tenant]

    def has_room(self, tenant: str, most: int, more: int = 1) -> bool:
        """Whether a tenant may hold so much more, if all may hold `most`. While nobody holds anything, one
        request of any size may."""
        return not self.total or self._of[tenant] + more <= most - self.total

    def add(self, tenant: str, more: int = 1) -> None:
        """A negative number gives some back."""
        self.total += more
        self._of[tenant] += more
        if not self._of[tenant]:
            del self._of[tenant]
