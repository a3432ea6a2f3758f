"""What a real session of LiveKit Agents reports: `pip install livekit-agents==1.8.9`, then run this file.

The model is a local one that answers two turns with fixed counts. No room and no network is needed.
"""

from __future__ import annotations

import asyncio
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from livekit.agents import Agent, AgentSession, llm
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS

RECORDED = Path(__file__).parent.parent / "recorded" / "livekit_session.json"


class EchoStream(llm.LLMStream):  # type: ignore[misc]
    async def _run(self) -> None:
        said = llm.ChoiceDelta(role="assistant", content="Good morning.")
        self._event_ch.send_nowait(llm.ChatChunk(id="chatcmpl-1", delta=said))
        usage = llm.CompletionUsage(
            prompt_tokens=900, completion_tokens=60, total_tokens=960, prompt_cached_tokens=512
        )
        self._event_ch.send_nowait(llm.ChatChunk(id="chatcmpl-1", usage=usage))


class Echo(llm.LLM):  # type: ignore[misc]
    @property
    def model(self) -> str:
        return "gpt-4o"

    @property
    def provider(self) -> str:
        return "api.openai.com"

    def chat(self, *, chat_ctx: Any, tools: Any = None, **_: Any) -> EchoStream:
        return EchoStream(
            self, chat_ctx=chat_ctx, tools=tools or [], conn_options=DEFAULT_API_CONNECT_OPTIONS
        )


async def main() -> None:
    told: list[dict[str, Any]] = []
    async with AgentSession(llm=Echo()) as session:
        for name in ("metrics_collected", "session_usage_updated"):
            session.on(name, lambda event: told.append(event.model_dump(mode="json")))
        await session.start(Agent(instructions="Echo."))
        await session.run(user_input="Hello")
        await session.run(user_input="Again")
    made = {"made_by": f"livekit-agents {version('livekit-agents')}", "events": told}
    RECORDED.write_text(json.dumps(made, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
