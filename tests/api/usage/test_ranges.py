"""Ranges of `/v1/usage` over a real Valkey: the axis, comparisons, ranges without buckets, names and numbers as
clients send them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from schemas.limits import DAY_MS, HOUR_MS
from schemas.units import iso
from tests.api.counters import NOW_MS, Event, pack
from tests.api.usage.asking import PATH, ask

TODAY = "2026-02-08"
# The counters are complete through 12:02:02.456 of that day.


def day(ago: int, model: str, count: int) -> list[Event]:
    at_ms = NOW_MS - NOW_MS % DAY_MS - ago * DAY_MS + 6 * HOUR_MS
    return [Event(at_ms, model=model)] * count


async def test_the_axis_ends_where_it_was_asked_for_and_the_future_is_unknown(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    pack([Event(NOW_MS - HOUR_MS)]).write(redis_url)
    asked = {"from": TODAY, "to": "2026-02-09", "granularity": "1h", "measures": "requests"}
    answer = await ask(client, **asked, fill="zero")
    assert answer["range"] == {"from": "2026-02-08T00:00:00Z", "to": "2026-02-09T00:00:00Z"}
    assert [row["requests"] for row in answer["rows"]] == [0] * 11 + [1, 0] + [None] * 11
    assert [row["partial"] for row in answer["rows"]] == [False] * 12 + [True] * 12
    assert answer["totals"] == {"requests": 1}
    later = await ask(client, **asked | {"from": "2026-02-10", "to": "2026-02-11"}, fill="zero")
    assert [row["requests"] for row in later["rows"]] == [None] * 24
    plain = await ask(client, **asked)
    assert [row["requests"] for row in plain["rows"]] == [1]


async def test_what_is_known_moves_on_without_a_commit_of_this_tenant(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    log = [Event(NOW_MS - HOUR_MS)]
    asked = {"granularity": "1h", "measures": "requests", "from": TODAY, "to": "2026-02-09"}
    seen = []
    for number, later_ms in enumerate((0, 3 * HOUR_MS), 1):
        pack(log, commits=number, complete_ms=(NOW_MS + later_ms,) * 2).write(redis_url)
        rows = (await ask(client, **asked, fill="zero"))["rows"]
        seen.append([row["requests"] for row in rows].count(None))
    assert seen == [11, 8]
    pack(log, commits=3, complete_ms=(0, 0)).write(redis_url)  # no worker has said anything yet
    rows = (await ask(client, **asked, fill="zero"))["rows"]
    assert [row["requests"] for row in rows] == [None] * 11 + [1] + [None] * 12
    assert all(row["partial"] for row in rows)


async def test_the_first_bucket_of_a_cut_range_is_partial(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    pack([*day(2, "a", 1), *day(1, "a", 1), *day(3, "a", 1)]).write(redis_url)
    answer = await ask(
        client,
        granularity="1d",
        measures="requests",
        **{"from": "2026-02-05T05:00:00Z", "to": "2026-02-07T22:00:00Z"},
    )
    assert [row["partial"] for row in answer["rows"]] == [True, False, True]


async def test_the_period_before_has_the_groups_of_this_one(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    log = [*day(8, "A", 3), *day(8, "B", 2), *day(8, "C", 1)]
    log += [*day(9, "A", 1), *day(9, "B", 5), *day(9, "C", 4), *day(9, "D", 7)]
    pack(log).write(redis_url)
    asked = {"measures": "requests", "group_by": "model", "from": "2026-01-31", "to": "2026-02-01"}
    first = await ask(client, **asked, limit=1, compare="previous")
    assert first["previous"]["rows"] == [
        {"model": "A", "other": False, "requests": 1},
        {"model": None, "other": True, "requests": 16},
    ]
    assert first["comparison"]["rows"] == [
        {"model": "A", "other": False, "requests": {"current": 3, "previous": 1, "change": 2, "percent": 200.0}},
        {"model": None, "other": True, "requests": {"current": 3, "previous": 16, "change": -13, "percent": -81.25}},
    ]  # fmt: skip
    assert first["comparison"]["totals"]["requests"]["change"] == 6 - 17
    whole = await ask(client, **asked, compare="previous")
    assert [(row["model"], row["requests"]) for row in whole["previous"]["rows"]] == [
        ("A", 1), ("B", 5), ("C", 4), (None, 7),
    ]  # fmt: skip
    changes = {row["model"]: row["requests"] for row in whole["comparison"]["rows"]}
    assert changes[None] == {"current": 0, "previous": 7, "change": -7, "percent": -100.0}
    own = await ask(client, **asked, compare_from="2026-01-29", compare_to="2026-01-31")
    assert own["previous"]["range"] == {
        "from": "2026-01-29T00:00:00Z",
        "to": "2026-01-31T00:00:00Z",
    }
    assert own["previous"]["totals"] == {"requests": 17}
    year = await client.get(
        PATH, params=asked | {"compare": "previous", "compare_to": "2026-01-31"}
    )
    assert (year.status_code, year.json()["parameter"]) == (400, "compare_to")


@pytest.mark.parametrize(
    ("query", "near"),
    [
        ("from=2024-10-01T09:00:00Z&to=2024-10-01T12:00:00Z", "2024-10-01T00:00:00Z/2024-10-02T00:00:00Z"),
        ("from=2026-01-01T09:01:00Z&to=2026-01-01T09:14:00Z", "2026-01-01T09:00:00Z/2026-01-01T09:15:00Z"),
        ("from=2026-02-08T09:01:10Z&to=2026-02-08T09:01:50Z", "2026-02-08T09:01:00Z/2026-02-08T09:02:00Z"),
        ("from=2011-01-01&to=2012-01-01", "2021-02-05T00:00:00Z/2021-02-06T00:00:00Z"),
    ],
)  # fmt: skip
async def test_a_range_without_buckets_is_refused_with_the_nearest_that_have_some(
    redis_url: str, client: httpx.AsyncClient, query: str, near: str
) -> None:
    pack(day(1, "a", 1)).write(redis_url)
    for path in (PATH, "/v1/dimensions/model"):
        refused = await client.get(f"{path}?{query}")
        problem = refused.json()
        assert (refused.status_code, problem["parameter"], problem["nearest"]) == (
            400,
            "from",
            near,
        )
        low, _, high = near.partition("/")
        answered = await client.get(path, params={"from": low, "to": high})
        assert answered.json()["range"] == {"from": low, "to": high}
    at = query.partition("&")[0].removeprefix("from=")
    empty = await ask(client, **{"from": at, "to": at}, measures="requests")
    assert empty["totals"] == {"requests": 0}  # contains no time


async def test_a_total_in_any_zone_states_the_range_that_it_covers(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    pack([*day(500, "a", 1), *day(501, "a", 2)]).write(redis_url)
    asked = {"measures": "requests", "from": "2024-09-25", "to": "2024-09-27"}
    for zone, low in (("GMT", "25T00"), ("Asia/Kolkata", "25T00"), ("America/New_York", "26T00")):
        answer = await ask(client, **asked, tz=zone)
        assert answer["range"]["from"] == f"2024-09-{low}:00:00Z"
    by_day = await ask(client, **asked, tz="GMT", granularity="1d")
    assert [row["requests"] for row in by_day["rows"]] == [2, 1]
    assert by_day["tz"] == "GMT"


async def test_names_and_numbers_as_clients_send_them(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    log = [
        Event(NOW_MS - HOUR_MS, agent=a, user=u) for a, u in (("a", "x"), ("a", "y"), ("b", "y"))
    ]
    pack(log).write(redis_url)
    answer = await ask(
        client, group_by="agent_id", measures="requests", user_id="y", _="1770552123"
    )
    assert answer["group_by"] == ["agent_id"]
    assert answer["rows"] == [{"agent_id": "a", "requests": 1}, {"agent_id": "b", "requests": 1}]
    excluded = await ask(client, **{"agent_id!": "a", "measures": "requests"})
    assert excluded["totals"] == {"requests": 1}
    assert (await client.get("/v1/dimensions/user?_=5&agent_id=b")).json()["found"] == 1
    body = {"group_by": ["agent"], "measures": ["requests"], "from": "now-6h"}
    for limit in (1, 1.0, "1", "1.0"):
        posted = await client.post(PATH, json=body | {"limit": limit})
        assert [row["other"] for row in posted.json()["rows"]] == [False, True]
    half = await client.post(PATH, json=body | {"limit": 1.5})
    assert "not a whole number" in half.json()["detail"]


async def test_steps_of_hours_quarters_and_years(redis_url: str, client: httpx.AsyncClient) -> None:
    pack([*day(1, "a", 2), *day(60, "a", 1)]).write(redis_url)
    asked = {"measures": "requests", "from": "2025-11-15", "to": iso(NOW_MS)}
    found = {}
    for granularity in ("3h", "1q", "1y", "1w"):
        rows = (await ask(client, **asked, granularity=granularity, week_start="sunday"))["rows"]
        found[granularity] = [row["time"][:13] for row in rows]
    assert found == {
        "3h": ["2025-12-10T06", "2026-02-07T06"],
        "1q": ["2025-10-01T00", "2026-01-01T00"],
        "1y": ["2025-01-01T00", "2026-01-01T00"],
        "1w": ["2025-12-07T00", "2026-02-01T00"],
    }


async def test_filters_by_parts_of_names_and_without_case(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    names = ("gpt-4o", "gpt-4o-mini", "GPT-4o", "o3-mini", "*odd")
    pack([Event(NOW_MS - HOUR_MS, model=name) for name in names]).write(redis_url)

    async def models(**params: Any) -> set[str]:
        answer = await ask(client, group_by="model", measures="requests", **params)
        return {row["model"] for row in answer["rows"]}

    assert await models(model="*-mini") == {"gpt-4o-mini", "o3-mini"}
    assert await models(model="*4o*") == {"gpt-4o", "gpt-4o-mini", "GPT-4o"}
    assert await models(model="gpt-*", ignore_case="true") == {"gpt-4o", "gpt-4o-mini", "GPT-4o"}
    assert await models(model="GPT-4O", ignore_case="true") == {"gpt-4o", "GPT-4o"}
    assert await models(**{"model!": "*MINI", "ignore_case": "true"}) == {
        "gpt-4o",
        "GPT-4o",
        "*odd",
    }
    assert await models(model="\\*odd") == {"*odd"}
    posted = {"group_by": ["model"], "measures": ["requests"], "model": ["*o*", "x"]}
    rows = (await client.post(PATH, json=posted)).json()["rows"]
    assert {row["model"] for row in rows} == set(names)


async def test_forms_for_spreadsheets_and_charts(redis_url: str, client: httpx.AsyncClient) -> None:
    pack(day(1, "größe", 2)).write(redis_url)
    asked = {"measures": "requests", "group_by": "model", "from": "2026-02-01", "to": TODAY}
    file = await client.get(PATH, params=asked | {"format": "spreadsheet"})
    assert file.content == "\ufeffmodel,requests\r\ngröße,2\r\n".encode()
    assert file.headers["content-type"].startswith("text/csv")
    named = 'attachment; filename="usage-2026-02-01-to-2026-02-08.csv"'
    assert file.headers["content-disposition"] == named
    plain = await client.get(PATH, params=asked | {"format": "csv"})
    assert plain.content == file.content[3:]
    assert "content-disposition" not in plain.headers
    answer = await ask(client, **asked, max_points="10", times="ms", fill="zero")
    assert answer["granularity"] == "1d"
    first_ms = NOW_MS - NOW_MS % DAY_MS - 7 * DAY_MS
    assert [row["time"] for row in answer["rows"]] == [first_ms + n * DAY_MS for n in range(7)]
    for most, granularity in (("14", "12h"), ("13", "1d"), ("1", "1mo"), ("10000", "15m")):
        found = await ask(client, **asked, max_points=most, granularity="auto")
        assert found["granularity"] == granularity
    refused = await client.get(PATH, params=asked | {"max_points": "10", "granularity": "1h"})
    assert (refused.status_code, refused.json()["parameter"]) == (400, "max_points")
