"""The laws of the query engine, on the pure core, against the oracle that keeps every event."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.agentlens import analytics
from api.agentlens.analytics import GRANULARITIES, MEASURES, plans_for
from api.errors import UnanswerableQuestion
from api.query.plan import Question, Term, plan
from api.query.selection import PAGES_MAX, select
from api.query.series_index import Filter, empty_index, extended
from api.query.sums import Row, summed
from api.query.time_buckets import WEEKLY
from api.store.reader import Reading
from schemas.catalog.measures import CALLS, EVENTS, INPUT_TOKENS
from schemas.catalog.views import AGENT_MODEL, MODEL, TOTAL
from schemas.errors import StoreCorrupt
from schemas.limits import COST_NANO_USD_MAX, COUNT_MAX, DAY_MS, HOUR_MS, MINUTE_MS
from schemas.responses.agentlens import LlmAnalytics
from schemas.store.layout import SLOT_BUCKETS, counters_of, unpack_meta
from schemas.store.series_names import series_name
from schemas.tiers import DAY, MINUTE, floor_to
from tests.api.counters import (
    NOW_MS,
    Asked,
    Counters,
    Event,
    answer,
    name_of,
    pack,
    page_keys,
    parts_of,
    read_pure,
)

AGES_MS = st.one_of(
    st.integers(-HOUR_MS, 3 * HOUR_MS),
    st.integers(0, 3 * DAY_MS),
    st.integers(85 * DAY_MS, 95 * DAY_MS),
    st.integers(95 * DAY_MS, 402 * DAY_MS),
    st.integers(0, DAY.kept_ms),
)
"""Every tier, and the edges between them."""


@st.composite
def moments(draw: st.DrawFn) -> int:
    at_ms = NOW_MS - draw(AGES_MS)
    return at_ms - at_ms % draw(st.sampled_from([1, MINUTE_MS, HOUR_MS, DAY_MS]))


@st.composite
def events(draw: st.DrawFn) -> Event:
    at_ms = min(NOW_MS + HOUR_MS, max(NOW_MS - DAY.kept_ms + DAY_MS, draw(moments())))
    late_ms = draw(st.one_of(st.just(0), st.integers(0, max(0, NOW_MS - at_ms))))
    return Event(
        at_ms=at_ms,
        appended_ms=at_ms + late_ms,
        provider=draw(st.sampled_from(["openai", "anthropic", "", "é"])),
        model=draw(st.sampled_from(["gpt-4o", "claude", "o3"])),
        agent=draw(st.sampled_from(["support", "sales", ""])),
        kind=draw(st.sampled_from(["llm", "llm", "llm", "tts"])),
        tenant=draw(st.sampled_from(["acme", "acme", "other"])),
        input_tokens=draw(st.integers(0, COUNT_MAX)),
        output_tokens=draw(st.integers(0, COUNT_MAX)),
        cost_nano_usd=draw(st.none() | st.integers(0, COST_NANO_USD_MAX)),
        latency_ms=draw(st.none() | st.integers(0, 10**6)),
    )


@st.composite
def questions(draw: st.DrawFn) -> Asked:
    from_ms, to_ms = sorted([draw(moments()), draw(moments())])
    return Asked(
        from_ms=from_ms,
        to_ms=to_ms,
        granularity=draw(st.sampled_from(sorted(GRANULARITIES))),
        agent=draw(st.sampled_from(["", "", "support", "nobody"])),
        model=draw(st.sampled_from(["", "", "gpt-4o"])),
        provider=draw(st.sampled_from(["", "", "openai", "é"])),
    )


LOGS = st.lists(events(), max_size=40)


def body(counters: Counters, asked: Asked) -> dict[str, Any]:
    """The endpoint's body through the pure engine."""
    filters = {"agent": asked.agent, "model": asked.model, "provider": asked.provider}
    understood = analytics.LlmAnalyticsQuery(
        from_ms=asked.from_ms,
        to_ms=asked.to_ms,
        step=GRANULARITIES[asked.granularity],
        filters=tuple(
            Filter(name, frozenset((value,))) for name, value in filters.items() if value
        ),
    )
    whole, models, buckets = read_pure(counters, asked.tenant, plans_for(understood, asked.now_ms))
    found = analytics.body_from(whole, models, buckets)
    LlmAnalytics.model_validate(found)
    return found


