"""The series that passed the filters of recent questions, and their groups.

Dashboards repeat a few filters, over a range that moves. A selection of many series is made in a thread
(`generation_state`), so this cache is used by two threads.
"""

from __future__ import annotations

from collections.abc import Hashable
from threading import Lock
from typing import Final

from cachetools import LRUCache

from api.query.selection import Picked, pick_series, size_bytes
from api.query.series_index import Filter, SeriesIndex

PICKS_BYTES_MAX: Final = 256 * 1024 * 1024
"""5,000 series by group are 0.5 MB, a million users 90 MB."""


class PicksCache:
    """At most PICKS_BYTES_MAX. Evicts what was used least recently."""

    def __init__(self) -> None:
        self._picks: LRUCache[Hashable, Picked] = LRUCache(PICKS_BYTES_MAX, getsizeof=size_bytes)
        self._lock = Lock()

    def has(
        self, names: tuple[SeriesIndex, ...], filters: tuple[Filter, ...], group_by: tuple[str, ...]
    ) -> bool:
        with self._lock:
            return (names, filters, group_by) in self._picks

    def pick(
        self, names: tuple[SeriesIndex, ...], filters: tuple[Filter, ...], group_by: tuple[str, ...]
    ) -> Picked:
        """As `pick_series`. Names are only added, which makes another key."""
        key = names, filters, group_by
        with self._lock:
            found = self._picks.get(key)
        if found is None:
            found = pick_series(names, filters, group_by)
            if size_bytes(found) <= PICKS_BYTES_MAX:
                with self._lock:
                    self._picks[key] = found
        return found

    @property
    def size_bytes(self) -> float:
        return self._picks.currsize

    def __len__(self) -> int:
        return len(self._picks)
