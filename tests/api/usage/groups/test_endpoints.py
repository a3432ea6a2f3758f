"""Pages of groups, conditions and wide answers over a real Valkey: forms, changes between pages, errors."""

from __future__ import annotations

import base64
import csv
import io
from typing import Any

import httpx
import msgspec
import pytest

from api.usage.groups.having import CONDITIONS_MAX
from api.usage.groups.wide import COLUMNS_MAX
from schemas.limits import HOUR_MS
from tests.api.counters import NOW_MS, Event, pack
from tests.api.usage.asking import PATH, ask

BOARD: dict[str, Any] = {"group_by": "model", "measures": "requests", "limit": 2}


def log(**counts: int) -> list[Event]:
    return [
        Event(NOW_MS - HOUR_MS, model=model)
        for model, count in counts.items()
        for _ in range(count)
    ]


def shown(answer: dict[str, Any]) -> list[str]:
    return [row["model"] for row in answer["rows"] if not row["other"]]


async def test_what_moves_between_pages_is_said_and_each_page_is_exact(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    pack(log(a=9, b=7, c=5, d=3)).write(redis_url)
    first = await ask(client, **BOARD)
    assert (shown(first), first["groups"], "is_changed" in first) == (["a", "b"], 4, False)
    same = await ask(client, **BOARD, cursor=first["next_cursor"])
    assert (shown(same), same["next_cursor"], same["is_changed"]) == (["c", "d"], None, False)
    # d overtakes all: it is on no page. a falls nowhere, and e is new behind the cursor.
    pack(log(a=9, b=7, c=5, d=30, e=1), commits=2).write(redis_url)
    later = await ask(client, **BOARD, cursor=first["next_cursor"])
    assert (shown(later), later["groups"], later["is_changed"]) == (["c", "e"], 5, True)
    assert later["totals"] == {"requests": 52}
    assert later["rows"][-1] == {"model": None, "other": True, "requests": 46}


async def test_the_range_of_a_cursor_does_not_move(
    redis_url: str, client: httpx.AsyncClient, clock: Any
) -> None:
    pack(log(a=2, b=1, c=1)).write(redis_url)
    asked = BOARD | {"from": "now-2h", "compare": "previous"}
    first = await ask(client, **asked)
    clock.now_ms += HOUR_MS
    second = await ask(client, **asked, cursor=first["next_cursor"])
    assert second["range"] == first["range"]
    assert second["previous"]["range"] == first["previous"]["range"]
    assert shown(second) == ["c"]
    assert (await ask(client, **asked))["range"] != first["range"]


async def test_rows_only_formats_have_pages_in_headers(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    pack(log(a=9, b=7, c=5)).write(redis_url)
    params = BOARD | {"format": "csv"}
    first = await client.get(PATH, params=params)
    assert first.headers["odometer-groups"] == "3"
    again = await client.get(PATH, params=params)  # from the cache
    assert again.headers["odometer-next-cursor"] == first.headers["odometer-next-cursor"]
    second = await client.get(
        PATH, params=params | {"cursor": first.headers["odometer-next-cursor"]}
    )
    assert "odometer-next-cursor" not in second.headers
    assert second.headers["odometer-is-changed"] == "false"
    assert second.text.splitlines() == ["model,other,requests", "c,false,5", ",true,16"]
    same = await client.get(PATH, params=params, headers={"if-none-match": first.headers["etag"]})
    assert (same.status_code, same.headers["odometer-groups"]) == (304, "3")


async def test_another_name_of_a_dimension_orders_too(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    pack([Event(NOW_MS - HOUR_MS, agent=name) for name in "bca"]).write(redis_url)
    asked = {"group_by": "agent_id", "order_by": "-agent_id", "measures": "requests", "limit": 2}
    first = await ask(client, **asked)
    second = await ask(client, **asked, cursor=first["next_cursor"])
    found = [row["agent_id"] for one in (first, second) for row in one["rows"] if not row["other"]]
    assert found == ["c", "b", "a"]


async def test_conditions_are_parameters_of_a_body_too(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    pack(log(a=9, b=7, c=5)).write(redis_url)
    body = {
        "group_by": "model",
        "measures": "input_tokens",
        "having": ["requests >= 5", "requests<9"],
        "order_by": "model",
    }
    answer = (await client.post(PATH, json=body)).json()
    assert ([*answer["measures"]], shown(answer), answer["groups"]) == (
        ["input_tokens"],
        ["b", "c"],
        2,
    )


async def test_a_wide_csv(redis_url: str, client: httpx.AsyncClient) -> None:
    events = [
        Event(NOW_MS - HOUR_MS, model="=x", provider="p", cost_nano_usd=10**9),
        Event(NOW_MS - HOUR_MS, model="", provider="p"),
        Event(NOW_MS - 2 * HOUR_MS, model="x", provider="p / =x", cost_nano_usd=10**9),
        Event(NOW_MS - 2 * HOUR_MS, model="=x / x", provider="p", cost_nano_usd=10**9),
    ]
    pack(events).write(redis_url)
    asked = {
        "group_by": "provider,model",
        "layout": "wide",
        "granularity": "1h",
        "from": "2026-02-08T09:00:00Z",
        "measures": "cost_usd",
        "order_by": "provider,model",
        "format": "csv",
    }
    rows = [*csv.reader(io.StringIO((await client.get(PATH, params=asked)).text))]
    assert rows == [
        ["time", "p / (not reported)", "p / =x", "p / =x / x", "p / =x / x (2)", "partial"],
        ["2026-02-08T10:00:00Z", "", "", "1", "1", "false"],
        ["2026-02-08T11:00:00Z", "", "1", "", "", "false"],
    ]


@pytest.mark.parametrize(
    ("query", "parameter", "said"),
    [
        ("having=requests", "having", "is not a condition"),
        ("having=requests>=many&group_by=model", "having", "is not a condition"),
        ("having=requests>=1", "having", "needs `group_by`"),
        ("having=reqests>=1&group_by=model", "having", "Did you mean requests?"),
        (
            "group_by=model&having=" + ",".join(f"requests>{n}" for n in range(CONDITIONS_MAX + 1)),
            "having",
            "CONDITIONS_MAX",
        ),
        ("layout=tall", "layout", "not a value of `layout`"),
        ("layout=wide&group_by=model", "layout", "needs `granularity` and `group_by`"),
        ("layout=wide&granularity=1h", "layout", "needs `granularity` and `group_by`"),
        ("group_by=model&limit=1&cursor=abc", "cursor", "is not the `next_cursor`"),
        ("group_by=model&limit=1&cursor=é", "cursor", "is not the `next_cursor`"),
        ("group_by=model&limit=1&cursor=", "cursor", "is not the `next_cursor`"),
    ],
)
async def test_what_is_refused(
    client: httpx.AsyncClient, query: str, parameter: str, said: str
) -> None:
    answer = await client.get(f"{PATH}?{query}")
    found = answer.json()
    assert (answer.status_code, found["parameter"]) == (400, parameter)
    assert said in found["detail"]


async def test_a_cursor_is_of_one_question(redis_url: str, client: httpx.AsyncClient) -> None:
    pack(log(a=9, b=7, c=5)).write(redis_url)
    cursor = (await ask(client, **BOARD))["next_cursor"]
    assert shown(await ask(client, **BOARD | {"limit": 5}, cursor=cursor)) == ["c"]
    changes: list[dict[str, Any]] = [
        {"group_by": "provider"},
        {"measures": "events"},
        {"order_by": "model"},
        {"model!": "c"},
        {"having": "requests>0"},
        {"granularity": "1h"},
        {"compare": "previous"},
    ]
    for change in changes:
        answer = await client.get(PATH, params=BOARD | change | {"cursor": cursor})
        assert (answer.status_code, answer.json()["parameter"]) == (400, "cursor"), change
    without = {name: value for name, value in BOARD.items() if name != "limit"}
    answer = await client.get(PATH, params=without | {"cursor": cursor})
    assert "needs the `limit`" in answer.json()["detail"]


async def test_no_changed_cursor_is_more_than_a_refusal(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    pack(log(a=9, b=7, c=5)).write(redis_url)
    cursor = (await ask(client, **BOARD))["next_cursor"]
    content = msgspec.json.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    for place, value in enumerate([2, "", -(10**13), 10**13, [1], [["a", "b"], [1]], 5, "more"]):
        changed = [*content, None][: 7 + (place == 7)]
        changed[place] = value
        text = base64.urlsafe_b64encode(msgspec.json.encode(changed)).decode().rstrip("=")
        answer = await client.get(PATH, params=BOARD | {"cursor": text})
        assert answer.status_code == 400, (place, answer.text)
    content[5] = [["a"], [10**400]]  # more than any sum
    text = base64.urlsafe_b64encode(msgspec.json.encode(content)).decode().rstrip("=")
    assert shown(await ask(client, **BOARD, cursor=text)) == ["a", "b"]


async def test_too_many_columns_name_the_limit(redis_url: str, client: httpx.AsyncClient) -> None:
    pack([Event(NOW_MS - HOUR_MS, model=f"m{n}") for n in range(201)]).write(redis_url)
    asked: dict[str, Any] = {"group_by": "model", "layout": "wide", "granularity": "1h"}
    answer = await client.get(PATH, params=asked)
    assert answer.status_code == 400
    assert (
        f"201 groups x 5 measures = 1005 columns, more than the limit of {COLUMNS_MAX}"
        in (answer.json()["detail"])
    )
    several: dict[str, Any] = {"limit": 199, "granularity": "1m", "from": "now-36h", "fill": "null"}
    answer = await client.get(PATH, params=asked | several)
    assert "ROWS_MAX" in answer.json()["detail"]


@pytest.mark.parametrize("more", [{"layout": "wide", "granularity": "1h"}, {"cursor": ""}])
async def test_a_stream_has_neither_pages_nor_columns_of_groups(
    redis_url: str, client: httpx.AsyncClient, more: dict[str, str]
) -> None:
    pack(log(a=9, b=7, c=5)).write(redis_url)
    if "cursor" in more:
        more = {"cursor": (await ask(client, **BOARD))["next_cursor"]}
    answer = await client.get("/v1/stream", params=BOARD | more)
    assert (answer.status_code, answer.json()["parameter"]) == (400, next(iter(more)))
