"""Logs of voice calls for the tests of the LiveKit dialect: a fixed month, and hypothesis' own."""

from __future__ import annotations

import random
from typing import Final

from hypothesis import strategies as st

from schemas.limits import COST_NANO_USD_MAX, COUNT_MAX, DAY_MS, DURATION_MS_MAX, HOUR_MS
from schemas.tiers import DAY
from schemas.units import iso
from tests.api.counters import NOW_MS
from tests.api.query.test_query import moments
from tests.oracles.livekit_oracle import PATHS, Asked, Fields

EMAILS = {"u-1": "alice@example.com", "u-2": "bob@example.com", "u-3": "bob@example.com"}
"""Two keys of one address."""


def month() -> list[Fields]:
    """Thirty-odd calls of four assistants: heard, thought, spoken; some without a user or number."""
    log: list[Fields] = []
    for n in range(36):
        at_ms = NOW_MS - 1 - n * 73_456_789
        service = ("telephony", "web", "outbound", "")[n % 4]
        user = ("u-1", "u-2", "", "u-3", "u-9")[n % 5]
        common: Fields = {
            "tenant": "other" if n % 12 == 11 else "acme",
            "source": "test",
            "agent_id": ("reception", "tutor", "claims", "")[n % 7 % 4],
            "user_id": user,
            "user_email": EMAILS.get(user, ""),
            "service": service,
            "phone_number": f"+1202555010{n % 3}" if service == "telephony" else "",
            "call_id": f"call-{n}",
        }
        log.append(common | _heard(n) | {"time": iso(at_ms)})
        log.append(common | _thought(n) | {"time": iso(at_ms + 60_000)})
        log.append(common | _spoken(n) | {"time": iso(at_ms + 61_000)})
        if n % 6:
            ended = {"kind": "call", "duration_ms": 61_234 * (n + 1)}
            log.append(common | ended | {"time": iso(at_ms + 90_000)})
    missed = {"tenant": "acme", "source": "test", "kind": "call", "call_id": "missed"}
    log.append(missed | {"time": iso(NOW_MS - DAY_MS), "agent_id": "night", "duration_ms": 4000})
    return [event | {"id": f"e{place}"} for place, event in enumerate(log)]


def _heard(n: int) -> Fields:
    return {
        "kind": "stt",
        "provider": "deepgram",
        "model": "nova-3",
        "stt_audio_ms": 3_333 * n,
        "input_tokens": n % 3,
        "output_tokens": n,
        "cost_usd": "0.000012345",
    }


def _thought(n: int) -> Fields:
    realtime = n % 7 % 4 == 1
    return {
        "kind": "llm",
        "provider": "openai",
        "model": "gpt-realtime" if realtime else "gpt-4o",
        "input_tokens": 1000 + 17 * n,
        "output_tokens": 100 + n,
        "input_audio_tokens": 200 + n if realtime else 0,
        "output_audio_tokens": 70 if realtime else 0,
        "cache_read_tokens": 300 + n,
        "cache_read_audio_tokens": 50 if realtime else 0,
        "cache_write_tokens": n,
        "cost_usd": "0.0123",
    }


def _spoken(n: int) -> Fields:
    return {
        "kind": "tts",
        "provider": "cartesia",
        "model": "sonic-2",
        "tts_characters": 80 + n,
        "tts_audio_ms": 5_005 + n,
        "cost_usd": "0.004",
    }


# -- any log ---------------------------------------------------------------------------------------


TEXTS: Final = {
    "tenant": ("acme", "acme", "acme", "other"),
    "kind": ("llm", "llm", "tts", "stt", "call", "call", "chat"),
    "provider": ("openai", "", "unknown"),
    "model": ("gpt-4o", "é", ""),
    "agent_id": ("reception", "tutor", "", "unknown"),
    "user_id": ("u-1", "u-2", "u-3", "", "alice@example.com"),
    "user_email": ("", *EMAILS.values()),
    "service": ("web", "telephony", ""),
    "phone_number": ("+12025550100", "", "WEB_CALL"),
    "call_id": ("", "c1", "c2", "c3"),
}


