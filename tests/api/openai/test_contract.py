"""The tables of schemas/contracts/openai.md: what each path groups and filters by, its pages, and its errors."""

from __future__ import annotations

from typing import Any, Final

import httpx
import openai
import pytest

from api.auth.audit import operator
from api.auth.keys import KeySpec, create_keys, opened
from tests.api.conftest import Clock, client_of
from tests.api.counters import NOW_MS
from tests.api.openai.log import ROOT, START, TODAY, sdk_of

OWNERS: Final = ("project_id", "user_id", "api_key_id")
MODEL: Final = (*OWNERS, "model")
GROUPS: Final = {
    "usage/completions": (*MODEL, "batch", "service_tier", "api_source"),
    "usage/embeddings": MODEL,
    "usage/moderations": MODEL,
    "usage/audio_speeches": MODEL,
    "usage/audio_transcriptions": MODEL,
    "usage/images": (*MODEL, "size", "source"),
    "usage/web_search_calls": (*MODEL, "context_level", "api_source"),
    "costs": ("project_id", "user_id", "line_item", "api_key_id", "api_source"),
}
FILTERS: Final = {
    **dict.fromkeys(GROUPS, ("project_ids", "user_ids", "api_key_ids", "models")),
    "usage/images": ("project_ids", "user_ids", "api_key_ids", "models", "sizes", "sources"),
    "usage/web_search_calls": (
        *("project_ids", "user_ids", "api_key_ids", "models", "context_levels"),
    ),
    "costs": ("project_ids", "api_key_ids", "line_items"),
}
BATCH_FILTERS: Final = {"usage/completions": "batch=true"}
NOT_STORED: Final = ("project", "api_key", "size", "source", "context_level")
"""What events of the plain catalog do not carry: a question by it is refused, and never answered as if it held."""


@pytest.mark.parametrize("path", GROUPS)
async def test_every_name_of_the_contract_is_known(client: httpx.AsyncClient, path: str) -> None:
    asked = [("group_by", name) for name in GROUPS[path]]
    asked += [(name, "x") for name in FILTERS[path]]
    asked += [("batch", "true")] if path in BATCH_FILTERS else []
    for name, value in asked:
        answer = await client.get(f"{ROOT}/{path}?{START}&{name}={value}")
        subject = value if name == "group_by" else name
        if subject.startswith(NOT_STORED):
            assert answer.status_code == 400
            message = answer.json()["error"]["message"]
            assert "is not metered" in message or "dimension" in message, (name, value)
        else:
            assert answer.status_code == 200, (name, value, answer.text)


@pytest.mark.parametrize(
    ("path", "width", "default", "most"),
    [
        ("usage/completions", "1d", 7, 31),
        ("usage/audio_speeches", "1h", 24, 168),
        ("usage/images", "1m", 60, 1440),
        ("costs", "1d", 7, 180),
    ],
)
async def test_a_page_has_so_many_buckets(
    client: httpx.AsyncClient, path: str, width: str, default: int, most: int
) -> None:
    length = {"1m": 60, "1h": 3600, "1d": 86_400}[width]
    params: dict[str, Any] = {"bucket_width": width, "end_time": TODAY // 1000}
    params["start_time"] = TODAY // 1000 - (most + 1) * length
    found: dict[str, Any] = {}
    for more, count in (({}, default), ({"limit": most}, most)):
        answer = await client.get(f"{ROOT}/{path}", params=params | more)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        starts = [one["start_time"] for one in found["data"]]
        assert starts == [params["start_time"] + n * length for n in range(count)]
        assert found["has_more"] is True
    refused = await client.get(f"{ROOT}/{path}", params=params | {"limit": most + 1})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "limit")
    rest = {"page": found["next_page"], "limit": most}
    last = (await client.get(f"{ROOT}/{path}", params=params | rest)).json()
    assert (len(last["data"]), last["has_more"], last["next_page"]) == (1, False, None)


async def test_without_a_width_buckets_are_days(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"{ROOT}/usage/completions?{START}")
    data = answer.json()["data"]
    assert data[0]["end_time"] - data[0]["start_time"] <= 86_400
    assert (TODAY // 1000) in {one["start_time"] for one in data}


@pytest.mark.usefixtures("client")
async def test_the_other_exceptions_of_the_client_come_out(redis_url: str, clock: Clock) -> None:
    specs = [
        KeySpec("w", ("acme",), "write-only"),
        KeySpec("few", ("acme",), "viewer", requests_per_s=0.01, burst=1),
    ]
    async with opened(redis_url) as store:
        writes, few = [one.secret for one in await create_keys(store, specs, operator(), NOW_MS)]
    async with client_of(redis_url, clock) as plain:
        with pytest.raises(openai.PermissionDeniedError) as forbidden:
            await sdk_of(plain, writes).admin.organization.usage.completions(start_time=1)
        assert forbidden.value.status_code == 403
        assert isinstance(forbidden.value.body, dict)
        assert {*forbidden.value.body} == {"message", "type", "param", "code"}
        often = sdk_of(plain, few).with_options(max_retries=0).admin.organization.usage
        await often.completions(start_time=TODAY // 1000)
        with pytest.raises(openai.RateLimitError) as limited:
            await often.completions(start_time=TODAY // 1000)
        assert limited.value.code == "rate_limit_exceeded"
