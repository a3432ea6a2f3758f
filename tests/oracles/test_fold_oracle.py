"""The oracle and the generators, checked by hand: what judges the fold must itself be right."""

from __future__ import annotations

import random
from typing import Any, cast

import pytest
from hypothesis import given

from schemas.catalog.sketches import chat_digest, middle_of
from schemas.catalog.views import TOTAL
from schemas.errors import InvalidEvent, Reason
from schemas.event.kinds import USAGE_KINDS, Kind
from schemas.event.partition_key import partition_key
from schemas.event.usage_event import UsageEvent
from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.tiers import SLACK_MS, TIERS
from schemas.units import iso
from tests.oracles.event_logs import (
    INVALID,
    NOW_MS,
    Broken,
    Fields,
    Mix,
    Record,
    binary,
    encode,
    event,
    events,
    key_of,
    logs,
    mixed,
    plain,
    record,
    structured,
    structured_base64,
)
from tests.oracles.fold_oracle import bin_of, expected, judge

LLM = ("llm",)
CALL = ("call",)


def log(*sent: Fields | tuple[Fields, int]) -> list[Record]:
    """Events on one partition, appended at NOW_MS or at the time beside them."""
    timed = [one if isinstance(one, tuple) else (one, NOW_MS) for one in sent]
    return [
        record(fields, offset=offset, append_ms=append_ms)
        for offset, (fields, append_ms) in enumerate(timed)
    ]


def total_row(records: list[Record], series: tuple[str, ...], tier: str = "1m") -> dict[str, Any]:
    """The one row of the total view with this series, as name -> value, zeros left out."""
    (values,) = [
        values
        for (view, in_tier, _, of, _, *more), values in expected(records).counters.items()
        if (view, in_tier, of, more) == ("total", tier, series, [])
    ]
    names = [measure.name for measure in TOTAL.tables[cast("Kind", series[0])].measures]
    return {name: value for name, value in zip(names, values, strict=True) if value}


def test_one_event_is_in_every_view_and_tier() -> None:
    sent = event(agent_id="my-agent", user_id="ann", first_output_ms=None, chat_id="c-1")
    counters = expected(log(sent)).counters
    minute, quarter, hour, day = NOW_MS, NOW_MS, NOW_MS, NOW_MS - 10 * HOUR_MS  # it is 10:00 UTC
    core = (1, 0, 1200, 300, 4_500_000, 1, 850, 1)
    text = (0, 0, 0, 1200, 0, 0, 0, 300, 0)  # all of it, as no audio is reported
    row = (*core, *text, 0, 0, 0, 0, 0)
    priced = (0,) * 7  # 1 h cache writes, images, searches, tools
    wide = (*core, *text[:2], *text[3:], 0, 0, 0, *priced)
    fine = {"1m": minute, "15m": quarter, "1h": hour, "1d": day}
    coarse = {"15m": quarter, "1h": hour, "1d": day}
    latency = ("latency", bin_of(850)), (1,)
    chat = ("chats", chat_digest("default", "c-1")), (1,)
    model = ("openai", "gpt-4o", "", "")  # no operation and no tier are reported
    whole = ("llm", "ann", "my-agent", *model)
    kept: list[Any] = [
        ("total", LLM, fine, ((), (*row, *priced))),
        ("model", ("llm", *model, ""), fine, ((), (*row, *priced)), latency, chat),
        ("agent", ("llm", "my-agent"), fine, ((), row), chat),
        ("agent_model", ("llm", "my-agent", *model, ""), fine, ((), (*row, *priced))),
        ("agent_model", ("llm", "my-agent", *model, ""), coarse, latency),
        ("user", ("llm", "ann"), fine, ((), row)),
        ("user_agent_model", whole, fine, ((), wide), chat),
    ]
    assert counters == {
        (view, tier, "default", series, start, *more): values
        for view, series, starts, *parts in kept
        for tier, start in starts.items()
        for more, values in parts
    }
    assert abs(middle_of(bin_of(850)) - 850) <= 0.02 * 850


