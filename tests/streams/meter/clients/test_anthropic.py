"""`meter.wrap` with Anthropic's real client: each message is recorded once, however it is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from anthropic import Anthropic, AsyncAnthropic

from streams.meter.clients.stream_notes import StreamNotes
from tests.streams.meter.clients.conftest import Rig
from tests.streams.meter.clients.provider import SECRET

ASKED: Any = {
    "model": "claude-next",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": SECRET}],
}
MESSAGE = {"provider": "anthropic", "model": "claude-sonnet-4-5-20250929", "operation": "chat",
           "input_tokens": 260, "cache_read_tokens": 200, "cache_write_tokens": 10,
           "output_tokens": 32, "finish_reason": "end_turn"}  # fmt: skip


def parts(event: dict[str, Any]) -> dict[str, Any]:
    return {name: event.get(name) for name in MESSAGE}


@pytest.fixture
def client(rig: Rig) -> Iterator[Anthropic]:
    with Anthropic(base_url=rig.provider.url, api_key="k", max_retries=0) as plain:
        wrapped = rig.meter.wrap(rig.meter.wrap(plain), service="chat")
        assert wrapped is plain
        assert type(wrapped) is Anthropic
        yield wrapped


def test_each_way_to_read_a_message_is_recorded_once(rig: Rig, client: Anthropic) -> None:
    assert client.messages.create(**ASKED).content[0].text == SECRET
    events = list(client.messages.create(**ASKED, stream=True))
    assert events[-1].type == "message_stop"
    with client.messages.stream(**ASKED) as stream:
        assert "".join(stream.text_stream) == SECRET * 2
        assert stream.get_final_message().usage.output_tokens == 32
    raw = client.messages.with_raw_response.create(**ASKED)
    assert raw.parse().usage.output_tokens == 32
    with client.messages.with_streaming_response.create(**ASKED) as response:
        assert response.parse().usage.output_tokens == 32
    client.beta.messages.create(**ASKED)
    client.with_options(timeout=9).messages.create(**ASKED)
    recorded = rig.events()
    assert [parts(one) for one in recorded] == [MESSAGE] * 7
    assert {one["service"] for one in recorded} == {"chat"}
    assert ["first_output_ms" in one for one in recorded] == [False, True, True, *[False] * 4]
    assert rig.warnings() == []


@pytest.mark.parametrize("end", [{"input_tokens": 0}, {"input_tokens": None}, {}])
def test_a_server_that_reports_no_input_at_the_end_has_that_of_the_start(
    end: dict[str, int | None],
) -> None:
    notes = StreamNotes()
    usage = {"input_tokens": 1000, "cache_read_input_tokens": 500, "output_tokens": 1}
    notes.see({"type": "message_start", "message": {"id": "msg_1", "usage": usage}})
    ended = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    notes.see({**ended, "usage": {**end, "output_tokens": 100}})
    assert notes.answer["usage"] == {**usage, "output_tokens": 100}
    assert notes.has_whole_usage


def read_one(client: Anthropic, how: str) -> None:
    with client.messages.create(**ASKED, stream=True) as events:
        for _ in events:
            if how == "raise":
                raise KeyError(how)
            return


@pytest.mark.parametrize("how", ["with", "raise", "helper"])
def test_a_stream_that_is_closed_early_has_its_input_and_no_cost(
    rig: Rig, client: Anthropic, how: str
) -> None:
    if how == "helper":
        with client.messages.stream(**ASKED) as stream:
            next(iter(stream.text_stream))
    else:
        with suppress(KeyError):
            read_one(client, how)
    event = rig.event()
    assert (event["model"], event["input_tokens"]) == (MESSAGE["model"], 260)
    assert event["cost_problem"].startswith("the stream was closed before its end")
    assert ("output_tokens" in event, "error" in event) == (False, False)


def test_errors_are_recorded_by_their_type(rig: Rig, client: Anthropic) -> None:
    for status in (429, 529):
        failing = client.with_options(base_url=f"{rig.provider.url}/{status}")
        with pytest.raises(Exception, match=str(status)):
            failing.messages.create(**ASKED)
    limited, overloaded = rig.events()
    assert (limited["error"], limited["error_class"]) == ("requests", "rate_limit")
    assert (overloaded["error"], overloaded["model"]) == ("overloaded_error", "claude-next")


def test_counting_tokens_is_no_call(rig: Rig, client: Anthropic) -> None:
    with pytest.raises(Exception, match=r"."):
        client.with_options(base_url="http://127.0.0.1:9").messages.count_tokens(
            model="claude-next", messages=ASKED["messages"]
        )
    assert rig.events() == []


async def test_the_async_client_is_recorded_alike(rig: Rig) -> None:
    client = rig.meter.wrap(AsyncAnthropic(base_url=rig.provider.url, api_key="k", max_retries=0))
    async with client:
        await client.messages.create(**ASKED)
        stream = await client.messages.create(**ASKED, stream=True)
        assert [event.type async for event in stream][-1] == "message_stop"
        async with client.messages.stream(**ASKED) as helper:
            assert (await helper.get_final_message()).usage.output_tokens == 32
        async with client.messages.stream(**ASKED) as early:
            async for _ in early.text_stream:
                break
        raw = await client.messages.with_raw_response.create(**ASKED)
        await raw.parse()
        failing = client.with_options(base_url=f"{rig.provider.url}/529")
        with pytest.raises(Exception, match="529"):
            await failing.messages.create(**ASKED)
    whole, streamed, helped, closed, parsed, failed = rig.events()
    assert [parts(one) for one in (whole, streamed, helped, parsed)] == [MESSAGE] * 4
    assert (closed["input_tokens"], "output_tokens" in closed) == (260, False)
    assert failed["error"] == "overloaded_error"