def sums(section: dict[str, Any]) -> tuple[int, ...]:
    return tuple(section[name] for name in ("calls", "inputTokens", "outputTokens"))


def total(sections: list[dict[str, Any]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*[sums(section) for section in sections], strict=True))) or (0, 0, 0)


def summary(counters: Counters, asked: Asked) -> tuple[int, ...]:
    whole = body(counters, asked)["summary"]
    return whole["totalCalls"], whole["totalInputTokens"], whole["totalOutputTokens"]


@settings(max_examples=300, deadline=None)
@given(LOGS, questions())
def test_an_answer_is_what_scanning_every_event_says(log: list[Event], asked: Asked) -> None:
    assert body(pack(log), asked) == answer(log, asked)


@settings(max_examples=300, deadline=None)
@given(LOGS, questions(), st.integers(0, 402))
def test_before_the_first_hours_an_answer_is_made_of_longer_buckets(
    log: list[Event], asked: Asked, days: int
) -> None:
    """No day counts as a part of itself, and adjacent ranges still add up."""
    hours_from_ms = floor_to(NOW_MS - days * DAY_MS, DAY_MS)
    asked = replace(asked, hours_from_ms=hours_from_ms)
    assert body(pack(log, hours_from_ms=hours_from_ms), asked) == answer(log, asked)


@settings(max_examples=100, deadline=None)
@given(LOGS, moments(), moments(), st.lists(moments(), max_size=4))
def test_adjacent_ranges_add_up(log: list[Event], one: int, other: int, cuts: list[int]) -> None:
    from_ms, to_ms = sorted((one, other))
    counters = pack(log)
    edges = sorted([from_ms, *(cut for cut in cuts if from_ms <= cut <= to_ms), to_ms])
    parts = [counted(counters, *part) for part in pairwise(edges)]
    assert sum(parts) == counted(counters, from_ms, to_ms)


def counted(counters: Counters, from_ms: int, to_ms: int) -> int:
    """The events of a range by the rule of the native API: bounds move to buckets, whatever is left."""
    question = Question((Term(EVENTS),), from_ms, to_ms, NOW_MS)
    rows = read_pure(counters, "acme", [plan(question)])[0]
    return rows[0].values[0] if rows else 0


@settings(max_examples=100, deadline=None)
@given(LOGS, questions(), st.lists(moments(), max_size=4))
def test_adjacent_ranges_of_whole_buckets_add_up(
    log: list[Event], asked: Asked, cuts: list[int]
) -> None:
    counters = pack(log)
    parts = [
        summary(counters, replace(asked, from_ms=start_ms, to_ms=end_ms))
        for start_ms, end_ms in parts_of(asked.from_ms, asked.to_ms, cuts)
    ]
    assert tuple(map(sum, zip(*parts, strict=True))) == summary(counters, asked)


@settings(max_examples=100, deadline=None)
@given(LOGS, questions())
def test_summary_is_the_sum_of_models_and_of_every_series(log: list[Event], asked: Asked) -> None:
    counters = pack(log)
    whole = summary(counters, asked)
    for granularity in GRANULARITIES:
        sections = body(counters, replace(asked, granularity=granularity))
        assert total(sections["byModel"]) == whole
        assert total(sections["byTime"]) == whole


@settings(max_examples=100, deadline=None)
@given(LOGS, questions())
def test_filters_partition(log: list[Event], asked: Asked) -> None:
    counters = pack([replace(event, agent=event.agent or "none") for event in log])
    everyone = replace(asked, agent="")
    parts = [
        summary(counters, replace(asked, agent=agent)) for agent in ("support", "sales", "none")
    ]
    assert tuple(map(sum, zip(*parts, strict=True))) == summary(counters, everyone)


@settings(max_examples=100, deadline=None)
@given(LOGS, st.integers(1, 60), st.integers(0, 13), st.sampled_from(["hour", "day"]))
def test_a_coarser_series_is_the_finer_one_added_up(
    log: list[Event], days: int, ago: int, finer: str
) -> None:
    counters = pack(log)
    to_ms = NOW_MS - ago * DAY_MS
    asked = Asked(to_ms - days * DAY_MS, to_ms, granularity=finer)
    coarser = {"hour": "day", "day": "week"}[finer]
    fine, coarse = (
        body(counters, replace(asked, granularity=granularity))["byTime"]
        for granularity in (finer, coarser)
    )
    added: dict[str, list[dict[str, Any]]] = {}
    for section in fine:
        day = date.fromisoformat(section["bucket"][:10])
        if coarser == "week":
            day -= timedelta(days=day.weekday())
        added.setdefault(f"{day}T00:00:00Z", []).append(section)
    assert {name: total(sections) for name, sections in added.items()} == {
        section["bucket"]: sums(section) for section in coarse
    }


