"""A range without a start begins at the tenant's first event, at the instant of the answer; and no
answer may be stored on its way for another caller."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
import pytest

from api.openwebui.first_event import read_from_first_event
from api.query.plan import Plan, Question, Term, plan
from api.store.reader import Reading, Store
from schemas.catalog.measures import EVENTS
from schemas.catalog.views import MODEL
from schemas.limits import DAY_MS
from schemas.store.layout import names_list_key
from schemas.tiers import floor_to
from schemas.units import iso
from tests.api.counters import NOW_MS, TOPIC, Event, name_of, pack
from tests.api.openwebui.test_pages import MONTH, ROOT, admin
from tests.oracles.openwebui_oracle import ANSWERS

__all__ = ["admin"]

pytestmark = pytest.mark.servers

INVENTED = 20_000


@pytest.mark.parametrize("path", ANSWERS)
async def test_many_invented_models_are_answered_without_dates(
    redis_url: str, admin: httpx.AsyncClient, path: str
) -> None:
    counters = pack([Event(NOW_MS - 2 * DAY_MS)])
    table = MODEL.tables["llm"]
    names = counters.lists[names_list_key(1, table, 0)]
    names += [name_of(table, "", f"invented-{n}").encode() for n in range(INVENTED)]
    counters.write(redis_url)
    response = await admin.get(f"{ROOT}/{path}")
    assert response.status_code == 200, response.text
    first_ms = floor_to(NOW_MS - 2 * DAY_MS, DAY_MS)
    assert response.headers["odometer-range-from"] == iso(first_ms)


class Moving(Store):
    """Counters that get an earlier event after each of the first reads."""

    def __init__(self, redis_url: str, days: Sequence[int]) -> None:
        super().__init__(redis_url, TOPIC)
        self._redis_url, self._days, self.reads = redis_url, days, 0

    async def read(self, tenant: str, plans: Sequence[Plan]) -> Reading:
        reading = await super().read(tenant, plans)
        self.reads += 1
        self.log()
        return reading

    def log(self) -> None:
        days = self._days[: self.reads + 1]
        pack([Event(NOW_MS - day * DAY_MS) for day in days], commits=len(days)).write(
            self._redis_url
        )


async def test_the_first_event_is_of_the_instant_of_the_answer(redis_url: str) -> None:
    def plans_from(first_ms: int) -> list[Plan]:
        return [plan(Question((Term(EVENTS),), first_ms, NOW_MS, NOW_MS))]

    store = Moving(redis_url, (3, 30, 400))
    store.log()
    planned, reading = await read_from_first_event(store, "acme", NOW_MS, plans_from)
    await store.close()
    assert planned[0].start_ms == floor_to(NOW_MS - 400 * DAY_MS, DAY_MS)
    assert reading.rows[0][0].values == (3,)


async def test_no_answer_is_for_a_cache_on_the_way(
    redis_url: str, admin: httpx.AsyncClient
) -> None:
    pack(MONTH).write(redis_url)
    paths = [*(f"analytics/{path}" for path in ANSWERS), "analytics/messages", "users/", "groups/"]
    for path in [*paths, "analytics/models/gpt-4o/overview", "analytics/daily?tz=Mars"]:
        headers = (await admin.get(f"/api/v1/{path}")).headers
        assert headers["cache-control"] == "no-store", path
        assert headers["vary"].startswith("authorization, x-api-key, x-odometer-tenant"), path
