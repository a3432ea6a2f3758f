"""How the counters lie in Redis: keys, packed rows, and the meta record. Pure.

All keys of a lane share one hash tag, so that one call or one MGET reaches them all atomically.
One Redis has one lane. Under `{od0}:`

    current            the generation that answers, in decimal
    generations        hash: number -> what a rebuild knows of that generation, as JSON
    rebuild            who rebuilds, while they live
    N:meta             what generation N is and how far it is (`Meta`)
    N:about            what its counters mean (views.describe), whose digest is in the meta record
    N:hold             while it is there, nothing is committed: a rebuild is taking over old buckets
    N:t, N:tl          tenants: hash name -> id, list id -> name
    N:nX.T, N:lX.T     series of table X (a view's kind) and tenant T: name -> id, id -> name
    N:pX.I.C.T.B       page B of table X, tier I, chunk of time C, tenant T: rows of counters
    N:sS.X.I.C.T.B     the same of sketch S (its place in `measures.SKETCHES`)
    N:closing          list: pages whose chunk has ended, to be made compact
    N:iS.K             digests of events counted in slice S of append time, bucket K: a set
    N:cS.K             bookings of calls, likewise: a hash digest -> booking
    N:tallies          hash: dead letters by reason, duplicates, unknown fields
    N:refusals         hash: partition (or "generation") -> why a worker will not go on, as JSON
    N:r:TENANT         the latest calls of a tenant (schemas/recent.py)
    d:...              the directory (schemas/directory.py), of all generations

A page holds `page_series` neighbouring series over one chunk: rows, little endian, each a key and
what is added there:

    counters           u16 cell                 | n x i64
    histogram          u16 cell, u16 bin        | i32 count
    distinct           u16 cell, u64 digest (big endian)

cell = (series mod page_series) * 256 + bucket. A commit only appends, so a key may stand there many
times, and **what a page says is the sum of its rows**. When a page has grown to twice its compact
length and 4 kB more (32 kB where several series share it), and once after its chunk has ended, the commit makes it compact: one row a key
(more where a sum would leave 53 bits, which Lua's numbers end at), and before the chunk's end behind a
row of cell 0xFFFF whose next 4 bytes say how long the page is then. So adding costs one APPEND a
page whatever it holds, nothing can overflow, and a page is at most twice as long as it must be, and those kB.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.errors import StoreCorrupt
from schemas.grid import SLACK_MS, Span, Tier
from schemas.measures import SKETCHES, How, Measure
from schemas.views import Table

LANE: Final = "{od0}:"
CURRENT_KEY: Final = LANE + "current"
GENERATIONS_KEY: Final = LANE + "generations"
REBUILD_KEY: Final = LANE + "rebuild"
FIRST_GENERATION: Final = 1

Int64s = npt.NDArray[np.int64]
Rows = npt.NDArray[Any]


# -- keys ------------------------------------------------------------------------------------------


def prefix(generation: int) -> str:
    return f"{LANE}{generation}:"


def meta_key(generation: int) -> str:
    return prefix(generation) + "meta"


def about_key(generation: int) -> str:
    return prefix(generation) + "about"


def hold_key(generation: int) -> str:
    return prefix(generation) + "hold"


def tenants_list_key(generation: int) -> str:
    return prefix(generation) + "tl"


def names_list_key(generation: int, table: Table, tenant_id: int) -> str:
    return f"{prefix(generation)}l{table.id}.{tenant_id}"


def page_key(  # a page's full address
    generation: int, family: Family, tier: Tier, chunk: int, tenant_id: int, page: int
) -> str:
    return f"{prefix(generation)}{family.head}.{tier.id}.{chunk}.{tenant_id}.{page}"


def tallies_key(generation: int) -> str:
    return prefix(generation) + "tallies"


def refusals_key(generation: int) -> str:
    return prefix(generation) + "refusals"


def chunks_of(span: Span) -> range:
    """The chunks that a span touches."""
    return range(span.start_ms // span.tier.chunk_ms, -(-span.end_ms // span.tier.chunk_ms))


def page_kept_ms(tier: Tier) -> int:
    """How long after its chunk's end a page expires. Twice the slack: once because it is written
    that much longer, once because a reader's clock may be that much behind."""
    return tier.kept_ms + 2 * SLACK_MS


# -- series names ----------------------------------------------------------------------------------


def series_name(values: Sequence[str]) -> str:
    """One series' values in the order of the view's dimensions; "" is "not reported"."""
    return name_of_quoted([quoted(value) for value in values])


def quoted(value: str) -> str:
    """A value as it stands in names."""
    return msgspec.json.encode(value).decode()


def name_of_quoted(values: Sequence[str]) -> str:
    """`series_name` of values that are quoted already: many series have some in common."""
    return f"[{','.join(values)}]"


def series_values(name: str | bytes) -> tuple[str, ...]:
    try:
        return msgspec.json.decode(name, type=tuple[str, ...])
    except msgspec.DecodeError as error:
        raise StoreCorrupt(f"the series name {name!r} is not a JSON array of texts") from error


# -- packed rows -----------------------------------------------------------------------------------

COMPACT_CELL: Final = 0xFFFF
"""Of the first row of a page that was made compact: it adds nothing."""
SLOT: Final = 256
"""Buckets of a chunk, and series of a page, are at most so many: each has a byte of a cell."""
RUN_DTYPE: Final = np.dtype([("series", "<u4"), ("chunk", "<u4"), ("rows", "<u4")])
"""In a delta: so many rows for this series (an index into the delta's own list) and chunk."""
PAGE_DTYPE: Final = np.dtype([(name, "<u4") for name in ("chunk", "tenant", "page", "rows")])
"""In a commit: so many rows for this page."""


