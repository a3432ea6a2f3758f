"""`meter.wrap` with the real client of google-genai, and `client.aio`."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from google import genai

from tests.streams.meter.clients.conftest import Rig
from tests.streams.meter.clients.provider import SECRET

ASKED: Any = {"model": "gemini-2.5-flash", "contents": SECRET}
ANSWER = {"provider": "google", "model": "gemini-2.5-flash", "operation": "chat",
          "input_tokens": 40, "output_tokens": 50, "reasoning_tokens": 30,
          "finish_reason": "STOP"}  # fmt: skip


def parts(event: dict[str, Any]) -> dict[str, Any]:
    return {name: event.get(name) for name in ANSWER}


def client_of(rig: Rig, prefix: str = "") -> genai.Client:
    options = genai.types.HttpOptions(
        base_url=f"{rig.provider.url}{prefix}",
        retry_options=genai.types.HttpRetryOptions(attempts=1),
    )
    plain = genai.Client(api_key="k", http_options=options)
    wrapped = rig.meter.wrap(rig.meter.wrap(plain), agent_id="a-1")
    assert wrapped is plain
    return wrapped


@pytest.fixture
def client(rig: Rig) -> Iterator[genai.Client]:
    with client_of(rig) as made:
        yield made


def test_answers_and_streams_are_recorded_once(rig: Rig, client: genai.Client) -> None:
    answer = client.models.generate_content(**ASKED)
    assert answer.text == SECRET
    chunks = list(client.models.generate_content_stream(**ASKED))
    assert "".join(one.text or "" for one in chunks) == SECRET * 3
    chat = client.chats.create(model="gemini-2.5-flash")
    assert chat.send_message(SECRET).text == SECRET
    recorded = rig.events()
    assert [parts(one) for one in recorded] == [ANSWER] * 3
    assert recorded[0]["id"] == answer.response_id
    assert {one["agent_id"] for one in recorded} == {"a-1"}
    assert ["first_output_ms" in one for one in recorded] == [False, True, False]
    assert all(one["latency_ms"] >= 0 for one in recorded)


def test_a_stream_that_is_closed_early_has_what_it_told_and_no_cost(
    rig: Rig, client: genai.Client
) -> None:
    for _ in client.models.generate_content_stream(**ASKED):
        break
    gc.collect()
    event = rig.event()
    assert (event["model"], event["input_tokens"]) == ("gemini-2.5-flash", 40)
    assert event["cost_problem"].startswith("the stream was closed before its end")


def test_embeddings_report_no_usage(rig: Rig, client: genai.Client) -> None:
    client.models.embed_content(model="gemini-embedding-001", contents=SECRET)
    client.models.count_tokens(model="gemini-2.5-flash", contents=SECRET)  # no call of a model
    event = rig.event()
    assert (event["operation"], event["model"]) == ("embeddings", "gemini-embedding-001")
    assert event["cost_problem"] == "the answer reports no usage"


def test_embeddings_that_report_their_tokens_count_them(rig: Rig, client: genai.Client) -> None:
    client.models.embed_content(model="gemini-embedding-2", contents=SECRET)
    event = rig.event()
    told = (event["operation"], event["model"], event["input_tokens"], event.get("cost_problem"))
    assert told == ("embeddings", "gemini-embedding-2", 8, None)


@pytest.mark.filterwarnings("ignore:The generate_images method")  # google-genai's own
def test_vertex_ai_answers_embeddings_and_images_under_another_path(rig: Rig) -> None:
    options = genai.types.HttpOptions(base_url=rig.provider.url, api_version="v1")
    client = rig.meter.wrap(genai.Client(vertexai=True, api_key="k", http_options=options))
    client.models.embed_content(model="text-embedding-005", contents=[SECRET, SECRET])
    client.models.generate_images(model="imagen-4.0-generate-001", prompt=SECRET)
    client.close()
    embedded, made = rig.events()
    assert (embedded["operation"], embedded["input_tokens"]) == ("embeddings", 8)
    assert (embedded["provider"], embedded["model"]) == ("google", "text-embedding-005")
    assert (made["operation"], made["images"]) == ("image", 2)
    assert made["model"] == "imagen-4.0-generate-001"


def test_an_error_is_recorded_by_its_status_and_raised(rig: Rig) -> None:
    with client_of(rig, "/429") as failing:
        with pytest.raises(genai.errors.ClientError, match="429"):
            failing.models.generate_content(**ASKED)
        with pytest.raises(genai.errors.ClientError, match="429"):
            list(failing.models.generate_content_stream(**ASKED))
    for event in rig.events():
        assert (event["error"], event["provider"]) == ("RESOURCE_EXHAUSTED", "google")
        assert event["model"] == "gemini-2.5-flash"


@pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")  # google-genai's own
async def test_the_async_half_is_recorded_alike(rig: Rig) -> None:
    client = client_of(rig)
    await client.aio.models.generate_content(**ASKED)
    stream = await client.aio.models.generate_content_stream(**ASKED)
    assert len([one async for one in stream]) == 3
    early = await client.aio.models.generate_content_stream(**ASKED)
    async for _ in early:
        break
    await early.aclose()
    del early
    gc.collect()
    for _ in range(20):  # the loop closes the generators that google-genai has nested
        await asyncio.sleep(0)
    await client.aio.aclose()
    client.close()
    recorded = sorted(rig.events(), key=lambda one: "cost_problem" in one)
    assert [parts(one) for one in recorded[:2]] == [ANSWER] * 2
    assert recorded[2]["input_tokens"] == 40
