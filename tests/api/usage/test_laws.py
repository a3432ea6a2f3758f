"""The laws of `/v1/usage`, through HTTP on a real Valkey, against the oracle that keeps every event."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schemas.limits import COST_NANO_USD_MAX, COUNT_MAX, DAY_MS
from schemas.tiers import DAY, HOUR, MINUTE, QUARTER, ceil_to, kept_from
from tests.api.counters import Event
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
from tests.oracles.usage_oracle import MEASURES, Asked, collapses, rows, sums


@pytest.fixture
def api(redis_url: str) -> Iterator[Api]:
    yield from api_on(redis_url)


@st.composite
def events(draw: st.DrawFn) -> Event:
    return Event(
        at_ms=draw(moments()),
        provider=draw(st.sampled_from(["openai", "anthropic", "", "é,*"])),
        model=draw(st.sampled_from(["gpt-4o", "gpt-5", "claude", "o3"])),
        agent=draw(st.sampled_from(["support", "sales", ""])),
        kind=draw(st.sampled_from(["llm", "llm", "tts", "chat"])),
        tenant=draw(st.sampled_from(["acme", "acme", "acme", "other"])),
        input_tokens=draw(st.integers(0, COUNT_MAX)),
        output_tokens=draw(st.integers(0, COUNT_MAX)),
        cost_nano_usd=draw(st.none() | st.integers(0, COST_NANO_USD_MAX)),
        latency_ms=draw(st.none() | st.integers(0, 10**6)),
    )


LOGS = st.lists(events(), max_size=40)
GROUPS = st.sampled_from(
    [(), ("model",), ("provider", "model"), ("agent",), ("agent", "model"), ("kind",)]
)
GRANULARITIES = (
    "none", "1m", "5m", "10m", "15m", "30m", "1h", "3h", "6h", "12h", "1d", "1w", "1mo", "1q", "1y",
)  # fmt: skip
FILTERS = st.sampled_from(
    [
        ("model", "gpt-*"),
        ("model", "o3"),
        ("provider", ""),
        ("provider", "é\\,\\*"),
        ("agent", "s*"),
    ]
)


@st.composite
def ranges(draw: st.DrawFn, zone: object = None, oldest_ms: int = 0) -> tuple[int, int]:
    """Bounds; of a zone other than UTC inside of what makes up its days."""
    if zone is not None:
        tier = QUARTER if zone in ZONES_OF_QUARTERS else HOUR
        oldest_ms = max(oldest_ms, kept_from(tier, DAY, NOW_MS))
    oldest_ms = max(oldest_ms, NOW_MS - DAY.kept_ms + DAY_MS)
    from_ms, to_ms = sorted([draw(moments(oldest_ms)), draw(moments(oldest_ms))])
    assume(not collapses(Asked(from_ms, to_ms, NOW_MS)))
    return from_ms, to_ms


@st.composite
def questions(draw: st.DrawFn) -> Asked:
    name = draw(st.sampled_from(ZONES))
    granularity = draw(st.sampled_from(GRANULARITIES))
    oldest_ms = dict.fromkeys(("1m", "5m", "10m"), kept_from(MINUTE, QUARTER, NOW_MS))
    oldest_ms |= dict.fromkeys(("15m", "30m"), kept_from(QUARTER, DAY, NOW_MS))
    oldest_ms |= dict.fromkeys(("1h", "3h", "6h", "12h"), kept_from(HOUR, DAY, NOW_MS))
    from_ms, to_ms = draw(ranges(name, oldest_ms.get(granularity, 0)))
    if granularity == "15m":
        to_ms = min(to_ms, from_ms + 60 * DAY_MS)
    keep = draw(st.lists(FILTERS, max_size=2, unique=True))
    drop = draw(st.lists(FILTERS, max_size=1))
    return Asked(
        from_ms,
        to_ms,
        NOW_MS,
        granularity,
        ZoneInfo(name) if name else None,
        draw(GROUPS),
        tuple(keep),
        tuple(drop),
        sunday=draw(st.booleans()),
    )


def unescaped(asked: Asked) -> Asked:
    """Filters as the oracle takes them: it has no escapes, and a value with a star at its end."""
    keep, drop = (
        tuple((name, "é,?" if "\\" in value else value) for name, value in pairs)
        for pairs in (asked.keep, asked.drop)
    )
    return replace(asked, keep=keep, drop=drop)


def judged(log: list[Event], asked: Asked) -> dict[tuple[str, ...], dict[str, Any]]:
    """The oracle's rows; the provider with a comma and a star has another name for it."""
    renamed = [replace(e, provider="é,?") if e.provider == "é,*" else e for e in log]
    place = asked.group_by.index("provider") if "provider" in asked.group_by else -1
    found = {}
    for key, row in rows(renamed, unescaped(asked)).items():
        at = place + (asked.granularity != "none")
        named = ("é,*" if place >= 0 and n == at and v == "é,?" else v for n, v in enumerate(key))
        found[tuple(named)] = row
    return found


