"""Bodies of many cells are made in a thread, whatever their rows are: events, empty buckets or columns."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from api.agentlens import events as agentlens_events
from api.livekit import endpoints as livekit
from api.openai import endpoints as openai
from api.openwebui import analytics as openwebui
from api.query.bounds import CELLS_FEW
from api.query.sums import Row, Sums, summed
from api.store import reader
from api.usage import endpoints as usage
from api.usage import sections
from api.usage.parameters import parse
from api.usage.sections import cells_of, plans_of
from deploy.local.api_keys import create_key
from schemas.catalog.views import DEFAULT
from schemas.limits import HOUR_MS
from tests.api.conftest import Clock, client_of
from tests.api.counters import NOW_MS, Event, pack, selections_of

LOG = [
    Event(at_ms=NOW_MS - HOUR_MS * n, provider="p", model=f"m{n % 3}", user=f"u{n % 5}", agent="a")
    for n in range(1, 20)
]
NOW_S = NOW_MS // 1000
NINE = (
    "requests,errors,input_tokens,output_tokens,cost_usd,total_tokens,avg_latency_ms,error_rate,"
    "tokens_per_second"
)
THREE = "events,input_tokens,output_tokens"
DAILY = "/api/v1/analytics/daily?granularity=hourly"
FILLED = f"/v1/usage?granularity=15m&group_by=kind&measures={NINE}"
ODD = (openwebui, "series_of"), (openwebui, "to_json")
LARGE = [
    (f"{DAILY}&start_date={NOW_S - 157_000_000}&end_date={NOW_S}", ODD),
    (f"{DAILY}&compare=true&start_date={NOW_S - 75_000_000}&end_date={NOW_S}", ODD),
    *(
        (
            f"{FILLED}&from=now-89d&fill={fill}&format={form}",
            ((sections, "section"), (usage, write)),
        )
        for fill, form, write in (
            ("zero", "csv", "to_csv"),
            ("null", "json", "to_json"),
            ("zero", "ndjson", "to_ndjson"),
        )
    ),
]
SMALL = [
    (f"{DAILY}&start_date={NOW_S - 86_400}&end_date={NOW_S}", ODD),
    (f"{FILLED}&from=now-1d&fill=zero&format=csv", ((sections, "section"), (usage, "to_csv"))),
]
EVERY = [
    ("/api/v1/analytics/summary", ((openwebui, "summary_of"), (openwebui, "to_json"))),
    ("/api/v1/analytics/models", ((openwebui, "models_of"), (openwebui, "to_json"))),
    ("/api/v1/analytics/users", ((openwebui, "users_of"), (openwebui, "to_json"))),
    ("/api/v1/analytics/tokens", ((openwebui, "tokens_of"), (openwebui, "to_json"))),
    (DAILY, ODD),
    ("/api/v1/analytics/models/m1/overview", ((openwebui, "history_of"), (openwebui, "to_json"))),
    ("/api/agents", ((agentlens_events, "agents_of"),)),
    ("/admin/analytics/calls/by-user", ((livekit, "data_of"),)),
    (
        f"/openai/v1/organization/costs?start_time={NOW_S - 86_400}",
        ((openai, "page_body"), (openai, "to_json")),
    ),
    ("/v1/usage", ((sections, "section"),)),
]

Spied = tuple[tuple[Any, str], ...]


def watch(monkeypatch: pytest.MonkeyPatch, spied: Spied) -> list[tuple[str, bool]]:
    """The calls of these functions, and whether each ran in the thread of the event loop."""
    calls: list[tuple[str, bool]] = []

    def watched(name: str, make: Callable[..., Any]) -> Callable[..., Any]:
        def made(*args: Any, **kwargs: Any) -> Any:
            calls.append((name, threading.current_thread() is threading.main_thread()))
            return make(*args, **kwargs)

        return made

    for module, name in spied:
        monkeypatch.setattr(module, name, watched(name, getattr(module, name)))
    return calls


async def get(redis_url: str, path: str) -> None:
    pack(LOG).write(redis_url)
    key = await create_key(redis_url, name="k", tenant="acme", role="super-admin")
    async with client_of(redis_url, Clock(), key) as client:
        response = await client.get(path)
        assert response.status_code == 200, response.text


@pytest.mark.servers
@pytest.mark.parametrize(("path", "spied"), LARGE)
async def test_many_empty_buckets_or_columns_are_written_in_a_thread(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, path: str, spied: Spied
) -> None:
    calls = watch(monkeypatch, spied)
    await get(redis_url, path)
    assert {name for name, _ in calls} == {name for _, name in spied}
    in_loop = {name for name, is_main in calls if is_main}
    # `/v1/usage` adds the state of the counters to JSON: some ten values.
    assert in_loop <= ({"to_json"} if "format=json" in path else set())


@pytest.mark.servers
@pytest.mark.parametrize(("path", "spied"), SMALL)
async def test_a_small_body_waits_for_no_thread(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, path: str, spied: Spied
) -> None:
    calls = watch(monkeypatch, spied)
    await get(redis_url, path)
    assert calls
    assert all(is_main for _, is_main in calls)


@pytest.mark.servers
@pytest.mark.parametrize(("path", "spied"), EVERY)
async def test_every_dialect_makes_its_bodies_in_a_turn(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, path: str, spied: Spied
) -> None:
    """Rows, order and JSON: with a limit of 0, nothing is left to the event loop but the days of the first
    event and of ratings, which are one row a day."""
    monkeypatch.setattr(reader, "CELLS_FEW", 0)
    make_rows, grouped = Sums._rows_made, list[bool]()

    def rows_made(found: Sums) -> list[Row]:
        if found.selection.plan.question.group_by:
            grouped.append(threading.current_thread() is threading.main_thread())
        return make_rows(found)

    monkeypatch.setattr(Sums, "_rows_made", rows_made)
    calls = watch(monkeypatch, spied)
    await get(redis_url, path)
    assert {name for name, _ in calls} == {name for _, name in spied}
    assert not any(is_main for _, is_main in calls)
    assert not any(grouped)


@pytest.mark.parametrize(
    ("asked", "cells"),
    [
        ({"group_by": "model", "measures": "events"}, 3 * (1 + 1 + 1)),
        ({"measures": "events", "granularity": "1h"}, 19 * (1 + 1 + 1 + 1)),
        ({"measures": "events", "granularity": "1h", "fill": "zero"}, 49 * (1 + 1 + 1 + 1)),
        ({"measures": THREE, "granularity": "1h", "fill": "null"}, 49 * (3 + 1 + 1 + 1)),
        (
            {"measures": "events", "granularity": "1h", "fill": "zero", "group_by": "model"},
            3 * 49 * (2 + 1 + 1 + 1),
        ),
        (
            {
                "measures": "events",
                "granularity": "1h",
                "fill": "zero",
                "group_by": "model",
                "limit": "1",
            },
            2 * 49 * (2 + 1 + 1 + 1),
        ),
        (
            {"measures": "events", "granularity": "1h", "fill": "zero", "compare": "previous"},
            2 * 49 * (1 + 1 + 1 + 1),
        ),
    ],
)
def test_cells_are_rows_or_filled_buckets_times_columns(asked: dict[str, str], cells: int) -> None:
    raw = {name: [text] for name, text in ({"from": "now-2d", "to": "now-1m"} | asked).items()}
    query = parse(raw, NOW_MS, DEFAULT, splits=True)
    sums = [
        summed(selection, pages)
        for selection, pages in selections_of(pack(LOG), "acme", plans_of(query, NOW_MS))
    ]
    assert cells_of(query, sums) == cells <= CELLS_FEW
