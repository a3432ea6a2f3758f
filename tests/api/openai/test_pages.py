"""`/openai/v1/organization/...` as schemas/contracts/openai.md has it, asked by OpenAI's own client."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from api.openai.questions import PATHS
from schemas.catalog.catalog_file import parse_catalog
from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.responses.openai import CostsPage, UsagePage
from schemas.tiers import floor_to
from schemas.units import iso
from tests.api.conftest import Clock, client_of
from tests.api.counters import NOW_MS, Event, pack
from tests.api.openai.log import LOG, ROOT, START, TODAY
from tests.api.usage.test_catalog import NOW_MS as TODAY_MS
from tests.api.usage.test_catalog import counted, made

GOLDEN: Final = Path(__file__).parent / "golden_openai.json"
WIDTH_MS: Final = {"1m": MINUTE_MS, "1h": HOUR_MS, "1d": DAY_MS}


OPERATIONS: Final = {"embeddings": "embeddings", "moderations": "moderation", "images": "image"}
KINDS: Final = {"audio_speeches": "tts", "audio_transcriptions": "stt"}
CALLED: Final = {"web_search_calls": "web_searches", "file_search_calls": "file_searches"}


def selects(path: str, event: Event) -> bool:
    """Whether the path is about the event, as the contract maps it."""
    name = path.removeprefix("usage/")
    if event.tenant != "acme" or event.kind != KINDS.get(name, "llm"):
        return event.tenant == "acme" and name == "costs"
    if name in OPERATIONS:
        return event.operation == OPERATIONS[name]
    if name == "completions":
        return event.operation not in OPERATIONS.values()
    return name not in CALLED or event.measures[CALLED[name]] > 0


def value(name: str, event: Event) -> Any:
    if name == "batch":
        return event.service_tier == "batch"
    if name == "line_item":
        return ", ".join(part for part in (event.provider, event.model) if part)
    if name == "api_source":
        return "unlabeled"
    return {
        "user_id": event.user,
        "model": event.model,
        "service_tier": event.service_tier,
    }[name] or None


def expected(
    path: str, width: str, from_ms: int, to_ms: int, group_by: Sequence[str]
) -> dict[int, dict[tuple[Any, ...], dict[str, Any]]]:
    """Bucket in seconds -> group -> a few numbers, by a scan of all events."""
    buckets: dict[int, dict[tuple[Any, ...], list[Event]]] = defaultdict(lambda: defaultdict(list))
    for event in LOG:
        if from_ms <= event.at_ms < to_ms and selects(path, event):
            bucket_ms = floor_to(event.at_ms, WIDTH_MS[width])
            buckets[bucket_ms // 1000][tuple(value(one, event) for one in group_by)].append(event)
    return {
        at: {group: numbers(path, found) for group, found in groups.items()}
        for at, groups in buckets.items()
    }


def numbers(path: str, found: Sequence[Event]) -> dict[str, Any]:
    total: dict[str, int] = defaultdict(int)
    for event in found:
        for name, number in event.measures.items():
            total[name] += number
    name = path.removeprefix("usage/")
    if name in CALLED:
        return {"num_requests": total[CALLED[name]]}
    if name == "costs":
        nano = total["cost_nano_usd"] if total["cost_events"] else None
        return {"amount": {"value": nano if nano is None else nano / 1e9, "currency": "usd"}}
    own = {
        "images": {"images": total["images"]},
        "audio_speeches": {"characters": total["tts_characters"]},
        "audio_transcriptions": {"seconds": round(Fraction(total["stt_audio_ms"], 1000))},
        "completions": {
            "output_tokens": total["output_tokens"],
            "input_cached_tokens": total["cache_read_tokens"],
            "input_cache_write_tokens": total["cache_write_tokens"],
            "input_uncached_tokens": total["input_tokens"]
            - total["cache_read_tokens"]
            - total["cache_write_tokens"],
            "input_audio_tokens": total["input_audio_tokens"],
            "output_text_tokens": total["output_text_tokens"],
        },
    }.get(name, {})
    if name in {"completions", "embeddings", "moderations"}:
        own["input_tokens"] = total["input_tokens"]
    return {**own, "num_model_requests": len(found)}


async def asked(client: httpx.AsyncClient, path: str, **params: Any) -> list[Mapping[str, Any]]:
    """The buckets of all pages, each checked against its model."""
    model = CostsPage if path == "costs" else UsagePage
    buckets: list[Mapping[str, Any]] = []
    page = None
    while True:
        answer = await client.get(
            f"{ROOT}/{path}", params={**params, **({"page": page} if page else {})}
        )
        assert answer.status_code == 200, answer.text
        model.model_validate_json(answer.content)
        body = answer.json()
        buckets += body["data"]
        page = body["next_page"]
        assert body["has_more"] == (page is not None)
        if page is None:
            return buckets


METERED: Final = [path.path for path in PATHS if path.required]
GROUPS: Final[Mapping[str, Sequence[Sequence[str]]]] = {
    "usage/completions": [
        [],
        ["model"],
        ["user_id"],
        ["batch"],
        ["model", "batch", "service_tier", "api_source"],
        ["user_id", "model"],
    ],
    "usage/file_search_calls": [[], ["user_id"]],
    "costs": [[], ["line_item"], ["user_id"], ["user_id", "line_item"]],
}


@pytest.mark.parametrize("path", METERED)
async def test_each_path_counts_as_a_scan_of_all_events(
    client: httpx.AsyncClient, path: str
) -> None:
    for width, days in (("1d", 30), ("1h", 2), ("1m", 1)):
        if width != "1d" and path == "costs":
            continue
        from_ms, to_ms = TODAY - days * DAY_MS, TODAY + 12 * HOUR_MS
        if width == "1m":
            from_ms, to_ms = TODAY + 9 * HOUR_MS, TODAY + 11 * HOUR_MS
        for group_by in GROUPS.get(path, [[], ["model"]]):
            buckets = await asked(
                client,
                path,
                start_time=from_ms // 1000,
                end_time=to_ms // 1000,
                bucket_width=width,
                limit=5 if width == "1d" else 24,
                group_by=list(group_by),
            )
            starts = [bucket["start_time"] for bucket in buckets]
            assert starts == [*range(from_ms // 1000, to_ms // 1000, WIDTH_MS[width] // 1000)]
            assert buckets[-1]["end_time"] == to_ms // 1000
            wanted = expected(path, width, from_ms, to_ms, group_by)
            for bucket in buckets:
                groups = wanted.get(bucket["start_time"], {})
                found = {tuple(one[name] for name in group_by): one for one in bucket["results"]}
                assert len(found) == len(bucket["results"])
                assert {*found} == {*groups}
                for group, result in found.items():
                    assert (
                        result.items() >= groups[group].items()
                        if "amount" not in result
                        else (result["amount"] == pytest.approx(groups[group]["amount"]))
                    )


async def test_the_sums_are_those_of_the_native_api(client: httpx.AsyncClient) -> None:
    bounds = {"from": iso(TODAY - 30 * DAY_MS), "to": iso(TODAY)}
    native = await client.get(
        "/v1/usage",
        params={"measures": "requests,input_tokens,output_tokens", "kind": "llm"}
        | {"operation!": "embeddings,moderation,image", "group_by": "model"}
        | bounds,
    )
    buckets = await asked(
        client,
        "usage/completions",
        start_time=TODAY // 1000 - 30 * 86_400,
        end_time=TODAY // 1000,
        group_by="model",
        limit=31,
    )
    for row in native.json()["rows"]:
        results = [
            one
            for bucket in buckets
            for one in bucket["results"]
            if one["model"] == (row["model"] or None)
        ]
        for ours, theirs in (
            ("requests", "num_model_requests"),
            ("input_tokens", "input_tokens"),
            ("output_tokens", "output_tokens"),
        ):
            assert sum(one[theirs] for one in results) == row[ours]
    dollars = await client.get("/v1/usage", params={"measures": "cost_usd"} | bounds)
    costs = await asked(
        client, "costs", start_time=TODAY // 1000 - 30 * 86_400, end_time=TODAY // 1000, limit=31
    )
    total = sum(one["amount"]["value"] or 0 for bucket in costs for one in bucket["results"])
    assert total == pytest.approx(dollars.json()["totals"]["cost_usd"])


async def test_openais_client_reads_every_page_of_every_path(sdk: Any) -> None:
    usage = sdk.admin.organization.usage
    start = TODAY // 1000 - 3 * 86_400
    for path in PATHS:
        method = getattr(usage, path.path.removeprefix("usage/"))
        first = await method(start_time=start, limit=2)
        assert first.has_more
        second = await method(start_time=start, limit=2, page=first.next_page)
        assert not second.has_more
        buckets = [*first.data, *second.data]
        assert [one.start_time for one in buckets] == [start + n * 86_400 for n in range(4)]
        results = [result for bucket in buckets for result in bucket.results]
        assert bool(results) == bool(path.required)
        assert all(one.object == path.object for one in results)
    found = await usage.completions(
        start_time=start,
        bucket_width="1h",
        group_by=["model", "batch"],
        models=["gpt-4o"],
        batch=True,
    )
    results = [result for bucket in found.data for result in bucket.results]
    assert {(one.model, one.batch) for one in results} <= {("gpt-4o", True)}


async def test_the_lists_of_the_client_select_as_one_value_each_does(
    client: httpx.AsyncClient, sdk: Any
) -> None:
    start = TODAY // 1000 - 20 * 86_400
    both = await sdk.admin.organization.usage.completions(
        start_time=start, limit=31, models=["gpt-4o", "claude"], user_ids=["ann"]
    )
    found = sum(one.num_model_requests for bucket in both.data for one in bucket.results)
    wanted = sum(
        event.model in {"gpt-4o", "claude"}
        and event.user == "ann"
        and selects("usage/completions", event)
        for event in LOG
        if event.at_ms >= start * 1000
    )
    assert found == wanted > 0
    for sent in ("models=gpt-4o&models=claude", "models[]=gpt-4o&models[]=claude"):
        answer = await client.get(
            f"{ROOT}/usage/completions?start_time={start}&limit=31&user_ids=ann&{sent}"
        )
        assert [bucket["results"] for bucket in answer.json()["data"]] == [
            [one.model_dump(exclude_unset=True) for one in bucket.results] for bucket in both.data
        ]
    items = await sdk.admin.organization.usage.costs(
        start_time=start, limit=31, line_items=["openai, gpt-4o"], group_by=["line_item"]
    )
    names = {one.line_item for bucket in items.data for one in bucket.results}
    assert names == {"openai, gpt-4o"}


async def test_a_cursor_belongs_to_its_question_and_keeps_its_end(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    start = NOW_MS // 1000 - 3 * 3600
    params: dict[str, Any] = {"start_time": start, "bucket_width": "1h", "limit": 2}
    first = (await client.get(f"{ROOT}/usage/completions", params=params)).json()
    page = {"page": first["next_page"]}
    clock.now_ms += 10 * MINUTE_MS
    second = (await client.get(f"{ROOT}/usage/completions", params=params | page)).json()
    assert first["data"][-1]["end_time"] == second["data"][0]["start_time"]
    assert not second["has_more"]
    assert second["data"][-1]["end_time"] == -(-NOW_MS // MINUTE_MS) * 60
    for path, other in (
        ("usage/embeddings", {}),
        ("usage/completions", {"models": "gpt-4o"}),
        ("usage/completions", {"group_by": "model"}),
        ("usage/completions", {"start_time": start - 3600}),
        ("usage/completions", {"page": page["page"][:-4] + "AAA="}),
        ("usage/completions", {"page": page["page"].removeprefix("page_")}),
    ):
        answer = await client.get(f"{ROOT}/{path}", params=params | page | other)
        assert answer.status_code == 400, other
        assert answer.json()["error"]["param"] == "page"


async def test_the_first_and_the_last_bucket_end_where_the_range_does(
    client: httpx.AsyncClient,
) -> None:
    start, end = NOW_MS // 1000 - 7000, NOW_MS // 1000 - 500
    answer = await client.get(
        f"{ROOT}/usage/completions",
        params={"start_time": start, "end_time": end, "bucket_width": "1h"},
    )
    data = answer.json()["data"]
    first, last = -(-start // 60) * 60, -(-end // 60) * 60
    assert (data[0]["start_time"], data[-1]["end_time"]) == (first, last)
    assert answer.headers["odometer-range-from"] == iso(first * 1000)
    assert answer.headers["odometer-range-to"] == iso(last * 1000)
    assert answer.headers["odometer-complete-through"] == "2026-02-08T12:02:02.456Z"
    wanted = sum(
        selects("usage/completions", one) for one in LOG if first <= one.at_ms / 1000 < last
    )
    assert sum(one["num_model_requests"] for b in data for one in b["results"]) == wanted


async def test_costs_that_are_not_known_are_null_and_counted(
    redis_url: str, clock: Clock, key: str
) -> None:
    log = [
        Event(TODAY + 1, model="known", cost_nano_usd=60_000_000),
        Event(TODAY + 1, model="known"),
        Event(TODAY + 1, model="unknown"),
    ]
    pack(log).write(redis_url)
    async with client_of(redis_url, clock, key) as client:
        answer = await client.get(f"{ROOT}/costs?{START}&group_by=line_item")
    (bucket,) = answer.json()["data"]
    amounts = {one["line_item"]: one["amount"]["value"] for one in bucket["results"]}
    assert amounts == {"openai, known": 0.06, "openai, unknown": None}
    assert answer.headers["odometer-calls-without-cost"] == "2"


LABELLED: Final = parse_catalog(
    b"""
    [dimensions.project]
    label = "project"
    [dimensions.api_key]
    label = "api_key"
    [views.by_project]
    dimensions = ["project", "api_key", "provider", "model", "operation"]
    measures = ["core"]
    tiers = ["15m", "1d"]
    """,
    "catalog.toml",
)


async def test_projects_and_api_keys_come_from_labels_if_a_view_has_them(
    redis_url: str, key: str
) -> None:
    labels = [{"project": "web", "api_key": "k1"}, {"project": "web", "api_key": "k2"}, {}]
    log = [made(n, labels[n % 3], model="m", provider="openai") for n in range(7)]
    await counted(redis_url, log, LABELLED)
    clock = Clock()
    clock.now_ms = TODAY_MS
    async with client_of(redis_url, clock, key, LABELLED) as client:
        params: dict[str, Any] = {"start_time": floor_to(TODAY_MS, DAY_MS) // 1000 - 86_400}
        params["group_by"] = ["project_id", "api_key_id"]
        for path, name in (("usage/completions", "num_model_requests"), ("costs", "amount")):
            buckets = await asked(client, path, **params)
            results = [one for bucket in buckets for one in bucket["results"]]
            assert {(one["project_id"], one["api_key_id"]) for one in results} == {
                ("web", "k1"),
                ("web", "k2"),
                (None, None),
            }
            assert all(one[name] is not None for one in results)
            web = await asked(client, path, **params, project_ids="web", api_key_ids="k1")
            assert [
                (one["project_id"], one["api_key_id"]) for b in web for one in b["results"]
            ] == [("web", "k1")]
        refused = await client.get(
            f"{ROOT}/usage/completions", params=params | {"bucket_width": "1m"}
        )
        assert refused.status_code == 400
        assert "the shortest buckets are of 15m" in refused.text
        # The view keeps no cached tokens: they are not known.
        completions = await asked(client, "usage/completions", **params)
        assert all(one["input_cached_tokens"] is None for b in completions for one in b["results"])


async def test_the_answers_are_frozen(client: httpx.AsyncClient) -> None:
    found = {}
    for path in PATHS:
        group_by = [name for name in ("model", "line_item", "batch") if name in path.groups]
        answer = await client.get(
            f"{ROOT}/{path.path}",
            params={"start_time": TODAY // 1000 - 86_400, "limit": 1, "group_by": group_by},
        )
        found[path.path] = answer.json()
    assert found == json.loads(GOLDEN.read_text())
