"""Which days an export writes, and why it leaves the others.

A day is final when its file has all of it, is of the generation that answers, and was read when
everything until `late_ms` after the day's end was counted. Final days are skipped. Others are
written again, so events that arrive late are in the next run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from deploy.errors import DeployError
from deploy.export.fetching import RangeRefused, Source, TooLarge
from deploy.export.files import DayTable, Files
from schemas.errors import InvalidConfig
from schemas.limits import DAY_MS
from schemas.tiers import Tier
from schemas.units import iso

DAYS_MAX: Final = 5 * 366
"""As many as the tier of days keeps."""
READS_MAX: Final = 4
"""Of a day in parts, while rebuilds switch between them."""


class DayState(StrEnum):
    WRITTEN = "written"
    KEPT = "kept"
    """Its file is final."""
    MISSING = "missing"
    """The counters do not have the whole day, and there is no file."""


class Day(NamedTuple):
    """What became of one day. `is_final`: a later run skips it. `why`: the counters do not have it."""

    day: str
    state: DayState
    rows: int
    is_final: bool
    why: str = ""


@dataclass(frozen=True)
class Export:
    """What to write: the days of [from_ms, to_ms), at one tier.

    `late_ms`: events of a day may be counted for so long after its end. `is_forced`: final days are
    written again too."""

    source: Source
    files: Files
    tier: Tier
    from_ms: int
    to_ms: int
    late_ms: int
    is_forced: bool

    def run(self, now: DayTable, on_day: Callable[[Day], None]) -> None:
        """Writes all days, the oldest first. `now`: an empty table of what is asked. Raises ExportError."""
        for start_ms in days_of(self.from_ms, self.to_ms):
            on_day(self._day(start_ms, now))

    def _day(self, start_ms: int, now: DayTable) -> Day:
        day, end_ms = iso(start_ms)[:10], start_ms + DAY_MS
        known = self.files.read(day)
        if known is not None and known.selection != now.selection:
            raise InvalidConfig(
                f"{self.files.path_of(day)} is of another export: {_difference(known, now)}. Use"
                " another directory, or remove the file."
            )
        if known is not None and not self.is_forced and self._is_final(known, start_ms, now):
            return Day(day, DayState.KEPT, known.rows, is_final=True)
        try:
            data = self._fetched(start_ms, end_ms)
        except RangeRefused as refused:
            # The file of an earlier run has more than the counters have now.
            state = DayState.MISSING if known is None else DayState.KEPT
            return Day(day, state, known.rows if known else 0, is_final=True, why=str(refused))
        table = self.files.described(data)
        if table.selection != now.selection:
            raise DeployError(
                f"{self.source.url} answers differently now: {_difference(table, now)}. Run the export"
                " again."
            )
        self.files.replace(day, data)
        return Day(day, DayState.WRITTEN, table.rows, self._is_final(table, start_ms, now))

    def _is_final(self, table: DayTable, start_ms: int, now: DayTable) -> bool:
        end_ms = start_ms + DAY_MS
        return (
            table.is_all_of(start_ms, end_ms)
            and table.generation == now.generation
            and table.complete_through_ms >= end_ms + self.late_ms
        )

    def _fetched(self, start_ms: int, end_ms: int) -> bytes:
        """The table of a day. One that is too large for an answer is read in parts."""
        for _attempt in range(READS_MAX):
            parts = list(self._parts(start_ms, end_ms))
            if len({self.files.described(part).generation for part in parts}) == 1:
                return self.files.merged(parts)
        raise DeployError(f"A rebuild switched during {READS_MAX} reads of {iso(start_ms)}.")

    def _parts(self, start_ms: int, end_ms: int) -> Iterator[bytes]:
        try:
            data = self.source.fetch(iso(start_ms), iso(end_ms))
        except TooLarge:
            middle_ms = (
                start_ms + (end_ms - start_ms) // 2 // self.tier.bucket_ms * self.tier.bucket_ms
            )
            if middle_ms == start_ms:
                raise
            yield from self._parts(start_ms, middle_ms)
            yield from self._parts(middle_ms, end_ms)
        else:
            yield data


def days_of(from_ms: int, to_ms: int) -> Sequence[int]:
    """The starts of the UTC days that a range touches."""
    days = range(from_ms // DAY_MS * DAY_MS, to_ms, DAY_MS)
    if len(days) > DAYS_MAX:
        raise InvalidConfig(f"The range has {len(days)} days, the limit is {DAYS_MAX}.")
    return days


def _difference(one: DayTable, other: DayTable) -> str:
    names = ("tenant", "view", "tier", "only", "columns")
    return "; ".join(
        f"{name} {_said(its)}, not {_said(asked)}"
        for name, its, asked in zip(names, one.selection, other.selection, strict=True)
        if its != asked
    )


def _said(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)
