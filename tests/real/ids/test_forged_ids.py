"""Ids that a tenant has forged reach no other tenant, through the API, Kafka, a worker and Redis.

The forged ids below have the xxh3 digests that layout 3 gave to ids of the tenant acme. One core
found each within 30 s: xxh3 adds up four independent parts of a long text, so a text with a given
sum is found in four lists of 2^22 parts.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any, Final

import pytest
import xxhash

from deploy.local.api_keys import create_key
from schemas.units import iso
from tests.api.ingest.taking import client_of
from tests.oracles.event_logs import event
from tests.oracles.redis_counters import read_counters
from tests.real.harness.system import System
from tests.real.harness.topics import now_ms

pytestmark = pytest.mark.servers

EVENT: Final = "x" * 178 + "1qtF3mJw8rJD0JBvead-lYCTjfZSbE1YrGfb9MYVa-jf_euZkCuwUP-bgD4a76P7"
CALL: Final = "x" * 186 + "SAxQsb9CCdgHwb6BFIuobuihXxARH2EHvy1E5Bg9S8C7OyzNE14OYvaSAd0oCNYn"
NEXT_CALL: Final = "x" * 186 + "W4MDJ-6XMD2EUNvlykVjHoNg-rnrndbBno7RcP51UHS5GZZBov3NICgo-HE5mbHj"


def forged_and_original() -> dict[str, str]:
    """The texts that layout 3 hashed: those of eve's ids, and of acme's."""
    return {
        f"e3:eve6:forged{EVENT}": "e4:acme7:gatewayevt-of-acme",
        f"c3:eve{CALL}": "c4:acmecall-of-acme",
        f"c3:eve{NEXT_CALL}": "c4:acmenext-call-of-acme",
    }


def told(tenant: str) -> dict[str, str]:
    return {
        name: f"{name} of {tenant}" for name in ("agent_id", "user_id", "phone_number", "service")
    }


async def test_forged_ids_neither_read_nor_hide_nor_book_anything_of_another_tenant(
    system: System,
) -> None:
    for texts in forged_and_original().items():
        forged, original = (xxhash.xxh3_64_intdigest(text.encode()) for text in texts)
        assert forged == original
    settings = system.settings
    system.worker()
    async with AsyncExitStack() as stack:
        clients = {}
        for tenant in ("acme", "eve"):
            key = await create_key(settings.redis, name=tenant, tenant=tenant, role="write-only")
            opened = client_of(settings.kafka, settings.redis, settings.topic, now_ms, key)
            clients[tenant] = await stack.enter_async_context(opened)

        async def counted(tenant: str, **changes: Any) -> None:
            sent = event(time=iso(now_ms()), **changes)
            answer = await clients[tenant].post("/v1/events", json=[sent])
            assert answer.status_code == 202, answer.text
            await system.caught_up()

        # Eve reads a call that acme has booked: hers says nothing about agent, user and number.
        await counted("acme", id="1", kind="call", call_id="call-of-acme", **told("acme"))
        await counted("eve", id="1", kind="call", call_id=CALL, duration_ms=1000)
        # Eve books a call before acme does. Acme's duration would go to her agent.
        await counted("eve", id="2", kind="call", call_id=NEXT_CALL, **told("eve"))
        acme = {"call_id": "next-call-of-acme", "duration_ms": 1000, **told("acme")}
        await counted("acme", id="2", kind="call", **acme)
        # Eve makes acme's event a duplicate.
        await counted("eve", id=EVENT, source="forged", **told("eve"))
        await counted("acme", id="evt-of-acme", source="gateway", **told("acme"))

    cells = read_counters(settings.redis)
    of = {tenant: {c for c in cells if c[2] == tenant} for tenant in clients}
    assert "of acme" not in repr(of["eve"])
    assert "of eve" not in repr(of["acme"])
    assert any("user_id of acme" in repr(cell) for cell in of["acme"])
    async with system.store() as store:
        await store.meta()
        assert "duplicate" not in await store.tallies()
    want = await system.judge()  # that all other values are right too
    assert (want.accepted, want.duplicates) == (6, 0)
