"""`/v1` over a real Valkey: forms, errors, limits, cheap polling, and its description of itself."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
from datetime import UTC
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import msgspec
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator

from api.app.compression import INGEST_PATHS
from api.app.openapi import document
from api.errors import BadParameter
from api.http.singleflight import Singleflight
from api.query.measures import DERIVED, offered_by
from api.query.time_buckets import DAILY, starts_of
from api.query.time_range import PERIODS, parse_range
from api.usage.endpoints import BODY_BYTES_MAX
from api.usage.filters import VALUES_MAX, split_values
from api.usage.groups.person_dimensions import person_dimensions
from api.usage.openapi import EXAMPLE, PROBLEM_EXAMPLE
from api.usage.parameters import PARAMETERS, parse
from api.usage.render import FORMULA_STARTS, accepted
from schemas.catalog.views import DEFAULT, VIEWS
from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.responses.usage import MeasuresAnswer, Problem, UsageAnswer, ValuesAnswer, ViewsAnswer
from schemas.units import iso
from tests.api.agentlens.test_endpoints import MONTH
from tests.api.conftest import Clock
from tests.api.counters import NOW_MS, Event, pack
from tests.api.usage.asking import PATH, ask


async def refused(client: httpx.AsyncClient, query: str, status: int = 400) -> dict[str, Any]:
    response = await client.get(f"{PATH}?{query}")
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    Problem.model_validate_json(response.content)
    found: dict[str, Any] = response.json()
    assert found["status"] == status
    return found


# -- the question ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "covered"),
    [
        ({}, ("2026-02-07T12:03:00Z", "2026-02-08T12:03:00Z")),
        ({"from": "now-36h"}, ("2026-02-07T00:03:00Z", "2026-02-08T12:03:00Z")),
        ({"from": "today"}, ("2026-02-08T00:00:00Z", "2026-02-08T12:03:00Z")),
        ({"from": "yesterday"}, ("2026-02-07T00:00:00Z", "2026-02-08T00:00:00Z")),
        ({"from": "yesterday", "to": "now-1h"}, ("2026-02-07T00:00:00Z", "2026-02-08T11:03:00Z")),
        ({"from": "this_week"}, ("2026-02-02T00:00:00Z", "2026-02-08T12:03:00Z")),
        ({"from": "this_month"}, ("2026-02-01T00:00:00Z", "2026-02-08T12:03:00Z")),
        ({"from": "last_month"}, ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z")),
        ({"from": "last_year"}, ("2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z")),
        ({"from": "2026-02-01", "to": "today"}, ("2026-02-01T00:00:00Z", "2026-02-08T00:00:00Z")),
        (
            {"from": 1770508800, "to": 1770552000000},
            ("2026-02-08T00:00:00Z", "2026-02-08T12:00:00Z"),
        ),
        (
            {"from": "2026-02-07", "to": "2026-02-08T00:00:00+05:45", "tz": "Asia/Kathmandu"},
            ("2026-02-06T18:15:00Z", "2026-02-07T18:15:00Z"),
        ),
        (
            {"from": "yesterday", "tz": "America/New_York"},
            ("2026-02-07T05:00:00Z", "2026-02-08T05:00:00Z"),
        ),
    ],
)
async def test_bounds(
    redis_url: str, client: httpx.AsyncClient, bounds: dict[str, Any], covered: tuple[str, str]
) -> None:
    pack(MONTH).write(redis_url)
    answer = await ask(client, **bounds)
    assert (answer["range"]["from"], answer["range"]["to"]) == covered
    posted = await client.post(PATH, json=bounds)
    assert posted.json() == answer


@given(st.sampled_from(PERIODS), st.sampled_from([UTC, ZoneInfo("Asia/Kathmandu")]), st.integers(0))
def test_every_period_ends_by_now(name: str, zone: Any, after_ms: int) -> None:
    now_ms = NOW_MS + after_ms % (1000 * DAY_MS)
    from_ms, to_ms, _ = parse_range(name, None, now_ms, zone)
    assert from_ms <= to_ms <= now_ms
    assert from_ms % (15 * MINUTE_MS) == 0


def test_a_clock_put_back_past_midnight_begins_no_day_twice() -> None:
    """St. John's once did so at 00:01: from 2010-11-07 00:01 back to 2010-11-06 23:01."""
    start_ms = 1_288_915_200_000  # 2010-11-05
    starts = starts_of(DAILY, ZoneInfo("America/St_Johns"), start_ms, start_ms + 4 * DAY_MS)
    hours = [(b - a) / HOUR_MS for a, b in pairwise(starts.tolist())]
    assert hours == [24, 24, 24, 25]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a", [("a", False, False)]),
        ("", [("", False, False)]),
        ("a,b", [("a", False, False), ("b", False, False)]),
        ("a,", [("a", False, False), ("", False, False)]),
        (r"a\,b", [("a,b", False, False)]),
        ("gpt-*", [("gpt-", False, True)]),
        ("gpt-*,o3", [("gpt-", False, True), ("o3", False, False)]),
        ("*-mini,*gpt*", [("-mini", True, False), ("gpt", True, True)]),
        (r"gpt-\*", [("gpt-*", False, False)]),
        (r"\*gpt", [("*gpt", False, False)]),
        ("a*b", [("a*b", False, False)]),
        (r"a\\,b", [("a\\", False, False), ("b", False, False)]),
        ("a\\", [("a\\", False, False)]),
        (r"\d", [(r"\d", False, False)]),
        ("*", [("", False, True)]),
        ("**", [("", True, True)]),
    ],
)
def test_values_of_a_filter(text: str, values: list[tuple[str, bool, bool]]) -> None:
    assert split_values(text, splits=True) == values


