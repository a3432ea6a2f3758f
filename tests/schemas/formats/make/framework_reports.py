"""Fixtures out of frameworks' own libraries, one environment for all of them:

`pip install langchain-core openai-agents 'langfuse<3' helicone-helpers`, then run this file. The lines of Claude
Code and of Codex follow those that they write (versions 2.1 and 0.154): no library makes them.
"""

from __future__ import annotations

import json
from typing import Any

from write import FIXTURES, write

SESSION = "0f6a2d6e-3a0f-4b55-9f4c-7d5b5a8f2a10"


def langchain() -> None:
    from langchain_core.load import dumpd
    from langchain_core.messages import AIMessage, messages_to_dict

    message = AIMessage(
        content="Bonjour, secret",
        id="lc_run--1",
        usage_metadata={
            "input_tokens": 2009,
            "output_tokens": 393,
            "total_tokens": 2402,
            "input_token_details": {"cache_read": 1800, "cache_creation": 188},
            "output_token_details": {"reasoning": 200},
        },
        response_metadata={
            "id": "msg_01Langchain",
            "model_name": "claude-sonnet-4-5-20250929",
            "model_provider": "anthropic",
            "stop_reason": "end_turn",
        },
    )
    write("langchain", "langchain-core", "message", message.model_dump(mode="json"))
    write("langchain", "langchain-core", "dumpd", dumpd(message))
    write("langchain", "langchain-core", "messages_to_dict", messages_to_dict([message]))


def openai_agents() -> None:
    from agents.tracing.span_data import GenerationSpanData
    from agents.usage import Usage
    from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails

    def request(into: int, out: int, cached: int) -> Usage:
        return Usage(
            requests=1,
            input_tokens=into,
            output_tokens=out,
            total_tokens=into + out,
            input_tokens_details=InputTokensDetails(cached_tokens=cached, cache_write_tokens=0),
            output_tokens_details=OutputTokensDetails(reasoning_tokens=0),
        )

    run = Usage()
    run.add(request(1000, 50, 0))
    run.add(request(1200, 60, 1000))
    write("openai_agents", "openai-agents", "run_usage", plain(run))
    alone = {**plain(run), "request_usage_entries": []}
    write("openai_agents", "openai-agents", "run_usage_without_entries", alone)
    data = GenerationSpanData(
        model="gpt-4o", output=[], usage={"input_tokens": 1000, "output_tokens": 50}
    )
    span = {
        "object": "trace.span",
        "id": "span_1",
        "trace_id": "trace_1",
        "started_at": "2026-02-08T10:00:00+00:00",
        "ended_at": "2026-02-08T10:00:01+00:00",
        "span_data": data.export(),
        "error": None,
    }
    trace = {"object": "trace", "id": "trace_1", "workflow_name": "Agent workflow"}
    write("openai_agents", "openai-agents", "exported", {"data": [trace, span]})


def langfuse() -> None:
    from langfuse.api.resources.ingestion.types import CreateGenerationBody, UpdateGenerationBody

    about = {"id": "gen-1", "traceId": "trace-1"}
    begun = CreateGenerationBody(
        **about, name="chat", model="gpt-4o-2024-08-06", startTime="2026-02-08T09:59:59Z"
    )
    ended = UpdateGenerationBody(
        **about,
        endTime="2026-02-08T10:00:00.5Z",
        completionStartTime="2026-02-08T09:59:59.4Z",
        usageDetails={"input": 900, "output": 170, "input_cached_tokens": 1000, "total": 2070},
        costDetails={"total": 0.00645},
    )
    items = [
        ("trace-create", {"id": "trace-1", "input": "secret"}),
        ("generation-create", json.loads(begun.json(exclude_none=True))),
        ("generation-update", json.loads(ended.json(exclude_none=True))),
    ]
    batch = [
        {"id": f"i{n}", "type": kind, "timestamp": "2026-02-08T10:00:01Z", "body": body}
        for n, (kind, body) in enumerate(items)
    ]
    write("langfuse", "langfuse", "batch", {"batch": batch, "metadata": {"sdk_name": "python"}})


def helicone() -> None:
    chat = json.loads((FIXTURES / "openai/chat.json").read_text())["body"]
    body = {
        "providerRequest": {
            "url": "https://api.openai.com/v1/chat/completions",
            "json": {"model": "gpt-4o", "messages": [{"role": "user", "content": "secret"}]},
            "meta": {"Helicone-User-Id": "alice", "Helicone-Session-Id": "session-1"},
        },
        "providerResponse": {"json": chat, "status": 200, "headers": {}},
        "timing": {
            "startTime": {"seconds": 1770544798, "milliseconds": 750},
            "endTime": {"seconds": 1770544800, "milliseconds": 0},
        },
    }
    write("helicone", "helicone-helpers", "custom_log", body)