def test_null_adds_nothing_and_zero_is_reported() -> None:
    nothing = event(input_tokens=None, output_tokens=None, cost_usd=None, latency_ms=None, error="")
    assert total_row(log(nothing), LLM) == {"events": 1}
    zeros = event(input_tokens=0, output_tokens=0, cost_usd="0", latency_ms=0, error="Timeout")
    assert total_row(log(zeros), LLM) == {
        "events": 1,
        "errors": 1,
        "cost_events": 1,
        "latency_events": 1,
    }


@pytest.mark.parametrize(
    ("cost", "nano_usd"),
    [("0.0000000005", 0), ("0.0000000015", 2), ("0.00000000050001", 1), ("1e-9", 1)],
)
def test_costs_are_rounded_half_even(cost: str, nano_usd: int) -> None:
    assert total_row(log(event(cost_usd=cost)), LLM).get("cost_nano_usd", 0) == nano_usd


def test_other_kinds_count_as_events_only() -> None:
    assert total_row(log(event(kind="chat", rating=1)), ("chat",)) == {"events": 1}


@pytest.mark.parametrize(("rating", "counts"), [(1, "up"), (-1, "down")])
def test_feedback_counts_its_rating(rating: int, counts: str) -> None:
    sent = log(event(kind="feedback", rating=rating))
    assert total_row(sent, ("feedback",)) == {"events": 1, f"ratings_{counts}": 1}


def test_the_first_of_equal_ids_counts_and_tenants_and_sources_are_apart() -> None:
    sent = log(
        event(input_tokens=1),
        event(input_tokens=50),
        event(input_tokens=4, tenant=""),
        event(input_tokens=100, tenant="acme"),
        event(input_tokens=1000, source="other"),
    )
    found = expected(sent)
    assert (found.accepted, found.duplicates, found.total("input_tokens")) == (3, 2, 1101)


def test_a_dead_letter_claims_no_id() -> None:
    found = expected(log(event(output_tokens=-1), event()))
    assert (found.accepted, found.duplicates) == (1, 0)
    assert found.letters == {(0, 0): Reason.INVALID_FIELD}


@pytest.mark.parametrize(
    ("age_ms", "tiers"),
    [
        (0, ["1m", "15m", "1h", "1d"]),
        (TIERS[0].kept_ms + SLACK_MS, ["1m", "15m", "1h", "1d"]),
        (TIERS[0].kept_ms + SLACK_MS + 1, ["15m", "1h", "1d"]),
        (TIERS[1].kept_ms + SLACK_MS, ["15m", "1h", "1d"]),
        (TIERS[1].kept_ms + SLACK_MS + 1, ["1h", "1d"]),
        (TIERS[2].kept_ms + SLACK_MS, ["1h", "1d"]),
        (TIERS[2].kept_ms + SLACK_MS + 1, ["1d"]),
        (TIERS[3].kept_ms, ["1d"]),
    ],
)
def test_old_events_go_to_coarser_tiers(age_ms: int, tiers: list[str]) -> None:
    found = expected(log(event(time=iso(NOW_MS - age_ms))))
    assert [tier for view, tier, *_ in found.counters if view == "total"] == tiers


def call(**changes: Any) -> Fields:
    return event(kind="call", call_id="c", **changes)


def test_a_call_is_booked_at_its_first_event_with_its_last_duration() -> None:
    later = iso(NOW_MS + 5 * MINUTE_MS)
    sent = log(
        event(id="1", call_id="c", agent_id="first"),
        call(id="2", duration_ms=60_000, time=later, agent_id="second"),
        event(id="3", call_id="c", time=later),
        call(id="4", duration_ms=61_000, time=later),
        call(id="4", duration_ms=99_000, time=later),
        event(id="5", call_id="c", tenant="acme"),
    )
    rows = {
        (cell[2], cell[4]): values[-4:]
        for cell, values in expected(sent).counters.items()
        if cell[:2] == ("agent", "1m") and cell[3] == ("call", "first")
    }
    assert rows == {("default", NOW_MS): (1, 61_000, 1, 61_000)}
    assert expected(sent).total("calls") == 2


def test_a_call_without_usage_and_one_whose_usage_comes_last() -> None:
    quiet = log(call(duration_ms=7))
    assert total_row(quiet, CALL) == {"events": 1, "calls": 1, "call_duration_ms": 7}
    heard = log(call(duration_ms=7), event(id="2", kind="stt", call_id="c"))
    assert total_row(heard, CALL) == {
        "events": 1,
        "calls": 1,
        "call_duration_ms": 7,
        "calls_with_usage": 1,
        "usage_call_duration_ms": 7,
    }


