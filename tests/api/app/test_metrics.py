"""Requests are counted by route and status, with the reason where they are rejected."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from api.app.main import build
from api.app.metrics import LIMITED, format_of
from api.errors import RateLimited
from api.http.durations import Durations
from schemas.limits import HOUR_MS
from tests.api.conftest import Clock
from tests.api.counters import NOW_MS, Event, pack


@pytest.mark.servers
async def test_requests_are_counted_by_route_and_not_by_path(
    redis_url: str, clock: Clock, key: str
) -> None:
    pack([Event(NOW_MS - HOUR_MS)]).write(redis_url)
    app = build(redis_url, clock=clock)
    metrics = app.metrics
    assert metrics is not None
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://odometer.test") as client,
    ):
        own = {"authorization": f"Bearer {key}"}
        assert (await client.get("/v1/usage", headers=own)).status_code == 200
        assert (await client.get("/v1/keys/key-0000000000", headers=own)).status_code in {403, 405}
        assert (await client.get("/v1/usage")).status_code == 401
        wrong = {"authorization": "Bearer als_wrong"}
        assert (await client.get("/v1/usage", headers=wrong)).status_code == 401
        assert (await client.get("/no/such/path")).status_code == 404

    def value(name: str, **labels: str) -> Any:
        return metrics.registry.get_sample_value(f"odometer_{name}", labels)

    requests = "http_requests_total"
    assert value(requests, method="GET", route="/v1/usage", status="200") == 1
    assert value(requests, method="GET", route="/v1/usage", status="401") == 2
    assert value(requests, method="GET", route="none", status="404") == 1
    assert value("http_request_duration_seconds_count", route="/v1/usage") == 3
    for name, labels in (("http_request", {"route": "/v1/usage"}), ("read", {})):
        assert value(f"{name}_duration_seconds_sum", **labels) > 0
    assert value("rejected_authentications_total", reason="no_key") == 1
    assert value("rejected_authentications_total", reason="unknown_key") == 1
    assert value("read_duration_seconds_count") == 1
    assert value("held_bytes", kind="event_bodies") == 0


def test_each_error_of_a_limit_is_counted() -> None:
    found, wanted = [RateLimited], set()
    while found:
        error = found.pop()
        wanted.add(error.__name__)
        found += error.__subclasses__()
    assert LIMITED.keys() >= wanted


def test_each_path_that_takes_events_has_its_format() -> None:
    paths = ("/v1/events", "/v1/traces", "/api/public/ingestion", "/api/events")
    assert [format_of("POST", path) for path in paths] == [
        "events",
        "otlp",
        "langfuse",
        "agentlens",
    ]


def test_durations_are_cumulative() -> None:
    durations = Durations(lambda: 0.0)
    for seconds in (0.001, 0.003, 99.0):
        durations.note(seconds)
    buckets = dict(durations.buckets)
    assert (buckets["0.001"], buckets["0.005"], buckets["10"], buckets["+Inf"]) == (1, 2, 2, 3)
    assert durations.sum_s == pytest.approx(99.004)