@given(st.lists(st.text(max_size=6), min_size=1, max_size=4))
def test_any_value_can_be_written(values: list[str]) -> None:
    def escaped(value: str) -> str:
        return value.replace("\\", "\\\\").replace(",", "\\,").replace("*", "\\*")

    found = split_values(",".join(map(escaped, values)), splits=True)
    assert found == [(value, False, False) for value in values]


async def test_values_with_commas_and_stars(redis_url: str, client: httpx.AsyncClient) -> None:
    log = [Event(NOW_MS - HOUR_MS, model=name) for name in ("a,b", "a", "b", "x*", "xy", "")]
    pack(log).write(redis_url)

    async def models(sent: list[str]) -> set[str]:
        params = {"group_by": "model", "measures": "requests", "model": sent}
        return {row["model"] for row in (await ask(client, **params))["rows"]}

    assert await models([r"a\,b"]) == {"a,b"}
    assert await models(["a,b"]) == {"a", "b"}
    assert await models([r"a\,b", "xy"]) == {"a,b", "xy"}
    assert await models([r"x\*"]) == {"x*"}
    assert await models(["x*"]) == {"x*", "xy"}
    assert await models([""]) == {""}
    body = {"group_by": ["model"], "model": ["a,b"], "measures": "requests"}
    posted = (await client.post(PATH, json=body)).json()
    assert [row["model"] for row in posted["rows"]] == ["a,b"]


