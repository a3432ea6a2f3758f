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
    N:nV.T, N:lV.T     series of view V and tenant T: hash name -> id, list id -> name
    N:pV.I.C.T.B       page B of view V, tier I, chunk of time C, tenant T: packed rows
    N:iS.K             digests of events counted in slice S of append time, bucket K: a set
    N:cS.K             bookings of calls, likewise: a hash digest -> booking
    N:tallies          hash: dead letters by reason, duplicates, unknown fields
    N:refusals         hash: partition (or "generation") -> why a worker will not go on, as JSON
    N:r:TENANT         the latest calls of a tenant (schemas/recent.py)
    d:...              the directory (schemas/directory.py), of all generations

A row is a cell and its measures: `u16 cell | n x i64`, little endian, in order of first touch. A
page holds `page_series` neighbouring series over one chunk: cell = (series mod page_series) *
chunk_buckets + bucket. The Lua of the commit writes both forms; a test holds the two together.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.errors import StoreCorrupt
from schemas.grid import SLACK_MS, Span, Tier
from schemas.views import View

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


def names_list_key(generation: int, view: View, tenant_id: int) -> str:
    return f"{prefix(generation)}l{view.id}.{tenant_id}"


def page_key(  # a page's full address
    generation: int, view: View, tier: Tier, chunk: int, tenant_id: int, page: int
) -> str:
    return f"{prefix(generation)}p{view.id}.{tier.id}.{chunk}.{tenant_id}.{page}"


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
    return msgspec.json.encode(values).decode()


def series_values(name: str | bytes) -> tuple[str, ...]:
    try:
        return msgspec.json.decode(name, type=tuple[str, ...])
    except msgspec.DecodeError as error:
        raise StoreCorrupt(f"the series name {name!r} is not a JSON array of texts") from error


# -- packed rows -----------------------------------------------------------------------------------


def row_dtype(view: View) -> np.dtype[Any]:
    """One row of a page: 2 B + 8 B a measure."""
    return np.dtype([("cell", "<u2"), ("values", "<i8", (len(view.measures),))])


def delta_dtype(view: View) -> np.dtype[Any]:
    """One addition in a commit: `series` is an index into the commit's own list of series."""
    return np.dtype(
        [
            ("series", "<u4"),
            ("chunk", "<u4"),
            ("bucket", "<u2"),
            ("values", "<i8", (len(view.measures),)),
        ]
    )


def unpack_page(view: View, page: bytes) -> Rows:
    """The rows of one page; StoreCorrupt where it is cut."""
    dtype = row_dtype(view)
    if len(page) % dtype.itemsize:
        raise StoreCorrupt(f"a page of view {view.name} is no whole number of rows")
    return np.frombuffer(page, dtype)


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
