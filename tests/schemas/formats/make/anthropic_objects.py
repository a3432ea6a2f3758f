"""Fixtures out of anthropic's own types: `pip install anthropic==2.12.0`, then run this file."""

from __future__ import annotations

from typing import Any

from anthropic.types import Message, RawMessageDeltaEvent, RawMessageStartEvent, RawMessageStopEvent
from anthropic.types.beta import BetaMessage
from write import write

USAGE: dict[str, Any] = {
    "input_tokens": 21,
    "cache_creation_input_tokens": 188,
    "cache_read_input_tokens": 1800,
    "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 88},
    "output_tokens": 393,
    "output_tokens_details": {"thinking_tokens": 200},
    "service_tier": "standard",
}
MESSAGE: dict[str, Any] = {
    "id": "msg_013Zva2CMHLNnXjNJJKqJ2EF",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "Hi! My name is Claude."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": USAGE,
}


def save(name: str, body: Any) -> None:
    write("anthropic", "anthropic", name, body)


def dump(made: Any) -> Any:
    return made.model_dump(mode="json")


def main() -> None:
    save("message", dump(Message.model_validate(MESSAGE)))
    bare = {**MESSAGE, "usage": {"input_tokens": 10, "output_tokens": 5}}
    save("message_without_cache", dump(Message.model_validate(bare)))

    provisional = {**USAGE, "output_tokens": 1, "output_tokens_details": None}
    begun = {**MESSAGE, "content": [], "stop_reason": None, "usage": provisional}
    start = RawMessageStartEvent.model_validate({"type": "message_start", "message": begun})
    final = {
        "input_tokens": 21,
        "cache_creation_input_tokens": 188,
        "cache_read_input_tokens": 1800,
        "output_tokens": 393,
        "output_tokens_details": {"thinking_tokens": 200},
    }
    delta = RawMessageDeltaEvent.model_validate(
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": final}
    )
    stop = RawMessageStopEvent.model_validate({"type": "message_stop"})
    save("stream", [dump(start), dump(delta), dump(stop)])
    save("message_start", dump(start))
    save("message_delta", dump(delta))

    part = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    iterations = [
        {"type": "compaction", **part, "input_tokens": 180000, "output_tokens": 3500},
        {"type": "message", **part, "input_tokens": 23000, "output_tokens": 1000},
    ]
    usage = {**part, "input_tokens": 23000, "output_tokens": 1000, "iterations": iterations}
    save("beta_compaction", dump(BetaMessage.model_validate({**MESSAGE, "usage": usage})))
    advisor = {
        "type": "advisor_message",
        "model": "claude-opus-4-6",
        **part,
        "cache_read_input_tokens": 400,
        "input_tokens": 823,
        "output_tokens": 1612,
    }
    usage = {**usage, "iterations": [iterations[1], advisor]}
    save("beta_advisor", dump(BetaMessage.model_validate({**MESSAGE, "usage": usage})))


if __name__ == "__main__":
    main()
