"""The bytes of bodies that a process holds: each tenant has a share, and small bodies have room."""

from __future__ import annotations

import asyncio
import gzip
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from api.auth.authenticate import share_of
from api.errors import TooBusy
from api.http.shared_bytes import SMALL_BYTES_MAX, SMALL_PART
from api.ingest.request_body import (
    HELD_BYTES_MAX,
    TENANT_PART,
    BodyBudget,
    HeldBody,
)
from schemas.formats.body import BODY_BYTES_MAX
from schemas.store.keys import Key
from tests.api.ingest.taking import receiving, stalling

MiB = 1 << 20
LARGE = bytes(BODY_BYTES_MAX)
SMALL = bytes(SMALL_BYTES_MAX)


@asynccontextmanager
async def holding(budget: BodyBudget) -> AsyncIterator[Callable[[str, bytes], Any]]:
    """A function that reads a body of a tenant and holds it until the end of the block."""
    async with AsyncExitStack() as stack:

        async def hold(tenant: str, body: bytes) -> HeldBody:
            held = await budget.body(receiving(body), {}, tenant)
            stack.enter_context(held)
            return held

        yield hold


async def fill(hold: Callable[[str, bytes], Any], tenant: str, body: bytes) -> int:
    """Hold as many bodies as there is room for; return how many."""
    for count in range(10_000):
        try:
            await hold(tenant, body)
        except TooBusy:
            return count
    raise AssertionError("bodies have no limit")


async def test_one_tenant_leaves_room_for_the_large_bodies_of_another() -> None:
    async with holding(BodyBudget()) as hold:
        assert await fill(hold, "acme", LARGE) == 2
        assert await fill(hold, "acme", bytes(MiB)) == 10
        assert await fill(hold, "beta", LARGE) == 2
        assert await fill(hold, "other", LARGE) == 2


async def test_small_bodies_pass_beside_any_number_of_large_ones() -> None:
    async with holding(BodyBudget()) as hold:
        for number in range(10):
            await fill(hold, f"t{number}", LARGE)
            await fill(hold, f"t{number}", bytes(MiB))
        assert await fill(hold, "beta", bytes(MiB)) == 0
        # Who has used up its share may still send live events, but not all the room that is left.
        small_max = int(HELD_BYTES_MAX * SMALL_PART)
        assert await fill(hold, "t0", SMALL) <= int(small_max * TENANT_PART) // len(SMALL)
        assert await fill(hold, "beta", SMALL) > 50


async def test_stalled_uploads_of_one_tenant_do_not_stop_the_others() -> None:
    """Each sends all but the last byte and waits."""
    budget = BodyBudget()
    begun = LARGE[:-1]
    stalled = [asyncio.create_task(budget.body(stalling(begun), {}, "acme")) for _ in range(16)]
    await asyncio.sleep(0)
    with await budget.body(receiving(LARGE), {}, "beta") as body:
        assert len(body) == BODY_BYTES_MAX
    for task in stalled:
        task.cancel()
    outcomes = await asyncio.gather(*stalled, return_exceptions=True)
    assert sum(isinstance(outcome, TooBusy) for outcome in outcomes) == 14
    async with holding(budget) as hold:
        assert await fill(hold, "acme", LARGE) == 2  # a cancelled request gives its bytes back


async def test_the_largest_body_fits_as_sent_and_decompressed() -> None:
    plain = random.Random(5).randbytes(BODY_BYTES_MAX)  # so that gzip does not make it smaller
    sent = gzip.compress(plain[: -64 * 1024], 1)
    with await BodyBudget().body(receiving(sent), {"content-encoding": "gzip"}, "acme") as body:
        assert len(body) == BODY_BYTES_MAX - 64 * 1024


async def test_a_body_that_outgrows_the_room_for_small_ones_moves_or_is_refused() -> None:
    budget = BodyBudget()
    held = HeldBody(budget, "beta")
    async with holding(budget) as hold:
        for number in range(10):
            await fill(hold, f"t{number}", bytes(MiB))
        held.reserve(SMALL_BYTES_MAX)
        with pytest.raises(TooBusy):
            held.reserve(1)
    held.reserve(1)
    async with holding(budget) as hold:
        assert await fill(hold, "beta", SMALL) > 600  # both shares, but for the one byte and 64 KiB
        held.release()
        held.release()
        assert await fill(hold, "beta", SMALL) == 2
    for _ in range(3):  # nothing is left behind
        async with holding(budget) as hold:
            assert await fill(hold, "beta", LARGE) == 2


def test_whose_share_it_is() -> None:
    about: dict[str, Any] = {"id": "key-0123456789", "name": "k", "created_ms": 0}
    assert share_of(Key(role="member", tenants=("b", "a"), **about)) == "b"
    assert share_of(Key(role="super-admin", tenants="all", **about)) == "all"
