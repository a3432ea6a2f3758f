"""The laws of `/v1/usage` by view: percentiles, chats, users, services, numbers; views of fewer tiers.

Through HTTP on a real Valkey, against the oracle that keeps every event.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from api.query.plan import Question, Term, plans
from api.query.plan import tiers_of as tiers_kept
from schemas.catalog.measures import EVENTS, INPUT_TOKENS, LATENCY
from schemas.catalog.sketches import RELATIVE_ERROR
from schemas.catalog.views import COARSE
from schemas.event.kinds import Kind
from schemas.limits import DAY_MS, DURATION_MS_MAX, HOUR_MS, MINUTE_MS
from schemas.store.layout import chunks_of, page_kept_ms
from schemas.tiers import DAY, HOUR, QUARTER, TIERS, Tier, ceil_to, cover, finest_written, kept_from
from schemas.units import iso
from tests.api.counters import Event, closed_at, pack, read_pure
from tests.api.usage.law import (
    EXAMPLES,
    NOW_MS,
    ZONES,
    ZONES_OF_QUARTERS,
    Api,
    api_on,
    by_key,
    moments,
)
from tests.oracles.usage_oracle import Asked, collapses, instants, measured, rows

Names = tuple[str, ...]
PERCENTILES: Final = (
    "p50_latency_ms", "p75_first_output_ms", "p90_latency_ms", "p95_latency_ms",
    "p99_first_output_ms", "p99_9_latency_ms",
)  # fmt: skip
SUMS: Final = ("events", "input_tokens", "cost_nano_usd")
BOOKED: Final = ("calls", "call_duration_ms")
MODEL_GROUPS: Final[tuple[Names, ...]] = (
    (), ("model",), ("provider", "model"), ("kind",), ("agent",), ("agent", "model"),
)  # fmt: skip
CASES: Final[tuple[tuple[Names, tuple[Names, ...]], ...]] = (
    (PERCENTILES, MODEL_GROUPS),
    ((*SUMS, *PERCENTILES), MODEL_GROUPS),
    (("chats", "p50_latency_ms", "events"), ((), ("model",), ("provider", "kind"))),
    (("chats",), ((), ("kind",), ("model",), ("agent",), ("user",), ("user", "model"))),
    ((*SUMS, "chats"), ((), ("user",), ("agent", "model"), ("user", "agent", "model"))),
    ((*SUMS, "users"), ((), ("kind",), ("model",), ("agent",), ("user",), ("agent", "model"))),
    (("users", "chats"), ((), ("provider", "model"))),
    (SUMS, (("user",), ("user", "kind"), ("user", "agent"), ("user", "provider", "model"))),
    (
        BOOKED,
        (
            (), ("agent",), ("user",), ("service",), ("phone",), ("service", "phone"),
            ("user", "phone"), ("user", "service"), ("user", "agent"),
        ),
    ),
)  # fmt: skip
VALUES: Final = {
    "kind": ["llm", "tts"],
    "model": ["gpt-*", "o3"],
    "provider": ["openai", ""],
    "agent": ["s*", "sales"],
    "user": ["ann", "b*", ""],
    "service": ["web", "s*"],
    "phone": ["+1*", ""],
}
NOTHING: Final = (0, None)


@pytest.fixture
def api(redis_url: str) -> Iterator[Api]:
    yield from api_on(redis_url)


@st.composite
def events(draw: st.DrawFn) -> Event:
    at_ms = draw(moments())
    kinds: tuple[Kind, ...] = ("llm", "llm", "llm", "tts", "call")
    kind = draw(st.sampled_from(kinds))
    latencies = st.none() | st.integers(0, 300) | st.integers(0, DURATION_MS_MAX)
    duration_ms = draw(st.integers(0, 10**7))
    return Event(
        at_ms=at_ms,
        # What comes late is kept where that age still is.
        appended_ms=min(
            max(at_ms, NOW_MS),
            at_ms + draw(st.sampled_from([0, HOUR_MS, 3 * DAY_MS, 100 * DAY_MS])),
        ),
        provider=draw(st.sampled_from(["openai", "anthropic", ""])),
        model=draw(st.sampled_from(["gpt-4o", "gpt-5", "o3"])),
        agent=draw(st.sampled_from(["support", "sales", ""])),
        user=draw(st.sampled_from(["ann", "bob", "bea", ""])),
        service=draw(st.sampled_from(["web", "sip"])),
        phone=draw(st.sampled_from(["+1555", "+49", ""])),
        chat=draw(st.sampled_from(["", "c1", "c2", "c3", "c4"])) if kind == "llm" else "",
        kind=kind,
        tenant=draw(st.sampled_from(["acme", "acme", "acme", "other"])),
        input_tokens=draw(st.integers(0, 10**6)),
        cost_nano_usd=draw(st.none() | st.integers(0, 10**12)),
        latency_ms=draw(latencies),
        first_output_ms=draw(latencies),
        others=(
            {"events": 1, "calls": 1, "call_duration_ms": duration_ms} if kind == "call" else {}
        ),
    )


LOGS: Final = st.lists(events(), max_size=40)


def tiers_of(dimensions: set[str], measures: Names) -> tuple[Tier, ...]:
    """Of the view that must answer: no minutes are kept of percentiles by agent."""
    return COARSE if "agent" in dimensions and {*measures} & {*PERCENTILES} else TIERS


def present(log: list[Event], asked: Asked) -> list[Event]:
    """The events that make a row: of the views that count only calls, those of calls."""
    names = {*asked.group_by, *(name for name, _ in (*asked.keep, *asked.drop))}
    has_only_calls = bool(names & {"service", "phone"}) or {"user", "agent"} <= names
    if asked.measures != BOOKED or not has_only_calls:
        return log
    return [event for event in log if event.kind == "call"]


@st.composite
def questions(
    draw: st.DrawFn, granularities: Sequence[str] = ("none", "none", "1m", "15m", "1h", "1d", "1w")
) -> Asked:
    measures, groups = draw(st.sampled_from(CASES))
    group_by = draw(st.sampled_from(groups))
    # A filter by what some group of this case has, so that a view holds both together.
    filtered = draw(
        st.sampled_from([name for by in groups if {*by} >= {*group_by} for name in by] or [""])
    )
    filters = [(filtered, draw(st.sampled_from(VALUES[filtered])))] if filtered else []
    if filtered and not any({*group_by, filtered} <= {*by} for by in groups):
        filters = []
    tiers = tiers_of({*group_by, *(name for name, _ in filters)}, measures)
    granularity = draw(st.sampled_from(granularities))
    if granularity == "1m" and tiers is COARSE:
        granularity = "15m"
    oldest_ms = NOW_MS - DAY.kept_ms + DAY_MS
    zone = draw(st.sampled_from(ZONES)) if granularity in {"1d", "1w"} else None
    if granularity == "1m":
        oldest_ms = kept_from(TIERS[0], QUARTER, NOW_MS)
    elif granularity == "15m" or zone in ZONES_OF_QUARTERS:
        oldest_ms = kept_from(QUARTER, DAY, NOW_MS)
    elif zone is not None or granularity == "1h":
        oldest_ms = kept_from(HOUR, DAY, NOW_MS)
    from_ms, to_ms = sorted([draw(moments(oldest_ms)), draw(moments(oldest_ms))])
    is_kept = draw(st.booleans())
    assume(not collapses(Asked(from_ms, to_ms, NOW_MS, tiers=tiers)))
    return Asked(
        from_ms,
        to_ms,
        NOW_MS,
        granularity,
        ZoneInfo(zone) if zone else None,
        group_by,
        tuple(filters) if is_kept else (),
        () if is_kept else tuple(filters),
        measures,
        tiers,
    )


def agree(found: dict[str, Any], exact: dict[str, Any]) -> bool:
    """Percentiles within what is promised of the value at nearest rank, all else to the last unit."""
    assert found.keys() == exact.keys()
    return all(
        value == exact[name]
        if not name.startswith("p") or value is None or exact[name] is None
        else abs(value - exact[name]) <= exact[name] * (RELATIVE_ERROR + 1e-12)
        for name, value in found.items()
    )


def test_rows_and_totals_are_what_scanning_every_event_says(api: Api) -> None:
    @settings(max_examples=4 * EXAMPLES)
    @given(LOGS, questions())
    def law(log: list[Event], asked: Asked) -> None:
        api.holds(log)
        answer = api.ask(asked.params)
        start_ms, end_ms = instants(asked)
        assert answer["range"] == {"from": iso(start_ms), "to": iso(max(start_ms, end_ms))}
        found = by_key(answer["rows"], asked)
        expected = rows(present(log, asked), asked)
        if asked.granularity == "none" and not asked.group_by:
            expected = expected or {(): measured([], asked.measures)}
        assert found.keys() == expected.keys()
        for key, row in expected.items():
            assert agree(found[key], row), (key, found[key], row)
        whole = rows(log, replace(asked, granularity="none", group_by=()))
        assert agree(answer["totals"], whole.get((), measured([], asked.measures)))
        # Few chats are exact, and said to be; a percentile is never.
        assert answer["estimates"] == {
            name: RELATIVE_ERROR for name in asked.measures if name.startswith("p")
        }

    law()


def test_the_other_row_is_all_events_of_the_groups_beyond_the_limit(api: Api) -> None:
    @settings(max_examples=EXAMPLES // 2)
    @given(LOGS, questions(["none"]).filter(lambda asked: bool(asked.group_by)), st.integers(1, 3))
    def law(log: list[Event], asked: Asked, limit: int) -> None:
        api.holds(log)
        everything = by_key(api.ask(asked.params)["rows"], asked)
        limited = api.ask(asked.params | {"limit": limit})
        assert limited["totals"] == api.ask(asked.params)["totals"]
        own = {
            tuple(row[name] for name in asked.group_by): row
            for row in limited["rows"]
            if not row["other"]
        }
        assert len(own) <= limit
        others = [row for row in limited["rows"] if row["other"]]
        rest = [e for e in log if tuple(getattr(e, name) for name in asked.group_by) not in own]
        expected = rows(rest, replace(asked, group_by=())).get((), measured([], asked.measures))
        if not others:
            assert everything.keys() <= own.keys()
            return
        (other,) = others
        assert agree({name: other[name] for name in asked.measures}, expected)

    law()


def test_running_sums_end_at_each_groups_whole_range(api: Api) -> None:
    @settings(max_examples=EXAMPLES // 2)
    @given(LOGS, questions(["1h", "1d"]))
    def law(log: list[Event], asked: Asked) -> None:
        to_ms = min(asked.to_ms, asked.from_ms + 20 * DAY_MS)
        asked = replace(asked, to_ms=to_ms)
        assume(not collapses(asked))
        api.holds(log)
        running = api.ask(asked.params | {"cumulative": "true"})["rows"]
        ended = {tuple(row[name] for name in asked.group_by): row for row in running}
        for key, whole in rows(log, replace(asked, granularity="none")).items():
            if any(value not in NOTHING for value in whole.values()):
                assert agree({name: ended[key][name] for name in asked.measures}, whole)

    law()


def test_adjacent_ranges_of_a_view_without_minutes_add_up(api: Api) -> None:
    @settings(max_examples=EXAMPLES // 2)
    @given(LOGS, questions(["none"]), st.lists(moments(), max_size=3))
    def law(log: list[Event], asked: Asked, cuts: list[int]) -> None:
        api.holds(log)
        asked = replace(
            asked,
            measures=(*SUMS, PERCENTILES[0]),
            group_by=("agent",),
            keep=(),
            drop=(),
            tiers=COARSE,
        )
        assume(not collapses(asked))
        edges = [asked.from_ms, *sorted(c for c in cuts if asked.from_ms < c < asked.to_ms)]
        cut = [
            replace(asked, from_ms=low, to_ms=high) for low, high in pairwise([*edges, asked.to_ms])
        ]
        parts = [api.ask(one.params) for one in cut if not collapses(one)]
        whole = api.ask(asked.params)
        for name in SUMS:
            added = sum(part["totals"][name] or 0 for part in parts)
            assert added == (whole["totals"][name] or 0)  # null where a cost is unknown
        assert [part["range"]["to"] for part in parts[:-1]] == [
            part["range"]["from"] for part in parts[1:]
        ]

    law()


@given(LOGS, moments(), moments())
def test_sections_of_one_answer_cover_the_same_instants_and_agree(
    log: list[Event], one_ms: int, other_ms: int
) -> None:
    from_ms, to_ms = sorted((one_ms, other_ms))
    terms = Term(EVENTS), Term(INPUT_TOKENS)
    asked = [
        Question(terms, from_ms, to_ms, NOW_MS, group_by=by)
        for by in ((), ("model",), ("user",), ("agent", "model"), ("user", "agent"))
    ]
    by_agent = Question((*terms, Term(LATENCY)), from_ms, to_ms, NOW_MS, group_by=("agent",))
    together = plans([*asked, by_agent])
    assert {tiers_kept(plan.view, plan.question.terms) for plan in together} == {TIERS, COARSE}
    assert len({(plan.start_ms, plan.end_ms) for plan in together}) == 1
    found = read_pure(pack(log, now_ms=NOW_MS), "acme", together)
    (whole,) = found[0]
    for section in found[1:]:
        assert tuple(sum(row.values[n] for row in section) for n in range(2)) == whole.values


@pytest.mark.parametrize("granularity", ["1m", "5m"])
def test_a_granularity_finer_than_the_views_is_refused_with_what_helps(
    api: Api, granularity: str
) -> None:
    api.holds([Event(NOW_MS - HOUR_MS)])
    by_agent = {"group_by": "agent", "from": "now-1h", "measures": PERCENTILES[0]}
    refused = api.get(by_agent | {"granularity": granularity})
    assert refused.status_code == 400
    problem = refused.json()
    assert problem["parameter"] == "granularity"
    assert "15m" in problem["detail"]
    assert granularity not in problem["allowed"]
    assert "15m" in problem["allowed"]
    for allowed in problem["allowed"]:
        assert api.get(by_agent | {"granularity": allowed}).status_code == 200
    assert api.ask(by_agent | {"granularity": "auto"})["granularity"] == "15m"
    assert api.ask(by_agent | {"granularity": "auto", "measures": "events"})["granularity"] == "1m"


# -- retention -------------------------------------------------------------------------------------


@given(moments(), st.integers(0, 2 * DAY.kept_ms), st.sampled_from([TIERS, COARSE]))
def test_what_may_be_read_has_not_expired(
    at_ms: int, length_ms: int, tiers: tuple[Tier, ...]
) -> None:
    for step_ms in (MINUTE_MS, 15 * MINUTE_MS, DAY_MS):
        start_ms = ceil_to(at_ms, DAY_MS)
        for span in cover(start_ms, ceil_to(start_ms + length_ms, DAY_MS), NOW_MS, step_ms, tiers):
            for chunk in chunks_of(span):
                expires_ms = (chunk + 1) * span.tier.chunk_ms + page_kept_ms(span.tier)
                assert expires_ms > NOW_MS + HOUR_MS  # also for a reader whose clock is late


def test_expiry_takes_whole_chunks_and_nothing_that_can_be_asked_for(api: Api) -> None:
    @settings(max_examples=EXAMPLES // 2)
    @given(LOGS, questions())
    def law(log: list[Event], asked: Asked) -> None:
        everything, left = (
            pack(log, now_ms=now_ms, closed=closed_at(NOW_MS)) for now_ms in (0, NOW_MS)
        )
        assert left.texts.items() <= everything.texts.items()
        api.holds(log)
        after = api.ask(asked.params)
        api.holds(log, expired_by_ms=0)
        before = api.ask(asked.params)
        for answer in (before, after):
            del answer["generation"]
        assert before == after

    law()


def test_an_event_is_written_to_a_tier_for_as_long_as_that_may_be_read() -> None:
    for tier, coarser in pairwise(TIERS):
        edge_ms = kept_from(tier, coarser, NOW_MS)
        assert finest_written(NOW_MS - edge_ms) <= TIERS.index(tier)
