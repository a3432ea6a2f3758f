"""Measures that are no sums and add up all the same: histograms and sets of digests. Pure.

A histogram has bins whose bounds grow by GAMMA, so that every value of a bin lies within 2% of the
bin's middle (Masson, Rim, Lee: DDSketch, VLDB 2019).

A set keeps 64-bit digests of the values that were seen: all of them while a bucket holds at most
SAMPLE_MAX. Beyond that it keeps the digests below 2^(64 - level). The level goes up as the set grows,
so each digest that is left represents 2^level values (adaptive sampling: Flajolet, Computing 43, 1990).

Both give the same result for a range, however the range is cut into parts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
import xxhash

from schemas.limits import DURATION_MS_MAX

Int64s = npt.NDArray[np.int64]
Digests = npt.NDArray[np.uint64]

RELATIVE_ERROR: Final = 0.02
GAMMA: Final = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
BINS: Final = math.ceil(math.log(DURATION_MS_MAX) / math.log(GAMMA)) + 2
"""Bin 0 holds 0; bin b holds the values above GAMMA^(b-2), up to GAMMA^(b-1). Durations are bounded
by DURATION_MS_MAX, a week: 508 bins, of which a busy bucket uses some thirty."""
_UPPER: Final = np.floor(GAMMA ** np.arange(BINS - 1)).astype(np.int64)

SAMPLE_MAX: Final = 1024
"""Digests that one bucket of one series holds: 10 kB. A sample of 512 to 1,024 has a standard error
of 3.1 to 4.4%."""
SAMPLE_ERROR: Final = 1 / math.sqrt(SAMPLE_MAX / 2)
LEVEL_MAX: Final = 15
"""2^15 x 512: 16M different values in one bucket of one series."""
MARK: Final = 0xFFFF_FFFF_FFFF_FF00
"""Values from here on are no digests: MARK + level says at which level a bucket's set is kept."""


def bins_of(values: Int64s) -> Int64s:
    """The bin of each value, 0 to DURATION_MS_MAX."""
    found: Int64s = np.searchsorted(_UPPER, values, side="left") + 1
    return np.where(values <= 0, 0, found)


def chat_digest(tenant: str, chat_id: str) -> int:
    """The digest of a chat in a set: 0 to MARK - 1."""
    return min(xxhash.xxh3_64_intdigest(f"h{len(tenant)}:{tenant}{chat_id}".encode()), MARK - 1)


@dataclass(frozen=True, eq=False)
class Histogram:
    """How often the values of each bin were reported: `counts[bin]`, BINS long."""

    counts: Int64s

    def __add__(self, other: Histogram | int) -> Histogram:
        """The sum of two histograms; 0 is the empty one, as in `sum`."""
        return self if isinstance(other, int) else Histogram(self.counts + other.counts)

    __radd__ = __add__

    def __bool__(self) -> bool:
        return bool(self.counts.any())

    @cached_property
    def _running(self) -> Int64s:
        return np.cumsum(self.counts)

    @property
    def count(self) -> int:
        return int(self._running[-1])

    @cached_property
    def has_one_bin(self) -> bool:
        """Whether all values are in one bin. Then their mean is within 2% of each of them too, and never
        outside of the smallest and the largest."""
        return int(np.count_nonzero(self.counts)) == 1

    def quantile(self, share: float) -> float | None:
        """The value at nearest rank ceil(share x count), within 2%; None for an empty histogram."""
        count = self.count
        if not count:
            return None
        rank = max(1, math.ceil(share * count))
        return middle_of(int(np.searchsorted(self._running, rank)))


def middle_of(bin_: int) -> float:
    """The value that represents a bin: every value of the bin is within 2% of it. Values are whole, so it lies
    between the smallest and the largest one that the bin can have: up to 29 it is exact."""
    if bin_ == 0:
        return 0.0
    low, high = (1 if bin_ == 1 else int(_UPPER[bin_ - 2]) + 1), int(_UPPER[bin_ - 1])
    return min(max(2 * GAMMA ** (bin_ - 1) / (GAMMA + 1), float(low)), float(high))