HISTOGRAMS_A_PAGE: Final = 32
"""Series whose histograms share a page: of 8 B a row, in some thirty bins a bucket, a page of one
would be mostly key."""


@dataclass(frozen=True, eq=False)
class Family:
    """The pages of one form: a table's counters, or one of its sketches.

    `head` begins their keys, `tiers` are those that have them; a row is `key_bytes` that say where
    it adds, and `numbers` of `number_bytes` that it adds; `dtype` is the whole row.
    """

    table: Table
    sketch: Measure | None = None
    head: str = field(init=False)
    tiers: tuple[Tier, ...] = field(init=False)
    page_series: int = field(init=False)
    key_bytes: int = field(init=False)
    numbers: int = field(init=False)
    number_bytes: int = field(init=False)
    dtype: np.dtype[Any] = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.table.measures)
        if self.sketch is None:
            form: tuple[Any, ...] = (2, count, 8, [("values", "<i8", (count,))])
        elif self.sketch.how is How.HISTOGRAM:
            form = 4, 1, 4, [("bin", "<u2"), ("count", "<i4")]
        else:
            form = 10, 0, 8, [("digest", ">u8")]
        head = "p" if self.sketch is None else f"s{SKETCHES.index(self.sketch)}."
        set_once = object.__setattr__
        set_once(self, "head", f"{head}{self.table.id}")
        set_once(self, "tiers", self.table.view.tiers_of(self.sketch))
        is_histogram = self.sketch is not None and self.sketch.how is How.HISTOGRAM
        set_once(
            self, "page_series", HISTOGRAMS_A_PAGE if is_histogram else self.table.view.page_series
        )
        for name, value in zip(("key_bytes", "numbers", "number_bytes"), form, strict=False):
            set_once(self, name, value)
        set_once(self, "dtype", np.dtype([("cell", "<u2"), *form[3]]))

    def rows_of(self, page: bytes) -> Rows:
        """The rows of one page; StoreCorrupt where it is cut."""
        if len(page) % self.dtype.itemsize:
            raise StoreCorrupt(f"a page of view {self.table.view.name} is no whole number of rows")
        rows = np.frombuffer(page, self.dtype)
        return rows[1:] if len(rows) and rows["cell"][0] == COMPACT_CELL else rows


@cache
def counters_of(table: Table) -> Family:
    return Family(table)


@cache
def sketch_of(table: Table, sketch: Measure) -> Family:
    return Family(table, sketch)


@cache
def families_of(table: Table) -> tuple[Family, ...]:
    """All that a table has pages of."""
    own = (counters_of(table),) if table.measures else ()
    return (*own, *(sketch_of(table, sketch) for sketch in table.sketches))


# -- meta ------------------------------------------------------------------------------------------

MAGIC: Final = b"ODO1"
LIVE, RETIRED = 1, 2
NO_POSITION: Final = -1
_HEADER: Final = struct.Struct("<4sI16sIIqqqqqqq8x")
_PARTITION: Final = struct.Struct("<q16sqqqqq")
HEADER_BYTES: Final = _HEADER.size  # 96
PARTITION_BYTES: Final = _PARTITION.size  # 64


@dataclass(frozen=True)
class PartitionMeta:
    """How far one partition is counted. `position` is the next offset to read, or NO_POSITION.

    The witness is the last counted record: its offset and append time are read back on assignment,
    to see that the log is still the one that was counted. `refused` is 0, or the code of the reason
    why its worker will not go on (details under `refusals`).
    """

    position: int
    commit_id: bytes
    witness_offset: int
    witness_append_ms: int
    complete_ms: int
    committed_ms: int
    refused: int


@dataclass(frozen=True)
class Meta:
    """The state of one generation. `history_from_ms` is 0 where nothing was ever lost; `names` is
    how many series were ever named, so that readers know when their dictionaries are behind.
    `refused` is 0, or the code of the reason why no worker counts on this generation."""

    state: int
    digest: bytes
    history_from_ms: int
    commits: int
    slice_low: int
    slice_high: int
    names: int
    created_ms: int
    refused: int
    partitions: tuple[PartitionMeta, ...]

    @property
    def complete_through_ms(self) -> int:
        """Every event that the broker acknowledged before this instant is in the counters or among
        the dead letters; 0 where nothing can be said yet."""
        return min((p.complete_ms for p in self.partitions), default=0)


def unpack_meta(data: bytes) -> Meta:
    if len(data) < HEADER_BYTES or (len(data) - HEADER_BYTES) % PARTITION_BYTES:
        raise StoreCorrupt("the meta record is not whole")
    magic, state, digest, count, _cursor, *numbers = _HEADER.unpack_from(data)
    if magic != MAGIC or count * PARTITION_BYTES + HEADER_BYTES != len(data):
        raise StoreCorrupt("the meta record is not of this layout")
    history_from_ms, commits, slice_low, slice_high, names, created_ms, refused = numbers
    return Meta(
        state=state,
        digest=digest,
        history_from_ms=history_from_ms,
        commits=commits,
        slice_low=slice_low,
        slice_high=slice_high,
        names=names,
        created_ms=created_ms,
        refused=refused,
        partitions=tuple(
            PartitionMeta(*_PARTITION.unpack_from(data, HEADER_BYTES + index * PARTITION_BYTES))
            for index in range(count)
        ),
    )
