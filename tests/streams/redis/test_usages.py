"""How much of its quotas each tenant has used, as `odometer status` shows it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.catalog.views import MODEL, USER
from schemas.quotas import Quota
from schemas.responses.status import TenantStatus
from streams.operations.status import TENANTS_SHOWN, tenants_of
from streams.redis.generations import RedisGenerations, TenantUsage
from tests.oracles.event_logs import SECRET
from tests.streams.redis.test_pages import DIGEST, NOW_MS, of_series
from tests.streams.redis.test_store_contract import SLICE, commit, ids, progress


@pytest.mark.servers
async def test_the_usage_of_a_tenant_is_of_all_views_and_slices(redis_url: str) -> None:
    async with RedisGenerations(redis_url) as store:
        assert await store.usages() == {}
        await store.open(DIGEST, 2, NOW_MS, SECRET)
        users = of_series(USER, ["ada", "bob"], tenants=("acme",))
        models = of_series(MODEL, ["gpt"], tenants=("acme", "beta"))
        first = replace(
            commit(1, delta=users, **ids(1, 2, 3)),
            generation_digest=DIGEST,
            id_counts=[(SLICE, "acme", 2), (SLICE, "none", 1)],
        )
        second = replace(
            commit(2, progress(0, 1, 2), delta=models, **ids(4, slice_=SLICE + 1)),
            generation_digest=DIGEST,
            id_counts=[(SLICE + 1, "acme", 1)],
        )
        await store.commit(first)
        await store.commit(second)
        assert await store.usages() == {
            "acme": TenantUsage(series=3, ids=3),
            "beta": TenantUsage(series=1, ids=0),
            "none": TenantUsage(series=0, ids=1),
        }


def test_the_tenants_that_have_used_most_of_a_quota_come_first() -> None:
    usages = {f"t{n}": TenantUsage(n, 0) for n in range(TENANTS_SHOWN)}
    usages |= {
        "ids": TenantUsage(1, 80),
        "large": TenantUsage(500, 10**6),
        "few": TenantUsage(0, 0),
    }
    found = tenants_of(usages, Quota(100, {"large": 1000}), Quota(100, {"large": 0}))
    assert len(found) == TENANTS_SHOWN
    assert [one.tenant for one in found[:3]] == ["ids", "large", "t19"]
    assert found[1] == TenantStatus(
        tenant="large", series=500, series_quota=1000, ids=10**6, ids_quota=None
    )
