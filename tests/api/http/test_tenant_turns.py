"""However much work one tenant asks for, another tenant waits for one piece of it."""

from __future__ import annotations

import asyncio

import pytest

from api.http.tenant_turns import TenantTurns, TurnLimits


class LateError(Exception):
    """The turn did not come."""


class FullError(Exception):
    """No more may wait."""


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
    turns = TenantTurns(TurnLimits(timeout_s=0.01), lambda _own: LateError())
    async with turns.turn("acme"):
        for tenant in ("acme", "beta"):
            with pytest.raises(LateError):
                async with turns.turn(tenant):
                    raise AssertionError("two at the same time")
    assert not turns._queues
    async with turns.turn("acme"):  # who gave up holds nothing
        assert len(turns._queues) == 1


async def test_both_waits_of_a_request_have_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits behind another of its tenant first, and then behind other tenants."""
    deadlines: list[float | None] = []
    timeout_at = asyncio.timeout_at

    def noted(when: float | None) -> asyncio.Timeout:
        deadlines.append(when)
        return timeout_at(when)

    monkeypatch.setattr("api.http.tenant_turns.asyncio.timeout_at", noted)
    turns, go = TenantTurns(TurnLimits(timeout_s=100.0)), asyncio.Event()

    async def ask(tenant: str) -> None:
        async with turns.turn(tenant):
            await go.wait()

    asked = [asyncio.create_task(ask(tenant)) for tenant in ("acme", "beta", "beta")]
    await asyncio.sleep(0)
    end_s = asyncio.get_running_loop().time() + 100.0
    assert len(deadlines) == len(asked)
    assert all(one is not None and one <= end_s for one in deadlines)
    go.set()
    await asyncio.gather(*asked)
    assert len(deadlines) == len(asked)
    async with turns.turn("acme", 5.0):
        assert deadlines[-1] == 5.0, "the earlier one counts"


async def test_a_tenant_runs_a_few_and_its_others_wait_up_to_a_number() -> None:
    own: list[int] = []

    def full(of_tenant: int) -> FullError:
        own.append(of_tenant)
        return FullError()

    limits = TurnLimits(at_once=3, of_tenant=2, of_tenant_max=5, most=9)
    turns, running, go = TenantTurns(limits, full=full), list[str](), asyncio.Event()

    async def ask(tenant: str) -> None:
        async with turns.turn(tenant):
            running.append(tenant)
            await go.wait()

    asked = [asyncio.create_task(ask("acme")) for _ in range(8)]
    for _round in range(3):
        await asyncio.sleep(0)
    assert running == ["acme", "acme"]
    assert own == [5, 5, 5]
    asked += [asyncio.create_task(ask("beta")) for _ in range(4)]
    for _round in range(3):
        await asyncio.sleep(0)
    assert running == ["acme", "acme", "beta"]
    assert own[3:] == [2, 2], "two of beta leave as many for the next tenant"
    asked += [asyncio.create_task(ask(tenant)) for tenant in "cde"]
    await asyncio.sleep(0)
    assert own[5:] == [0], "nine are all"
    go.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(one) for one in answers].count(FullError) == len(own)
    assert running[:4].count("acme") < 4, "the tenants take turns"
    assert not turns._queues
    assert turns._shares.total == 0
