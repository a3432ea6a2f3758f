"""However many requests of a tenant arrive together, a request of another tenant begins at once."""

from __future__ import annotations

import asyncio

from api.http.arrivals import A_ROUND, Arrivals


async def test_a_few_of_a_tenant_begin_in_each_round_and_others_at_once() -> None:
    arrivals, begun = Arrivals(), list[str]()

    async def request(tenant: str) -> None:
        await arrivals.begin(tenant)
        begun.append(tenant)

    many = 100 * A_ROUND
    asked = [asyncio.create_task(request("acme")) for _ in range(many)]
    await asyncio.sleep(0)
    assert begun == ["acme"] * A_ROUND
    asked.append(asyncio.create_task(request("beta")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert begun.index("beta") <= 3 * A_ROUND
    asked[2 * many // 3].cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    assert begun.count("acme") == many - 1
    for _round in range(3):
        await asyncio.sleep(0)
    assert not arrivals._waiting, "a tenant that does not ask takes no memory"
    assert not arrivals._begun
    await request("acme")
    assert begun[-1] == "acme"


async def test_requests_begin_in_the_order_of_their_arrival() -> None:
    arrivals, begun = Arrivals(), list[int]()

    async def request(number: int) -> None:
        await arrivals.begin("acme")
        begun.append(number)

    await asyncio.gather(*(request(number) for number in range(50)))
    assert begun == [*range(50)]
