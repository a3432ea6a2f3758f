"""The two halves meet: what the fold commits to a real Valkey is what the API answers."""

from __future__ import annotations

import random
from typing import NamedTuple

import msgspec

from api.app.main import wall_clock_ms
from deploy.local.api_keys import create_key
from schemas.catalog.views import SLICE_MS
from schemas.limits import DAY_MS, HOUR_MS
from schemas.store.generation import generation_digest
from schemas.units import iso
from streams.core.columns import columns
from streams.core.fold import fold
from streams.core.ports import Commit, Outcome, Progress
from streams.redis.store import RedisStore
from tests.api.conftest import Clock, client_of
from tests.api.counters import TOPIC, Asked, Event, answer
from tests.oracles.event_logs import SECRET, countable

# Of today, because pages expire by Valkey's own clock; a millisecond after a full hour.
NOW_MS = wall_clock_ms() // HOUR_MS * HOUR_MS + 1
BATCHES = 8
BATCH_EVENTS = 60


class Appended(NamedTuple):
    """A record as the fold reads it."""

    offset: int
    timestamp: int
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


def made(rng: random.Random) -> Event:
    at_ms = NOW_MS - rng.choice([rng.randrange(DAY_MS), rng.randrange(400 * DAY_MS)])
    return Event(
        at_ms=at_ms,
        provider=rng.choice(["openai", "anthropic", ""]),
        model=f"m{rng.randrange(6)}",
        agent=f"a{rng.randrange(4)}",
        kind=rng.choice(["llm", "llm", "tts"]),
        tenant=rng.choice(["acme", "acme", "other"]),
        input_tokens=rng.randrange(10**6),
        output_tokens=rng.randrange(10**6),
        cost_nano_usd=rng.choice([None, rng.randrange(10**13)]),
        latency_ms=rng.choice([None, rng.randrange(10**5)]),
        appended_ms=NOW_MS,
    )


def appended(event: Event, offset: int) -> Appended:
    cost = event.cost_nano_usd
    fields = {
        "id": f"e{offset}",
        "source": "test",
        "time": iso(event.at_ms),
        "kind": event.kind,
        "tenant": event.tenant,
        "provider": event.provider,
        "model": event.model,
        "agent_id": event.agent,
        # Booked calls stand in rows of their own buckets, which must not become hours of no calls.
        "call_id": f"call-{offset}",
        "call_started_at": iso(event.at_ms - 5 * HOUR_MS),
        "input_tokens": event.input_tokens,
        "output_tokens": event.output_tokens,
        "cost_usd": None if cost is None else f"{cost // 10**9}.{cost % 10**9:09}",
        "latency_ms": event.latency_ms,
    }
    return Appended(offset, NOW_MS, msgspec.json.encode(fields))


async def commit(store: RedisStore, digest: bytes, start: int, events: list[Event]) -> None:
    records = [appended(event, start + place) for place, event in enumerate(events)]
    decoded = countable(records)
    assert len(decoded) == len(records)
    rows = columns(decoded, secret=SECRET)
    end = start + len(records)
    reply = await store.commit(
        Commit(
            id=end.to_bytes(16, "big"),
            generation_digest=digest,
            secret=SECRET.name,
            now_ms=NOW_MS,
            count=1,
            absent_ms={},
            partitions=[Progress(0, start or -1, end, end - 1, NOW_MS, NOW_MS)],
            digests=rows.digests,
            slices=rows.append_ms // SLICE_MS,
            delta=fold(rows, await store.bookings(rows.secret, rows.booked_calls)),
        )
    )
    assert reply.outcome is Outcome.COMMITTED
    await store.compact_pages()


async def test_what_is_committed_is_answered(redis_url: str, clock: Clock) -> None:
    rng = random.Random(7)
    clock.now_ms = NOW_MS
    digest = generation_digest(TOPIC)
    key = await create_key(redis_url, name="k", tenant="acme", role="viewer")
    log: list[Event] = []
    asked = [
        Asked(NOW_MS - DAY_MS, NOW_MS, now_ms=NOW_MS),
        Asked(0, NOW_MS, "week", now_ms=NOW_MS),
        Asked(0, NOW_MS, "hour", agent="a1", now_ms=NOW_MS),
        Asked(NOW_MS - 30 * DAY_MS, NOW_MS, "day", provider="openai", model="m3", now_ms=NOW_MS),
    ]
    async with RedisStore(redis_url) as store, client_of(redis_url, clock, key) as client:
        await store.open(digest, 1, NOW_MS, SECRET)
        for batch in range(BATCHES):
            events = [made(rng) for _ in range(BATCH_EVENTS)]
            await commit(store, digest, batch * BATCH_EVENTS, events)
            log += events
            for question in asked:
                response = await client.get("/api/analytics/llm", params=question.params)
                assert response.json() == answer(log, question)
                assert response.headers["odometer-complete-through"] == iso(NOW_MS)