@dataclass(frozen=True, eq=False)
class Distinct:
    """A set of digests at a level: each represents 2^level different values. At level 0 the set has
    all digests, so its size is exact."""

    digests: Digests
    level: int = 0

    def __add__(self, other: Distinct | int) -> Distinct:
        """The union; 0 is the empty set, as in `sum`."""
        return self if isinstance(other, int) else Distinct.union([self, other])

    __radd__ = __add__

    @staticmethod
    def union(parts: Sequence[Distinct]) -> Distinct:
        """The union of one or more sets. One call is linear; one `+` after the other is quadratic."""
        level = max(part.level for part in parts)
        return Distinct(_at(np.unique(np.concatenate([p.digests for p in parts])), level), level)

    @staticmethod
    def unions(parts: Sequence[Distinct]) -> list[Distinct]:
        """The union of each set with all before it, for counting only: the digests are in no order.
        The results of one level share memory."""
        digests, first = np.unique(np.concatenate([p.digests for p in parts]), return_index=True)
        owner = np.searchsorted(np.cumsum([p.digests.size for p in parts]), first, side="right")
        order = np.argsort(first)
        digests, owner = digests[order], owner[order]
        levels = np.maximum.accumulate([part.level for part in parts])
        found: list[Distinct] = []
        for level in np.unique(levels).tolist():
            kept = digests < _BOUNDS[level] if level else slice(None)
            own, ends = digests[kept], owner[kept]
            places = np.flatnonzero(levels == level)
            sizes = np.searchsorted(ends, places, side="right").tolist()
            found += [Distinct(own[:size], level) for size in sizes]
        return found

    def __bool__(self) -> bool:
        return bool(self.digests.size)

    @property
    def is_exact(self) -> bool:
        return self.level == 0

    def __len__(self) -> int:
        """The number of different values: exact at level 0, else an estimate."""
        return int(self.digests.size) << self.level


def distinct_of(digests: Digests) -> Distinct:
    """The set of some rows of digests. Rows may include marks."""
    unique = np.unique(digests)
    first_mark = int(np.searchsorted(unique, np.uint64(MARK)))
    level = int(unique[-1] - np.uint64(MARK)) if first_mark < unique.size else 0
    return Distinct(_at(unique[:first_mark], level), level)


def distinct_sets(cells: Int64s, digests: Digests) -> dict[int, Distinct]:
    """The set of each cell. `cells`: of each row of digests, in any order. As `distinct_of` for each cell
    alone, which takes 15 us a cell; this takes 1 us."""
    order = np.lexsort((digests, cells))
    cells, digests = cells[order], digests[order]
    is_new_cell = np.append(True, cells[1:] != cells[:-1])
    is_first = is_new_cell | np.append(True, digests[1:] != digests[:-1])
    cells, digests, is_new_cell = cells[is_first], digests[is_first], is_new_cell[is_first]
    starts = np.flatnonzero(is_new_cell)
    ends = np.append(starts[1:], len(cells))
    has_marks = (digests[ends - 1] >= np.uint64(MARK)).tolist()
    found: dict[int, Distinct] = {}
    places = zip(cells[starts].tolist(), starts.tolist(), ends.tolist(), has_marks, strict=True)
    for cell, start, end, has_mark in places:
        own = digests[start:end]
        found[cell] = distinct_of(own) if has_mark else Distinct(own)
    return found


def sample_of(digests: Digests) -> Digests:
    """The digests that one bucket keeps, of rows that may include marks: all of them, or beyond
    SAMPLE_MAX those of the first level that fits, with the mark of that level."""
    found = distinct_of(digests)
    kept, level = found.digests, found.level
    while kept.size > SAMPLE_MAX and level < LEVEL_MAX:
        level += 1
        kept = _at(kept, level)
    return np.append(kept, np.uint64(MARK + level)) if level else kept


def _at(unique: Digests, level: int) -> Digests:
    """The digests, of sorted ones, that are kept at a level."""
    return unique[: int(np.searchsorted(unique, _BOUNDS[level]))] if level else unique


_BOUNDS: Final = [np.uint64(MARK), *(np.uint64(1 << (64 - n)) for n in range(1, LEVEL_MAX + 1))]
"""By level: the bound that all digests of that level are below."""
