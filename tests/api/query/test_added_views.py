"""A view that was added without a rebuild: what it lacks is never zero, and answers say since when it counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import pytest

from api.app.main import wall_clock_ms
from deploy.local.api_keys import create_key
from schemas.catalog.catalog_file import parse_catalog
from schemas.catalog.views import DEFAULT, SLICE_MS, Catalog
from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.store.generation import describe, generation_digest
from schemas.units import iso
from streams.core.columns import columns
from streams.core.fold import fold
from streams.core.ports import Commit, Outcome, Progress
from streams.redis.store import RedisStore
from streams.worker.view_switch import add_views
from tests.api.conftest import Clock, client_of
from tests.api.counters import TOPIC
from tests.oracles.event_logs import SECRET, countable, encode, event
from tests.simulation.log import PolledRecord

# Of today, because pages expire by Valkey's own clock.
NOW_MS: Final = wall_clock_ms() // HOUR_MS * HOUR_MS
ADDED_MS: Final = NOW_MS - 2 * HOUR_MS
"""The view is added in this minute; it counts from the next one on."""
SINCE_MS: Final = ADDED_MS + MINUTE_MS
TEAM: Final = (
    b'[dimensions.team]\nlabel = "team"\n[views.by_team]\ndimensions = ["team", "model"]\n'
)
MORE: Final = parse_catalog(TEAM, "catalog.toml")
CHEAPER: Final = parse_catalog(TEAM + b'[views.team]\ndimensions = ["team"]\n', "catalog.toml")


def at(number: int, at_ms: int, team: str) -> PolledRecord:
    fields = event(id=f"e{number}", tenant="acme", time=iso(at_ms), labels={"team": team})
    return PolledRecord(number, at_ms, encode(fields), ())


async def count(store: RedisStore, catalog: Catalog, log: list[PolledRecord]) -> None:
    """One commit of these records."""
    rows = columns(countable(log), catalog=catalog, secret=SECRET)
    first, last = log[0].offset, log[-1]
    commit = Commit(
        id=(last.offset + 1).to_bytes(16, "big"),
        generation_digest=generation_digest(TOPIC, catalog=catalog),
        secret=SECRET.name,
        now_ms=last.timestamp,
        count=1,
        absent_ms={},
        partitions=[Progress(0, first or -1, last.offset + 1, last.offset, last.timestamp, NOW_MS)],
        digests=rows.digests,
        slices=rows.append_ms // SLICE_MS,
        delta=fold(rows, {}),
    )
    assert (await store.commit(commit)).outcome is Outcome.COMMITTED


BEFORE: Final = [at(n, ADDED_MS - n * HOUR_MS, "search") for n in range(6)][::-1]
BEFORE_: Final = [one._replace(offset=n) for n, one in enumerate(BEFORE)]
AFTER: Final = [
    at(6, SINCE_MS, "search"),
    at(7, SINCE_MS + HOUR_MS, "mail"),
    at(8, SINCE_MS + HOUR_MS, "search"),
]


async def add(store: RedisStore, catalog: Catalog) -> None:
    meta = await store.meta()
    assert meta is not None
    assert await add_views(store, meta, TOPIC, catalog) is None


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    async with RedisStore(redis_url, about=describe(TOPIC)) as store:
        await store.open(generation_digest(TOPIC), 1, BEFORE_[0].timestamp, SECRET)
        await count(store, DEFAULT, BEFORE_)
        yield store


@asynccontextmanager
async def asking(redis_url: str, catalog: Catalog) -> AsyncIterator[httpx.AsyncClient]:
    clock = Clock()
    clock.now_ms = NOW_MS
    key = await create_key(redis_url, name="k", tenant="acme", role="viewer")
    async with client_of(redis_url, clock, key, catalog) as client:
        yield client


async def got(client: httpx.AsyncClient, **params: str) -> Any:
    answer = await client.get(
        "/v1/usage", params={"from": "now-7d", "measures": "requests", **params}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_answers_begin_where_the_view_counts_and_say_so(
    store: RedisStore, redis_url: str
) -> None:
    await add(store, MORE)
    await count(store, MORE, AFTER)
    async with asking(redis_url, MORE) as client:
        by_team = {"group_by": "team", "order_by": "team"}
        answer = await client.get(
            "/v1/usage", params={"from": "now-7d", "measures": "requests", **by_team}
        )
        said = answer.json()
        assert said["range"] == {
            "from": iso(SINCE_MS),
            "to": iso(NOW_MS),
            "counts_from": iso(SINCE_MS),
        }
        assert answer.headers["odometer-counts-from"] == iso(SINCE_MS)
        assert said["rows"] == [
            {"team": "mail", "requests": 1},
            {"team": "search", "requests": 2},
        ]
        series = await got(client, group_by="team", granularity="1h", fill="zero")
        assert min(row["time"] for row in series["rows"]) == iso(SINCE_MS // HOUR_MS * HOUR_MS)
        assert [row["partial"] for row in series["rows"][:2]] == [True, True]
        # What other views answer is as it was.
        whole = await got(client)
        assert "counts_from" not in whole["range"]
        assert whole["totals"] == {"requests": 9}
        later = await got(client, group_by="team", **{"from": iso(SINCE_MS + MINUTE_MS)})
        assert "counts_from" not in later["range"]
        assert later["totals"] == {"requests": 2}


@pytest.mark.parametrize(
    "params",
    [
        {"to": iso(SINCE_MS)},
        {"to": iso(ADDED_MS - DAY_MS)},
        {"from": iso(SINCE_MS + HOUR_MS), "compare": "previous_week"},
    ],
    ids=["until then", "long before", "compared"],
)
async def test_a_range_of_before_is_refused_and_never_zero(
    store: RedisStore, redis_url: str, params: dict[str, str]
) -> None:
    await add(store, MORE)
    await count(store, MORE, AFTER)
    async with asking(redis_url, MORE) as client:
        asked = {"from": "now-7d", "group_by": "team", **params}
        answer = await client.get("/v1/usage", params=asked)
        assert (answer.status_code, answer.json()["parameter"]) == (400, "from")
        assert f"View by_team counts since {iso(SINCE_MS)}" in answer.json()["detail"]
        exported = await client.get(
            "/v1/export", params={"view": "by_team", "from": "now-5d", "to": "now-4d"}
        )
        assert (exported.status_code, exported.json()["parameter"]) == (400, "from")


async def test_views_say_since_when_they_count(store: RedisStore, redis_url: str) -> None:
    async with asking(redis_url, MORE) as client:

        async def of(name: str) -> tuple[bool | None, str | None]:
            (about,) = [
                one
                for one in (await client.get("/v1/views")).json()["views"]
                if one["name"] == name
            ]
            return about["is_counted"], about["counts_from"]

        assert await of("by_team") == (False, None)
        assert await of("model") == (True, None)
        answer = await client.get("/v1/usage", params={"group_by": "team"})
        assert answer.status_code == 400
        assert "nothing is counted in it yet: restart the workers" in answer.json()["detail"]
        assert (await got(client))["totals"] == {"requests": 6}
        # The API need not start again when a worker does.
        await add(store, MORE)
        await count(store, MORE, AFTER)
        assert (await got(client, group_by="team"))["totals"] == {"requests": 3}
        assert await of("by_team") == (True, iso(SINCE_MS))
        assert (await got(client))["totals"] == {"requests": 9}


async def test_an_api_without_the_view_answers_as_before(store: RedisStore, redis_url: str) -> None:
    async with asking(redis_url, DEFAULT) as client:
        assert (await got(client))["totals"] == {"requests": 6}
        await add(store, MORE)
        await count(store, MORE, AFTER)
        assert (await got(client))["totals"] == {"requests": 9}
        assert (await client.get("/v1/usage?group_by=team")).status_code == 400


async def test_an_api_with_another_view_in_its_place_answers_503(
    store: RedisStore, redis_url: str
) -> None:
    await add(store, MORE)
    other = parse_catalog(TEAM.replace(b'"team", "model"', b'"team"'), "catalog.toml")
    async with asking(redis_url, other) as client:
        assert (await client.get("/v1/usage")).status_code == 503


async def test_a_cheaper_view_that_is_added_hides_no_history(
    store: RedisStore, redis_url: str
) -> None:
    """A question by team alone is answered by the view with more history."""
    await add(store, MORE)
    await count(store, MORE, AFTER[:1])
    await add(store, CHEAPER)
    await count(store, CHEAPER, AFTER[1:])
    async with asking(redis_url, CHEAPER) as client:
        await got(client)
        by_team = await got(client, group_by="team")
        assert (by_team["view"], by_team["totals"]) == ("by_team", {"requests": 3})
