"""However much work one tenant asks for, another tenant waits for one piece of it."""

from __future__ import annotations

import asyncio

import pytest

from api.http.tenant_turns import TenantTurns


class LateError(Exception):
    """The turn did not come."""


async def test_a_request_waits_for_one_of_each_other_tenant() -> None:
    turns = TenantTurns()
    order: list[str] = []

    async def ask(tenant: str) -> None:
        async with turns.turn(tenant):
            order.append(tenant)
            await asyncio.sleep(0)

    tenants = ["acme"] * 50 + ["other"] * 50 + ["beta"]
    await asyncio.gather(*(ask(tenant) for tenant in tenants))
    assert len(order) == 101
    assert order.index("beta") <= 3
    assert not turns._queues  # a tenant that does not ask takes no memory


async def test_a_turn_that_does_not_come_is_an_error() -> None:
    turns = TenantTurns(0.01, LateError)
    async with turns.turn("acme"):
        for tenant in ("acme", "beta"):
            with pytest.raises(LateError):
                async with turns.turn(tenant):
                    raise AssertionError("two at the same time")
    assert not turns._queues
    async with turns.turn("acme"):  # who gave up holds nothing
        assert len(turns._queues) == 1