async def test_averages_are_null_where_nothing_was_measured(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    pack([Event(NOW_MS - HOUR_MS, latency_ms=0), Event(NOW_MS - 2 * HOUR_MS)]).write(redis_url)
    answer = await ask(
        client,
        measures="avg_latency_ms,cost_usd,error_rate,tokens_per_request",
        granularity="1h",
        **{"from": "now-3h"},
    )
    assert [row["avg_latency_ms"] for row in answer["rows"]] == [None, 0]
    assert answer["totals"] == {
        "avg_latency_ms": 0,
        "cost_usd": None,
        "error_rate": 0,
        "tokens_per_request": 0,
    }
    nothing = await ask(client, measures="error_rate,requests", kind="stt")
    assert nothing["rows"] == [{"error_rate": None, "requests": 0}]


async def test_requests_are_of_the_kinds_that_are_usage(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    pack([Event(NOW_MS - HOUR_MS, kind=kind) for kind in ("llm", "tts", "chat")]).write(redis_url)
    answer = await ask(client, measures="events,requests")
    assert answer["totals"] == {"events": 3, "requests": 2}


@pytest.mark.parametrize("name", list(offered_by(DEFAULT)))
async def test_every_measure_is_answered(
    redis_url: str, client: httpx.AsyncClient, name: str
) -> None:
    pack(MONTH).write(redis_url)
    answer = await ask(client, measures=name, granularity="1d", **{"from": "now-7d"})
    assert list(answer["totals"]) == [name]
    assert answer["measures"] == {name: offered_by(DEFAULT)[name].unit}


def test_derived_measures_are_named_once_and_measure_what_is_kept() -> None:
    assert len({one.name for one in DERIVED}) == len(DERIVED)
    reserved = {parameter.name for parameter in PARAMETERS} | {"time", "other", "period"}
    assert not reserved & {*DEFAULT.kept_dimensions, *offered_by(DEFAULT)}
    assert not set(DEFAULT.kept_dimensions) & set(offered_by(DEFAULT))


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "parameter", "nearest", "said"),
    [
        ("granularty=1d", "granularty", "granularity", "no parameter"),
        ("modle=gpt", "modle", "model", "no parameter"),
        ("measures=cost_us", "measures", "cost_usd", "is not a measure"),
        ("group_by=agnet", "group_by", "agent", "is not a dimension"),
        ("granularity=1", "granularity", "1y", "is not a granularity"),
        ("granularity=", "granularity", "", "is not a granularity"),
        ("tz=Europe/Berln", "tz", "Europe/Berlin", "is not an IANA time zone"),
        ("tz=../../etc/passwd", "tz", "", "is not an IANA time zone"),
        ("tz=", "tz", "", "is not an IANA time zone"),
        ("from=nwo", "from", "", "is not a time"),
        ("to=2026-13-01", "to", "", "is not a time"),
        ("from=now-7x", "from", "", "is not a time"),
        ("from=now&to=now-1d", "from", "", "`from` is after `to`"),
        ("from=now-1d&from=now-2d", "from", "", "given more than once"),
        ("order_by=-cost_us", "order_by", "cost_usd", "is not a measure"),
        ("order_by=time", "order_by", "", "is not a measure"),
        ("limit=0&group_by=model", "limit", "", "from 1 to"),
        ("limit=10001&group_by=model", "limit", "", "from 1 to 10000"),
        ("limit=٣&group_by=model", "limit", "", "from 1 to"),
        ("limit=3", "limit", "", "needs `group_by`"),
        ("fill=zero", "fill", "", "needs a `granularity`"),
        ("fill=zeros&granularity=1d", "fill", "zero", "not a value of `fill`"),
        ("cumulative=true", "cumulative", "", "needs a `granularity`"),
        ("compare=last", "compare", "", "not a value of `compare`"),
        ("format=xml", "format", "", "not a value of `format`"),
        ("granularity=1m&from=now-7d", "granularity", "", "shortest there is 15m"),
        ("granularity=1h&from=now-500d", "granularity", "", "shortest there is 1d"),
        ("tz=Asia/Kolkata&from=now-500d&granularity=1d", "tz", "", "begin inside of them"),
        ("granularity=1m&from=now-30h&compare=previous", "compare", "", "still stored are 15m"),
        (
            "compare=previous&from=now-60d&granularity=1d&tz=Asia/Kolkata",
            "compare",
            "",
            "begin inside of them",
        ),
        ("model=" + ",".join(map(str, range(VALUES_MAX + 1))), "model", "", "VALUES_MAX"),
    ],
)
async def test_what_is_refused(
    redis_url: str,
    client: httpx.AsyncClient,
    query: str,
    parameter: str,
    nearest: str,
    said: str,
) -> None:
    pack(MONTH).write(redis_url)
    found = await refused(client, query)
    assert found["type"] == "/docs#invalid-parameter"
    assert found["parameter"] == parameter
    assert found.get("nearest", "") == nearest
    assert said in found["detail"]


