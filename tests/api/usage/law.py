"""What laws of `/v1/usage` are made of: the application on a real Valkey, and instants to ask about."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count
from typing import Any

import httpx
from hypothesis import strategies as st

from deploy.local.api_keys import create_key
from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.tiers import DAY
from tests.api.conftest import Clock, client_of
from tests.api.counters import Event, closed_at, pack
from tests.oracles.usage_oracle import Asked

# 2026-04-28T10:17:03.456Z: in the 90 days before it clocks were changed in every one of ZONES that
# ever does: 03-08 New York, 03-29 Berlin, and Beirut at midnight, 04-05 Chatham, Lord Howe by half
# an hour, and Santiago back across midnight, 04-24 Cairo at midnight, 02-15 and 03-22 Casablanca.
NOW_MS = 1_777_371_423_456
ZONES = (
    None, "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Pacific/Chatham",
    "Australia/Lord_Howe", "America/Santiago", "Asia/Beirut", "Africa/Cairo", "Africa/Casablanca",
    "Pacific/Kiritimati",
)  # fmt: skip
ZONES_OF_QUARTERS = {"Asia/Kolkata", "Asia/Kathmandu", "Pacific/Chatham", "Australia/Lord_Howe"}
"""They are not whole hours off."""
CHANGES_MS = (
    1_772_953_200_000, 1_774_738_800_000, 1_774_746_000_000, 1_775_311_200_000, 1_775_354_400_000,
    1_776_981_600_000, 1_771_120_800_000, 1_774_144_800_000,
)  # fmt: skip
THROUGH_MS = NOW_MS - 40 * MINUTE_MS
"""`complete_through` of the counters."""
EXAMPLES = 60


class Api:
    """The application on a real Valkey, asked synchronously; each log is a generation of its own."""

    def __init__(self, runner: asyncio.Runner, client: httpx.AsyncClient, redis_url: str) -> None:
        self._runner = runner
        self._client = client
        self._redis_url = redis_url
        self._generations = count(1)

    def holds(self, log: list[Event], expired_by_ms: int = NOW_MS) -> None:
        generation = next(self._generations)
        pack(
            log,
            generation=generation,
            now_ms=expired_by_ms,
            closed=closed_at(NOW_MS),
            complete_ms=(NOW_MS, THROUGH_MS),
        ).write(self._redis_url)

    def ask(self, params: dict[str, Any]) -> dict[str, Any]:
        response = self.get(params)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def get(self, params: dict[str, Any]) -> httpx.Response:
        return self._runner.run(self._client.get("/v1/usage", params=params))

    def rows(self, asked: Asked) -> dict[tuple[str, ...], dict[str, Any]]:
        return by_key(self.ask(asked.params)["rows"], asked)


def by_key(found: list[dict[str, Any]], asked: Asked) -> dict[tuple[str, ...], dict[str, Any]]:
    names = (*(() if asked.granularity == "none" else ("time",)), *asked.group_by)
    for row in found:
        row.pop("partial", None)
    keyed = {tuple(row.pop(name) for name in names): row for row in found}
    assert len(keyed) == len(found)
    return keyed


def api_on(redis_url: str) -> Iterator[Api]:
    """The body of the fixture `api`."""
    clock = Clock()
    clock.now_ms = NOW_MS
    with asyncio.Runner() as runner:
        key = runner.run(create_key(redis_url, name="k", tenant="acme", role="viewer"))
        opened = client_of(redis_url, clock, key)
        client = runner.run(opened.__aenter__())
        try:
            yield Api(runner, client, redis_url)
        finally:
            runner.run(opened.__aexit__(None, None, None))


@st.composite
def moments(draw: st.DrawFn, oldest_ms: int = NOW_MS - DAY.kept_ms + DAY_MS) -> int:
    age_ms = st.one_of(
        st.integers(-HOUR_MS, 3 * HOUR_MS),
        st.integers(0, 3 * DAY_MS),
        st.integers(0, 89 * DAY_MS),
        st.integers(89 * DAY_MS, 402 * DAY_MS),
        st.integers(0, DAY.kept_ms),
    )
    near = st.builds(
        int.__add__,
        st.sampled_from(CHANGES_MS),
        st.integers(-150, 150).map(lambda m: m * MINUTE_MS),
    )
    at_ms = draw(near) if draw(st.integers(0, 2)) == 0 else NOW_MS - draw(age_ms)
    at_ms -= at_ms % draw(st.sampled_from([1, MINUTE_MS, 15 * MINUTE_MS, HOUR_MS, DAY_MS]))
    return min(NOW_MS + HOUR_MS, max(oldest_ms, at_ms))
