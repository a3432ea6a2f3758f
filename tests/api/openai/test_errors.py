"""Errors of OpenAI's dialect: its client raises its own exceptions, and each names what is wrong."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from tests.api.conftest import Clock, client_of
from tests.api.openai.log import ROOT, START, TODAY, sdk_of


async def test_the_clients_exceptions_come_out(
    redis_url: str, client: httpx.AsyncClient, sdk: Any, clock: Clock
) -> None:
    usage = sdk.admin.organization.usage
    with pytest.raises(openai.BadRequestError) as bad:
        await usage.completions(start_time=TODAY // 1000, end_time=TODAY // 1000)
    assert bad.value.body == {
        "message": f"'end_time' ({TODAY // 1000}) must be after 'start_time' ({TODAY // 1000}).",
        "type": "invalid_request_error",
        "param": "end_time",
        "code": None,
    }
    with pytest.raises(openai.AuthenticationError) as nobody:
        await sdk_of(client, "als_never").admin.organization.usage.completions(start_time=1)
    assert nobody.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError):
        await sdk.get("/organization/usage/nothing", cast_to=object)
    async with client_of(redis_url, clock) as plain:
        answer = await plain.post(f"{ROOT}/costs")
        assert answer.status_code == 405
        assert answer.json()["error"]["code"] == "method_not_supported"
        assert (await plain.get(f"{ROOT}/costs")).status_code == 401


@pytest.mark.parametrize(
    ("path", "query", "param", "message"),
    [
        ("costs", "", "start_time", "Missing required parameter: 'start_time'."),
        ("costs", "start_time=x", "start_time", "'x' is not whole seconds"),
        ("costs", f"start_time={TODAY}", "start_time", "look like milliseconds"),
        ("costs", f"{START}&{START}", "start_time", "more than once"),
        ("costs", f"{START}&bucket_width=1h", "bucket_width", "Supported values are: '1d'."),
        ("costs", f"{START}&limit=181", "limit", "from 1 to 180"),
        ("costs", f"{START}&limit=0", "limit", "from 1 to 180"),
        ("costs", f"{START}&group_by=model", "group_by", "Supported values are: 'project_id'"),
        ("costs", f"{START}&models=a", "models", "Unknown parameter: 'models'"),
        ("costs", f"{START}&limit[]=5", "limit[]", "Unknown parameter"),
        ("costs", f"{START}&page=page_x", "page", "is not the 'next_page' of this question"),
        ("usage/completions", f"{START}&bucket_width=1w", "bucket_width", "'1m', '1h', '1d'"),
        ("usage/completions", f"{START}&limit=32", "limit", "from 1 to 31"),
        ("usage/completions", f"{START}&batch=1", "batch", "'true', 'false'"),
        (
            "usage/completions",
            f"{START}&project_ids=p",
            "project_ids",
            'project = "labels.project"',
        ),
        ("usage/completions", f"{START}&group_by=api_key_id", "group_by", "dimension `api_key`"),
        ("usage/images", f"{START}&group_by=size", "group_by", "'size' is not metered"),
        ("usage/images", f"{START}&sizes=256x256", "sizes", "'size' is not metered"),
        (
            "usage/completions",
            f"start_time={TODAY // 1000 - 3 * 86_400}&bucket_width=1m",
            "start_time",
            "The oldest range begins at start_time=",
        ),
        (
            "usage/completions",
            f"start_time={TODAY // 1000 - 500 * 86_400}&bucket_width=1h",
            "start_time",
            "The oldest range begins at start_time=",
        ),
        ("costs", "start_time=0", "start_time", "The oldest range begins at start_time="),
        (
            "costs",
            f"start_time={TODAY // 1000 - 30 * 86_400 + 60}&end_time={TODAY // 1000 - 30 * 86_400 + 120}",
            "start_time",
            f"start_time={TODAY // 1000 - 30 * 86_400}, end_time={TODAY // 1000 - 30 * 86_400 + 900}.",
        ),
        ("costs", "start_time=99999999999", "start_time", "must be after"),
    ],
)
async def test_what_is_wrong_is_named(
    client: httpx.AsyncClient, path: str, query: str, param: str, message: str
) -> None:
    answer = await client.get(f"{ROOT}/{path}?{query}")
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == param
    assert message in error["message"]
    assert error["type"] == "invalid_request_error"


async def test_the_range_that_an_error_names_is_answered(client: httpx.AsyncClient) -> None:
    for width, days in (("1m", 3), ("1h", 500), ("1d", 4000)):
        params: dict[str, Any] = {"bucket_width": width, "limit": 1}
        start = TODAY // 1000 - days * 86_400
        refused = await client.get(
            f"{ROOT}/usage/completions", params={**params, "start_time": start}
        )
        oldest = int(refused.json()["error"]["message"].partition("start_time=")[2].split()[0])
        again = await client.get(
            f"{ROOT}/usage/completions", params={**params, "start_time": oldest}
        )
        assert again.status_code == 200
        assert again.json()["data"][0]["start_time"] == oldest
