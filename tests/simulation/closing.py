"""Closing pages in the fake store: what streams/redis/lua/closing.lua does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from schemas.store.layout import LIVE, Form, Meta
from schemas.tiers import CLOSING, Closed, Tier, floor_to
from streams.redis.closing import ClosingPage, ReadOpenPage, unpack_open_page
from tests.simulation.state import Bugs, State

CLOSE_PAGES_MAX = 20


class FakeClosing:
    """A part of `FakeStore`, which has these attributes."""

    _bugs: Bugs

    @property
    def own(self) -> State:
        raise NotImplementedError

    def _append_rows(
        self, stem: str, tier: Tier, page: int, rows: bytes, row_form: Form, room: int
    ) -> None:
        raise NotImplementedError

    def _read_open(self, meta: Meta, closing: Closed) -> list[ReadOpenPage]:
        state = self.own
        for place, (tier, from_ms) in enumerate(zip(CLOSING, meta.closed, strict=True)):
            found = state.open_pages.get((place, from_ms // tier.chunk_ms), {})
            if from_ms < closing[place] and found:
                pages = [unpack_open_page(*one) for one in list(found.items())[:CLOSE_PAGES_MAX]]
                return [
                    ReadOpenPage(one, state.pages.get(one.key, b""), state.compactions(one.key))
                    for one in pages
                ]
        return []

    def _close(self, made: Sequence[ClosingPage], closing: Closed) -> None:
        state = self.own
        meta = state.meta
        assert meta is not None
        if meta.state != LIVE:
            return
        minutes_ms = max(meta.closing[0], closing[0])
        quarters_ms = min(closing[1], floor_to(meta.closed[0], CLOSING[1].chunk_ms))
        closing = Closed(minutes_ms, max(meta.closing[1], quarters_ms))
        state.meta = meta = replace(meta, closing=closing)
        before = {one.read.open.key: state.compactions(one.read.open.key) for one in made}
        is_closed = False
        for one in made:
            page, was = one.read.open, one.read.page
            now = state.pages.get(page.key, b"")
            pages = state.open_pages.get((CLOSING.index(page.tier), page.chunk), {})
            is_as_read = pages.get(page.key) == page.value
            is_as_read = is_as_read and before[page.key] == one.read.compactions
            if not (is_as_read and len(now) >= len(was)) and not self._bugs.closes_unseen:
                continue
            is_closed = True
            tail, length = now[len(was) :], len(was)
            if one.compact:
                state.pages[page.key], length = one.compact + tail, len(one.compact)
                chunk = page.version[1:]
                state.chunk_versions[chunk] = state.chunk_versions[chunk]._replace(
                    compactions=before[page.key] + 1
                )
            if tail and not self._bugs.forgets_late_rows:
                pages[page.key] = f"{length} {page.value.partition(' ')[2]}"
            else:
                pages.pop(page.key, None)
            if self._bugs.closes_half:
                continue
            for target, number, rows in one.into:
                if rows:
                    stem = f"{page.head}.{target.id}.{number}.{page.tenant}"
                    self._append_rows(stem, target, page.page, rows, page.form, page.room_bytes)
        self._move_closed()
        if is_closed:
            assert state.meta is not None
            state.meta = replace(state.meta, commits=state.meta.commits + 1)

    def _move_closed(self) -> None:
        meta = self.own.meta
        assert meta is not None
        closed = list(meta.closed)
        for place, tier in enumerate(CLOSING):
            while closed[place] < meta.closing[place] and not self.own.open_pages.get(
                (place, closed[place] // tier.chunk_ms)
            ):
                closed[place] += tier.chunk_ms
        self.own.meta = replace(meta, closed=Closed(*closed))

    def _is_half_closed(self, key: str) -> bool:
        tier, chunk = map(int, key.rsplit(".", 4)[1:3])
        for place, one in enumerate(CLOSING):
            if one.id == tier:
                value = self.own.open_pages.get((place, chunk), {}).get(key, "0 ")
                return not value.startswith("0 ")
        return False
