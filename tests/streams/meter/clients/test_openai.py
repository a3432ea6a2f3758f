"""`meter.wrap` with OpenAI's real client: each call is recorded once, and the app sees no difference."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from openai import AsyncOpenAI, AzureOpenAI, OpenAI, RateLimitError, Stream
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from tests.streams.meter.clients.conftest import Rig
from tests.streams.meter.clients.provider import SECRET

HELLO: Any = [{"role": "user", "content": SECRET}]
CHAT = {"provider": "openai", "model": "gpt-4o-2024-08-06", "operation": "chat",
        "input_tokens": 1200, "cache_read_tokens": 1000, "output_tokens": 300,
        "reasoning_tokens": 128, "finish_reason": "stop"}  # fmt: skip


def parts(event: dict[str, Any], like: dict[str, Any]) -> dict[str, Any]:
    return {name: event.get(name) for name in like}


@pytest.fixture
def plain(rig: Rig) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{rig.provider.url}/v1", api_key="k", max_retries=0) as client:
        yield client


@pytest.fixture
def client(rig: Rig, plain: OpenAI) -> OpenAI:
    return rig.meter.wrap(plain, agent_id="a-1")


def ask(client: OpenAI, **given: Any) -> Any:
    return client.chat.completions.create(model="gpt-4o", messages=HELLO, **given)


def test_the_client_stays_the_same_object_of_the_same_class(rig: Rig, plain: OpenAI) -> None:
    before = plain.chat.completions  # made before the wrap: it is recorded too
    wrapped = rig.meter.wrap(plain, agent_id="a-1")
    assert wrapped is plain
    assert type(wrapped) is OpenAI
    answer = before.create(model="gpt-4o", messages=HELLO)
    assert type(answer) is ChatCompletion
    assert answer.choices[0].message.content == SECRET
    event = rig.event()
    assert parts(event, CHAT) == CHAT
    assert (event["kind"], event["agent_id"], event["id"]) == ("llm", "a-1", answer.id)
    assert 0 <= event["latency_ms"] < 30_000
    assert "first_output_ms" not in event


def test_a_client_that_is_wrapped_twice_counts_once(rig: Rig, client: OpenAI) -> None:
    rig.meter.wrap(rig.meter.wrap(client), agent_id="a-2")
    ask(client)
    assert rig.event()["agent_id"] == "a-2"


def test_copies_record_too_and_may_have_their_own_context(rig: Rig, client: OpenAI) -> None:
    ask(client.with_options(timeout=9))
    ask(rig.meter.wrap(client.copy(), user_id="u-1"))
    ask(client)
    users = [(one.get("agent_id"), one.get("user_id")) for one in rig.events()]
    assert users == [("a-1", None), (None, "u-1"), ("a-1", None)]


def test_a_stream_is_asked_for_its_usage_and_the_extra_chunk_is_hidden(
    rig: Rig, client: OpenAI
) -> None:
    stream = ask(client, stream=True)
    assert isinstance(stream, Stream)
    chunks = list(stream)
    assert [len(one.choices) for one in chunks] == [1, 1, 1, 1]
    ((_, asked),) = rig.provider.requests
    assert asked["stream_options"] == {"include_usage": True}
    event = rig.event()
    assert parts(event, CHAT) == CHAT
    assert 0 <= event["first_output_ms"] <= event["latency_ms"]


def test_an_app_that_asks_itself_gets_the_extra_chunk(rig: Rig, client: OpenAI) -> None:
    for given in ({"stream_options": {"include_usage": True}},
                  {"extra_body": {"stream_options": {"include_usage": True}}}):  # fmt: skip
        chunks = list(ask(client, stream=True, **given))
        assert [len(one.choices) for one in chunks] == [1, 1, 1, 1, 0]
        assert chunks[-1].usage.total_tokens == 1500
    assert [parts(one, CHAT) for one in rig.events()] == [CHAT, CHAT]


def test_an_app_that_declines_is_not_overruled(rig: Rig, client: OpenAI) -> None:
    assert len(list(ask(client, stream=True, stream_options={"include_usage": False}))) == 4
    event = rig.event()
    assert "input_tokens" not in event
    assert event["cost_problem"] == "the stream ended without usage"


def test_asking_may_be_switched_off(rig: Rig, plain: OpenAI) -> None:
    list(ask(rig.meter.wrap(plain, ask_usage=False), stream=True))
    assert "stream_options" not in rig.provider.requests[0][1]
    assert rig.event()["cost_problem"] == "the stream ended without usage"


def test_a_server_that_refuses_the_option_is_asked_without(rig: Rig, client: OpenAI) -> None:
    rig.provider.knows_options = False
    for _ in range(2):
        assert len(list(ask(client, stream=True))) == 4
    assert ["stream_options" in asked for _, asked in rig.provider.requests] == [True, False, False]
    assert [one["cost_problem"] for one in rig.events()] == ["the stream ended without usage"] * 2


@pytest.mark.parametrize("how", ["close", "with", "break", "drop", "raise", "unread"])
def test_a_stream_that_is_closed_early_is_recorded(rig: Rig, client: OpenAI, how: str) -> None:
    def read() -> None:
        stream = ask(client, stream=True)
        if how == "unread":
            return
        if how == "with":
            with stream:
                next(iter(stream))
            return
        for _ in stream:
            if how == "raise":
                raise KeyError(how)
            break
        if how == "close":
            stream.close()
            stream.close()

    try:
        read()
    except KeyError:
        assert how == "raise"
    gc.collect()
    event = rig.event()
    assert event["cost_problem"].startswith("the stream was closed before its end")
    assert event["provider"] == "openai"
    assert ("error" in event, "input_tokens" in event) == (False, False)
    if how != "unread":
        assert event["model"] == "gpt-4o-2024-08-06"


def test_a_stream_that_is_open_when_the_meter_closes_is_recorded(rig: Rig, client: OpenAI) -> None:
    stream = ask(client, stream=True)
    next(stream)
    rig.meter.close()
    ((event,),) = rig.receiver.bodies
    assert event["cost_problem"].startswith("the stream was closed")
    assert len(list(stream)) == 3


def test_a_stream_that_breaks_is_an_error(rig: Rig, client: OpenAI) -> None:
    rig.provider.breaks = True
    with pytest.raises(Exception, match=r"."):
        list(ask(client, stream=True))
    event = rig.event()
    assert event["error"] == "RemoteProtocolError"
    assert event["model"] == "gpt-4o-2024-08-06"


@pytest.mark.parametrize(
    ("status", "error"),
    [(429, "rate_limit_exceeded"), (401, "invalid_api_key"), (500, "server_error")],
)
def test_an_error_is_recorded_by_its_code_and_raised(
    rig: Rig, client: OpenAI, status: int, error: str
) -> None:
    failing = client.with_options(base_url=f"{rig.provider.url}/{status}/v1")
    with pytest.raises(Exception, match=str(status)) as raised:
        ask(failing)
    assert isinstance(raised.value, RateLimitError) == (status == 429)
    event = rig.event()
    assert (event["error"], event["model"], event["provider"]) == (error, "gpt-4o", "openai")
    assert event["latency_ms"] >= 0


def test_a_server_that_is_away_is_a_connection_error(rig: Rig, client: OpenAI) -> None:
    with pytest.raises(Exception, match="onnection"):
        ask(client.with_options(base_url="http://127.0.0.1:9/v1"))
    assert rig.event()["error"] == "APIConnectionError"


def test_raw_responses_keep_working(rig: Rig, client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO)
    assert raw.headers["content-type"] == "application/json"
    assert raw.parse().usage is not None
    assert parts(rig.event(), CHAT) == CHAT


def test_raw_streams_are_parsed_without_the_extra_chunk(rig: Rig, client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="gpt-4o", messages=HELLO, stream=True
    )
    assert len(list(raw.parse())) == 4
    assert parts(rig.event(), CHAT) == CHAT


def test_streaming_responses_are_recorded_as_the_app_reads_them(rig: Rig, client: OpenAI) -> None:
    opened = client.chat.completions.with_streaming_response.create
    with opened(model="gpt-4o", messages=HELLO) as whole:
        assert whole.parse().usage is not None
    with opened(model="gpt-4o", messages=HELLO, stream=True) as lines:
        said = [line for line in lines.iter_lines() if line.startswith("data: {")]
    assert len(said) == 4
    with opened(model="gpt-4o", messages=HELLO) as unread:
        assert unread.status_code == 200
    first, second, third = rig.events()
    assert (parts(first, CHAT), parts(second, CHAT)) == (CHAT, CHAT)
    assert third["cost_problem"].startswith("the stream was closed")


class Greeting(BaseModel):
    text: str


def test_parse_and_the_stream_helper_keep_working(rig: Rig, client: OpenAI) -> None:
    with pytest.raises(Exception, match="JSON"):  # the answer is no JSON: the app's own error
        client.chat.completions.parse(model="gpt-4o", messages=HELLO, response_format=Greeting)
    with client.chat.completions.stream(model="gpt-4o", messages=HELLO) as stream:
        kinds = [event.type for event in stream]
        assert stream.get_final_completion().choices[0].message.content == SECRET * 2
    assert kinds.count("chunk") == 4
    with client.chat.completions.stream(model="gpt-4o", messages=HELLO) as early:
        next(iter(early))
    events = rig.events()
    assert len(events) == 3
    assert parts(events[1], CHAT) == CHAT
    assert events[2]["cost_problem"].startswith("the stream was closed")


RESPONSE = {"model": "gpt-5.2-2025-12-11", "input_tokens": 2048, "cache_read_tokens": 1024,
            "output_tokens": 700, "reasoning_tokens": 640, "web_searches": 1}  # fmt: skip


def test_responses_and_their_streams(rig: Rig, client: OpenAI) -> None:
    assert client.responses.create(model="gpt-5.2", input=SECRET).output_text == SECRET
    events = list(client.responses.create(model="gpt-5.2", input=SECRET, stream=True))
    assert events[-1].type == "response.completed"
    with client.responses.stream(model="gpt-5.2", input=SECRET) as stream:
        assert stream.get_final_response().usage is not None
    recorded = rig.events()
    assert [parts(one, RESPONSE) for one in recorded] == [RESPONSE] * 3
    assert ["first_output_ms" in one for one in recorded] == [False, True, True]


def test_a_response_stream_that_is_closed_early(rig: Rig, client: OpenAI) -> None:
    with client.responses.create(model="gpt-5.2", input=SECRET, stream=True) as stream:
        next(iter(stream))
    event = rig.event()
    assert event["model"] == "gpt-5.2-2025-12-11"
    assert event["cost_problem"].startswith("the stream was closed")


def test_a_background_response_counts_when_it_is_done(rig: Rig, client: OpenAI) -> None:
    queued = client.responses.create(model="gpt-5.2", input=SECRET, background=True)
    for _ in range(3):  # in progress, then completed
        client.responses.retrieve(queued.id)
    event = rig.event()
    assert event["id"] == queued.id
    assert parts(event, RESPONSE) == RESPONSE
    assert "latency_ms" not in event


def test_embeddings_audio_and_images(rig: Rig, client: OpenAI) -> None:
    client.embeddings.create(model="text-embedding-3-small", input=SECRET)
    client.audio.speech.create(model="tts-1", voice="coral", input=SECRET)
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="coral", input=SECRET
    ) as spoken:
        assert len(b"".join(spoken.iter_bytes())) == 2000
    client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"RIFF"))
    client.images.generate(model="gpt-image-1", prompt=SECRET)
    client.images.generate(model="dall-e-3", prompt=SECRET)
    vectors, speech, streamed, heard, image, old = rig.events()
    assert (vectors["operation"], vectors["input_tokens"]) == ("embeddings", 8)
    for one in (speech, streamed):
        assert (one["kind"], one["tts_characters"], one["voice"]) == ("tts", len(SECRET), "coral")
        assert (one["provider"], one["model"], one["operation"]) == ("openai", "tts-1", "speech")
    assert (heard["kind"], heard["stt_audio_ms"], heard["model"]) == ("stt", 9000, "whisper-1")
    assert (image["operation"], image["output_tokens"], image["model"]) == (
        "image", 4000, "gpt-image-1",
    )  # fmt: skip
    assert (old["operation"], old["images"], old["model"]) == ("image", 2, "dall-e-3")


def test_a_client_for_azure_names_azure_behind_any_gateway(rig: Rig) -> None:
    with AzureOpenAI(
        azure_endpoint=rig.provider.url, api_key="k", api_version="2024-10-21", max_retries=0
    ) as client:
        assert len(list(ask(rig.meter.wrap(client), stream=True))) == 4
    assert parts(rig.event(), CHAT) == {**CHAT, "provider": "azure"}


def test_calls_of_no_model_record_nothing(rig: Rig, client: OpenAI) -> None:
    assert client.models.list().data[0].id == "gpt-4o"
    client.responses.retrieve("resp_old")
    assert rig.events() == []
    assert rig.warnings() == []


def test_a_hook_that_fails_is_said_once_and_the_app_goes_on(
    rig: Rig, client: OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.meter.clients.openai_hooks.attach", None)
    for _ in range(2):
        assert len(list(ask(client, stream=True))) == 5
    assert len(rig.warnings()) == 1


@pytest.mark.parametrize("more", [{"x_groq": "text"}, {"usage": "text"}, {"usage": [1]}])
def test_a_stream_that_cannot_be_understood_reaches_the_app_whole(
    rig: Rig, client: OpenAI, more: dict[str, Any]
) -> None:
    rig.provider.more = more
    with OpenAI(base_url=f"{rig.provider.url}/v1", api_key="k", max_retries=0) as unwrapped:
        expected = [chunk.choices for chunk in ask(unwrapped, stream=True)]
    assert [chunk.choices for chunk in ask(client, stream=True)] == expected
    assert len(rig.events()) == 1


async def test_the_async_client_is_recorded_alike(rig: Rig) -> None:
    client = rig.meter.wrap(
        AsyncOpenAI(base_url=f"{rig.provider.url}/v1", api_key="k", max_retries=0)
    )
    async with client:
        create = client.chat.completions.create
        assert (await create(model="gpt-4o", messages=HELLO)).usage is not None
        stream = await create(model="gpt-4o", messages=HELLO, stream=True)
        assert len([one async for one in stream]) == 4
        early = await create(model="gpt-4o", messages=HELLO, stream=True)
        async for _ in early:
            break
        await early.close()
        async with client.chat.completions.stream(model="gpt-4o", messages=HELLO) as helper:
            await helper.get_final_completion()
        raw = await client.chat.completions.with_raw_response.create(
            model="gpt-4o", messages=HELLO, stream=True
        )
        assert len([one async for one in raw.parse()]) == 4
        failing = client.with_options(base_url=f"{rig.provider.url}/429/v1")
        with pytest.raises(RateLimitError):
            await failing.chat.completions.create(model="gpt-4o", messages=HELLO)
    whole, streamed, closed, helped, parsed, failed = rig.events()
    assert [parts(one, CHAT) for one in (whole, streamed, helped, parsed)] == [CHAT] * 4
    assert "first_output_ms" in streamed
    assert closed["cost_problem"].startswith("the stream was closed")
    assert failed["error"] == "rate_limit_exceeded"


async def test_a_task_that_is_cancelled_closes_its_stream(rig: Rig) -> None:
    client = rig.meter.wrap(
        AsyncOpenAI(base_url=f"{rig.provider.url}/v1", api_key="k", max_retries=0)
    )
    begun = asyncio.Event()

    async def read() -> None:
        stream = await client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
        async for _ in stream:
            begun.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])
    del task
    gc.collect()
    for _ in range(20):  # the loop closes the generators of the stream
        await asyncio.sleep(0)
    await client.close()
    event = rig.event()
    assert event["cost_problem"].startswith("the stream was closed")
    assert "error" not in event


def test_streams_of_many_threads_are_told_apart(rig: Rig, client: OpenAI) -> None:
    def read() -> None:
        for _ in range(5):
            assert len(list(ask(client, stream=True))) == 4

    threads = [threading.Thread(target=read) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [parts(one, CHAT) for one in rig.events()] == [CHAT] * 30


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # Python 3.12 and newer
def test_a_fork_leaves_the_open_stream_to_the_parent(rig: Rig, client: OpenAI) -> None:
    stream = ask(client, stream=True)
    next(stream)
    child = os.fork()
    if child == 0:
        stream.close()
        rig.meter.flush(5)
        os._exit(0)
    os.waitpid(child, 0)
    assert len(list(stream)) == 3
    assert parts(rig.event(), CHAT) == CHAT
