"""`/v1/calls`: the latest calls, filtered, newest first, and null where nothing was reported."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from api.auth.keys import opened
from schemas.responses.usage import CallsAnswer
from schemas.store.layout import FIRST_GENERATION
from schemas.store.recent_calls import recent_key, records_of
from tests.api.agentlens.test_events import call
from tests.api.counters import NOW_MS, Event, pack

PATH = "/v1/calls"


@pytest.fixture
async def latest(redis_url: str) -> None:
    pack([Event(at_ms=NOW_MS - 1)]).write(redis_url)
    calls = [
        call(id=f"e{n}", at_ms=NOW_MS - 60_000 * n, model=f"m{n % 2}", agent=f"a{n % 3}")
        for n in range(6)
    ]
    async with opened(redis_url) as store:
        for one in calls:
            (record,) = records_of([one])
            key = recent_key(FIRST_GENERATION, "acme")
            await store.ask("ZADD", key, one.at_ms, record.member(1), -len(calls), "")


@pytest.mark.usefixtures("latest")
@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({}, ["e0", "e1", "e2", "e3", "e4", "e5"]),
        ({"limit": 2}, ["e0", "e1"]),
        ({"model": "m1"}, ["e1", "e3", "e5"]),
        ({"model": "m1", "agent": ["a0", "a1"]}, ["e1", "e3"]),
        ({"agent": "none"}, []),
    ],
)
async def test_calls(client: httpx.AsyncClient, params: dict[str, Any], found: list[str]) -> None:
    response = await client.get(PATH, params=params)
    answer = CallsAnswer.model_validate_json(response.content)
    assert [one.id for one in answer.calls] == found
    assert response.headers["odometer-complete-through"]
    again = await client.get(
        PATH, params=params, headers={"if-none-match": response.headers["etag"]}
    )
    assert again.status_code == 304


@pytest.mark.usefixtures("latest")
@pytest.mark.parametrize(
    ("params", "named"), [({"limit": 501}, "limit"), ({"phone": "x"}, "phone")]
)
async def test_what_is_not_offered(
    client: httpx.AsyncClient, params: dict[str, Any], named: str
) -> None:
    response = await client.get(PATH, params=params)
    assert response.status_code == 400
    assert response.json()["parameter"] == named
