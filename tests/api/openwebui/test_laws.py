"""Any question to Open WebUI's counters, through HTTP on a real Valkey, against the oracle; and any
nonsense, which is refused or answered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.local.api_keys import create_key
from schemas.limits import COUNT_MAX, DAY_MS, HOUR_MS, MINUTE_MS
from schemas.responses.openwebui import OpenWebUiProblem
from schemas.tiers import DAY, HOUR, QUARTER, kept_from
from tests.api.conftest import Clock, client_of
from tests.api.counters import NOW_MS, Event, pack, parts_of
from tests.api.openwebui.test_pages import ROOT, nameless, say_team
from tests.api.query.test_query import moments
from tests.oracles.openwebui_oracle import ANSWERS, LENGTH_MS, Asked

pytestmark = pytest.mark.servers

TEAM = frozenset({"ann", "eve"})
ZONES = ("UTC", "UTC", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe")
SPAN_MS = {"10m": 2 * DAY_MS, "hourly": 20 * DAY_MS, "3h": 40 * DAY_MS, "6h": 60 * DAY_MS}
"""Longest ranges: the oracle looks at every minute."""


class Api:
    """The application on a real Valkey, asked synchronously; each log is a generation of its own."""

    def __init__(self, runner: asyncio.Runner, client: httpx.AsyncClient, redis_url: str) -> None:
        self._runner = runner
        self._client = client
        self._redis_url = redis_url
        self._generations = count(1)

    def holds(self, log: list[Event]) -> None:
        pack(log, generation=next(self._generations)).write(self._redis_url)

    def get(self, path: str, params: dict[str, Any]) -> httpx.Response:
        return self._runner.run(self._client.get(f"{ROOT}/{path}", params=params))


@pytest.fixture
def api(redis_url: str) -> Iterator[Api]:
    with asyncio.Runner() as runner:
        key = runner.run(create_key(redis_url, name="k", tenant="acme", role="admin"))
        runner.run(say_team(redis_url, *TEAM))
        opened = client_of(redis_url, Clock(), key)
        client = runner.run(opened.__aenter__())
        try:
            yield Api(runner, client, redis_url)
        finally:
            runner.run(opened.__aexit__(None, None, None))


@st.composite
def events(draw: st.DrawFn) -> Event:
    at_ms = min(NOW_MS + HOUR_MS, max(NOW_MS - DAY.kept_ms + DAY_MS, draw(moments())))
    return Event(
        at_ms=at_ms,
        provider=draw(st.sampled_from(["openai", "anthropic", ""])),
        model=draw(st.sampled_from(["gpt-4o", "a/b", "", "é"])),
        user=draw(st.sampled_from(["ann", "bob", "eve", ""])),
        chat=draw(st.sampled_from(["", "c1", "c2", "c3"])),
        kind=draw(st.sampled_from(["llm", "llm", "llm", "tts"])),
        tenant=draw(st.sampled_from(["acme", "acme", "other"])),
        input_tokens=draw(st.integers(0, COUNT_MAX)),
        output_tokens=draw(st.integers(0, COUNT_MAX)),
        cache_read_tokens=draw(st.integers(0, COUNT_MAX)),
        cost_nano_usd=draw(st.none() | st.integers(0, 10**13)),
    )


@st.composite
def questions(draw: st.DrawFn) -> Asked:
    zone = draw(st.sampled_from(ZONES))
    granularity = draw(st.sampled_from(["daily", *LENGTH_MS]))
    members = draw(st.sampled_from([None, None, TEAM]))
    start_ms, end_ms = sorted((draw(moments()), draw(moments())))
    if zone != "UTC":  # with room for the window before
        is_whole = zone == "America/New_York" and granularity != "10m"
        oldest_ms = kept_from(HOUR if is_whole else QUARTER, DAY, NOW_MS)
        start_ms = max(start_ms, oldest_ms + DAY_MS + (NOW_MS + HOUR_MS - oldest_ms) // 2)
        end_ms = max(start_ms, end_ms)
    end_ms = min(end_ms, start_ms + SPAN_MS.get(granularity, 400 * DAY_MS))
    is_given = draw(st.sampled_from([(True, True), (True, True), (True, False), (False, True)]))
    return Asked(
        start_ms // 1000 if is_given[0] else None,
        end_ms // 1000 if is_given[1] else draw(st.sampled_from([None, 0])),
        members=members,
        metric=draw(st.sampled_from(["messages", "tokens"])),
        granularity=granularity,
        compare=all(is_given) and draw(st.booleans()),
        zone=zone,
        limit=draw(st.sampled_from([0, 1, 50])),
    )


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(log=st.lists(events(), max_size=25), asked=questions())
def test_every_answer_is_the_oracles(api: Api, log: list[Event], asked: Asked) -> None:
    api.holds(log)
    for path, answer in ANSWERS.items():
        found = api.get(path, asked.params)
        assert found.status_code == 200, found.text
        assert nameless(found.json()) == answer(log, asked), path


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(log=st.lists(events(), max_size=25), moment=moments(), other=moments())
def test_ranges_that_meet_add_up(api: Api, log: list[Event], moment: int, other: int) -> None:
    api.holds(log)
    start_ms, middle_ms = (at_ms - at_ms % 1000 for at_ms in sorted((moment, other)))

    def tokens(from_ms: int, to_ms: int) -> dict[str, int]:
        end_s = None if to_ms == NOW_MS else to_ms // 1000
        asked = replace(Asked(), start_s=from_ms // 1000, end_s=end_s)
        found: dict[str, int] = api.get("tokens", asked.params).json()
        return found

    whole = tokens(start_ms, NOW_MS)
    parts = [tokens(*part) for part in parts_of(start_ms, NOW_MS, [middle_ms])]
    for name in ("total_input_tokens", "total_output_tokens", "total_tokens"):
        assert whole[name] == sum(part[name] for part in parts)


NAMES = st.sampled_from(
    ["start_date", "end_date", "group_id", "limit", "skip", "metric", "granularity", "compare"]
) | st.sampled_from(["tz", "order_by", "direction", "model_id", "user_id", "chat_id", "days", "x"])
VALUES = st.one_of(
    st.text(max_size=12),
    st.integers().map(str),
    st.sampled_from(["0", "-1", "1.5", "true", "UTC", "Asia/Tokyo", "10m", "hourly", "9" * 40])
    | st.sampled_from([str(NOW_MS // 1000), str(NOW_MS // 1000 - 86_400)]),
)
PATHS = st.one_of(
    st.sampled_from([*ANSWERS, "messages", "models/gpt-4o/chats", "models/a%2Fb/overview"]),
    st.text("ab/%2F.é", max_size=9).map(lambda text: f"models/{text}/chats"),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=PATHS, params=st.dictionaries(NAMES, VALUES, max_size=4))
def test_nonsense_is_refused_or_answered(api: Api, path: str, params: dict[str, str]) -> None:
    api.holds([Event(NOW_MS - n * MINUTE_MS, chat=f"c{n}") for n in range(3)])
    found = api.get(path, params)
    assert found.status_code in {200, 400, 404, 422}, found.text
    if found.status_code != 200:
        OpenWebUiProblem.model_validate_json(found.content)
