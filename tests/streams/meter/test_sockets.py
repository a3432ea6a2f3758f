"""Messages of sockets that `wrap` does not see: OpenAI's Realtime and Gemini's Live API."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from google.genai import types
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from schemas.event.usage_event import parse_usage
from schemas.prices.cost import Priced, price
from streams.meter import Meter
from tests.streams.meter.receiver import Receiver, receiver_of

SESSION = {
    "type": "realtime",
    "model": "gpt-realtime",
    "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}},
}
TRANSCRIBED = {
    "type": "conversation.item.input_audio_transcription.completed",
    "event_id": "event_t1",
    "item_id": "item_1",
    "content_index": 0,
    "transcript": "a secret",
    "usage": {
        "type": "tokens",
        "input_tokens": 1400,
        "input_token_details": {"text_tokens": 0, "audio_tokens": 1400},
        "output_tokens": 100,
        "total_tokens": 1500,
    },
}
USAGE = {
    "total_tokens": 1253,
    "input_tokens": 1032,
    "output_tokens": 221,
    "input_token_details": {
        "text_tokens": 119,
        "audio_tokens": 913,
        "image_tokens": 0,
        "cached_tokens": 384,
        "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 320, "image_tokens": 0},
    },
    "output_token_details": {"text_tokens": 71, "audio_tokens": 150},
}


def done(name: str, **more: Any) -> dict[str, Any]:
    response = {"id": name, "object": "realtime.response", "status": "completed", "output": []}
    return {
        "type": "response.done",
        "event_id": f"event_{name}",
        "response": {**response, "usage": USAGE, **more},
    }


@pytest.fixture
def sent() -> Iterator[tuple[Meter, Receiver]]:
    with receiver_of([]) as receiver, Meter(receiver.url, source="app") as meter:
        yield meter, receiver


def events_of(meter: Meter, receiver: Receiver) -> list[dict[str, Any]]:
    assert meter.flush(30)
    return [event for body in receiver.bodies for event in body]


def usd(event: dict[str, Any]) -> Decimal:
    priced = price(parse_usage(event))
    assert isinstance(priced, Priced), priced
    return Decimal(priced.nano_usd) / 10**9


def test_a_realtime_session_counts_each_response_and_each_transcript_of_its_input(
    sent: tuple[Meter, Receiver],
) -> None:
    meter, receiver = sent
    event_of: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
    delta = {"response_id": "r", "item_id": "i", "output_index": 0, "content_index": 0}
    for event in (
        {"type": "session.created", "event_id": "event_1", "session": SESSION},
        TRANSCRIBED,
        {"type": "response.output_audio.delta", "event_id": "e", "delta": "", **delta},
        done("resp_BxYzAbCdEfGhIjKlMnOpQ"),
        done("resp_BxYzAbCdEfGhIjKlMnOpR"),
        done("resp_BxYzAbCdEfGhIjKlMnOpR"),
    ):
        meter.record_from(event_of.validate_python(event), agent_id="my-agent")
    text, *spoken = sorted(
        events_of(meter, receiver), key=lambda one: str(one["kind"]), reverse=True
    )
    assert (text["kind"], text["model"], text["agent_id"]) == (
        "stt",
        "gpt-4o-transcribe",
        "my-agent",
    )
    assert usd(text) == Decimal("0.0094")  # 1400 * 6 + 100 * 10 per million
    assert {one["id"] for one in spoken} == {
        "resp_BxYzAbCdEfGhIjKlMnOpQ",
        "resp_BxYzAbCdEfGhIjKlMnOpR",
    }
    assert {(one["model"], one["operation"]) for one in spoken} == {("gpt-realtime", "realtime")}
    # 55 * 4 + 593 * 32 + 64 * 0.4 + 320 * 0.4 + 71 * 16 + 150 * 64 per million
    assert [usd(one) for one in spoken] == [Decimal("0.0300856")] * len(spoken)
    assert "secret" not in str(receiver.bodies)


def test_a_session_changes_its_models_and_a_message_may_name_its_own(
    sent: tuple[Meter, Receiver],
) -> None:
    meter, receiver = sent
    updated = {"model": "gpt-realtime-mini", "input_audio_transcription": {"model": "whisper-1"}}
    meter.record_from({"type": "session.created", "session": SESSION})
    meter.record_from({"type": "session.updated", "session": updated})
    meter.record_from(TRANSCRIBED)
    meter.record_from(done("resp_BxYzAbCdEfGhIjKlMnOpQ"))
    meter.record_from(done("resp_BxYzAbCdEfGhIjKlMnOpR", model="gpt-realtime-2"))
    found = {one["id"]: one["model"] for one in events_of(meter, receiver)}
    assert sorted(found.values()) == ["gpt-realtime-2", "gpt-realtime-mini", "whisper-1"]


def test_each_turn_of_a_live_session_counts_and_messages_between_them_do_not(
    sent: tuple[Meter, Receiver],
) -> None:
    meter, receiver = sent
    usage = {
        "prompt_token_count": 1000,
        "response_token_count": 200,
        "total_token_count": 1200,
        "prompt_tokens_details": [{"modality": "AUDIO", "token_count": 900}],
        "response_tokens_details": [{"modality": "AUDIO", "token_count": 200}],
    }
    turn = {"server_content": {"turn_complete": True}, "usage_metadata": usage}
    said = {"server_content": {"model_turn": {"parts": [{"text": "a secret"}]}}}
    messages: list[dict[str, Any]] = [{"setup_complete": {}}, said, turn, said, turn]
    for message in messages:
        meter.record_from(
            types.LiveServerMessage.model_validate(message),
            model="gemini-2.5-flash-native-audio-preview-09-2025",
        )
    first, second = events_of(meter, receiver)
    assert first["id"] != second["id"]
    assert (first["operation"], first["provider"]) == ("realtime", "google")
    assert [usd(one) for one in (first, second)] == [Decimal("0.00515")] * 2
    assert meter.counts.refused == 0
    assert "secret" not in str(receiver.bodies)
