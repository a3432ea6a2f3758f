"""The description of the paths that take events: its examples are what they take and answer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from api.app.openapi import document
from api.ingest.langfuse import PATH
from api.ingest.openapi import ANSWER
from deploy.local.api_keys import create_key
from deploy.local.servers import Server
from schemas.responses.ingest import IngestAnswer
from tests.api.conftest import Clock
from tests.api.ingest.taking import Taking, taking

pytestmark = pytest.mark.servers


@pytest.fixture
async def api(kafka: Server, redis_url: str, topic: str, clock: Clock) -> AsyncIterator[Taking]:
    key = await create_key(redis_url, name="docs", tenant="acme", role="write-only")
    async with taking(kafka.address, redis_url, topic, clock, key) as api:
        yield api


async def test_each_example_is_taken(api: Taking) -> None:
    sent = 0
    for path in ("/v1/events", "/v1/traces", "/v1/logs", "/v1/metrics", "/api/events", PATH):
        operation = document()["paths"][path]["post"]
        (wanted,) = [int(status) for status in operation["responses"] if status < "300"]
        for media_type, content in operation["requestBody"]["content"].items():
            examples = [one["value"] for one in content.get("examples", {}).values()]
            examples += [content["example"]] if "example" in content else []
            for example in examples:
                answer = await api.post(example, path, headers={"content-type": media_type})
                assert answer.status_code == wanted, (path, answer.text)
                sent += 1
    assert sent == 11
    assert (
        len(await api.held()) == 11
    )  # one is a batch of two, and metrics of what sends logs do not count


def test_the_example_of_an_answer_is_one() -> None:
    assert IngestAnswer.model_validate(ANSWER).model_dump() == ANSWER
