"""The LiveKit platform's pages through Kafka, a worker, Redis and an API process.

The example of its documentation must be equal to the digit, from events that add up to it; and any
log and query must be answered as the oracle answers them.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.auth.audit import operator
from api.auth.keys import KeySpec, create_keys, opened
from deploy.local import servers
from deploy.local.servers import free_port
from schemas.limits import DAY_MS, HOUR_MS
from schemas.units import iso
from tests.api.app.test_serve import api_spec
from tests.oracles.event_logs import Fields
from tests.oracles.livekit_logs import random_log, random_question
from tests.oracles.livekit_oracle import PATHS, Asked, answer, at_ms
from tests.real.harness.system import System
from tests.real.harness.topics import now_ms, sent

pytestmark = pytest.mark.servers

ROOT = "/admin/analytics/"
ALICE = "alice@example.com"
DOCUMENTED = """[
  {
    "assistant_id": "550e8400-e29b-41d4-a716-446655440000",
    "total_calls": 210,
    "total_llm_tokens": 980000,
    "total_llm_input_audio_tokens": 350000,
    "total_llm_output_text_tokens": 130000,
    "total_tts_characters": 580000,
    "total_tts_audio_duration": 4900.30,
    "total_call_duration_minutes": 945.30,
    "total_call_duration_hours": 15.76
  },
  {
    "assistant_id": "661f9511-f3ac-52e5-b827-557766551111",
    "total_calls": 132,
    "total_llm_tokens": 620000,
    "total_llm_input_audio_tokens": 220000,
    "total_llm_output_text_tokens": 85000,
    "total_tts_characters": 370000,
    "total_tts_audio_duration": 3150.20,
    "total_call_duration_minutes": 575.45,
    "total_call_duration_hours": 9.59
  }
]"""


def exact(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)


def calls_of(row: dict[str, Any], start_ms: int) -> Iterator[list[Fields]]:
    """Calls that add up to a documented row: each heard and spoken by a model and a voice, told of
    by its platform at the end; some durations are corrected."""
    calls = row["total_calls"]
    llm_tokens = row["total_llm_tokens"]
    output_text, input_audio = (
        row["total_llm_output_text_tokens"],
        row["total_llm_input_audio_tokens"],
    )
    output_audio = llm_tokens // 9
    shares = zip(
        _parts(llm_tokens - output_text - output_audio, calls),
        _parts(output_text, calls),
        _parts(output_audio, calls),
        _parts(input_audio, calls),
        _parts(row["total_tts_characters"], calls),
        _parts(int(row["total_tts_audio_duration"] * 1000), calls),
        _parts(int(row["total_call_duration_minutes"] * 60_000), calls),
        strict=True,
    )
    for n, (read, text, audio, heard, characters, spoken_ms, duration_ms) in enumerate(shares):
        common: Fields = {
            "source": "voice-agent",
            "time": iso(start_ms - n * 3 * HOUR_MS - 7),
            "tenant": "acme",
            "agent_id": row["assistant_id"],
            # Half of them know alice by her address only.
            "user_id": "u-1" if n % 2 else None,
            "user_email": ALICE,
            "call_id": f"{row['assistant_id']}-{n}",
            "service": "web" if n % 3 else "telephony",
        }
        thought = {
            "kind": "llm",
            "provider": "openai",
            "model": "gpt-realtime",
            "input_tokens": read,
            "input_audio_tokens": heard,
            "cache_read_tokens": read // 2,
            "output_tokens": text + audio,
            "output_audio_tokens": audio,
        }
        spoken = {"kind": "tts", "tts_characters": characters, "tts_audio_ms": spoken_ms}
        heard_by = {"kind": "stt", "stt_audio_ms": 1234, "input_tokens": 99}
        ended = [{"kind": "call", "duration_ms": duration_ms}]
        if n % 5 == 0:
            ended.insert(0, {"kind": "call", "duration_ms": 77_777})
        yield [common | event for event in (thought, spoken, heard_by, *ended)]


def _parts(total: int, count: int) -> list[int]:
    """Whole numbers that add up to `total`."""
    return [total * (n + 1) // count - total * n // count for n in range(count)]


def others(start_ms: int) -> Iterator[list[Fields]]:
    """The same assistants at work for bob, who must not count where alice is asked for."""
    for n, row in enumerate(exact(DOCUMENTED) * 3):
        common = {"source": "voice-agent", "time": iso(start_ms - n * HOUR_MS), "tenant": "acme"}
        common |= {"agent_id": row["assistant_id"], "user_id": "u-2", "call_id": f"bob-{n}"}
        common |= {"user_email": "bob@example.com"}
        yield [
            common | {"kind": "llm", "input_tokens": 10, "output_tokens": 5},
            common | {"kind": "call", "duration_ms": 61_000},
        ]


def log_of(start_ms: int) -> list[Fields]:
    """Calls in any order, the events of each in theirs, some sent again."""
    documented = [call for row in exact(DOCUMENTED) for call in calls_of(row, start_ms)]
    calls = [*documented, *others(start_ms)]
    random.Random(5).shuffle(calls)
    events = [event for call in calls for event in call]
    log = [event | {"id": f"e{n}"} for n, event in enumerate(events)]
    return log + log[::9]


async def test_the_documented_example_is_answered_to_the_digit(
    system: System, redis_url: str, tmp_path: Path
) -> None:
    start_ms = now_ms()
    log = log_of(start_ms)
    async with running(system, redis_url, tmp_path, log) as client:
        response = await client.get(f"{ROOT}tokens/by-assistant?user_email={ALICE}")
        found = exact(response.text)
        assert found["success"] is True
        assert found["message"] == "Token usage by assistant fetched successfully"
        rows = found["data"]["assistants"]
        assert [list(row.items())[:9] for row in rows] == [
            list(row.items()) for row in exact(DOCUMENTED)
        ]
        assert '"total_call_duration_minutes":945.3,"total_call_duration_hours":15.76,' in (
            response.text
        )
        for path in PATHS:
            for email in ("", ALICE, "bob@example.com", "nobody@example.com"):
                from_ms, to_ms = start_ms - 30 * DAY_MS, start_ms + HOUR_MS
                await check(client, log, Asked(path, from_ms, to_ms, email))


async def test_what_was_sent_is_answered_whatever_is_asked(
    system: System, redis_url: str, tmp_path: Path
) -> None:
    rng = random.Random(11)
    start_ms = now_ms()
    log = random_log(rng, 400, start_ms)
    async with running(system, redis_url, tmp_path, log + log[::7]) as client:
        answered = 0
        for _ in range(80):
            answered += await check(client, log, random_question(rng, start_ms))
    assert answered > 40


@asynccontextmanager
async def running(
    system: System, redis_url: str, directory: Path, log: list[Fields]
) -> AsyncIterator[httpx.AsyncClient]:
    """A worker that has counted the log, and a client of the API's own process."""
    system.worker()
    async with system.load() as load:
        await load.send([sent(event) for event in log])
    await system.caught_up()
    await system.complete()
    async with opened(redis_url) as store:
        wanted = KeySpec("page", "all", "super-admin")
        (key,) = await create_keys(store, [wanted], operator(), now_ms())
    api = servers.start(api_spec(redis_url, free_port(), directory / "api", system.topic))
    try:
        headers = {"authorization": f"Bearer {key.secret}", "x-odometer-tenant": "acme"}
        async with httpx.AsyncClient(base_url=f"http://{api.address}", headers=headers) as client:
            yield client
    finally:
        api.stop()


async def check(client: httpx.AsyncClient, log: list[Fields], asked: Asked) -> bool:
    """That the answer is what scanning says of the range it covers; whether there is anything."""
    response = await client.get(
        ROOT + asked.path, params=asked.params, headers={"x-odometer-tenant": asked.tenant}
    )
    assert response.status_code == 200, response.text
    covered = [at_ms(response.headers[f"odometer-range-{end}"]) for end in ("from", "to")]
    seen = list({(event["tenant"], event["id"]): event for event in log}.values())
    found = exact(response.text)["data"]
    assert found == answer(seen, asked, (covered[0], covered[1])), asked
    return any(value for name, value in found.items() if name != "date_range")