@st.composite
def events(draw: st.DrawFn) -> Fields:
    at_ms = min(NOW_MS + HOUR_MS, max(NOW_MS - DAY.kept_ms + DAY_MS, draw(moments())))
    event: Fields = {name: draw(st.sampled_from(texts)) for name, texts in TEXTS.items()}
    event |= {"source": "test", "time": iso(at_ms)}
    if draw(st.booleans()):
        event["call_started_at"] = iso(at_ms - draw(st.integers(0, 10 * HOUR_MS)))
    for name in ("input", "output", "cache_read"):
        event |= draw(_parts(name))
    event["cache_write_tokens"] = draw(st.integers(0, COUNT_MAX))
    event["tts_characters"] = draw(st.integers(0, COUNT_MAX))
    for name in ("tts_audio_ms", "stt_audio_ms", "duration_ms"):
        event[name] = draw(st.integers(0, DURATION_MS_MAX))
    return event | {"cost_usd": _usd(draw(st.integers(0, COST_NANO_USD_MAX)))}


def _usd(nano_usd: int) -> str:
    return f"{nano_usd // 10**9}.{nano_usd % 10**9:09}"


def _parts(name: str) -> st.SearchStrategy[Fields]:
    """A total with its audio; the text is reported or is what is left."""

    return st.builds(
        _split, st.just(name), st.integers(0, COUNT_MAX), st.integers(0, 4), st.booleans()
    )


def _split(name: str, total: int, share: int, reported: bool) -> Fields:  # noqa: FBT001  drawn
    audio = total * share // 4
    found = {f"{name}_tokens": total, f"{name}_audio_tokens": audio}
    return found | ({f"{name}_text_tokens": total - audio} if reported else {})


@st.composite
def logs(draw: st.DrawFn, most: int = 25) -> list[Fields]:
    found = draw(st.lists(events(), max_size=most))
    return [event | {"id": f"e{place}"} for place, event in enumerate(found)]


@st.composite
def questions(draw: st.DrawFn) -> Asked:
    """Any path, range and filters."""
    from_ms, to_ms = draw(moments()), draw(moments())
    if draw(st.integers(0, 9)):
        from_ms, to_ms = sorted((from_ms, to_ms))
    path = draw(st.sampled_from(PATHS))
    email = draw(st.sampled_from(["", "", *EMAILS.values(), "u-9", "nobody@example.com"]))
    agent = draw(st.sampled_from(["", "", "tutor", "reception", "nobody"]))
    tenant = draw(st.sampled_from(["acme", "acme", "other", "nobody"]))
    return Asked(path, from_ms, to_ms, email, agent, tenant)


# -- for real servers ------------------------------------------------------------------------------

AGES_MS: Final = (HOUR_MS, 3 * DAY_MS, 40 * DAY_MS, 400 * DAY_MS)


def random_log(rng: random.Random, count: int, now_ms: int) -> list[Fields]:
    """Events of every tier and some forty calls, in any order, as `events` draws them."""
    return [_random(rng, now_ms) | {"id": f"r{place}"} for place in range(count)]


def _random(rng: random.Random, now_ms: int) -> Fields:
    at_ms = now_ms - rng.randrange(rng.choice(AGES_MS))
    event: Fields = {name: rng.choice(texts) for name, texts in TEXTS.items()}
    event |= {"source": "random", "time": iso(at_ms)}
    event["call_id"] = rng.choice(["", f"c{rng.randrange(40)}"])
    if rng.random() < 0.5:
        event["call_started_at"] = iso(at_ms - rng.randrange(10 * HOUR_MS))
    for name in ("input", "output", "cache_read"):
        event |= _split(name, rng.randrange(COUNT_MAX), rng.randrange(5), rng.random() < 0.5)
    event["cache_write_tokens"] = rng.randrange(COUNT_MAX)
    event["tts_characters"] = rng.randrange(COUNT_MAX)
    for name in ("tts_audio_ms", "stt_audio_ms", "duration_ms"):
        event[name] = rng.randrange(DURATION_MS_MAX)
    return event | {"cost_usd": _usd(rng.randrange(COST_NANO_USD_MAX))}


def random_question(rng: random.Random, now_ms: int) -> Asked:
    from_ms, to_ms = sorted(now_ms - rng.randrange(rng.choice(AGES_MS)) for _ in range(2))
    return Asked(
        rng.choice(PATHS),
        from_ms,
        to_ms,
        rng.choice(["", *EMAILS.values(), "u-1", "nobody@example.com"]),
        rng.choice(["", "", "tutor", "nobody"]),
        rng.choice(["acme", "acme", "other", "nobody"]),
        now_ms,
    )
