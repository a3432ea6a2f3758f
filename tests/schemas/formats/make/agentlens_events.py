"""Fixtures out of AgentLens' own SDK: `pip install agentlensai==0.12.0`, then run this file."""

from __future__ import annotations

from agentlensai._utils import build_llm_call_events
from agentlensai.models import LlmMessage, LogLlmCallParams, TokenUsage
from write import write


def main() -> None:
    params = LogLlmCallParams(
        provider="anthropic",
        model="claude-sonnet-4-5",
        messages=[LlmMessage(role="user", content="a secret question")],
        completion="a secret answer",
        finish_reason="stop",
        usage=TokenUsage(
            input_tokens=21,
            output_tokens=393,
            total_tokens=414,
            cache_read_tokens=1800,
            cache_write_tokens=188,
            thinking_tokens=200,
        ),
        cost_usd=0.0045,
        latency_ms=850.5,
    )
    events = build_llm_call_events(
        "session-1", "my-agent", params, "call-1", "2026-02-08T10:00:00.123456+00:00"
    )
    write("agentlens", "agentlensai", "call", {"events": events})


if __name__ == "__main__":
    main()
