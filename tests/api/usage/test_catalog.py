"""Added measures, dimensions and views over HTTP, from what the fold commits to a real Valkey."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.app.main import wall_clock_ms
from api.app.openapi import document
from api.query.measures import offered_by
from api.usage.endpoints import VALUES_PARAMETERS
from api.usage.parameters import PARAMETERS
from api.usage.query import TIME
from deploy.local.api_keys import create_key
from schemas.catalog.catalog_file import _PERCENTILE, TAKEN, parse_catalog
from schemas.catalog.views import DEFAULT, OTHER, SLICE_MS, Catalog
from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.store.generation import generation_digest
from schemas.units import iso
from streams.core.columns import columns
from streams.core.fold import fold
from streams.core.ports import Commit, Outcome, Progress
from streams.redis.store import RedisStore
from tests.api.conftest import Clock, client_of
from tests.api.counters import TOPIC
from tests.oracles.event_logs import SECRET, countable, encode, event
from tests.simulation.log import PolledRecord

# Of today, because pages expire by Valkey's own clock.
NOW_MS: Final = wall_clock_ms() // HOUR_MS * HOUR_MS + 1
Labelled = Mapping[str, Any]
"""The fields of an event; `labels` among them."""

TEAMS: Final = parse_catalog(
    b"""
    [dimensions.team]
    label = "team"
    [measures.pages]
    label = "pages"
    unit = "pages"
    [views.by_team]
    dimensions = ["team", "model"]
    measures = ["core", "pages"]
    histograms = ["latency"]
    """,
    "catalog.toml",
)


def made(number: int, labels: Mapping[str, str], **changes: Any) -> Labelled:
    fields = {"id": f"e{number}", "tenant": "acme", "time": iso(NOW_MS - MINUTE_MS)}
    return event(**{**fields, "labels": labels, **changes})


async def counted(redis_url: str, log: Sequence[Labelled], catalog: Catalog) -> dict[str, int]:
    """The log committed, in three batches; the tallies."""
    digest = generation_digest(TOPIC, catalog=catalog)
    async with RedisStore(redis_url) as store:
        await store.open(digest, 1, NOW_MS, SECRET)
        step = max(1, -(-len(log) // 3))
        for start in range(0, len(log), step):
            records = [
                PolledRecord(start + at, NOW_MS, encode(dict(fields)), ())
                for at, fields in enumerate(log[start : start + step])
            ]
            events = countable(records)
            assert len(events) == len(records)
            rows = columns(events, catalog=catalog, secret=SECRET)
            end = start + len(records)
            commit = Commit(
                id=end.to_bytes(16, "big"),
                generation_digest=digest,
                secret=SECRET.name,
                now_ms=NOW_MS,
                count=1,
                absent_ms={},
                partitions=[Progress(0, start or -1, end, end - 1, NOW_MS, NOW_MS)],
                digests=rows.digests,
                slices=rows.append_ms // SLICE_MS,
                delta=fold(rows, await store.bookings(rows.secret, rows.booked_calls)),
            )
            assert (await store.commit(commit)).outcome is Outcome.COMMITTED
        return dict(await store.tallies())


@asynccontextmanager
async def asking(redis_url: str, catalog: Catalog) -> AsyncIterator[httpx.AsyncClient]:
    clock = Clock()
    clock.now_ms = NOW_MS
    key = await create_key(redis_url, name="k", tenant="acme", role="viewer")
    async with client_of(redis_url, clock, key, catalog) as client:
        yield client


async def got(client: httpx.AsyncClient, **params: str) -> dict[str, Any]:
    answer = await client.get("/v1/usage", params={"from": "now-400d", **params})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


# -- what is offered -------------------------------------------------------------------------------


def test_no_added_name_can_mean_something_else_in_a_question_or_an_answer() -> None:
    names = {parameter.name for parameter in PARAMETERS} | {*VALUES_PARAMETERS, TIME, "other"}
    names |= {*DEFAULT.dimensions, *offered_by(DEFAULT)}
    assert not [name for name in names if name not in TAKEN and not _PERCENTILE.fullmatch(name)]


def test_the_description_has_what_is_added_and_without_a_file_what_is_ours() -> None:
    described = document(TEAMS)
    usage = described["paths"]["/v1/usage"]
    by_name = {one["name"]: one for one in usage["get"]["parameters"]}
    assert "pages" in by_name["measures"]["schema"]["items"]["enum"]
    assert "team" in by_name["group_by"]["schema"]["items"]["enum"]
    assert {"team", "team!"} <= by_name.keys()
    body = usage["post"]["requestBody"]["content"]["application/json"]["schema"]
    one, several = body["anyOf"]
    assert "team" in one["properties"]
    assert several["properties"]["questions"]["items"] == one
    views = described["paths"]["/v1/views"]["get"]["description"]
    assert "by_team (kind, team, model)" in views
    dimension = described["paths"]["/v1/dimensions/{name}"]["get"]["parameters"][0]
    assert "team" in dimension["schema"]["enum"]
    ours = json.dumps(document())
    assert "by_team" not in ours
    assert '"team"' not in ours


async def test_an_added_view_is_asked_like_any_other(redis_url: str) -> None:
    log = [
        made(0, {"team": "search", "pages": "3"}, model="a", latency_ms=10),
        made(1, {"team": "search", "pages": "0"}, model="b", latency_ms=30),
        made(2, {"team": "ads", "pages": "1000000000"}, model="a", time=iso(NOW_MS - 3 * DAY_MS)),
        made(3, {"pages": "5"}),
        made(4, {"team": "ads", "pages": "1.5"}, kind="tts"),
        made(5, {"team": "ads", "pages": "7"}, kind="chat"),
    ]
    tallies = await counted(redis_url, log, TEAMS)
    assert "over:by_team" not in tallies
    async with asking(redis_url, TEAMS) as client:
        found = await got(client, measures="events,pages,cost_usd", group_by="team")
        assert found["view"] == "by_team"
        assert found["measures"]["pages"] == "pages"
        assert {row["team"]: (row["events"], row["pages"]) for row in found["rows"]} == {
            "search": (2, 3), "ads": (3, 10**9), "": (1, 5),
        }  # fmt: skip
        assert (found["totals"]["events"], found["totals"]["pages"]) == (6, 10**9 + 8)
        assert (await got(client, measures="pages"))["totals"] == {"pages": 10**9 + 8}
        some = await got(client, measures="pages,p50_latency_ms", group_by="model", team="search")
        assert {row["model"]: row["pages"] for row in some["rows"]} == {"a": 3, "b": 0}
        days = await got(client, measures="pages", granularity="1d", **{"team!": "ads"})
        assert days["totals"] == {"pages": 8}
        values = (await client.get("/v1/dimensions/team")).json()["values"]
        assert [(one["value"], one["events"]) for one in values] == [
            ("ads", 3), ("search", 2), ("", 1),
        ]  # fmt: skip
        measures = (await client.get("/v1/measures")).json()["measures"]
        (pages,) = [one for one in measures if one["name"] == "pages"]
        assert (pages["unit"], pages["kind"], pages["views"]) == ("pages", "sum", ["by_team"])
        views = (await client.get("/v1/views")).json()
        (view,) = [one for one in views["views"] if one["name"] == "by_team"]
        assert (view["dimensions"], view["sketches"]) == (["kind", "team", "model"], ["latency"])
        assert "team" in views["dimensions"]
        refused = await client.get("/v1/usage", params={"group_by": "team,agent"})
        assert refused.status_code == 400
        assert "by_team (kind, team, model)" in refused.json()["detail"]
        assert "ODOMETER_CATALOG_FILE" in refused.json()["detail"]
        assert (await client.get("/openapi.json")).json() == json.loads(json.dumps(document(TEAMS)))


async def test_an_api_of_another_catalog_says_so_and_what_to_do(redis_url: str) -> None:
    await counted(redis_url, [made(0, {"team": "search"})], DEFAULT)
    async with asking(redis_url, TEAMS) as client:
        for path in ("/v1/usage", "/v1/dimensions/team"):
            refused = await client.get(path)
            assert refused.status_code == 503
            assert "odometer rebuild" in refused.json()["detail"]
        assert "odometer rebuild" in (await client.get("/readyz")).json()["reason"]


# -- laws ------------------------------------------------------------------------------------------

LABELS: Final = ("a", "b")
VALUES: Final = st.sampled_from(["x", "y", "z", "", "ü,*"])
DIMENSIONS: Final = {
    "first": 'label = "a"',
    "either": 'label = ["b", "a"]',
    "sender": 'field = ["source"]',
}
OURS: Final = ("model", "agent")


@st.composite
def catalogs(draw: st.DrawFn) -> Catalog:
    lines = ['[measures.pages]\nlabel = "pages"\nunit = "pages"\nkinds = ["llm", "chat"]']
    lines += [f"[dimensions.{name}]\n{source}" for name, source in DIMENSIONS.items()]
    lines += [f"[views.all]\ndimensions = {[*DIMENSIONS]}\nmeasures = ['events', 'pages']"]
    for number in range(draw(st.integers(1, 3))):
        names = st.lists(st.sampled_from([*DIMENSIONS, *OURS]), unique=True, max_size=3)
        tiers = draw(st.sampled_from(["['1m', '15m', '1d']", "['15m', '1d']"]))
        most = draw(st.sampled_from([1, 2, 1000]))
        lines.append(
            f"[views.v{number}]\ndimensions = {draw(names)}\ntiers = {tiers}\n"
            f"measures = ['pages', 'events', 'booked']\nseries_max = {most}"
        )
    return parse_catalog("\n".join(lines).encode(), "catalog.toml")


@st.composite
def labelled(draw: st.DrawFn) -> Labelled:
    labels = draw(st.dictionaries(st.sampled_from(LABELS), VALUES))
    pages = draw(st.none() | st.integers(0, 10**9).map(str) | st.sampled_from(["-1", "x", "¹"]))
    return {
        "labels": labels if pages is None else {**labels, "pages": pages},
        "kind": draw(st.sampled_from(["llm", "llm", "tts", "chat"])),
        "source": draw(st.sampled_from(["s1", "s2"])),
        "model": draw(st.sampled_from(["m1", "m2", ""])),
        "agent_id": draw(st.sampled_from(["a1", ""])),
        "age_ms": draw(st.sampled_from([0, HOUR_MS, 3 * DAY_MS, 100 * DAY_MS])),
    }


def value_of(fields: Labelled, dimension: str) -> str:
    labels = fields["labels"]
    of: dict[str, str] = {
        "first": labels.get("a", ""),
        "either": labels.get("b") or labels.get("a", ""),
        "sender": fields["source"],
        "model": fields["model"],
        "agent": fields["agent_id"],
    }
    return of[dimension]


def amounts(fields: Labelled) -> Counter[str]:
    pages = fields["labels"].get("pages", "")
    is_number = pages.isascii() and pages.isdigit() and fields["kind"] in {"llm", "chat"}
    return Counter(events=1, calls=1, pages=int(pages) if is_number else 0)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(catalogs(), st.lists(labelled(), min_size=1, max_size=30))
def test_every_breakdown_of_any_catalog_sums_to_the_total_within_and_beyond_its_limits(
    redis_url: str, catalog: Catalog, drawn: list[Labelled]
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    log = [
        made(number, fields["labels"], call_id=f"c{number}", time=iso(NOW_MS - 1 - age_ms), **rest)
        for number, fields in enumerate(drawn)
        for age_ms in [fields["age_ms"]]
        for rest in [{name: fields[name] for name in ("kind", "source", "model", "agent_id")}]
    ]
    asyncio.run(_hold(redis_url, catalog, log))


async def _hold(redis_url: str, catalog: Catalog, log: Sequence[Labelled]) -> None:
    total = sum((amounts(fields) for fields in log), Counter[str]())
    tallies = await counted(redis_url, log, catalog)
    async with asking(redis_url, catalog) as client:
        for view in catalog.views[len(DEFAULT.views) :]:
            dimensions = [name for name in view.dimensions if name != "kind"]
            names = [name for name in ("pages", "events", "calls") if name in view.holds]
            for step in ("none", "1d"):
                found = await got(
                    client,
                    measures=",".join(names),
                    group_by=",".join(dimensions),
                    granularity=step,
                )
                assert found["totals"] == {name: total[name] for name in names}
                for name in names:
                    assert sum(row[name] for row in found["rows"]) == total[name]
                answering = next(one for one in catalog.views if one.name == found["view"])
                _judge(found["rows"], dimensions, names, log, step, answering.series_max)
    for view in catalog.views:
        has_room = _series_of(log, view.dimensions[1:]) <= view.series_max
        assert has_room <= (f"over:{view.name}" not in tallies)


def _series_of(log: Sequence[Labelled], dimensions: Sequence[str]) -> int:
    known = {*DIMENSIONS, *OURS}
    return len({tuple(value_of(f, d) for d in dimensions if d in known) for f in log})


def _judge(  # rows of one answer
    found: Sequence[Mapping[str, Any]],
    dimensions: Sequence[str],
    names: Sequence[str],
    log: Sequence[Labelled],
    step: str,
    series_max: int,
) -> None:
    """Exact where there is room for all; else what is named is no more than it was."""
    want: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for fields in log:
        day = (fields["time"][:10],) if step == "1d" else ()
        want[*day, *(value_of(fields, name) for name in dimensions)].update(amounts(fields))
    rows = {
        (
            *((row["time"][:10],) if step == "1d" else ()),
            *(row[name] for name in dimensions),
        ): {name: row[name] for name in names}
        for row in found
    }
    exact = {key: {name: sums[name] for name in names} for key, sums in want.items()}
    if _series_of(log, dimensions) <= series_max:
        assert rows == {key: sums for key, sums in exact.items() if any(sums.values())}
        return
    for key, sums in rows.items():
        if OTHER not in key:
            assert all(value <= exact[key][name] for name, value in sums.items())


@pytest.mark.parametrize("most", [1, 7])
async def test_what_goes_over_a_views_limit_is_one_row_and_the_total_is_exact(
    redis_url: str, most: int
) -> None:
    catalog = parse_catalog(
        f"[dimensions.team]\nlabel = 'team'\n[views.by_team]\ndimensions = ['team']\n"
        f"series_max = {most}".encode(),
        "catalog.toml",
    )
    log = [made(n, {"team": f"team {n % 40:02}"}, input_tokens=10**n % 997) for n in range(120)]
    tallies = await counted(redis_url, log, catalog)
    async with asking(redis_url, catalog) as client:
        found = await got(client, measures="events,input_tokens", group_by="team")
        top = await got(client, measures="events", group_by="team", limit="2", order_by="-events")
    rows = {row["team"]: row["events"] for row in found["rows"]}
    assert rows.pop(OTHER) == 120 - 3 * most
    assert [*rows.values()] == [3] * most
    assert found["totals"] == {
        "events": 120, "input_tokens": sum(fields["input_tokens"] for fields in log),
    }  # fmt: skip
    assert sum(row["events"] for row in top["rows"]) == 120
    assert tallies["over:by_team"] == 120 - 3 * most
