"""The laws of pages, conditions and wide answers, through HTTP on a real Valkey."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.limits import DAY_MS, HOUR_MS
from tests.api.counters import Event
from tests.api.usage.law import NOW_MS, Api, api_on

EXAMPLES = 30
FROM_MS = NOW_MS - 5 * DAY_MS
RANGE = {"from": FROM_MS, "to": NOW_MS}
MEASURES = "requests,input_tokens,cost_usd,avg_latency_ms"
LOGS = st.lists(
    st.builds(
        Event,
        at_ms=st.integers(0, 100).map(lambda hours: NOW_MS - HOUR_MS * (1 + hours)),
        provider=st.sampled_from(["openai", "", "é,*"]),
        model=st.sampled_from(["a", "b", "c", "d", "e"]),
        agent=st.just("support"),
        kind=st.sampled_from(["llm", "llm", "tts", "chat"]),
        input_tokens=st.integers(0, 3),
        cost_nano_usd=st.sampled_from([None, 0, 10**9, 1]),
        latency_ms=st.sampled_from([None, 0, 7]),
    ),
    max_size=30,
)
ORDERS = st.sampled_from(
    ["", "-requests", "requests", "-cost_usd", "cost_usd", "avg_latency_ms,-provider", "model", "-input_tokens,model"]
)  # fmt: skip
COMPARES: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge, "<=": operator.le, "<": operator.lt, ">": operator.gt,
    "=": operator.eq, "!=": operator.ne,
}  # fmt: skip
CONDITIONS = st.lists(
    st.tuples(
        st.sampled_from(["requests", "events", "cost_usd", "avg_latency_ms", "errors", "users"]),
        st.sampled_from([*COMPARES]),
        st.sampled_from(["0", "1", "2.5", "0.000000001"]),
    ),
    max_size=2,
)
STEPS = st.sampled_from(["none", "none", "1d"])


@pytest.fixture
def api(redis_url: str) -> Iterator[Api]:
    yield from api_on(redis_url)


def params(order: str = "", having: list[tuple[str, str, str]] = [], **more: Any) -> dict[str, Any]:  # noqa: B006
    ordered = {"order_by": order} if order else {}
    conditions = {"having": ["".join(one) for one in having]} if having else {}
    named = {"measures": MEASURES, "group_by": "provider,model"}
    return {**RANGE, **named, **ordered, **conditions, **more}


def group_of(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["provider"], row["model"]


def groups_in(answer: dict[str, Any]) -> list[tuple[Any, ...]]:
    found = (group_of(row) for row in answer["rows"] if not row.get("other"))
    return [*dict.fromkeys(found)]


def added(rows: list[dict[str, Any]]) -> dict[str, int]:
    return {name: sum(row[name] or 0 for row in rows) for name in ("requests", "input_tokens")}


def test_pages_have_every_group_once_and_in_order(api: Api) -> None:
    @settings(max_examples=EXAMPLES, deadline=None)
    @given(LOGS, ORDERS, CONDITIONS, st.integers(1, 4), STEPS)
    def law(
        log: list[Event], order: str, having: list[tuple[str, str, str]], limit: int, step: str
    ) -> None:
        api.holds(log)
        whole = api.ask(params(order, having))
        expected = groups_in(whole)
        found: list[tuple[Any, ...]] = []
        cursor: dict[str, str] = {}
        while True:
            page = api.ask(params(order, having, limit=limit, granularity=step, **cursor))
            assert page["groups"] == len(expected) == whole["groups"]
            assert page["totals"] == whole["totals"]
            assert added(page["rows"]) == added([page["totals"]])
            assert page.get("is_changed") == (False if cursor else None)
            shown = groups_in(page)
            assert len(shown) <= limit
            found += shown if step == "none" else sorted(shown, key=expected.index)
            if page["next_cursor"] is None:
                break
            assert len(shown) == limit
            cursor = {"cursor": page["next_cursor"]}
        assert found == expected

    law()


def test_a_group_is_shown_if_all_conditions_hold(api: Api) -> None:
    @settings(max_examples=EXAMPLES, deadline=None)
    @given(LOGS, CONDITIONS)
    def law(log: list[Event], having: list[tuple[str, str, str]]) -> None:
        api.holds(log)
        measured = ",".join(dict.fromkeys([*MEASURES.split(","), "events", "errors", "users"]))
        everything = api.ask(params(measures=measured))
        expected = {
            group_of(row)
            for row in everything["rows"]
            if all(
                row[name] is not None and COMPARES[sign](row[name], float(number))
                for name, sign, number in having
            )
        }
        answer = api.ask(params("", having))
        assert {*groups_in(answer)} == expected
        assert answer["totals"] == {
            name: everything["totals"][name] for name in MEASURES.split(",")
        }
        assert added(answer["rows"]) == added([answer["totals"]])

    law()


def test_a_wide_series_has_the_numbers_of_the_long_one(api: Api) -> None:
    @settings(max_examples=EXAMPLES, deadline=None)
    @given(
        LOGS,
        ORDERS,
        st.sampled_from(["requests", "requests,cost_usd"]),
        st.sampled_from([{}, {"limit": 2}, {"having": "requests>1"}]),
        st.sampled_from(["none", "zero", "null"]),
        st.sampled_from([{}, {"compare": "previous"}]),
    )
    def law(
        log: list[Event],
        order: str,
        measures: str,
        cut: dict[str, Any],
        fill: str,
        compare: dict[str, str],
    ) -> None:
        api.holds(log)
        names = measures.split(",")
        ordered = {"order_by": order} if order.strip("-") in {"", "model", *names} else {}
        asked = params(measures=measures, granularity="1d", fill=fill) | ordered | cut | compare
        long, wide = api.ask(asked), api.ask(asked | {"layout": "wide"})
        assert [long[name] for name in ("totals", "groups")] == [
            wide[name] for name in ("totals", "groups")
        ]
        columns = {
            (one["group"] and group_of(one["group"]), one["measure"]): one["name"]
            for one in wide["columns"]
        }
        assert len({*columns.values()}) == len(wide["columns"]) == len(columns)
        pairs = [(long, wide)] + ([(long["previous"], wide["previous"])] if compare else [])
        for of_long, of_wide in pairs:
            cells = {
                (row["time"], columns[None if row.get("other") else group_of(row), name]): row[name]
                for row in of_long["rows"]
                for name in names
            }
            times = [row["time"] for row in of_wide["rows"]]
            assert times == [*dict.fromkeys(row["time"] for row in of_long["rows"])]
            for row in of_wide["rows"]:
                assert [*row] == ["time", *columns.values(), "partial"]
                for name in columns.values():
                    assert row[name] == cells.get((row["time"], name))

    law()
