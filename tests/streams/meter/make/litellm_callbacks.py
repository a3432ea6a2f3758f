"""What LiteLLM hands to its loggers: `pip install litellm==1.110.2`, then run this file in a checkout.

LiteLLM's own mock answers are used, so no network is needed. The calls go through `LiteLLMCallback`, whose
base class is then LiteLLM's real `CustomLogger`.
"""

from __future__ import annotations

import asyncio
import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or it asks the network for prices

import litellm
from litellm.integrations.custom_logger import CustomLogger

from streams.meter import LiteLLMCallback

RECORDED = Path(__file__).parent.parent / "recorded" / "litellm_callbacks.json"
HELLO = [{"role": "user", "content": "the app's own words"}]


class Kept:
    """Keeps what the callback records; each as LiteLLM's payload without its texts."""

    def __init__(self) -> None:
        self.payloads: list[Any] = []

    def record_from(self, answer: object, /, **_: object) -> None:
        self.payloads.append(answer)


async def calls() -> None:
    mocked = {"model": "gpt-4o", "messages": HELLO, "mock_response": "the app's own words"}
    litellm.completion(**mocked)
    for _ in litellm.completion(**mocked, stream=True):
        pass
    await litellm.acompletion(**mocked)
    try:
        await litellm.acompletion(**{**mocked, "mock_response": Exception("no")})
    except Exception as error:  # noqa: BLE001  LiteLLM maps it to a class of its own
        print(type(error).__name__)
    await asyncio.sleep(3)  # LiteLLM calls its loggers in the background


if __name__ == "__main__":
    kept = Kept()
    callback = LiteLLMCallback(kept)
    assert isinstance(callback, CustomLogger)
    litellm.callbacks = [callback]
    asyncio.run(calls())
    made = {"made_by": f"litellm {version('litellm')}", "payloads": kept.payloads}
    RECORDED.write_text(json.dumps(made, indent=1, sort_keys=True, default=str) + "\n")
    print(len(kept.payloads), "payloads")