def added(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Of the measures that are integers."""
    return {name: sum(part[name] or 0 for part in parts) for name in ("requests", "input_tokens")}


def test_rows_are_what_scanning_every_event_says(api: Api) -> None:
    @settings(max_examples=4 * EXAMPLES, deadline=None)
    @given(LOGS, questions())
    def law(log: list[Event], asked: Asked) -> None:
        api.holds(log)
        answer = api.ask(asked.params)
        expected = judged(log, asked)
        if asked.granularity == "none" and not asked.group_by:
            expected = expected or {(): sums([])}
        assert by_key(answer["rows"], asked) == expected
        whole = replace(asked, granularity="none", group_by=())
        assert answer["totals"] == judged(log, whole).get((), sums([]))

    law()


def test_adjacent_ranges_add_up(api: Api) -> None:
    @settings(max_examples=EXAMPLES, deadline=None)
    @given(LOGS, questions(), st.lists(moments(), max_size=3))
    def law(log: list[Event], asked: Asked, cuts: list[int]) -> None:
        api.holds(log)
        asked = replace(asked, granularity="none", group_by=(), zone=None)
        inside = [cut for cut in cuts if asked.from_ms <= cut <= asked.to_ms]
        edges = sorted([asked.from_ms, *inside, asked.to_ms])
        cut = [replace(asked, from_ms=low, to_ms=high) for low, high in pairwise(edges)]
        parts = [api.ask(one.params) for one in cut if not collapses(one)]
        whole = api.ask(asked.params)
        assert added([part["totals"] for part in parts]) == added([whole["totals"]])
        assert [part["range"]["to"] for part in parts[:-1]] == [
            part["range"]["from"] for part in parts[1:]
        ]

    law()


def test_breakdowns_and_series_sum_to_the_total(api: Api) -> None:
    @settings(max_examples=EXAMPLES, deadline=None)
    @given(LOGS, ranges(oldest_ms=kept_from(MINUTE, QUARTER, NOW_MS)), GROUPS)
    def law(log: list[Event], bounds: tuple[int, int], group_by: tuple[str, ...]) -> None:
        api.holds(log)
        asked = Asked(*bounds, NOW_MS)
        whole = added([api.ask(asked.params)["totals"]])
        for granularity in ("none", "1m", "30m", "6h", "1d", "1q", "auto"):
            for by in ((), group_by):
                answer = api.ask(replace(asked, granularity=granularity, group_by=by).params)
                assert added(answer["rows"]) == whole == added([answer["totals"]])

    law()


def test_filters_partition(api: Api) -> None:
    @settings(max_examples=EXAMPLES, deadline=None)
    @given(LOGS, questions(), FILTERS)
    def law(log: list[Event], asked: Asked, by: tuple[str, str]) -> None:
        api.holds(log)
        # Several of one dimension are one filter, which passes or excludes any of them.
        asked = replace(asked, keep=tuple(p for p in asked.keep if p[0] != by[0]), drop=())
        parts = [
            api.ask(replace(asked, keep=(*asked.keep, by)).params)["totals"],
            api.ask(replace(asked, drop=(by,)).params)["totals"],
        ]
        assert added(parts) == added([api.ask(asked.params)["totals"]])

    law()


def test_the_first_groups_and_the_other_row_are_the_whole(api: Api) -> None:
    @settings(max_examples=EXAMPLES, deadline=None)
    @given(
        LOGS,
        ranges(oldest_ms=kept_from(QUARTER, DAY, NOW_MS)),
        st.integers(1, 5),
        st.sampled_from(["none", "1d"]),
        st.sampled_from(MEASURES),
    )
    def law(
        log: list[Event], bounds: tuple[int, int], limit: int, granularity: str, by: str
    ) -> None:
        api.holds(log)
        asked = Asked(*bounds, NOW_MS, granularity, None, ("provider", "model"))
        everything = api.ask(asked.params | {"order_by": f"-{by}"})
        limited = api.ask(asked.params | {"order_by": f"-{by}", "limit": limit})
        assert added(limited["rows"]) == added(everything["rows"])
        assert limited["totals"] == everything["totals"]
        kept = {(row["provider"], row["model"]) for row in limited["rows"] if not row["other"]}
        ranked = api.ask(replace(asked, granularity="none").params | {"order_by": f"-{by}"})["rows"]
        assert kept == {(row["provider"], row["model"]) for row in ranked[:limit]}
        values = [row[by] for row in ranked]
        measured = [value for value in values if value is not None]
        assert values == sorted(measured, reverse=True) + [None] * (len(values) - len(measured))
        if granularity == "none" and len(ranked) > limit:
            other = limited["rows"][-1]
            assert other.pop("other") is True
            assert (other.pop("provider"), other.pop("model")) == (None, None)
            rest = {(row["provider"], row["model"]) for row in ranked[limit:]}
            from_ms, to_ms = bounds
            own = [e for e in log if (e.provider, e.model) in rest and e.tenant == "acme"]
            assert other == rows(own, Asked(from_ms, to_ms, NOW_MS))[()]

    law()


def test_a_running_sum_ends_at_the_total_and_filling_adds_nothing(api: Api) -> None:
    @settings(max_examples=EXAMPLES, deadline=None)
    @given(
        LOGS,
        ranges(oldest_ms=ceil_to(NOW_MS - 80 * DAY_MS, DAY_MS)),
        st.sampled_from(ZONES),
        GROUPS,
    )
    def law(
        log: list[Event], bounds: tuple[int, int], zone: str | None, group_by: tuple[str, ...]
    ) -> None:
        api.holds(log)
        asked = Asked(*bounds, NOW_MS, "1d", ZoneInfo(zone) if zone else None, group_by)
        plain = api.ask(asked.params)["rows"]
        filled = api.ask(asked.params | {"fill": "zero"})
        assert [row for row in filled["rows"] if row in plain] == plain
        times = [row["time"] for row in filled["rows"]]
        assert times == sorted(times, key=lambda text: text[:10])
        assert added(filled["rows"]) == added(plain)
        nulls = api.ask(asked.params | {"fill": "null"})["rows"]
        assert len(nulls) == len(filled["rows"])
        assert [row for row in nulls if row["requests"] is not None] == plain
        running = api.ask(asked.params | {"fill": "zero", "cumulative": "true"})["rows"]
        last = {tuple(row[name] for name in group_by): row for row in running}
        groups = api.ask(replace(asked, granularity="none").params)["rows"]
        if running:
            for row in groups:
                ended = last[tuple(row[name] for name in group_by)]
                assert {name: ended[name] for name in MEASURES} == {
                    name: row[name] for name in MEASURES
                }

    law()
