"""The quota of event ids: whose ids have filled it gets 429 before its events are written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from api.auth.audit import operator
from api.auth.keys import KeySpec, create_keys, opened
from api.errors import CountingBehind, QuotaUsedUp
from api.ingest.id_quota import READ_AFTER_MS, IdQuota
from api.ingest.langfuse import PATH
from api.store.reader import Store
from deploy.local.api_keys import create_key
from deploy.local.servers import Server
from schemas.catalog.views import REMEMBERED_MS, SLICE_MS
from schemas.quotas import Quota
from schemas.store.generation import generation_digest
from schemas.store.layout import NO_POSITION
from schemas.units import iso
from streams.core.ports import Commit, Outcome, Progress
from streams.redis.store import RedisStore
from tests.api.agentlens.test_ingest import response
from tests.api.conftest import Clock
from tests.api.counters import NOW_MS, TOPIC
from tests.api.ingest.taking import Taking, taking
from tests.api.ingest.test_otlp import span, spans
from tests.oracles.event_logs import SECRET, event

NOW_SLICE = NOW_MS // SLICE_MS
DIGEST = generation_digest(TOPIC)


@dataclass
class Counting:
    """What the workers do: they count ids and move the offset of partition 0."""

    redis_url: str
    position: int = NO_POSITION
    commits: int = 0

    async def __call__(self, end: int, *id_counts: tuple[int, str, int]) -> None:
        """`id_counts`: slice after the present one, tenant, ids."""
        self.commits += 1
        commit = Commit(
            id=self.commits.to_bytes(16, "big"),
            generation_digest=DIGEST,
            secret=SECRET.name,
            now_ms=NOW_MS,
            count=1,
            absent_ms={},
            partitions=[Progress(0, self.position, end, -1, 0, 0)],
            digests=np.arange(len(id_counts), dtype=np.uint64) + 100 * self.commits,
            slices=np.array([NOW_SLICE + slice_ for slice_, _, _ in id_counts], np.int64),
            id_counts=[(NOW_SLICE + slice_, tenant, n) for slice_, tenant, n in id_counts],
        )
        async with RedisStore(self.redis_url) as store:
            await store.open(DIGEST, 1, NOW_MS, SECRET)
            assert (await store.commit(commit)).outcome is Outcome.COMMITTED
        self.position = end


@dataclass
class Api:
    """One API process, without its server: what it has sent lies in one partition."""

    store: Store
    quota: IdQuota = field(init=False)
    ticks: int = 0
    reached: int = 0

    def __post_init__(self) -> None:
        """All tenants have a quota of 100, but for two."""
        self.quota = IdQuota(
            self.store,
            Quota(100, {"free": 0, "large": 1000}),
            lambda: {0: self.reached},
            lambda: NOW_MS,
            lambda: self.ticks,
        )

    async def sends(self, events: Mapping[str, int], *, is_atomic: bool = False) -> list[str]:
        """The tenants that are over their quota."""
        async with self.quota.taken(events, is_atomic=is_atomic) as over:
            self.reached += sum(count for tenant, count in events.items() if tenant not in over)
        return sorted(over)

    async def is_over(self, tenant: str) -> bool:
        try:
            return bool(await self.sends({tenant: 0}))
        except QuotaUsedUp:
            return True

    async def fills(self, tenant: str, size: int) -> int:
        """How many events of a tenant it takes, in requests of this size."""
        taken = 0
        while True:
            try:
                await self.sends({tenant: size})
            except QuotaUsedUp:
                return taken
            taken += size


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    store = Store(redis_url, TOPIC)
    yield store
    await store.close()


async def test_a_tenant_may_send_until_its_stored_ids_fill_the_quota(
    store: Store, redis_url: str
) -> None:
    count, api = Counting(redis_url), Api(store)
    await count(0, (-2, "acme", 20), (-1, "acme", 30), (0, "acme", 40), (0, "beta", 99))
    await api.sends({"acme": 5, "beta": 1})
    await api.sends({"acme": 7})  # 102: that there is room decides, not the size of the request
    with pytest.raises(QuotaUsedUp, match="acme has used up its quota of 100 event ids"):
        await api.sends({"acme": 1})
    assert await api.sends({"gamma": 1, "acme": 1, "beta": 1}) == ["acme", "beta"]
    with pytest.raises(QuotaUsedUp):
        await api.sends({"gamma": 1, "acme": 1}, is_atomic=True)
    assert await api.sends({"free": 10**12, "large": 999}) == []


async def test_what_workers_count_replaces_what_was_accepted(store: Store, redis_url: str) -> None:
    count, api = Counting(redis_url), Api(store)
    await count(0, (0, "acme", 10))
    await api.sends({"acme": 90})
    with pytest.raises(QuotaUsedUp) as raised:
        await api.sends({"acme": 1})
    assert raised.value.retry_after_s == 1  # the workers may find that they are duplicates
    await count(90, (0, "acme", 50))
    assert await api.is_over("acme")  # for a second what was read before is used
    api.ticks += READ_AFTER_MS
    assert not await api.is_over("acme")
    await count(130, (0, "acme", 40))
    api.ticks += READ_AFTER_MS
    with pytest.raises(QuotaUsedUp) as raised:
        await api.sends({"acme": 1})
    dropped_ms = (NOW_SLICE + 1) * SLICE_MS + REMEMBERED_MS
    assert 0 <= raised.value.retry_after_s * 1000 - (dropped_ms - NOW_MS) < 1000


@pytest.mark.parametrize("size", [1, 7, 64])
async def test_one_process_exceeds_the_quota_by_less_than_a_request(
    store: Store, redis_url: str, size: int
) -> None:
    """Whether the workers count or not, and however many requests there are at a time."""
    count, api = Counting(redis_url), Api(store)
    await count(0, (0, "acme", 10))

    async def sends(number: int) -> int:
        if number % 5 == 0:
            api.ticks += READ_AFTER_MS
        try:
            return size if not await api.sends({"acme": size}) else 0
        except QuotaUsedUp:
            return 0

    taken = sum(await asyncio.gather(*(sends(number) for number in range(120))))
    assert 100 <= 10 + taken < 100 + size


async def test_processes_exceed_the_quota_by_what_the_others_accept_before_it_is_counted(
    redis_url: str,
) -> None:
    """Each second each process accepts 7 events, and the workers count them."""
    stores = [Store(redis_url, TOPIC) for _ in range(3)]
    apis, count, total = [Api(store) for store in stores], Counting(redis_url), 0
    await count(0)
    for second in range(12):
        for api in apis:
            api.ticks = second * READ_AFTER_MS
            with suppress(QuotaUsedUp):
                await api.sends({"acme": 7})
                total += 7
        sent = total - max(0, count.position)
        await count(total, (0, "acme", sent))
        for api in apis:
            api.reached = total
    assert 100 <= total < 100 + 3 * 7
    # Without workers, each has the whole quota.
    assert [await api.fills("beta", 10) for api in apis] == [100, 100, 100]
    for store in stores:
        await store.close()


async def test_history_that_is_not_sent_uses_no_quota(store: Store) -> None:
    api = Api(store)
    for _ in range(3):
        with pytest.raises(CountingBehind):
            async with api.quota.taken({"acme": 90}):
                raise CountingBehind("other history was sent before")
    assert await api.fills("acme", 50) == 100


async def test_the_counts_of_idle_tenants_are_dropped(store: Store, redis_url: str) -> None:
    count, api = Counting(redis_url), Api(store)
    await count(0)
    for second in range(4):
        api.ticks = second * READ_AFTER_MS
        await api.sends({f"t{second}.{n}": 1 for n in range(50)})
        await count(api.reached)
    assert len(api.quota._usages) <= 100


async def test_events_do_not_wait_for_redis() -> None:
    async with opened("redis://127.0.0.1:1/0") as away:
        api = Api(away)
        assert await api.fills("acme", 60) == 120  # it knows at least what it accepted itself


QUOTA = Quota(10)


@pytest.fixture
async def api(kafka: Server, redis_url: str, topic: str, clock: Clock) -> AsyncIterator[Taking]:
    key = await create_key(redis_url, name="gateway", tenant="acme", role="member")
    async with taking(kafka.address, redis_url, topic, clock, key, tenant_ids=QUOTA) as api:
        yield api


def events(count: int, tenant: str = "") -> list[dict[str, Any]]:
    given = {"tenant": tenant} if tenant else {}
    return [event(id=f"{tenant}{number}", time=iso(NOW_MS), **given) for number in range(count)]


@pytest.mark.servers
async def test_the_answer_is_429_and_nothing_is_written(api: Taking) -> None:
    assert (await api.post(events(12))).status_code == 202
    answer = await api.post(events(1))
    assert (answer.status_code, answer.json()["type"]) == (429, "/docs#rate-limited")
    assert int(answer.headers["retry-after"]) > 0
    assert "acme has used up its quota of 10 event ids" in answer.json()["detail"]
    lens = await api.post({"events": [response()]}, "/api/events")
    assert lens.status_code == 429
    traces = await api.post(spans(span(1)), "/v1/traces")
    assert (traces.status_code, traces.json()["code"]) == (429, 8)
    nothing = await api.post({"resourceSpans": []}, "/v1/traces")
    assert nothing.status_code == 200
    item = {"id": "a", "endTime": iso(NOW_MS), "usageDetails": {"input": 1}}
    batch = {"batch": [{"id": "a", "type": "generation-create", "body": item}]}
    langfuse = await api.post(batch, PATH)
    assert (langfuse.status_code, int(langfuse.headers["retry-after"]) > 0) == (429, True)
    assert len(await api.log()) == 12


@pytest.mark.servers
async def test_a_tenant_over_its_quota_does_not_stop_those_in_the_same_request(
    kafka: Server, redis_url: str, topic: str, clock: Clock
) -> None:
    async with opened(redis_url) as store:
        wanted = KeySpec("gateway", ("acme", "beta"), "write-only")
        (made,) = await create_keys(store, [wanted], operator(), NOW_MS)
    key = made.secret
    async with taking(kafka.address, redis_url, topic, clock, key, tenant_ids=QUOTA) as api:
        assert (await api.post(events(10, "acme"))).status_code == 202
        mixed = [*events(1, "beta"), {"id": "bad", "tenant": "beta"}, *events(2, "acme")]
        assert (await api.post(mixed, params={"atomic": "true"})).status_code == 400
        answer = await api.post([*mixed[:1], *mixed[2:]], params={"atomic": "true"})
        assert answer.status_code == 429
        answer = await api.post(mixed)
        assert (answer.status_code, len(await api.log())) == (202, 11)
    said = answer.json()
    assert (said["accepted"], said["refused"]) == (1, 3)
    assert [(one["index"], one["field"]) for one in said["refusals"]] == [
        (1, said["refusals"][0]["field"]),
        (2, "tenant"),
        (3, "tenant"),
    ]
    assert {one["reason"] for one in said["refusals"][1:]} == {"quota_used_up"}