async def test_what_no_view_keeps_names_those_that_come_near(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    pack(MONTH).write(redis_url)
    apart = next(
        (measure.name, dimension)
        for view in VIEWS
        for measure in view.measures
        for dimension in DEFAULT.kept_dimensions
        if not any(measure in v.measures and dimension in v.dimensions for v in VIEWS)
    )
    found = await refused(client, f"measures={apart[0]}&group_by={apart[1]}")
    assert found["type"] == "/docs#unanswerable"
    assert "with the dimensions: " in found["detail"]
    assert "odometer rebuild" in found["detail"]
    assert all(view.name in found["detail"] for view in VIEWS)


async def test_too_many_rows_name_the_limit(redis_url: str, client: httpx.AsyncClient) -> None:
    log = [Event(NOW_MS - HOUR_MS, model=f"m{n}", agent="") for n in range(60)]
    pack(log).write(redis_url)
    found = await refused(client, "group_by=model&granularity=1m&from=now-47h&fill=zero")
    assert "60 groups x 2820 buckets" in found["detail"]
    assert "ROWS_MAX" in found["detail"]
    view = next(view for view in VIEWS if view.name == "model")
    wide = ",".join(measure.name for measure in view.measures)
    found = await refused(
        client, f"granularity=1m&from=now-47h&fill=null&group_by=model&limit=30&measures={wide}"
    )
    assert "31 groups x 2820 buckets" in found["detail"]
    assert "ANSWER_CELLS_MAX" in found["detail"]


@pytest.mark.parametrize(
    ("content", "media_type", "status", "kind"),
    [
        (b"{", "application/json", 400, "invalid-body"),
        (b"[]", "application/json", 400, "invalid-body"),
        (b"\xff", "application/json", 400, "invalid-body"),
        (b"{}", "text/plain", 415, "unsupported-media-type"),
        (b'{"model":' + b" " * BODY_BYTES_MAX + b'"x"}', "application/json", 413, "too-large"),
        (b'{"model":{"a":1}}', "application/json", 400, "invalid-parameter"),
        (b'{"model":[["a"]]}', "application/json", 400, "invalid-parameter"),
        (b'{"limit":1.5}', "application/json", 400, "invalid-parameter"),
        (b'{"modle":"a"}', "application/json", 400, "invalid-parameter"),
    ],
)
async def test_bodies_that_are_refused(
    redis_url: str,
    client: httpx.AsyncClient,
    content: bytes,
    media_type: str,
    status: int,
    kind: str,
) -> None:
    pack(MONTH).write(redis_url)
    response = await client.post(PATH, content=content, headers={"content-type": media_type})
    assert (response.status_code, response.json()["type"]) == (status, f"/docs#{kind}")


async def test_who_may_not_and_where_nothing_is(redis_url: str, client: httpx.AsyncClient) -> None:
    anyone = {"authorization": ""}
    for path in (PATH, "/v1/measures", "/v1/views", "/v1/dimensions/model"):
        response = await client.get(path, headers=anyone)
        assert (response.status_code, response.json()["type"]) == (401, "/docs#unauthenticated")
        assert response.headers["www-authenticate"] == "Bearer"
    missing = await client.get("/v1/usages")
    assert (missing.status_code, missing.json()["type"]) == (404, "/docs#not-found")
    deleted = await client.delete(PATH)
    assert deleted.status_code == 405
    assert "GET" in deleted.headers["allow"]
    with redis.Redis.from_url(redis_url) as emptied:
        assert not emptied.exists("{od0}:current")
    empty = await client.get(PATH)
    assert (empty.status_code, empty.headers["retry-after"]) == (503, "1")
    assert empty.json()["type"] == "/docs#unavailable"


def test_no_text_is_more_than_a_refusal() -> None:
    names = st.sampled_from([one.name for one in PARAMETERS] + ["model", "model!", "x"])
    texts = st.text(max_size=12) | st.sampled_from(["now", "1d", "auto", "Europe/Berlin", "9" * 15])

    @settings(max_examples=500, deadline=None)
    @given(st.dictionaries(names, st.lists(texts, min_size=1, max_size=2), max_size=5))
    def law(sent: dict[str, list[str]]) -> None:
        blamed = ""
        try:
            parse(sent, NOW_MS, splits=True)
        except BadParameter as error:
            blamed = error.parameter
        assert blamed in {"", *sent}

    law()


# -- forms -----------------------------------------------------------------------------------------


async def test_csv_and_lines_hold_the_rows_of_json(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    pack(MONTH).write(redis_url)
    asked = {"group_by": "provider,model", "granularity": "1d", "from": "now-7d", "limit": "2"}
    rows = (await ask(client, **asked))["rows"]
    lines = await client.get(PATH, params=asked | {"format": "ndjson"})
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in lines.text.splitlines()] == rows
    table = await client.get(PATH, params=asked, headers={"accept": "text/csv"})
    assert table.headers["content-type"].startswith("text/csv")
    read = list(csv.DictReader(io.StringIO(table.text)))
    assert len(read) == len(rows)
    for cells, row in zip(read, rows, strict=True):
        shown = {"true": True, "false": False, "": None}
        assert {
            name: "" if row[name] == "" else shown.get(text, text) for name, text in cells.items()
        } == {name: value if isinstance(value, str | bool | None) else str(value) for name, value in row.items()}  # fmt: skip
    both = await client.get(PATH, params=asked | {"format": "csv", "compare": "previous"})
    periods = [row["period"] for row in csv.DictReader(io.StringIO(both.text))]
    assert periods.count("current") == len(rows)
    assert set(periods) == {"current", "previous"}


async def test_no_cell_of_a_csv_is_a_formula(redis_url: str, client: httpx.AsyncClient) -> None:
    names = [f'{start}HYPERLINK("x")' for start in FORMULA_STARTS]
    plain = ["plain", 'say "a", b\nc', "a;b", "gpt-4o|x", "\xa0x"]
    pack([Event(NOW_MS - HOUR_MS, model=name) for name in (*names, *plain)]).write(redis_url)
    response = await client.get(PATH, params={"group_by": "model", "format": "csv"})
    read = [row["model"] for row in csv.DictReader(io.StringIO(response.text, newline=""))]
    assert sorted(read) == sorted(["'" + name for name in names] + plain)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "json"),
        ("text/csv", "csv"),
        ("text/*", "csv"),
        ("application/json;q=0.5, text/csv", "csv"),
        ("application/x-ndjson, application/json;q=0.9", "ndjson"),
        ("application/json;q=0, */*", "csv"),
        ("image/png", None),
        ("text/csv;q=x", None),
    ],
)
def test_the_form_that_is_liked_best(accept: str, form: str | None) -> None:
    assert accepted(accept) == form