def test_a_call_is_booked_when_it_began_where_that_is_said() -> None:
    began_ms = NOW_MS - 2 * HOUR_MS
    found = expected(log(event(call_id="c", call_started_at=iso(began_ms))))
    at = [cell[4] for cell in found.counters if cell[:2] == ("total", "1m") and cell[3] == CALL]
    assert at == [began_ms]


def test_a_duration_that_comes_late_is_left_out_of_the_finest_tier() -> None:
    began = iso(NOW_MS - TIERS[0].kept_ms)
    sent = log(
        event(call_id="c", call_started_at=began),
        (call(id="2", duration_ms=5, time=began), NOW_MS + SLACK_MS + 1),
    )
    found = expected(sent)
    assert [found.total("call_duration_ms", tier_name=tier.name) for tier in TIERS] == [0, 5, 5, 5]
    assert [found.total("calls", tier_name=tier.name) for tier in TIERS] == [1, 1, 1, 1]


# -- judging ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "broken"), [(reason, broken) for reason, all_ in INVALID.items() for broken in all_]
)
def test_each_broken_record_is_refused_for_its_reason(reason: Reason, broken: Broken) -> None:
    value, headers = broken(event(), NOW_MS)
    with pytest.raises(InvalidEvent) as refused:
        judge(Record(0, 0, NOW_MS, value, headers))
    assert refused.value.reason is reason


@pytest.mark.parametrize("form", [plain, structured, structured_base64, binary])
def test_every_form_says_the_same(form: Any) -> None:
    fields = event(id="ü/ %41", source="quelle-ü", agent_id="Käfer", tenant="acme")
    value, headers = form(fields)
    assert judge(Record(0, 0, NOW_MS, value, headers)) == judge(record(fields))


def test_a_cloudevent_without_time_happened_when_it_was_appended() -> None:
    value, headers = structured({k: v for k, v in event().items() if k != "time"})
    assert judge(Record(0, 0, NOW_MS - DAY_MS, value, headers)).time.day == 7


# -- the generators --------------------------------------------------------------------------------


@given(fields=events())
def test_generated_events_are_valid(fields: Fields) -> None:
    judge(Record(0, 0, NOW_MS, encode(fields)))


@given(records=logs())
def test_generated_logs_are_in_order(records: list[Record]) -> None:
    ends = dict.fromkeys((0, 1, 2), 0)
    for one in records:
        assert one.offset >= ends[one.partition]
        ends[one.partition] = one.offset + 1
    appended = [one.append_ms for one in records]
    assert appended == sorted(appended)


def test_a_long_log_holds_everything() -> None:
    records = mixed(random.Random(4), 2000, mix=Mix(unreadable=True))
    assert records == mixed(random.Random(4), 2000, mix=Mix(unreadable=True))
    assert records[-1].append_ms - records[0].append_ms < DAY_MS
    found = expected(records)
    assert set(found.letters_by_reason) == set(Reason)
    assert found.duplicates > 50
    assert 0 < found.total("calls_with_usage") < found.total("calls")
    assert found.total("usage_call_duration_ms") > 0
    assert {cell[3][0] for cell in found.counters} > set(USAGE_KINDS)
    assert {cell[2] for cell in found.counters} == {"default", "acme", "a|b"}
    per_tier = [found.total("events", tier_name=tier.name) for tier in TIERS]
    assert per_tier == sorted(per_tier)
    assert 0 < per_tier[0] < per_tier[1] < per_tier[2] < per_tier[3] == found.accepted


def test_what_belongs_together_is_on_one_partition() -> None:
    where: dict[bytes, set[int]] = {}
    for one in mixed(random.Random(5), 1000):
        try:
            usage: UsageEvent = judge(one)
        except InvalidEvent:
            continue
        tenant = usage.tenant or "default"
        key = partition_key(tenant, usage.source, usage.id, usage.call_id)
        assert key == one.key
        where.setdefault(key, set()).add(one.partition)
    assert all(len(partitions) == 1 for partitions in where.values())
    assert key_of(event(call_id="", tenant=None)) == b"default|gateway|evt-1"
