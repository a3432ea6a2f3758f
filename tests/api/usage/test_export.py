"""`GET /v1/export`: the rows of one view at one tier, Parquet and Arrow, against a scan of all events."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deploy.local.api_keys import create_key
from schemas.catalog.views import VIEWS
from schemas.limits import DAY_MS, HOUR_MS
from schemas.tiers import TIERS, floor_to
from schemas.units import iso
from tests.api.conftest import Clock, client_of
from tests.api.counters import NOW_MS, Event, pack

LOG: Final = [
    Event(
        NOW_MS - 1 - n * HOUR_MS // 4,
        model=f"m{n % 3}",
        agent=["support", "sales"][n % 2],
        user=["ann", ""][n % 5 == 0],
        tenant=["acme", "beta"][n % 7 == 0],
        input_tokens=n * 10**12,
        cost_nano_usd=None if n % 4 else n,
    )
    for n in range(600)
]
TODAY: Final = floor_to(NOW_MS, DAY_MS)


@pytest.fixture
async def client(redis_url: str, clock: Clock, key: str) -> AsyncIterator[httpx.AsyncClient]:
    pack(LOG).write(redis_url)
    async with client_of(redis_url, clock, key) as client:
        yield client


def table_of(answer: httpx.Response) -> Any:
    if answer.headers["content-type"] == "application/vnd.apache.parquet":
        return pq.read_table(io.BytesIO(answer.content))
    return pa.ipc.open_stream(answer.content).read_all()


@pytest.mark.parametrize("form", ["parquet", "arrow"])
@pytest.mark.parametrize("tier", TIERS, ids=lambda tier: str(tier.name))
async def test_the_rows_are_those_of_a_scan(
    client: httpx.AsyncClient, tier: Any, form: str
) -> None:
    for view in VIEWS:
        if tier not in view.tiers or "events" not in view.holds:
            continue
        from_ms = TODAY - (DAY_MS if tier is TIERS[0] else 4 * DAY_MS)
        bounds = {"from": iso(from_ms), "to": iso(TODAY)}
        params = {"view": view.name, "tier": tier.name, "format": form, **bounds}
        answer = await client.get("/v1/export", params=params)
        assert answer.status_code == 200, answer.text
        table = table_of(answer)
        assert table.column_names == [
            "time",
            *view.dimensions,
            *(measure.name for measure in view.measures),
        ]
        expected: Counter[tuple[Any, ...]] = Counter()
        tokens: Counter[tuple[Any, ...]] = Counter()
        for event in LOG:
            if event.tenant == "acme" and from_ms <= event.at_ms < TODAY:
                group = tuple(getattr(event, name) for name in view.dimensions)
                expected[floor_to(event.at_ms, tier.bucket_ms), *group] += 1
                tokens[floor_to(event.at_ms, tier.bucket_ms), *group] += event.input_tokens
        columns = [table.column("time").cast(pa.int64()).to_pylist()]
        columns += [table.column(name).to_pylist() for name in view.dimensions]
        rows = list(zip(*columns, strict=True))
        assert dict(zip(rows, table.column("events").to_pylist(), strict=True)) == expected
        assert dict(zip(rows, table.column("input_tokens").to_pylist(), strict=True)) == tokens
        assert len(rows) == len(expected)


async def test_the_metadata_says_what_the_rows_are_exact_to(client: httpx.AsyncClient) -> None:
    answer = await client.get(
        "/v1/export", params={"view": "model", "from": "now-3d", "dimensions": "model"}
    )
    exact = json.loads(table_of(answer).schema.metadata[b"odometer"])
    assert exact == {
        "tenant": "acme",
        "view": "model",
        "tier": "1d",
        "from": answer.headers["odometer-range-from"],
        "to": answer.headers["odometer-range-to"],
        "complete_through": answer.headers["odometer-complete-through"],
        "history_from": None,
        "refused": [],
        "generation": 1,
        "positions": [10, 10],
    }
    assert answer.headers["content-disposition"].startswith('attachment; filename="model-1d-2026-')


async def test_rows_are_there_whatever_is_measured(client: httpx.AsyncClient) -> None:
    params = {"view": "model", "from": "now-3d", "measures": "errors", "dimensions": "model"}
    table = table_of(await client.get("/v1/export", params=params))
    assert table.column_names == ["time", "model", "errors"]
    assert table.num_rows == 3 * 4
    assert set(table.column("errors").to_pylist()) == {0}


async def test_rows_of_calls_are_there_whatever_is_measured(
    redis_url: str, clock: Clock, key: str
) -> None:
    """Views of services count no events, only calls."""
    call = Event(NOW_MS - 1, kind="call", service="line", others={"calls": 1})
    pack([call]).write(redis_url)
    params = {"view": "service", "measures": "usage_call_duration_ms", "dimensions": "service"}
    async with client_of(redis_url, clock, key) as client:
        table = table_of(await client.get("/v1/export", params=params | {"from": "now-3d"}))
    assert table.column_names == ["time", "service", "usage_call_duration_ms"]
    assert table.column("service").to_pylist() == ["line"]
    assert table.column("usage_call_duration_ms").to_pylist() == [0]


@pytest.mark.parametrize(
    ("params", "parameter", "detail"),
    [
        ({}, "view", "`view` is missing"),
        ({"view": "modle"}, "view", "Did you mean model?"),
        ({"view": "user_agent", "tier": "2m"}, "tier", "'2m' is not a tier"),
        ({"view": "model", "dimensions": "agent"}, "dimensions", "'agent' is not a dimensions"),
        ({"view": "model", "measures": "calls"}, "measures", "'calls' is not a measures"),
        ({"view": "model", "format": "csv"}, "format", "'csv' is not a format"),
        ({"view": "model", "tier": "1m", "from": "now-5d"}, "from", "have expired before"),
        ({"view": "model", "tier": "15m", "from": "now-100d"}, "from", "have expired before"),
        ({"view": "model", "model": "m1"}, "model", "There is no parameter `model`"),
    ],
)
async def test_what_is_wrong_is_named(
    client: httpx.AsyncClient, params: dict[str, str], parameter: str, detail: str
) -> None:
    answer = await client.get("/v1/export", params=params)
    assert (answer.status_code, answer.json()["parameter"]) == (400, parameter)
    assert detail in answer.json()["detail"]


async def test_a_producers_key_exports_nothing(redis_url: str, clock: Clock) -> None:
    pack(LOG).write(redis_url)
    key = await create_key(redis_url, name="app", tenant="acme", role="write-only")
    async with client_of(redis_url, clock, key) as client:
        assert (await client.get("/v1/export?view=model")).status_code == 403
