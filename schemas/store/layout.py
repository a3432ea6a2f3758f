"""How the counters lie in Redis: keys, packed rows, and the meta record. Pure.

All keys share one hash tag, so that one call or MGET reaches all atomically. Under `{od0}:`

    current            the generation that answers, in decimal
    generations        hash: number -> what a rebuild knows of that generation, as JSON
    rebuild            the lease of a running rebuild
    N:meta             the state of generation N and its positions (`Meta`)
    N:about            its description (schemas/store/generation.py); the digest is in the meta record
    N:key              the secret of its digests (schemas/event/identity.py): a name of 16 characters
                       and 32 random bytes. It lies nowhere else, and is never replaced.
    N:views, N:newest  since when added views count (schemas/store/added_views.py)
    N:prices, N:prices.I  the price lists that it was made with (streams/redis/price_lists.py)
    N:hold             while it exists, nothing is committed: a rebuild carries over old buckets
    N:t, N:tl          tenants: hash name -> id, list id -> name
    N:nX.T, N:lX.T     series of table X (a view's kind) and tenant T: name -> id, id -> name
    N:pX.I.C.T.B       page B of table X, tier I, chunk of time C, tenant T: rows of counters
    N:sS.X.I.C.T.B     the same for sketch S (its place in `measures.SKETCHES`)
    N:vH.I.C.T         version of the pages H.I.C.T.B, where H is pX or sS.X (schemas/store/chunk_version.py)
    N:due              list: the compaction queue (`QueuedPage`)
    N:oI.C             hash: pages of tier I and chunk C that are not closed (streams/redis/closing.py)
    N:iS.K             digests of events counted in slice S of append time, bucket K: a set
    N:cS.K             bookings of calls in the same slice and bucket: a hash DIGEST:TENANT -> booking
    N:q...             counts for the quotas of tenants (schemas/store/quota_counts.py)
    N:tallies          hash: dead letters by reason, duplicates, unknown fields
    N:tallies.names    hash: how many names of a kind there are in it, in all and from each tenant
    N:evictions        hash: whether Redis evicted keys (schemas/store/eviction.py)
    N:refusals         hash: partition or "generation" -> why a worker does not continue, as JSON
    N:r:TENANT         sorted set: records of a tenant's latest calls (schemas/store/recent_calls.py)
    skipped            hash: reason -> parts of OTLP requests with usage that counted nothing
    skipped.of         hash: tenant -> how many of these reasons it was the first to have
    otlp-logs.TENANT   set: services whose log records count
    d:...              the directory (schemas/store/directory.py), of all generations

A page holds `page_series` neighbouring series over one chunk. It consists of rows, little endian.
Each row has a key and the numbers that it adds there:

    counters           slot | the measures that are not 0 (schemas/store/counter_rows.py)
    histogram          u16 slot, u16 bin        | i32 count
    distinct           u16 slot, u64 digest (big endian)

slot = (series mod page_series) * 256 + bucket. A commit only appends rows, so a page may have many
rows with the same key, and **its value is the sum of its rows**. So adding costs one APPEND per page
whatever its length, and nothing can overflow.

A commit puts a page on the compaction queue when it has grown to twice its compact length and
`PageKind.room_bytes` more, and once after its chunk has ended. A worker compacts it between two
commits (streams/redis/compaction.py): one row a key, or several if a sum does not fit. Before the
chunk's end, a compact page begins with FF FF and its compact length in 4 bytes: in counters the head
of a block, else a row of slot 0xFFFF. The worker reads page and version in one step and writes in
another one. It keeps rows appended meanwhile, and does nothing if another worker was first: the
version counts compactions. So a page is at most twice as long as needed, plus room, plus one commit.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.catalog.measures import SKETCHES, How, Measure
from schemas.catalog.views import Table
from schemas.errors import StoreCorrupt
from schemas.store import counter_reader, counter_rows
from schemas.store.counter_rows import Differences, differences_of
from schemas.tiers import ALL_CLOSED, SLACK_MS, Closed, Span, Tier

HASH_TAG: Final = "{od0}:"
CURRENT_KEY: Final = HASH_TAG + "current"
GENERATIONS_KEY: Final = HASH_TAG + "generations"
REBUILD_KEY: Final = HASH_TAG + "rebuild"
SKIPPED_KEY: Final = HASH_TAG + "skipped"
SKIPPED_OF_TENANTS_KEY: Final = HASH_TAG + "skipped.of"
LOG_SOURCES_KEY: Final = HASH_TAG + "otlp-logs."  # begin of a key; the tenant is the rest
FIRST_GENERATION: Final = 1

Int64s = npt.NDArray[np.int64]
Rows = npt.NDArray[Any]


# -- keys ------------------------------------------------------------------------------------------


def prefix(generation: int) -> str:
    return f"{HASH_TAG}{generation}:"


def meta_key(generation: int) -> str:
    return prefix(generation) + "meta"


def about_key(generation: int) -> str:
    return prefix(generation) + "about"


def id_secret_key(generation: int) -> str:
    return prefix(generation) + "key"


def hold_key(generation: int) -> str:
    return prefix(generation) + "hold"


def tenants_list_key(generation: int) -> str:
    return prefix(generation) + "tl"


def names_list_key(generation: int, table: Table, tenant_id: int) -> str:
    return f"{prefix(generation)}l{table.id}.{tenant_id}"


def page_key(  # a page's full address
    generation: int, page_kind: PageKind, tier: Tier, chunk: int, tenant_id: int, page: int
) -> str:
    return f"{prefix(generation)}{page_kind.head}.{tier.id}.{chunk}.{tenant_id}.{page}"


def chunk_version_key(
    generation: int, page_kind: PageKind, tier: Tier, chunk: int, tenant_id: int
) -> str:
    """The version of all pages of a kind, tier, chunk and tenant."""
    return f"{prefix(generation)}v{page_kind.head}.{tier.id}.{chunk}.{tenant_id}"


def compaction_queue_key(generation: int) -> str:
    return prefix(generation) + "due"


def tallies_key(generation: int) -> str:
    return prefix(generation) + "tallies"


def refusals_key(generation: int) -> str:
    return prefix(generation) + "refusals"


def chunks_of(span: Span) -> range:
    """The chunks that a span touches."""
    return range(span.start_ms // span.tier.chunk_ms, -(-span.end_ms // span.tier.chunk_ms))


def page_kept_ms(tier: Tier) -> int:
    """How long after its chunk's end a page expires. The slack counts twice: pages are written for
    that much longer, and a reader's clock may be that much behind."""
    return tier.kept_ms + 2 * SLACK_MS


