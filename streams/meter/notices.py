"""What a meter says about objects that it does not count: a number for each reason, a line for each once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Final

REASONS_MAX: Final = 64
"""Reasons that are told apart. They contain words of the app's objects, so they must be bounded; the
formats have some 40."""
OTHER: Final = "another reason"
ONCE_MAX: Final = 256
"""Lines that are logged once: reasons, names of unknown fields, classes of unreadable objects."""

log: Final = logging.getLogger("odometer.meter")


class Notices:
    """Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._skipped: dict[str, int] = {}
        self._said: set[str] = set()
        self._summed = 0

    @property
    def skipped(self) -> Mapping[str, int]:
        """Numbers of skipped objects by reason."""
        with self._lock:
            return dict(self._skipped)

    def skip(self, reason: str, *, is_part: bool = False) -> None:
        """Counts one object, and logs the reason once. `is_part`: part of a stream, whose end tells."""
        with self._lock:
            if reason not in self._skipped and len(self._skipped) >= REASONS_MAX:
                reason = OTHER
            self._skipped[reason] = self._skipped.get(reason, 0) + 1
        self.once(f"skipped: {reason}", logging.INFO if is_part else logging.WARNING)

    def once(self, line: str, level: int = logging.WARNING) -> None:
        with self._lock:
            if line in self._said or len(self._said) >= ONCE_MAX:
                return
            self._said.add(line)
        log.log(level, "%s", line)

    def sum_up(self) -> None:
        """Logs the numbers if they have changed since the last time."""
        skipped = self.skipped
        total = sum(skipped.values())
        if total == self._summed:
            return
        self._summed = total
        listed = "; ".join(f"{n} x {reason}" for reason, n in skipped.items())
        log.info("%d objects skipped so far: %s", total, listed)
