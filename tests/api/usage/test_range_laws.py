"""The laws of ranges, through HTTP on a real Valkey, against the oracle that keeps every event: which groups
and buckets are there, comparisons, zones beyond 90 days, partial buckets, ranges without buckets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schemas.limits import DAY_MS
from schemas.tiers import DAY, QUARTER, kept_from
from schemas.units import instant_to_ms
from tests.api.counters import Event
from tests.api.usage.law import EXAMPLES, NOW_MS, THROUGH_MS, ZONES, Api, api_on, by_key, moments
from tests.api.usage.test_laws import GROUPS, LOGS
from tests.oracles.usage_oracle import (
    Asked,
    collapses,
    compared,
    ends_at,
    instants,
    is_kept,
    measured,
    rows,
)

MEASURES = ("errors", "cost_nano_usd", "requests", "users", "chats", "p50_latency_ms", "tool_calls")
COARSE_STEPS = ("none", "1d", "1w", "1mo", "1q", "1y")
EQUAL_TO_UTC = ("GMT", "Etc/UCT", "Africa/Abidjan", "Zulu")
OLDEST_MS = kept_from(QUARTER, DAY, NOW_MS)


@pytest.fixture
def api(redis_url: str) -> Iterator[Api]:
    yield from api_on(redis_url)


def zone_of(name: str | None) -> ZoneInfo | None:
    return ZoneInfo(name) if name else None


def keys(api: Api, asked: Asked, measure: str) -> set[tuple[str, ...]]:
    return {*by_key(api.ask(asked.params | {"measures": measure})["rows"], asked)}


def test_a_group_or_bucket_is_there_because_it_has_events(api: Api) -> None:
    @settings(max_examples=EXAMPLES // 4, deadline=None)
    @given(LOGS, moments(OLDEST_MS), moments(OLDEST_MS), GROUPS, st.sampled_from(["none", "1d"]))
    def law(
        log: list[Event], one_ms: int, other_ms: int, group_by: tuple[str, ...], granularity: str
    ) -> None:
        asked = Asked(
            min(one_ms, other_ms), max(one_ms, other_ms), NOW_MS, granularity, None, group_by
        )
        assume(asked.group_by or granularity != "none")
        assume(not collapses(asked))
        api.holds(log)
        expected = {*rows(log, asked)}
        for measure in ("errors", "cost_usd", "requests", "input_tokens"):
            assert keys(api, asked, measure) == expected

    law()


def test_users_and_percentiles_list_the_groups_that_have_events(api: Api) -> None:
    api.holds(
        [Event(NOW_MS - DAY_MS, model="a", user=""), Event(NOW_MS - DAY_MS, model="b", kind="chat")]
    )
    asked = Asked(NOW_MS - 2 * DAY_MS, NOW_MS, NOW_MS, "none", None, ("model",))
    for measure in MEASURES:
        assert keys(api, asked, measure) == {("a",), ("b",)}, measure


def test_a_zone_is_taken_wherever_stored_buckets_make_its_own(api: Api) -> None:
    @settings(max_examples=EXAMPLES // 2, deadline=None)
    @given(
        LOGS,
        moments(),
        st.integers(0, 500 * DAY_MS),
        st.sampled_from([*ZONES[1:], *EQUAL_TO_UTC, "Europe/London"]),
        st.sampled_from(COARSE_STEPS),
    )
    def law(log: list[Event], from_ms: int, length_ms: int, zone: str, granularity: str) -> None:
        to_ms = min(from_ms + length_ms, NOW_MS)
        asked = Asked(min(from_ms, to_ms), to_ms, NOW_MS, granularity, ZoneInfo(zone), ("model",))
        assume(not collapses(asked))
        api.holds(log)
        answer = api.get(asked.params)
        if not is_kept(asked, NOW_MS):
            assert (answer.status_code, answer.json()["parameter"]) == (400, "tz")
            assert granularity != "none"
            return
        assert answer.status_code == 200, answer.text
        assert by_key(answer.json()["rows"], asked) == rows(log, asked)

    law()


def test_a_comparison_is_with_the_period_before_and_has_the_groups_of_this_one(api: Api) -> None:
    @settings(max_examples=EXAMPLES // 2, deadline=None)
    @given(
        LOGS,
        st.tuples(moments(NOW_MS - 80 * DAY_MS), moments(NOW_MS - 80 * DAY_MS)),
        st.booleans(),
        st.sampled_from(["none", "1d", "1mo"]),
        st.sampled_from(ZONES),
        st.sampled_from([None, 1, 2]),
    )
    def law(
        log: list[Event],
        bounds: tuple[int, int],
        of_days: bool,  # noqa: FBT001 - hypothesis gives it by place
        granularity: str,
        zone: str | None,
        limit: int | None,
    ) -> None:
        asked = Asked(min(bounds), max(bounds), NOW_MS, granularity, zone_of(zone), ("model",))
        if of_days:
            asked = replace(
                asked, from_ms=midnight(asked.from_ms, zone), to_ms=midnight(asked.to_ms, zone)
            )
        before = compared(asked)
        assume(not collapses(asked) and asked.from_ms < asked.to_ms <= NOW_MS)
        api.holds(log)
        params = asked.params | ({"limit": limit} if limit else {})
        answer = api.get(params | {"compare": "previous"})
        if collapses(before) or not is_kept(before, NOW_MS):
            assert (answer.status_code, answer.json()["parameter"]) == (400, "compare")
            return
        assert answer.status_code == 200, answer.text
        found = answer.json()
        low_ms, high_ms = (
            instant_to_ms(datetime.fromisoformat(t)) for t in found["previous"]["range"].values()
        )
        assert (low_ms, high_ms) == instants(before)
        alone = api.ask(params)
        assert found["totals"] == alone["totals"]
        assert [shown(r) for r in found["rows"]] == [shown(r) for r in alone["rows"]]
        kept = {row["model"] for row in found["rows"] if not row["other"]}
        was = rows(log, replace(before, group_by=(), granularity="none"))
        assert found["previous"]["totals"] == was.get((), measured([], asked.measures))
        by_model = rows(log, replace(before, granularity="none"))
        for row in found["comparison"]["rows"]:
            own = [r["requests"] for r in found["previous"]["rows"] if r["model"] == row["model"]]
            had = [r["requests"] for key, r in by_model.items() if is_in(key[0], row, kept)]
            change = row["requests"]
            assert change["previous"] == sum(had) == sum(own)
            assert change["change"] == change["current"] - change["previous"]
        assert {row["model"] for row in found["previous"]["rows"]} <= kept | {None}

    law()


def is_in(model: str, row: dict[str, Any], kept: set[str]) -> bool:
    return model not in kept if row["other"] else model == row["model"]


def shown(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "other"}


def midnight(at_ms: int, zone: str | None) -> int:
    local = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone or "UTC"))
    return instant_to_ms(local.replace(hour=0, minute=0, second=0, microsecond=0))


def test_a_bucket_is_partial_if_it_is_cut_or_not_over(api: Api) -> None:
    @settings(max_examples=EXAMPLES // 3, deadline=None)
    @given(
        LOGS,
        st.tuples(moments(OLDEST_MS), moments(OLDEST_MS)),
        st.sampled_from(["30m", "3h", "1d", "1w", "1mo"]),
        st.sampled_from(ZONES),
    )
    def law(log: list[Event], bounds: tuple[int, int], granularity: str, zone: str | None) -> None:
        asked = Asked(min(bounds), max(bounds), NOW_MS, granularity, zone_of(zone))
        assume(not collapses(asked))
        api.holds(log)
        answer = api.ask(asked.params)
        low_ms, high_ms = (
            instant_to_ms(datetime.fromisoformat(t)) for t in answer["range"].values()
        )
        for row in answer["rows"]:
            start_ms = instant_to_ms(datetime.fromisoformat(row["time"]))
            end_ms = ends_at(start_ms, asked)
            whole = low_ms <= start_ms and end_ms <= min(high_ms, THROUGH_MS)
            assert row["partial"] is not whole

    law()


def test_a_range_without_buckets_names_ranges_that_have_an_answer(api: Api) -> None:
    @settings(max_examples=EXAMPLES // 2, deadline=None)
    @given(moments(0), st.integers(1, 2 * DAY_MS))
    def law(from_ms: int, length_ms: int) -> None:
        asked = Asked(from_ms, min(from_ms + length_ms, NOW_MS), NOW_MS)
        assume(asked.from_ms < asked.to_ms)
        answer = api.get(asked.params)
        if not collapses(asked):
            assert answer.status_code == 200
            return
        problem = answer.json()
        assert (answer.status_code, problem["parameter"]) == (400, "from")
        for near in problem["allowed"]:
            low, _, high = near.partition("/")
            found = api.ask({"from": low, "to": high})
            assert found["range"] == {"from": low, "to": high}
            assert low < high

    api.holds([])
    law()