# -- packed rows -----------------------------------------------------------------------------------

COMPACT_SLOT: Final = 0xFFFF
"""The slot of the first row of a compact histogram or set, which adds nothing."""
SLOT_BUCKETS: Final = 256
"""The most buckets of a chunk, and the most series of a page: each has one byte of a slot."""
RUN_DTYPE: Final = np.dtype([("series", "<u4"), ("chunk", "<u4"), ("rows", "<u4")])
"""In a delta: a run of rows for one series (an index into the delta's own list) and chunk."""
PAGE_DTYPE: Final = np.dtype([(name, "<u4") for name in ("chunk", "tenant", "page", "bytes")])
"""In a commit: a run of rows for one page, by its length."""


class Form(NamedTuple):
    """The form of a row: the bytes of its key, then the count and the size of its numbers. Rows of
    counters vary in length: of them this is the form in memory."""

    key_bytes: int
    numbers: int
    number_bytes: int


def is_counters(form: Form) -> bool:
    return form.numbers > 0 and form != HISTOGRAM_FORM


@cache
def dtype_of(form: Form) -> np.dtype[Any]:
    """One row of this form; of counters, a row in memory."""
    if not form.numbers:
        return np.dtype([("slot", "<u2"), ("digest", ">u8")])
    if form.number_bytes == HISTOGRAM_FORM.number_bytes:
        return np.dtype([("slot", "<u2"), ("bin", "<u2"), ("count", "<i4")])
    return np.dtype([("slot", "<u2"), ("values", "<i8", (form.numbers,))])


HISTOGRAM_FORM: Final = Form(4, 1, 4)
DISTINCT_FORM: Final = Form(10, 0, 8)

