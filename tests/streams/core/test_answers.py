"""One answer that two libraries report, each in its own format and under its own source, counts once."""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from schemas.event.answer_id import is_answer_id
from schemas.formats.context import Context
from schemas.formats.parse import parse
from streams.core.explain import CountedEvent, Explainer
from tests.oracles.event_logs import NOW_MS, Record, encode, event
from tests.oracles.fold_oracle import expected

FIXTURES = Path(__file__).parents[2] / "schemas" / "formats" / "fixtures"
OPENAI = "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG"
ANTHROPIC = "msg_01XFDUDYJgAACzvnptvVoYEL"
RESPONSE = "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b"
OPENROUTER = "gen-1764500000-wUkYlqQ8Rx1GmE3sT7aB"


def span(id_: str, system: str, model: str, service: str = "checkout") -> dict[str, Any]:
    said = {
        "gen_ai.operation.name": "chat", "gen_ai.system": system, "gen_ai.request.model": model,
        "gen_ai.response.id": id_, "gen_ai.usage.input_tokens": 1200,
        "gen_ai.usage.output_tokens": 300,
    }  # fmt: skip
    made = {
        "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "chat",
        "startTimeUnixNano": f"{NOW_MS - 900}000000", "endTimeUnixNano": f"{NOW_MS}000000",
        "attributes": [
            {"key": key, "value": {"intValue" if isinstance(one, int) else "stringValue": one}}
            for key, one in said.items()
        ],
    }  # fmt: skip
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [made]}]}]}


def chat(id_: str, model: str = "gpt-4o-2024-08-06") -> dict[str, Any]:
    usage = {"prompt_tokens": 1200, "completion_tokens": 300, "total_tokens": 1500}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant"}}
    head = {"id": id_, "object": "chat.completion", "created": NOW_MS // 1000, "model": model}
    return {**head, "choices": [choice], "usage": usage}


def response(id_: str) -> dict[str, Any]:
    usage = {"input_tokens": 1200, "output_tokens": 300, "total_tokens": 1500}
    head = {"id": id_, "object": "response", "created_at": NOW_MS // 1000, "status": "completed"}
    return {**head, "model": "gpt-5-2025-08-07", "usage": usage}


def message(id_: str) -> dict[str, Any]:
    usage = {"input_tokens": 1200, "output_tokens": 300, "cache_read_input_tokens": 0}
    head = {"id": id_, "type": "message", "role": "assistant", "model": "claude-sonnet-4-5"}
    return {**head, "stop_reason": "end_turn", "content": [], "usage": usage}


def transcript(id_: str) -> dict[str, Any]:
    line = {"type": "assistant", "sessionId": "s-1", "uuid": "u-1", "requestId": "req_1"}
    return {**line, "timestamp": "2026-02-08T10:00:00.000Z", "message": message(id_)}


def fixture(name: str, id_: str, *path: str) -> dict[str, Any]:
    """A library's object, with another id of the answer."""
    body: dict[str, Any] = json.loads((FIXTURES / name).read_text(), parse_float=Decimal)["body"]
    inner = body
    for part in path:
        inner = inner[part]
    inner["id"] = id_
    return body


def litellm(id_: str) -> dict[str, Any]:
    return fixture("litellm/chat.json", id_)


def events_of(*bodies: dict[str, Any]) -> list[bytes]:
    """Each body is a request of its own."""
    found: list[bytes] = []
    for n, body in enumerate(bodies):
        parsed = parse(body, None, Context(received_ms=NOW_MS, id_seed=f"seed-{n}"))
        assert [error.error for error in parsed.refused] == []
        found += [one.record for one in parsed.events]
    assert len(found) == len(bodies)
    return found


def counted(records: list[bytes]) -> int:
    """How many of these events count; the worker's code and the oracle agree."""
    explainer = Explainer(NOW_MS)
    found = [explainer.explain(record) for record in records]
    assert all(isinstance(one, CountedEvent) for one in found)
    number = sum(isinstance(one, CountedEvent) and not one.duplicate for one in found)
    log = [Record(0, offset, NOW_MS, record, ()) for offset, record in enumerate(records)]
    assert expected(log).accepted == number
    return number


@pytest.mark.parametrize(
    "reports",
    [
        (chat(OPENAI), span(OPENAI, "openai", "gpt-4o"), litellm(OPENAI)),
        (
            fixture("helicone/custom_log.json", OPENAI, "providerResponse", "json"),
            chat(OPENAI),
            span(OPENAI, "openai", "gpt-4o"),
        ),
        (response(RESPONSE), span(RESPONSE, "openai", "gpt-5")),
        (
            message(ANTHROPIC),
            transcript(ANTHROPIC),
            span(ANTHROPIC, "anthropic", "claude-sonnet-4-5"),
            fixture("langchain/message.json", ANTHROPIC, "response_metadata"),
        ),
        (chat(OPENROUTER, "openai/gpt-4o"), span(OPENROUTER, "openrouter", "openai/gpt-4o")),
        (span(OPENAI, "openai", "gpt-4o"), span(OPENAI, "openai", "gpt-4o", "gateway")),
    ],
)
def test_an_answer_in_several_formats_counts_once(reports: tuple[dict[str, Any], ...]) -> None:
    for order in permutations(reports):
        assert counted(events_of(*order)) == 1


def test_an_id_that_other_answers_have_too_is_not_enough() -> None:
    """Ollama's, and those of servers that count."""
    for id_ in ("chatcmpl-417", "chatcmpl-0000000000000001", "chat-1", "gen-1"):
        assert counted(events_of(chat(id_), span(id_, "openai", "m"))) == 2


def test_only_answers_are_identified_by_the_id_alone() -> None:
    def two(**changes: Any) -> int:
        first = {"id": OPENAI, "source": "app"}
        return counted([encode(event(**first)), encode(event(**{**first, **changes}))])

    assert two() == 1
    assert two(source="gateway") == 1
    assert two(source="gateway", tenant="acme") == 2
    assert two(source="gateway", id="evt-1") == 2
    assert two(source="gateway", kind="tts") == 2
    own = [encode(event(id="evt-1", source=source)) for source in ("app", "gateway")]
    assert counted(own) == 2  # an id of the producer's own


@pytest.mark.parametrize(
    "id_", [OPENAI, ANTHROPIC, RESPONSE, OPENROUTER, "msg_bdrk_01A2b3C4d5E6f7G8h9"]
)
def test_the_ids_of_providers(id_: str) -> None:
    assert is_answer_id(id_)
    assert not is_answer_id(f"{id_}/1")  # one of several events of an answer
    assert not is_answer_id(f"x{id_}")
