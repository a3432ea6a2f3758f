"""Several questions in one POST: the answers of single requests, of one atomic read."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from api.usage import sections
from api.usage.several import QUESTIONS_MAX
from schemas.limits import HOUR_MS
from schemas.responses.usage import SeveralAnswers
from tests.api.agentlens.test_endpoints import MONTH
from tests.api.counters import NOW_MS, Event, pack

PATH = "/v1/usage"
QUESTIONS: list[dict[str, Any]] = [
    {"from": "now-7d", "group_by": ["model"], "limit": 2, "compare": "previous"},
    {"from": "now-1d", "granularity": "1h", "fill": "zero", "measures": ["requests"]},
    {"measures": ["p95_latency_ms", "chats"], "model!": ["o3"]},
]
STATE = ("complete_through", "history_from", "refused", "generation")


async def test_each_answer_is_that_of_its_own_request(
    redis_url: str, client: httpx.AsyncClient
) -> None:
    pack(MONTH).write(redis_url)
    response = await client.post(PATH, json={"questions": QUESTIONS, "tenant": "acme"})
    assert response.status_code == 200, response.text
    SeveralAnswers.model_validate_json(response.content)
    found = response.json()
    for question, answer in zip(QUESTIONS, found["answers"], strict=True):
        alone = (await client.post(PATH, json=question)).json()
        assert {name: found[name] for name in STATE} == {name: alone.pop(name) for name in STATE}
        assert answer == alone
    assert "etag" not in response.headers
    assert response.headers["odometer-complete-through"] == found["complete_through"]


async def test_all_answers_are_of_one_read(redis_url: str, client: httpx.AsyncClient) -> None:
    """A commit between two questions would be seen by one of them only."""
    asked = {
        "questions": [{"measures": ["requests"]}, {"measures": ["requests"], "group_by": ["model"]}]
    }
    for number in range(1, 6):
        pack([Event(NOW_MS - HOUR_MS)] * number, commits=number).write(redis_url)
        one, other = (await client.post(PATH, json=asked)).json()["answers"]
        assert one["totals"] == other["totals"] == {"requests": number}


@pytest.mark.parametrize(
    ("body", "kind", "parameter"),
    [
        ({"questions": []}, "invalid-parameter", "questions"),
        ({"questions": [{}] * (QUESTIONS_MAX + 1)}, "invalid-parameter", "questions"),
        ({"questions": {}}, "invalid-body", None),
        ({"questions": [1]}, "invalid-body", None),
        ({"questions": [{}, {"form": "now-1h"}]}, "invalid-parameter", "questions[1].form"),
        ({"questions": [{"format": "csv"}]}, "invalid-parameter", "questions[0].format"),
        ({"questions": [{}], "from": "now-1h"}, "invalid-parameter", "from"),
        ({"questions": [{"tenant": "x"}], "tenant": "acme"}, "invalid-parameter", "tenant"),
        ({"questions": [{}], "tenant": 1}, "invalid-body", None),
    ],
)
async def test_what_is_refused(
    redis_url: str,
    client: httpx.AsyncClient,
    body: dict[str, Any],
    kind: str,
    parameter: str | None,
) -> None:
    pack(MONTH).write(redis_url)
    response = await client.post(PATH, json=body)
    found = response.json()
    assert (response.status_code, found["type"]) == (400, f"/docs#{kind}")
    assert found.get("parameter") == parameter


async def test_another_tenant_is_not_found(redis_url: str, client: httpx.AsyncClient) -> None:
    pack(MONTH).write(redis_url)
    for body in ({"questions": [{}], "tenant": "other"}, {"questions": [{"tenant": "other"}]}):
        assert (await client.post(PATH, json=body)).status_code in {403, 404}


async def test_all_answers_together_have_the_size_of_one(
    redis_url: str, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 answers of the largest size would be 1.8 GB."""
    pack(MONTH).write(redis_url)
    hours = {"from": "now-24h", "granularity": "1h", "fill": "null", "measures": ["requests"]}
    for limit, most, detail in (
        ("ROWS_MAX", 2 * 25, "75 rows"),
        ("ANSWER_CELLS_MAX", 2 * 25 * 3, "225 cells"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(sections, limit, most)
            assert (await client.post(PATH, json={"questions": [hours] * 2})).status_code == 200
            refused = await client.post(PATH, json={"questions": [hours] * 3})
            assert refused.status_code == 400
            assert detail in refused.json()["detail"]
            assert limit in refused.json()["detail"]