HISTOGRAMS_A_PAGE: Final = 128
"""Series whose histograms share a page. A row is 8 B and a bucket uses some thirty bins, so a page of
one series would be mostly key."""
ROOM_BYTES, ROOM_BYTES_A_SERIES, ROOM_BYTES_MAX = 1024, 192, 8192
"""How much a page of counters may grow beyond twice its compact length: some eight rows for each of
its series. With less room it would be rewritten too often, with more it would be long to read."""
SKETCH_ROOM_BYTES: Final = 32_768
"""The same for sketches, which have many rows."""


class ColumnsRead(NamedTuple):
    """Rows of several pages: the place of each row's page, its slot, and its value in each column."""

    page: Int64s
    slots: Int64s
    values: Sequence[Int64s]


@dataclass(frozen=True, eq=False)
class PageKind:
    """The pages of one form: a table's counters, or one of its sketches.

    `head` begins their keys, `tiers` are those that have them; `dtype` is a row of `form` in memory,
    and `differences` says what rows of counters store. A page may grow to twice its compact length
    and `room_bytes`.
    """

    table: Table
    sketch: Measure | None = None
    head: str = field(init=False)
    tiers: tuple[Tier, ...] = field(init=False)
    page_series: int = field(init=False)
    room_bytes: int = field(init=False)
    form: Form = field(init=False)
    dtype: np.dtype[Any] = field(init=False)
    differences: Differences = field(init=False)

    def __post_init__(self) -> None:
        view = self.table.view
        page_series, room_bytes = view.page_series, SKETCH_ROOM_BYTES
        if self.sketch is None:
            head, form = "p", Form(2, len(self.table.measures), 8)
            room_bytes = min(ROOM_BYTES_MAX, ROOM_BYTES + ROOM_BYTES_A_SERIES * page_series)
        else:
            head, form = f"s{SKETCHES.index(self.sketch)}.", DISTINCT_FORM
            if self.sketch.how is How.HISTOGRAM:
                form, page_series = HISTOGRAM_FORM, HISTOGRAMS_A_PAGE
        set_once = object.__setattr__
        set_once(self, "head", f"{head}{self.table.id}")
        set_once(self, "tiers", view.tiers_of(self.sketch))
        set_once(self, "page_series", page_series)
        set_once(self, "room_bytes", room_bytes)
        set_once(self, "form", form)
        set_once(self, "dtype", dtype_of(form))
        set_once(self, "differences", differences_of([one.name for one in self.table.measures]))

    def rows_of(self, page: bytes) -> Rows:
        """The rows of one page; StoreCorrupt if the page is cut inside a row."""
        return self.rows_of_all([page])[0]

    def rows_of_all(
        self, pages: Sequence[bytes], *, of_fixed_length: bool = False
    ) -> tuple[Rows, Int64s]:
        """The rows of these pages, and the place of each row's page. StoreCorrupt as `rows_of`.
        `of_fixed_length`: in pages of layouts 3 and 4, rows of counters have the form in memory."""
        if self.sketch is None and not of_fixed_length:
            width = self.form.numbers
            found = counter_reader.read(pages, width, range(width))
            rows = np.empty(len(found.slots), self.dtype)
            rows["slot"], rows["values"] = found.slots, self.differences.undone(found.stored.T)
            return rows, found.page
        row_bytes = self.dtype.itemsize
        lengths = np.fromiter(map(len, pages), np.int64, len(pages))
        if np.any(lengths % row_bytes):
            raise StoreCorrupt(f"a page of view {self.table.view.name} is no whole number of rows")
        owner = np.repeat(np.arange(len(pages), dtype=np.int64), lengths // row_bytes)
        rows = np.frombuffer(b"".join(pages), self.dtype)
        is_row = rows["slot"] != COMPACT_SLOT
        return (rows, owner) if is_row.all() else (rows[is_row], owner[is_row])

    def columns_of(self, pages: Sequence[bytes], columns: Sequence[int]) -> ColumnsRead:
        """Some columns of the counters in these pages. Raises StoreCorrupt as `rows_of`."""
        wanted = self.differences.needed(columns)
        found = counter_reader.read(pages, self.form.numbers, wanted)
        values = self.differences.undone_columns(
            dict(zip(wanted, found.stored, strict=True)), columns
        )
        return ColumnsRead(found.page, found.slots, values)

    def packed(self, rows: Rows) -> bytes:
        """These rows as a page holds them."""
        return packed([(self, rows)])[0][0]


def packed(parts: Sequence[tuple[PageKind, Rows]]) -> list[tuple[bytes, Int64s]]:
    """The bytes of each part's rows, and the length of each row."""
    counters = [place for place, (page_kind, _) in enumerate(parts) if page_kind.sketch is None]
    encoded = counter_rows.encoded_all(
        [
            (page_kind.differences, counter_rows.Rows(rows["slot"], rows["values"]))
            for page_kind, rows in map(parts.__getitem__, counters)
        ]
    )
    made = dict(zip(counters, encoded, strict=True))
    return [
        made[place] if place in made else (rows.tobytes(), np.full(len(rows), rows.itemsize))
        for place, (_, rows) in enumerate(parts)
    ]


@cache
def counters_of(table: Table) -> PageKind:
    return PageKind(table)


@cache
def sketch_of(table: Table, sketch: Measure) -> PageKind:
    return PageKind(table, sketch)


# -- meta ------------------------------------------------------------------------------------------

MAGIC: Final = b"ODO1"
LIVE, RETIRED = 1, 2
NO_POSITION: Final = -1
LOG_STARTS_LATER: Final = 1
"""Code of a refusal: Redis has no position, but the topic has lost its first records."""
_HEADER: Final = struct.Struct("<4sI16sIIqqqqqqqqqqqq")
_PARTITION: Final = struct.Struct("<q16sqqqqq")
_OLD_HEADER: Final = struct.Struct("<4sI16sIIqqqqqqq8x")
"""Of layouts 3 to 5, which write every tier at once."""
HEADER_BYTES: Final = _HEADER.size  # 128
PARTITION_BYTES: Final = _PARTITION.size  # 64


@dataclass(frozen=True)
class PartitionMeta:
    """How far one partition has been counted. `position` is the next offset to read, or NO_POSITION.

    The last counted record is stored by its offset and append time, which are read back on assignment,
    to see that the log is still the one that was counted. `refused` is 0, or the code of the reason
    why its worker will not go on (details under `refusals`).
    """

    position: int
    commit_id: bytes
    last_offset: int
    last_append_ms: int
    complete_ms: int
    committed_ms: int
    refused: int


@dataclass(frozen=True)
class Meta:
    """The state of one generation. `history_from_ms` is 0 if no record was ever lost; `names` is
    how many series were ever named, so that readers know when their dictionaries are behind.
    `refused` is 0, or the code of the reason why no worker counts on this generation. `closed` and
    `closing` are as streams/redis/closing.py has them. `hours_from_ms`: buckets of hours before this
    UTC midnight are not complete, as a rebuild had only days to copy (0: all are)."""

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
    closed: Closed = ALL_CLOSED
    closing: Closed = ALL_CLOSED
    hours_from_ms: int = 0

    @property
    def complete_through_ms(self) -> int:
        """Every event that the broker acknowledged before this instant is in the counters or among
        the dead letters; 0 while that is unknown."""
        return min((p.complete_ms for p in self.partitions), default=0)


def unpack_meta(data: bytes) -> Meta:
    is_old = len(data) % PARTITION_BYTES == _OLD_HEADER.size % PARTITION_BYTES
    header = _OLD_HEADER if is_old else _HEADER
    if len(data) < header.size or (len(data) - header.size) % PARTITION_BYTES:
        raise StoreCorrupt("the meta record is not whole")
    magic, state, digest, count, _cursor, *numbers = header.unpack_from(data)
    if magic != MAGIC or count * PARTITION_BYTES + header.size != len(data):
        raise StoreCorrupt("the meta record is not of this layout")
    history_from_ms, commits, slice_low, slice_high, names, created_ms, refused, *tiers = numbers
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
            PartitionMeta(*_PARTITION.unpack_from(data, header.size + index * PARTITION_BYTES))
            for index in range(count)
        ),
        closed=Closed(*tiers[:2]) if tiers else ALL_CLOSED,
        closing=Closed(*tiers[2:4]) if tiers else ALL_CLOSED,
        hours_from_ms=tiers[4] if tiers else 0,
    )
