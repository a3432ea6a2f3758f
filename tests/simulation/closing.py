"""Closing pages in the fake store: what streams/redis/lua/closing.lua does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from schemas.store.chunk_version import ChunkVersion
from schemas.store.layout import LIVE, Form, Meta
from schemas.tiers import CLOSING, Closed, Tier, floor_to
from streams.redis.closing import ClosingPage, ReadOpenPage, unpack_open_page
from tests.simulation.state import Bugs, State

CLOSE_PAGES_MAX = 20


def read_open(state: State, meta: Meta, closing: Closed) -> list[ReadOpenPage]:
    """Some open pages of the first chunk that may be closed."""
    for place, (tier, from_ms) in enumerate(zip(CLOSING, meta.closed, strict=True)):
        found = state.open_pages.get((place, from_ms // tier.chunk_ms), {})
        if from_ms < closing[place] and found:
            pages = [unpack_open_page(*one) for one in list(found.items())[:CLOSE_PAGES_MAX]]
            return [
                ReadOpenPage(one, state.pages.get(one.key, b""), state.compactions(one.key))
                for one in pages
            ]
    return []


def close(state: State, made: Sequence[ClosingPage], closing: Closed, bugs: Bugs) -> None:
    meta = state.meta
    if meta is None or meta.state != LIVE:
        return
    minutes_ms = max(meta.closing[0], closing[0])
    quarters_ms = min(closing[1], floor_to(meta.closed[0], CLOSING[1].chunk_ms))
    closing = Closed(minutes_ms, max(meta.closing[1], quarters_ms))
    state.meta = replace(meta, closing=closing)
    before = {one.read.open.key: state.compactions(one.read.open.key) for one in made}
    is_closed = False
    for one in made:
        page, was = one.read.open, one.read.page
        now = state.pages.get(page.key, b"")
        pages = state.open_pages.get((CLOSING.index(page.tier), page.chunk), {})
        is_as_read = pages.get(page.key) == page.value
        is_as_read = is_as_read and before[page.key] == one.read.compactions
        if not (is_as_read and len(now) >= len(was)) and not bugs.closes_unseen:
            continue
        is_closed = True
        tail, length = now[len(was) :], len(was)
        if one.compact:
            state.pages[page.key], length = one.compact + tail, len(one.compact)
            chunk = page.version[1:]
            state.chunk_versions[chunk] = state.chunk_versions[chunk]._replace(
                compactions=before[page.key] + 1
            )
        if tail and not bugs.forgets_late_rows:
            pages[page.key] = f"{length} {page.value.partition(' ')[2]}"
        else:
            pages.pop(page.key, None)
        if bugs.closes_half:
            continue
        for target, number, rows in one.into:
            if rows:
                stem = f"{page.head}.{target.id}.{number}.{page.tenant}"
                append_rows(state, stem, target, page.page, rows, page.form, page.room_bytes, bugs)
    _move_closed(state)
    if is_closed:
        state.meta = replace(state.meta, commits=state.meta.commits + 1)


def _move_closed(state: State) -> None:
    meta = state.meta
    assert meta is not None
    closed = list(meta.closed)
    for place, tier in enumerate(CLOSING):
        while closed[place] < meta.closing[place] and not state.open_pages.get(
            (place, closed[place] // tier.chunk_ms)
        ):
            closed[place] += tier.chunk_ms
    state.meta = replace(meta, closed=Closed(*closed))


def is_half_closed(state: State, key: str) -> bool:
    """Whether the coarser tiers have some of a page's rows and lack others."""
    tier, chunk = map(int, key.rsplit(".", 4)[1:3])
    for place, one in enumerate(CLOSING):
        if one.id == tier:
            value = state.open_pages.get((place, chunk), {}).get(key, "0 ")
            return not value.startswith("0 ")
    return False


def append_rows(  # what a page is, and where the bugs are
    state: State,
    stem: str,
    tier: Tier,
    page: int,
    rows: bytes,
    row_form: Form,
    room: int,
    bugs: Bugs,
) -> None:
    """`stem`: the key of the page without its number."""
    meta = state.meta
    assert meta is not None
    head, _, number, tenant = stem.rsplit(".", 3)
    chunk, place = int(number), f"{stem}.{page}"
    before = len(state.pages.get(place, b""))
    state.pages[place] = state.pages.get(place, b"") + rows
    chunk_version = state.chunk_versions.get(stem, ChunkVersion(0, 0))
    state.chunk_versions[stem] = chunk_version._replace(commits=meta.commits + 1)
    form = " ".join(map(str, row_form))
    if tier in CLOSING and chunk * tier.chunk_ms >= meta.closed[CLOSING.index(tier)]:
        closes = CLOSING.index(tier)
        pages = state.open_pages.setdefault((closes, chunk), {})
        if not before:
            pages[place] = f"0 {room} {form}"
            return
        if chunk * tier.chunk_ms < meta.closing[closes] and not bugs.forgets_late_rows:
            pages.setdefault(place, f"{before} {room} {form}")
    elif not before:
        ended = f"{head}.{tier.id}.{chunk - 1}.{tenant}.{page}"
        if ended in state.pages:
            state.compaction_queue.append(f"{ended} {form} 1".encode())
    if before and len(state.pages[place]) // room != before // room:
        state.compaction_queue.append(f"{place} {form} 0".encode())