async def test_none_of_our_forms(redis_url: str, client: httpx.AsyncClient) -> None:
    pack(MONTH).write(redis_url)
    response = await client.get(PATH, headers={"accept": "image/png"})
    assert (response.status_code, response.json()["type"]) == (406, "/docs#not-acceptable")
    assert (await client.get(f"{PATH}?format=csv", headers={"accept": "image/png"})).is_success


# -- cheap polling ---------------------------------------------------------------------------------


async def test_an_etag_stands_still_while_the_answer_does(
    redis_url: str, client: httpx.AsyncClient, clock: Clock
) -> None:
    pack(MONTH).write(redis_url)
    first = await client.get(PATH)
    polled = {"if-none-match": f'"x", {first.headers["etag"]}'}
    again = await client.get(PATH, headers=polled)
    assert (again.status_code, again.content) == (304, b"")
    # Another tenant is counted: a commit, but none of these pages. Freshness moves on.
    other = [*MONTH, Event(NOW_MS - HOUR_MS, tenant="other")]
    pack(other, commits=2, complete_ms=(NOW_MS, NOW_MS)).write(redis_url)
    unmoved = await client.get(PATH, headers=polled)
    assert unmoved.status_code == 304
    assert unmoved.headers["odometer-complete-through"] == iso(NOW_MS)
    assert unmoved.headers["etag"] == first.headers["etag"]
    # One event of this tenant.
    pack([*other, Event(NOW_MS - HOUR_MS)], commits=3).write(redis_url)
    moved = await client.get(PATH, headers=polled)
    assert moved.status_code == 200
    assert moved.json()["totals"]["requests"] == first.json()["totals"]["requests"] + 1
    # Another range, question or form is another answer.
    tags = {moved.headers["etag"], first.headers["etag"]}
    for query in ("?format=csv", "?measures=events", "?from=now-25h", "?model!=x"):
        tags.add((await client.get(PATH + query)).headers["etag"])
    clock.now_ms += MINUTE_MS
    tags.add((await client.get(PATH)).headers["etag"])
    assert len(tags) == 7