COUNTER = st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 5)
PLACES = (0, 1, MODEL.page_series)
"""Of three models: two share a page."""


@given(st.lists(st.tuples(st.sampled_from(PLACES), COUNTER, COUNTER), max_size=20), st.data())
def test_sums_are_exact_beyond_64_bits_whole_or_as_pages_grow(
    rows: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    """Three models, all in one minute; what is appended is added, in any steps."""
    table = MODEL.tables["llm"]
    each = [name_of(table, "openai", f"m{n}").encode() for n in range(max(PLACES) + 1)]
    names = extended(empty_index(table), each)
    terms = (Term(EVENTS), Term(INPUT_TOKENS))
    end_ms = NOW_MS - NOW_MS % MINUTE_MS
    for group_by in ((), ("model",)):
        asked = Question(
            terms,
            end_ms - MINUTE_MS,
            end_ms,
            NOW_MS,
            (only("kind", "llm"),),
            ("provider", *group_by),
        )
        selection = select(plan(asked), [names], 1, 0)
        (page_set,) = selection.page_sets
        bucket = (end_ms - MINUTE_MS) % HOUR_MS // MINUTE_MS
        columns = [table.measures.index(term.measure) for term in terms]

        def pages(some: list[tuple[int, int, int]]) -> list[list[bytes | None]]:
            found = [b""] * len(page_set.keys)  # noqa: B023
            for model, *values in some:
                page_kind = counters_of(table)
                row = np.zeros(1, page_kind.dtype)
                page, place = divmod(model, MODEL.page_series)
                row["slot"] = place * SLOT_BUCKETS + bucket  # noqa: B023
                row["values"][0, columns] = values  # noqa: B023
                found[page] += page_kind.packed(row)
            return [[one or None for one in found]]

        cuts = sorted(data.draw(st.sets(st.integers(0, len(rows)), max_size=3)) | {0, len(rows)})
        first, *later = [rows[start:end] for start, end in pairwise([0, *cuts])]
        in_steps = summed(selection, pages(first))
        for more in later:
            in_steps = in_steps.plus(pages(more))
        expected: dict[tuple[str, ...], tuple[int, int]] = {}
        for model, one, two in rows:
            group = ("openai", *([f"m{model}"] if group_by else []))
            before = expected.get(group, (0, 0))
            expected[group] = before[0] + one, before[1] + two
        for sums in (summed(selection, pages(rows)), in_steps):
            found = {row.group: row.values for row in sums.rows}
            assert found == {group: two for group, two in expected.items() if any(two)}
            assert sums.totals == tuple(sum(one[n] for one in expected.values()) for n in (0, 1))


@given(st.lists(st.lists(st.text(max_size=3), min_size=6, max_size=6), max_size=20), st.data())
def test_names_grow_in_any_steps_to_the_same(rows: list[list[str]], data: st.DataObject) -> None:
    table = AGENT_MODEL.tables["llm"]
    raw = [series_name(row).encode() for row in rows]
    cut = data.draw(st.integers(0, len(raw)))
    names = extended(extended(empty_index(table), raw[:cut]), raw[cut:])
    for place, dimension in enumerate(table.dimensions):
        column = names.column(dimension)
        assert [column.words[code] for code in column.codes] == [row[place] for row in rows]
        assert len(set(column.words)) == len(column.words)


def only(dimension: str, *values: str) -> Filter:
    return Filter(dimension, frozenset(values))


def question(**changes: Any) -> Question:
    measures = changes.pop("measures", MEASURES)
    defaults: dict[str, Any] = {
        "terms": tuple(Term(measure) for measure in measures),
        "from_ms": NOW_MS - DAY_MS,
        "to_ms": NOW_MS,
        "now_ms": NOW_MS,
        "filters": (only("kind", "llm"),),
    }
    return Question(**(defaults | changes))


@pytest.mark.parametrize(
    ("changes", "view"),
    [
        ({}, "total"),
        ({"measures": (CALLS,)}, "total"),
        ({"group_by": ("provider", "model")}, "model"),
        ({"filters": (only("provider", "openai"),)}, "model"),
        ({"filters": (only("agent", "support"),)}, "agent"),
        ({"group_by": ("agent",), "measures": (CALLS, EVENTS)}, "agent"),
        ({"group_by": ("model",), "filters": (only("agent", "support"),)}, "agent_model"),
    ],
)
def test_the_cheapest_view_that_holds_it_answers(changes: dict[str, Any], view: str) -> None:
    assert plan(question(**changes)).view.name == view


@pytest.mark.parametrize(
    "changes",
    [{"group_by": ("weather",)}, {"group_by": ("model",), "measures": (CALLS,)}],
)
def test_a_question_that_no_view_holds_names_the_views(changes: dict[str, Any]) -> None:
    with pytest.raises(
        UnanswerableQuestion,
        match=r"total \(kind\); service \(kind, service\); model \(kind, provider",
    ) as raised:
        plan(question(**changes))
    assert changes["group_by"][0] in str(raised.value)


def test_too_many_pages_for_one_read_are_refused() -> None:
    table = AGENT_MODEL.tables["llm"]
    raw = [name_of(table, f"agent-{n}", "openai", "gpt").encode() for n in range(500)]
    wide = plan(question(group_by=("agent", "model"), from_ms=0, step=None))
    weekly = plan(question(group_by=("agent", "model"), from_ms=0, step=WEEKLY))
    names = extended(empty_index(table), raw)
    selections = [select(one, [names], 1, 0) for one in (wide, weekly)]
    assert page_keys(selections[:1]) == page_keys(selections)
    many = extended(names, raw * (2 * PAGES_MAX // len(raw)))
    with pytest.raises(UnanswerableQuestion, match="shorter range"):
        select(wide, [many], 1, 0)


def test_a_page_cut_short_is_an_error_and_never_a_smaller_sum() -> None:
    counters = pack([Event(NOW_MS - HOUR_MS)])
    for key, text in counters.texts.items():
        if f":p{TOTAL.tables['llm'].id}.{MINUTE.id}." in key:
            counters.texts[key] = text[:-1]
    with pytest.raises(StoreCorrupt):
        body(counters, Asked(NOW_MS - HOUR_MS - MINUTE_MS, NOW_MS - HOUR_MS + MINUTE_MS))


@pytest.mark.parametrize("name", [b"", b"{}", b'["llm"', b"[3]", b'["llm","a"]'])
def test_a_name_that_is_not_of_its_view_is_an_error(name: bytes) -> None:
    with pytest.raises(StoreCorrupt):
        extended(empty_index(TOTAL.tables["llm"]), [name])


def test_several_series_in_a_page_are_told_apart() -> None:
    log = [Event(NOW_MS - n * HOUR_MS, user=f"u{n % 70}", input_tokens=n) for n in range(200)]
    terms = (Term(EVENTS), Term(INPUT_TOKENS))
    asked = Question(terms, NOW_MS - 30 * DAY_MS, NOW_MS, NOW_MS, group_by=("user",))
    (rows,) = read_pure(pack(log), "acme", [plan(asked)])
    for user in {event.user for event in log}:
        own = [event.input_tokens for event in log if event.user == user]
        assert Row((user,), 0, (len(own), sum(own))) in rows


def test_a_reading_gives_the_body_of_its_own_pages() -> None:
    counters = pack([])
    meta = unpack_meta(counters.texts["{od0}:1:meta"])
    plans = plans_for(analytics.LlmAnalyticsQuery(0, NOW_MS, WEEKLY, ()), NOW_MS)
    selections = tuple(select(p, [empty_index(t) for t in p.tables], 1, 0) for p in plans)
    sums = tuple(summed(one, [[None] * len(w.keys) for w in one.page_sets]) for one in selections)
    empty, _ = analytics.shaped(Reading(sums, meta, 1))
    body_of_nothing = LlmAnalytics.model_validate_json(empty)
    assert body_of_nothing.summary.total_calls == 0
    assert body_of_nothing.by_model == []
    assert body_of_nothing.by_time == []
