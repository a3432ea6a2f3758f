"""`POST /api/public/ingestion`: what Langfuse's SDKs send, and the status of each item."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.ingest.langfuse import PATH
from deploy.local.api_keys import create_key
from deploy.local.servers import Server
from schemas.units import iso
from tests.api.conftest import Clock
from tests.api.ingest.taking import Taking, taking
from tests.schemas.formats.fixtures import FOLDER

pytestmark = pytest.mark.servers

BATCH = json.loads((FOLDER / "langfuse/batch.json").read_text())["body"]


@pytest.fixture
async def api(kafka: Server, redis_url: str, topic: str, clock: Clock) -> AsyncIterator[Taking]:
    key = await create_key(redis_url, name="langfuse", tenant="acme", role="write-only")
    async with taking(kafka.address, redis_url, topic, clock, key) as api:
        yield api


async def test_a_batch_of_its_sdk_is_counted_under_its_key(api: Taking) -> None:
    key = api.client.headers["authorization"].removeprefix("Bearer ")
    basic = base64.b64encode(f"pk-lf-1:{key}".encode()).decode()
    answer = await api.post(BATCH, PATH, headers={"authorization": f"Basic {basic}"})
    assert answer.status_code == 207
    good = [{"id": name, "status": 201} for name in ("i0", "i1", "i2")]
    assert answer.json() == {"successes": good, "errors": []}
    (event,) = await api.held()
    assert (event["id"], event["input_tokens"], event["tenant"]) == ("gen-1", 1900, "acme")


async def test_an_item_that_is_wrong_is_told_alone(api: Taking, clock: Clock) -> None:
    def item(name: str, count: Any) -> dict[str, Any]:
        body = {"id": name, "endTime": iso(clock()), "usageDetails": {"input": count}}
        return {"id": name, "type": "generation-create", "body": body}

    batch = [item("a", 1), item("b", -1), 5, item("c", 2)]
    said = (await api.post({"batch": batch}, PATH)).json()
    assert [one["id"] for one in said["successes"]] == ["a", "c"]
    assert [(one["id"], one["status"]) for one in said["errors"]] == [("b", 400), ("", 400)]
    assert "usageDetails.input" in said["errors"][0]["message"]
    assert [event["id"] for event in await api.held()] == ["a", "c"]


@pytest.mark.parametrize("body", [{}, [], {"batch": {}}, b"{"])
async def test_a_body_that_is_no_batch_is_refused(api: Taking, body: Any) -> None:
    answer = await api.post(body, PATH, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert await api.log() == []


async def test_an_empty_batch_is_accepted(api: Taking) -> None:
    assert (await api.post({"batch": []}, PATH)).json() == {"successes": [], "errors": []}
