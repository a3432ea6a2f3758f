"""The sample traffic: valid, in order of time, and the same for the same seed."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from itertools import islice, takewhile

import pytest

from deploy.sample import cast
from deploy.sample.session import SESSION_MS_MAX, usd_text
from deploy.sample.traffic import history, live
from schemas.event.usage_event import UsageEvent, parse_usage
from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.units import instant_to_ms
from tests.oracles.event_logs import NOW_MS

WEEK_AGO_MS = NOW_MS - 7 * DAY_MS


@pytest.fixture(scope="module")
def week() -> list[UsageEvent]:
    return [parse_usage(event) for event in history(1, WEEK_AGO_MS, NOW_MS, 2000)]


def test_history_is_in_order_of_time_and_within_its_bounds(week: list[UsageEvent]) -> None:
    times = [instant_to_ms(usage.time) for usage in week]
    assert times == sorted(times)
    assert times[0] >= WEEK_AGO_MS
    assert times[-1] < NOW_MS
    assert len(week) == pytest.approx(14_000, rel=0.1)


def test_ids_are_unique(week: list[UsageEvent]) -> None:
    assert len({(usage.source, usage.id) for usage in week}) == len(week)


def test_a_part_of_history_is_the_same_wherever_one_begins() -> None:
    """Begun in the middle of calls: their later events are there, with the same ids."""
    whole = list(history(3, WEEK_AGO_MS, NOW_MS, 5000))
    for from_ms in (NOW_MS - 12 * HOUR_MS - 1, NOW_MS - 7 * HOUR_MS - 3 * MINUTE_MS):
        part = list(history(3, from_ms, NOW_MS, 5000))
        assert part == whole[-len(part) :]
        assert len(part) < len(whole)


def test_another_seed_is_other_traffic() -> None:
    one = {event["id"]: event for event in history(1, NOW_MS - DAY_MS, NOW_MS, 1000)}
    other = {event["id"]: event for event in history(2, NOW_MS - DAY_MS, NOW_MS, 1000)}
    assert {event["source"] for event in other.values()} == {"sample-2"}
    assert all(one[name]["time"] != other[name]["time"] for name in one.keys() & other.keys())


def test_everybody_takes_part(week: list[UsageEvent]) -> None:
    models = {(usage.provider, usage.model) for usage in week if usage.provider}
    assert models == {(m.provider, m.model) for m in (*cast.LLMS, *cast.STTS, *cast.TTSS)}
    agents = {usage.agent_id for usage in week}
    assert len(agents) == 20
    assert "my-agent" in agents
    assert len({usage.user_id for usage in week if usage.user_id}) > 120
    assert {usage.kind for usage in week} == {"llm", "tts", "stt", "call", "chat", "feedback"}


def test_parts_of_tokens_are_subsets(week: list[UsageEvent]) -> None:
    answered = [usage for usage in week if usage.kind == "llm" and usage.error is None]
    assert any(usage.input_audio_tokens for usage in answered)
    assert any(usage.cache_read_audio_tokens for usage in answered)
    assert any(usage.cache_write_tokens for usage in answered)
    assert any(usage.reasoning_tokens for usage in answered)
    for usage in answered:
        read, written = usage.cache_read_tokens or 0, usage.cache_write_tokens or 0
        parts = (usage.input_text_tokens or 0) + (usage.input_audio_tokens or 0)
        assert usage.input_tokens == parts
        assert read + written <= parts
        assert (usage.cache_read_text_tokens or 0) <= (usage.input_text_tokens or 0)
        assert (usage.cache_read_audio_tokens or 0) <= (usage.input_audio_tokens or 0)
        spoken = usage.output_audio_tokens or 0
        assert usage.output_tokens == (usage.output_text_tokens or 0) + spoken
        assert (usage.reasoning_tokens or 0) <= (usage.output_text_tokens or 0)
        assert (usage.first_output_ms or 0) <= (usage.latency_ms or 0)


def test_some_models_of_speech_count_tokens_too(week: list[UsageEvent]) -> None:
    for kind, models in (("stt", cast.STTS), ("tts", cast.TTSS)):
        counting = {model.model for model in models if model.reports_tokens}
        spoken = [usage for usage in week if usage.kind == kind and usage.error is None]
        assert {usage.model for usage in spoken if usage.input_tokens} == counting != set()
        for usage in spoken:
            assert (usage.input_audio_tokens or 0) <= (usage.input_tokens or 0)
            assert (usage.output_audio_tokens or 0) <= (usage.output_tokens or 0)


def test_one_request_in_a_hundred_fails_and_reports_no_tokens(week: list[UsageEvent]) -> None:
    requests = [usage for usage in week if usage.kind in {"llm", "tts", "stt"}]
    failed = [usage for usage in requests if usage.error]
    assert 0.005 < len(failed) / len(requests) < 0.015
    assert all(
        usage.input_tokens is None and usage.cost_usd is None and usage.latency_ms is not None
        for usage in failed
    )
    assert all(usage.cost_usd is not None for usage in requests if not usage.error)


def test_costs_are_the_exact_sum_of_prices(week: list[UsageEvent]) -> None:
    """Written out for two models: input, cached input and output each have their price."""
    micro = Decimal("1e-6")
    prices = {"gpt-4o": ("2.5", "1.25", "10"), "gpt-4.1-mini": ("0.4", "0.1", "1.6")}
    checked = 0
    for usage in week:
        if usage.kind == "llm" and usage.error is None and usage.model in prices:
            fresh, cached, out = (Decimal(text) * micro for text in prices[usage.model])
            read = usage.cache_read_tokens or 0
            tokens = (usage.input_tokens or 0) - read
            assert usage.cost_usd == tokens * fresh + read * cached + out * (
                usage.output_tokens or 0
            )
            checked += 1
    assert checked > 100


@pytest.mark.parametrize(
    ("pico_usd", "text"),
    [(0, "0"), (1, "0.000000000001"), (4_500_000_000, "0.0045"), (12 * 10**12, "12")],
)
def test_pico_dollars_as_text(pico_usd: int, text: str) -> None:
    assert usd_text(pico_usd) == text


def test_a_call_spans_its_events_and_ends_with_its_duration(week: list[UsageEvent]) -> None:
    calls: defaultdict[str, list[UsageEvent]] = defaultdict(list)
    for usage in week:
        if usage.call_id:
            calls[usage.call_id].append(usage)
    ended = [events for events in calls.values() if any(e.kind == "call" for e in events)]
    assert len(ended) > 100
    for events in ended:
        end = next(usage for usage in events if usage.kind == "call")
        assert end.call_started_at is not None
        started_ms = instant_to_ms(end.call_started_at)
        assert end.duration_ms == instant_to_ms(end.time) - started_ms
        assert len({(e.user_id, e.agent_id, e.call_started_at) for e in events}) == 1
        last_ms = instant_to_ms(events[-1].time)
        assert started_ms < last_ms <= started_ms + SESSION_MS_MAX


def test_phone_numbers_are_those_kept_for_fiction() -> None:
    phones = [user.phone for user in cast.cast(1).users]
    assert len(set(phones)) == 150
    assert all(
        phone[:2] == "+1" and phone[5:10] == "55501" and len(phone) == 12 for phone in phones
    )


def test_nights_are_quieter_than_days_and_weekends_than_weekdays(week: list[UsageEvent]) -> None:
    at_night = sum(1 for usage in week if usage.time.hour < 5)
    by_day = sum(1 for usage in week if 9 <= usage.time.hour < 14)
    assert by_day > 5 * at_night
    weekend = sum(1 for usage in week if usage.time.weekday() >= 5) / 2
    weekdays = sum(1 for usage in week if usage.time.weekday() < 5) / 5
    assert weekdays > 1.4 * weekend


def test_live_traffic_has_its_rate_from_its_first_minutes_on() -> None:
    until_ms = NOW_MS + 10 * MINUTE_MS
    events = list(takewhile(lambda timed: timed[0] < until_ms, live(1, NOW_MS, 20)))
    assert len(events) == pytest.approx(20 * 600, rel=0.15)
    assert sum(at_ms < NOW_MS + MINUTE_MS for at_ms, _ in events) > 20 * 60 * 0.6
    assert events[0][0] >= NOW_MS
    times = [at_ms for at_ms, _ in events]
    assert times == sorted(times)


def test_live_traffic_and_history_share_no_id() -> None:
    past = {event["id"] for event in history(1, NOW_MS - DAY_MS, NOW_MS, 1728)}  # 0.02/s
    assert past.isdisjoint(event["id"] for _, event in islice(live(1, NOW_MS - DAY_MS, 0.02), 900))