def claude_code() -> None:
    usage = {
        "input_tokens": 6,
        "cache_creation_input_tokens": 500,
        "cache_read_input_tokens": 20000,
        "service_tier": "standard",
    }
    about = {"sessionId": SESSION, "isSidechain": False, "version": "2.1.0", "cwd": "/project"}

    def line(place: int, name: str, block: dict[str, Any], output: int, stop: str | None) -> Any:
        message = {
            "id": name,
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5-20250929",
            "content": [block],
            "stop_reason": stop,
            "usage": {**usage, "output_tokens": output},
        }
        time = f"2026-02-08T10:00:0{place}.000Z"
        return {**about, "type": "assistant", "uuid": f"u{place}", "timestamp": time} | {
            "requestId": f"req_{name}",
            "message": message,
        }

    text = {"type": "text", "text": "secret"}
    asked = {
        **about,
        "type": "user",
        "uuid": "u0",
        "message": {"role": "user", "content": "secret"},
    }
    result = {"type": "result", "session_id": SESSION, "total_cost_usd": 0.1, "modelUsage": {}}
    synthetic = line(6, "msg_3", text, 0, "stop_sequence")
    synthetic["message"]["model"] = "<synthetic>"
    lines = [
        asked,
        line(1, "msg_1", {"type": "thinking", "thinking": ""}, 3, None),
        line(2, "msg_1", text, 330, "tool_use"),
        line(3, "msg_2", text, 40, None),
        line(4, "msg_2", text, 41, None),
        line(5, "msg_4", text, 50, "end_turn"),
        synthetic,
        result,
    ]
    published("claude_code", "Claude Code 2.1", lines)


def codex() -> None:
    session, turn = "019ebc25-b5ab-72a0-b391-0364d948be20", "019ebc26-dca2-7460-a5ea-9db46cfd1e8d"

    def line(second: int, kind: str, payload: dict[str, Any]) -> dict[str, Any]:
        return {"timestamp": f"2026-02-08T10:00:{second:02}.000Z", "type": kind, "payload": payload}

    def usage(*counts: int) -> dict[str, int]:
        into, cached, out, reasoning = counts
        about = {"cached_input_tokens": cached, "reasoning_output_tokens": reasoning}
        return {"input_tokens": into, "output_tokens": out, **about, "total_tokens": into + out}

    def counted(second: int, total: dict[str, int], last: dict[str, int]) -> dict[str, Any]:
        info = {
            "total_token_usage": total,
            "last_token_usage": last,
            "model_context_window": 272000,
        }
        limits = {"primary": {"used_percent": 7.0, "window_minutes": 300}, "secondary": None}
        return line(
            second, "event_msg", {"type": "token_count", "info": info, "rate_limits": limits}
        )

    first, second = usage(14475, 2432, 216, 64), usage(20304, 19840, 1374, 1088)
    both = {name: first[name] + second[name] for name in first}
    said = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "secret"}],
    }
    about = {"cwd": "/work", "originator": "codex-tui", "cli_version": "0.154.0", "source": "cli"}
    lines = [
        line(0, "session_meta", {"id": session, **about, "model_provider": "openai"}),
        line(0, "event_msg", {"type": "task_started", "turn_id": turn}),
        line(0, "turn_context", {"turn_id": turn, "cwd": "/work", "model": "gpt-5.5"}),
        line(0, "response_item", said),
        line(0, "event_msg", {"type": "token_count", "info": None, "rate_limits": {}}),
        counted(1, first, first),
        counted(2, first, first),
        counted(5, both, second),
        line(6, "event_msg", {"type": "agent_message", "message": "secret"}),
    ]
    published("codex", "Codex 0.154", lines)


def published(format: str, version: str, lines: list[dict[str, Any]]) -> None:  # noqa: A002
    folder = FIXTURES / format
    folder.mkdir(parents=True, exist_ok=True)
    made = {"made_by": f"published lines of {version}", "body": lines}
    content = json.dumps(made, indent=1, sort_keys=True, ensure_ascii=False)
    (folder / "transcript.json").write_text(content + "\n")


def plain(usage: Any) -> dict[str, Any]:
    """As `dataclasses.asdict` shows it, which reads models of pydantic too."""
    from pydantic import TypeAdapter

    made: dict[str, Any] = TypeAdapter(type(usage)).dump_python(usage, mode="json")
    return made


if __name__ == "__main__":
    for make in (langchain, openai_agents, langfuse, helicone, claude_code, codex):
        make()
