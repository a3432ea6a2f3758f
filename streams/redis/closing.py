"""Closing: the buckets of a tier whose time is over are added to those of coarser tiers, once.

A commit writes an event to the finest tier that keeps it, and to no coarser one: most rows of a
coarser tier would repeat what a finer one has. When the time of a chunk is over, its pages are
closed one by one, by any worker, between two commits. One atomic step (streams/redis/lua/closing.lua)
adds a page's rows to the pages of the coarser tiers (`TARGETS`) and gives the page its compact form.

- `Meta.closing`: pages of chunks before this time may be closed. It moves on with the clock
  (`may_be_closed`), and never back.
- The hash `N:oI.C` names the pages of a chunk that hold rows which the coarser tiers lack, and how
  many of their first bytes these do have. A page enters it with its first rows, and leaves it when it
  is closed. Rows that come later, while other pages of the chunk are open, enter it again.
- `Meta.closed` moves on past a chunk when it has no open page. From then on the chunk's time is whole
  in the coarser tiers, and a commit writes late events to these as well. A commit says for which
  `closed` it was made: if that has moved, nothing is written, and the worker folds again.

So each row is added to each tier once, whichever worker closes, and whenever it is killed: a step that was
repeated finds the page no longer as it was read. A page that is not closed does not expire, so no time
without a worker loses a bucket. Readers take the time from `Meta.closed` on from the finer tier
(`schemas.tiers.whole_spans`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from schemas.errors import StoreCorrupt
from schemas.limits import DAY_MS, MINUTE_MS
from schemas.store.layout import (
    SLOT_BUCKETS,
    Form,
    Int64s,
    Meta,
    page_kept_ms,
    prefix,
)
from schemas.tiers import CLOSING, SOURCES, TIERS, Closed, Tier, floor_to
from streams.redis.commit import page_spec
from streams.redis.compaction import StoredRows, rows_in

TARGETS: Final = {
    source: tuple(tier for tier in TIERS if SOURCES.get(tier) is source) for source in CLOSING
}
"""The tiers that the pages of a tier are added to."""
LATE_MS: Final = 2 * MINUTE_MS
"""How long after its end a chunk may be closed. Later events are written to two tiers or more."""
LONGEST_OPEN_MS: Final = DAY_MS
"""A chunk that ended so long ago may be closed although a partition is behind."""


def may_be_closed(meta: Meta, now_ms: int) -> Closed:
    """Until when chunks may be closed. Those before `Meta.complete_through_ms` have most of their events;
    a partition that is behind for longer does not hold them up."""
    over_ms = min(now_ms, max(meta.complete_through_ms, now_ms - LONGEST_OPEN_MS)) - LATE_MS
    finer_ms, found = over_ms, []
    for tier, before_ms in zip(CLOSING, meta.closing, strict=True):
        found.append(max(before_ms, floor_to(finer_ms, tier.chunk_ms)))
        finer_ms = meta.closed[len(found) - 1]
    return Closed(*found)


STILL_KEPT_MS: Final = DAY_MS
"""How long a closed page is kept at least: until all pages of its chunk are closed, it is read."""


class OpenPage(NamedTuple):
    """A page that is not closed: its key without the generation's prefix, and its value in the hash of
    open pages. The rows behind the first `closed_bytes` are not in the coarser tiers."""

    key: str
    value: str
    tier: Tier
    chunk: int
    tenant: int
    page: int
    closed_bytes: int
    room_bytes: int
    form: Form

    @property
    def version(self) -> str:
        """The key of its chunk's version, without the generation's prefix."""
        return "v" + self.key.rpartition(".")[0]

    @property
    def head(self) -> str:
        return self.key.rsplit(".", 4)[0]


def open_key(generation: int, tier: Tier, chunk: int) -> str:
    """The key of the open pages of a chunk."""
    return f"{prefix(generation)}o{CLOSING.index(tier) + 1}.{chunk}"


def unpack_open_page(key: str, value: str) -> OpenPage:
    try:
        tier, chunk, tenant, page = map(int, key.rsplit(".", 4)[1:])
        closed_bytes, room_bytes, *form = map(int, value.split(" "))
        of_tier = next(one for one in CLOSING if one.id == tier)
        return OpenPage(
            key, value, of_tier, chunk, tenant, page, closed_bytes, room_bytes, Form(*form)
        )
    except (ValueError, TypeError, StopIteration) as error:
        raise StoreCorrupt(f"the open pages have {key!r}: {value!r}") from error


class ReadOpenPage(NamedTuple):
    """An open page as it was read; `compactions`: how often pages of its chunk had been compacted."""

    open: OpenPage
    page: bytes
    compactions: int


class ClosingPage(NamedTuple):
    """What closing a page writes: its compact form (empty: it stays as it is), and for each of TARGETS
    the chunk and the rows that are added there."""

    read: ReadOpenPage
    compact: bytes
    into: Sequence[tuple[Tier, int, bytes]]


def closing_pages(read: Sequence[ReadOpenPage]) -> list[ClosingPage]:
    """Many pages of a form and tier at once."""
    alike: dict[tuple[Form, Tier], list[ReadOpenPage]] = {}
    for one in read:
        alike.setdefault((one.open.form, one.open.tier), []).append(one)
    found = []
    for (form, tier), own in alike.items():
        added = whole = rows_in(form, [one.page for one in own])
        if any(one.open.closed_bytes for one in own):
            added = rows_in(form, [one.page[one.open.closed_bytes :] for one in own])
        compact = whole.compact([True] * len(own))
        chunks = np.array([one.open.chunk for one in own], np.int64)
        into = [(target, *_moved(added, tier, target, chunks)) for target in TARGETS[tier]]
        for place, one in enumerate(own):
            shorter = compact[place] if len(compact[place]) < len(one.page) else b""
            targets = [(target, at[place], rows[place]) for target, at, rows in into]
            found.append(ClosingPage(one, shorter, targets))
    return found


def _moved(
    found: StoredRows, tier: Tier, target: Tier, chunks: Int64s
) -> tuple[list[int], list[bytes]]:
    """For each page of a tier, of these chunks: the chunk of the coarser tier, and the rows to add
    there."""
    into = chunks * tier.chunk_ms // target.chunk_ms
    place, bucket = np.divmod(found.rows["slot"].astype(np.int64), SLOT_BUCKETS)
    at_ms = chunks[found.owner] * tier.chunk_ms + bucket * tier.bucket_ms
    rows = found.rows.copy()
    rows["slot"] = place * SLOT_BUCKETS + at_ms % target.chunk_ms // target.bucket_ms
    return into.tolist(), found._replace(rows=rows).merged()


def encode_closing(  # the arguments of a function
    digest: bytes,
    epoch: str,
    proposed: bytes,
    closing: Closed,
    pages: Iterable[ClosingPage],
    now_ms: int,
) -> list[bytes | str]:
    """The arguments of `close` (streams/redis/lua/closing.lua)."""
    specs: dict[tuple[Any, ...], int] = {}
    described: list[Mapping[str, Any]] = []
    data: list[bytes] = []
    for one in pages:
        page, into = one.read.open, []
        over_ms = (page.chunk + 1) * page.tier.chunk_ms
        data.append(one.compact)
        for target, chunk, rows in one.into:
            spec = page_spec(page.head, target, page.room_bytes, page.form)
            into.append((specs.setdefault(spec, len(specs)) + 1, chunk))
            data.append(rows)
        described.append(
            {
                "key": page.key,
                "version": page.version,
                "closes": CLOSING.index(page.tier) + 1,
                "chunk": page.chunk,
                "open": page.value,
                "shape": page.value.partition(" ")[2],
                "compactions": one.read.compactions,
                "length": len(one.read.page),
                "expires_ms": max(over_ms + page_kept_ms(page.tier), now_ms + STILL_KEPT_MS),
                "tenant": page.tenant,
                "page": page.page,
                "into": into,
            }
        )
    control = {
        "chunk_ms": [tier.chunk_ms for tier in CLOSING],
        "closing": closing,
        "epoch": proposed.hex(),
        "specs": list(specs),
        "pages": described,
    }
    return [digest, epoch, msgspec.json.encode(control), *data]