async def test_an_answer_is_made_anew_after_a_commit(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    for number in range(1, 5):
        pack([Event(NOW_MS - HOUR_MS)] * number, commits=number).write(redis_url)
        for _again in range(2):
            assert (await ask(client))["totals"]["requests"] == number


async def test_long_answers_are_compressed(redis_url: str, client: httpx.AsyncClient) -> None:
    pack(MONTH).write(redis_url)
    params = {"group_by": "model", "granularity": "1d", "from": "now-30d"}
    async with client.stream("GET", PATH, params=params) as response:
        assert response.headers["content-encoding"] == "gzip"
        sent = b"".join([part async for part in response.aiter_raw()])
    assert json.loads(gzip.decompress(sent)) == await ask(client, **params)


async def test_equal_questions_in_flight_are_one() -> None:
    singleflight: Singleflight[int] = Singleflight()
    made = 0
    go = asyncio.Event()

    async def make() -> int:
        nonlocal made
        made += 1
        await go.wait()
        return made

    waiting = [asyncio.ensure_future(singleflight.once("q", make)) for _ in range(5)]
    other = asyncio.ensure_future(singleflight.once("r", make))
    await asyncio.sleep(0)
    waiting[0].cancel()  # the first caller goes away: the others still get theirs
    await asyncio.sleep(0)
    go.set()
    results = await asyncio.gather(*waiting, other, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [2, 2, 2, 2, 2]
    assert made == 2
    assert await singleflight.once("q", make) == 3

    async def fail() -> int:
        raise LookupError("no")

    failed = await asyncio.gather(
        singleflight.once("q", fail), singleflight.once("q", fail), return_exceptions=True
    )
    assert [type(one) for one in failed] == [LookupError, LookupError]


# -- what there is ---------------------------------------------------------------------------------


async def test_dimensions(redis_url: str, client: httpx.AsyncClient) -> None:
    pack(MONTH).write(redis_url)
    response = await client.get("/v1/dimensions/model?limit=2&provider!=openai")
    answer = ValuesAnswer.model_validate_json(response.content)
    own = [e for e in MONTH if e.tenant == "acme" and e.provider != "openai"]
    counts = {name: sum(e.model == name for e in own) for name in {e.model for e in own}}
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    assert [(value.value, value.events) for value in answer.values] == ranked[:2]
    assert answer.found == len(counts)
    found = (await client.get("/v1/dimensions/model", params={"search": "GPT-4O-"})).json()
    assert [value["value"] for value in found["values"]] == ["gpt-4o-mini"]
    tag = response.headers["etag"]
    again = await client.get(
        "/v1/dimensions/model?limit=2&provider!=openai", headers={"if-none-match": tag}
    )
    assert again.status_code == 304
    unknown = await client.get("/v1/dimensions/weather")
    assert unknown.status_code == 404
    assert unknown.json()["allowed"] == [*DEFAULT.kept_dimensions, *person_dimensions(DEFAULT)]
    of_tenants = await client.get("/v1/dimensions/tenant")
    assert of_tenants.status_code == 404
    assert "/v1/usage with `group_by=tenant`" in of_tenants.json()["detail"]
    assert (await client.get("/v1/dimensions/model?serch=a")).json()["nearest"] == "search"
    assert (await client.get("/v1/dimensions/model?limit=1001")).status_code == 400


async def test_measures_and_views(redis_url: str, client: httpx.AsyncClient) -> None:
    listed = MeasuresAnswer.model_validate_json((await client.get("/v1/measures")).content)
    assert [one.name for one in listed.measures] == list(offered_by(DEFAULT))
    views = ViewsAnswer.model_validate_json((await client.get("/v1/views")).content)
    assert [(one.name, tuple(one.dimensions)) for one in views.views] == [
        (view.name, view.dimensions) for view in VIEWS
    ]
    assert redis_url


async def test_the_description_is_valid_and_whole(client: httpx.AsyncClient) -> None:
    response = await client.get("/openapi.json", headers={"authorization": ""})
    found = response.json()
    assert found == json.loads(msgspec.json.encode(document()))
    assert found["openapi"] == "3.1.0"
    text = response.text
    refs = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert refs <= set(found["components"]["schemas"])
    assert not list(OpenAPIV31SpecValidator(found).iter_errors())
    for path, methods in found["paths"].items():
        for method in methods:
            if path in INGEST_PATHS and method == "post":
                continue  # there is none where no Kafka was named
            reached = await client.request(method, path.replace("{name}", "model"))
            assert reached.status_code not in {404, 405}, path
    given_names = {one["name"] for one in found["paths"]["/v1/usage"]["get"]["parameters"]}
    assert {one.name for one in PARAMETERS} <= given_names
    assert {name + end for name in DEFAULT.kept_dimensions for end in ("", "!")} <= given_names
    UsageAnswer.model_validate(EXAMPLE)
    Problem.model_validate(PROBLEM_EXAMPLE)


async def test_the_docs_load_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    response = await client.get("/docs", headers={"authorization": ""})
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "http://" not in response.text
    assert "https://" not in response.text
    assert "//" not in response.text.replace("// ", "")
