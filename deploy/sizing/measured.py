"""What was measured, with the source of each figure. `odometer size` computes from nothing else.

"RESULTS" is tests/bench/RESULTS.md. Figures of CPU are of a machine with two virtual cores. Measure your own
with the commands of RESULTS, and compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple


class Cost(NamedTuple):
    """`commit`: of each commit. `by_tenant_events`: of each event, by how many events of its tenant are in
    the commit."""

    commit: float
    by_tenant_events: Sequence[tuple[float, float]]


MIB: Final = 1 << 20

# -- memory ---------------------------------------------------------------------------------------

ID_BYTES: Final = 9
"""An event's id. RESULTS, "The secret of ids": 8.1 to 8.2 B while a set has 1,953 ids, with its key and
the allocator's rounding up to 9."""
SET_ENTRIES: Final = 4096
LARGE_SET_ID_BYTES: Final = 40
"""`set-max-intset-entries` of the bundled Valkey, and an id of a set with more. Measured with Valkey 9.1 on
2026-11-30: 8.0 B with 4,096 ids in a set, 40 B with 4,200, 38 to 39 B with 5,300 to 52,000."""
BUSY_ROW_BYTES: Final = 22
SPARSE_ROW_BYTES: Final = 28
LONE_ROW_BYTES: Final = 72
"""A row of counters: of a page that is full, of one whose series have an event each, and of a view whose
tenants have one series each. RESULTS, "Bytes written", `tests.bench.sizes`: 19 to 22, 18 to 28, and 72 B."""
BIN_BYTES: Final = 8
BINS: Final = 30
"""A bin in use, and bins that the latencies of a busy bucket fall into. `tests.bench.sizes`."""
OPEN_FACTOR: Final = 2
"""Memory of a page whose chunk is not over, by what it takes later. deploy/README.md, "Sizes"."""
NAME_BYTES: Final = 200
"""The name of a series, both ways. `SERIES_MAX` in schemas/catalog/views.py: names of 60 B."""
REDIS_EMPTY_BYTES: Final = 10 * MIB
"""Valkey without data, with our functions."""
WORKER_BYTES: Final = 436 * MIB
"""RESULTS, "Memory": after 14.7 million events of 1.01 million series."""

# -- file -----------------------------------------------------------------------------------------

REWRITE_FROM_BYTES: Final = 256 * MIB
FILE_PEAK: Final = 3
"""`auto-aof-rewrite-min-size` of the bundled Valkey. The file is rewritten when it has doubled; until the
new one replaces it, both exist."""
FILE_BYTES: Final = Cost(
    0,
    ((1, 2557), (2, 1710), (10, 799), (33, 632), (100, 560), (200, 481), (660, 428), (2000, 385)),
)
COMMIT_BYTES: Final = Cost(
    0, ((1, 1038), (2, 768), (10, 444), (33, 369), (100, 337), (200, 300), (660, 271), (2000, 242))
)
"""What is appended to the file, and what Redis receives. RESULTS, "Bytes written, by tenants": batches of 200,
660 and 2,000 events of 1, 20 and 1,000 tenants."""

# -- CPU us ---------------------------------------------------------------------------------------

WORKER_US: Final = Cost(
    13_000,
    (
        *((1, 272), (2, 168), (10, 78), (33, 64), (100, 58), (200, 51), (660, 50), (2000, 43)),
        *((5000, 40), (20_000, 35)),
    ),
)
REDIS_US: Final = Cost(
    2_000,
    (
        *((1, 531), (2, 274), (10, 92), (33, 68), (100, 52), (200, 21), (660, 21), (2000, 17)),
        *((5000, 17), (20_000, 14)),
    ),
)
"""Of live events in all views. The part of a commit is that of the smallest commits in RESULTS, "Batches
that follow the load". The part of an event is from the runs of `FILE_BYTES`, with 21 us for fetching and
decoding, and from `tests.bench.fold` with batches of 5,000 and 20,000, less the part of the commit. Other
work took both cores while this was measured (load 7 to 12): a quiet machine takes less."""
WORKER_IDLE_CORES: Final = 0.02
REDIS_IDLE_CORES: Final = 0.01
"""Without events, less their part of commits: from the runs with 10 events/s there."""
