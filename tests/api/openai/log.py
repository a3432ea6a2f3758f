"""A log of events of all kinds that OpenAI's dialect is asked about, and OpenAI's own client."""

from __future__ import annotations

import random
from typing import Any, Final

import httpx
import openai

from schemas.event.kinds import Kind
from schemas.limits import DAY_MS
from schemas.tiers import floor_to
from tests.api.counters import NOW_MS, Event

ROOT: Final = "/openai/v1/organization"
TODAY: Final = floor_to(NOW_MS, DAY_MS)
START: Final = f"start_time={TODAY // 1000}"


def events(count: int, seed: int = 1) -> list[Event]:
    """Of all kinds, providers and operations, within 40 days, half of them within two."""
    draw = random.Random(seed)
    found = []
    for n in range(count):
        kind: Kind = draw.choice(["llm", "llm", "llm", "tts", "stt"])
        input_tokens = draw.randrange(1, 5000)
        cached = draw.choice([0, input_tokens // 3])
        written = draw.choice([0, input_tokens // 5])
        audio = draw.choice([0, input_tokens // 7])
        cost = draw.choice([None, draw.randrange(10**9)])
        others = {"events": 1, "cost_nano_usd": cost or 0, "cost_events": int(cost is not None)}
        if kind == "llm":
            others |= {
                "input_tokens": input_tokens,
                "output_tokens": n,
                "cache_read_tokens": cached,
                "cache_write_tokens": written,
                "input_audio_tokens": audio,
                "input_text_tokens": input_tokens - audio,
                "cache_read_text_tokens": cached,
                "output_text_tokens": n,
                "web_searches": n % 3,
                "file_searches": int(n % 5 == 0),
                "images": n % 2,
            }
        elif kind == "tts":
            others |= {"tts_characters": draw.randrange(1, 900)}
        else:
            others |= {"stt_audio_ms": draw.randrange(1, 90_000)}
        found.append(
            Event(
                at_ms=NOW_MS - 1 - draw.randrange(draw.choice([2, 40]) * DAY_MS),
                kind=kind,
                provider=draw.choice(["openai", "azure", "anthropic", ""]),
                model=draw.choice(["gpt-4o", "claude", "voice", ""]),
                user=draw.choice(["ann", "bob", ""]),
                agent=draw.choice(["support", "sales"]),
                operation=draw.choice(["chat", "chat", "embeddings", "moderation", "image", ""])
                if kind == "llm"
                else "",
                service_tier=draw.choice(["batch", "default", ""]) if kind == "llm" else "",
                tenant=draw.choice(["acme", "acme", "acme", "beta"]),
                others=others,
            )
        )
    return found


LOG: Final = events(400)


def sdk_of(client: httpx.AsyncClient, key: str) -> Any:
    return openai.AsyncOpenAI(
        base_url="http://odometer.test/openai/v1",
        api_key="unused",
        admin_api_key=key,
        http_client=client,
        max_retries=0,
    )
