"""Mutated bodies give events that the contract accepts, skips, or InvalidEvent: nothing else.

Seeded, so that what is found once is found again. ODOMETER_FUZZ_BODIES sets how many objects a run
takes, of each format as many: 100,000 in the checks, with 12,500 texts and 12,500 protobufs; ten
millions in a long run. ODOMETER_FUZZ_SEED is where it starts.
"""

from __future__ import annotations

import base64
import json
import os
import random
from collections import Counter
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from schemas.errors import InvalidEvent
from schemas.event.event_struct import EventStruct
from schemas.event.usage_event import UsageEvent, parse_usage
from schemas.formats.body import load
from schemas.formats.otel import protobuf as otel_protobuf
from schemas.formats.parse import Parsed
from tests.schemas.formats.fixtures import FOLDER, NAMES, fixture, read
from tests.schemas.formats.test_own import CLOUD, EVENT, RESPONSE

pytestmark = pytest.mark.timeout(0 if "ODOMETER_FUZZ_BODIES" in os.environ else 300)

OBJECTS = int(os.environ.get("ODOMETER_FUZZ_BODIES", "100000"))
BODIES = OBJECTS // 8
"""Of texts and of protobufs."""
SEED = int(os.environ.get("ODOMETER_FUZZ_SEED", "1"))

ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    10**9 + 1,
    2**64,
    10**60,
    Decimal("0.5"),
    Decimal("12.0"),
    Decimal("-0.0"),
    Decimal("1e999999"),
    Decimal("1e-999999"),
    "",
    "0",
    "x" * 2000,
    "\ud800",
    "\x00",
    "2026-13-45T00:00:00Z",
    "message_delta",
    "compaction",
    "advisor_message",
    "chat.completion",
    "response.done",
    "metrics_collected",
    [],
    {},
    [[]],
    [{}],
    {"": None},
    {"audio_tokens": 10**9},
]


def bodies() -> list[tuple[str, Any]]:
    """Small enough to be mutated often; the price list that LiteLLM sends along is not read."""
    bodies = [(name, fixture(name)) for name in NAMES]
    held = [(name, body) for name, body in bodies if isinstance(body, dict | list)]
    for name, body in held:
        if name.startswith("litellm/") and isinstance(body, dict):
            body.pop("model_map_information")
    ours = [("own/agentlens", RESPONSE), ("own/cloud", CLOUD), ("own/event", EVENT)]
    return held + ours + [("own/agentlens_batch", {"events": [RESPONSE]})]


def mutated(body: Any, rng: random.Random) -> Any:
    """A copy with one to four places changed: replaced, removed, doubled, renamed, swapped."""
    copy = copied(body)
    for _ in range(rng.choice((1, 1, 2, 4))):
        places = list(walk(copy))
        if not places:
            return copied(rng.choice(ODD))
        holder, key = rng.choice(places)
        match rng.randrange(5):
            case 0 | 1:
                holder[key] = copied(rng.choice(ODD))
            case 2:
                holder.pop(key)
            case 3 if isinstance(holder, dict):
                other = rng.choice(places)[1]
                holder[str(other)] = holder.pop(key)
            case _:
                other_holder, other_key = rng.choice(places)
                holder[key] = copied(other_holder[other_key])
    return copy


def copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: copied(held) for key, held in value.items()}
    if isinstance(value, list):
        return [copied(held) for held in value]
    return value


def walk(value: Any) -> Any:
    """Every place of a body: who holds it and under what."""
    keys: list[Any] = []
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = list(range(len(value)))
    for key in keys:
        yield value, key
        yield from walk(value[key])


def check(parsed: Parsed) -> None:
    for event in parsed.events:
        usage = parse_usage({k: v for k, v in event.fields.items() if v is not None})
        read = {name: getattr(event.usage, name) for name in UsageEvent.model_fields}
        assert usage == UsageEvent.model_construct(**read)
        known = {k: v for k, v in event.fields.items() if k not in event.unknown}
        wire = msgspec.json.decode(msgspec.json.encode(known), type=EventStruct)
        assert (wire.id, wire.cost_usd) == (event.usage.id, event.usage.cost_usd)


def count(body: object, format: str | None) -> tuple[int, int, int]:  # noqa: A002
    try:
        parsed = read(body, format)
    except InvalidEvent:
        return 0, 0, 1
    check(parsed)
    return len(parsed.events), len(parsed.skipped), len(parsed.refused)


OWN = {"own/cloud": "cloudevents", "own/event": "neutral"}
"""Of what the tests make themselves: whose parser reads it. The others are AgentLens's."""
HELD = bodies()
FORMATS = {name: name.partition("/")[0] for name, _ in HELD}
FORMATS |= {name: OWN.get(name, "agentlens") for name, of in FORMATS.items() if of == "own"}
SHARES = Counter(FORMATS.values())


@pytest.mark.parametrize(("name", "body"), HELD, ids=[name for name, _ in HELD])
def test_mutated_objects(name: str, body: Any) -> None:
    rng = random.Random(f"{SEED}/{name}")
    named = FORMATS[name]
    totals = [0, 0, 0]
    for _ in range(-(-OBJECTS // len(SHARES) // SHARES[named])):
        counted = count(mutated(body, rng), rng.choice((None, named)))
        totals = [total + one for total, one in zip(totals, counted, strict=True)]
    events, skipped, refused = totals
    assert events + skipped > 0  # not every mutation breaks a body,
    assert refused > 0  # and some do


def test_mutated_bytes() -> None:
    rng = random.Random(SEED)
    paths = sorted(FOLDER.glob("*/*.json"))
    texts = [json.dumps(json.loads(path.read_text())["body"]).encode() for path in paths]
    texts = [text for text in texts if len(text) < 4000]
    read_whole = 0
    for _ in range(BODIES):
        text = bytearray(rng.choice(texts))
        for _ in range(rng.choice((1, 2, 8))):
            at = rng.randrange(len(text))
            match rng.randrange(4):
                case 0:
                    text[at] = rng.randrange(256)
                case 1:
                    del text[at : at + rng.randrange(20)]
                case 2:
                    text[at:at] = rng.choice((b'"', b"[", b"{", b"9" * 30, b"\\ud800", b"NaN"))
                case _:
                    text[at:at] = text[at : at + 40]
            text = text or bytearray(b"{}")
        try:
            body = load(bytes(text))
        except InvalidEvent:
            continue
        read_whole += 1
        count(body, rng.choice((None, "openai", "anthropic", "livekit", "otel")))
    assert read_whole > 0


def test_mutated_protobuf() -> None:
    rng = random.Random(SEED)
    held = json.loads((FOLDER / "otel" / "protobuf.json").read_text())["body"]
    whole = base64.b64decode(held)
    decoded = 0
    for _ in range(BODIES):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 2, 8))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            spans = otel_protobuf.load_traces(bytes(data))
        except InvalidEvent:
            continue
        decoded += 1
        count(spans, "otel")
    assert decoded > 0
