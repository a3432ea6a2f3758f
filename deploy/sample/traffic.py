"""Sample traffic: believable LLM and voice usage as neutral events. Pure.

Traffic is a function of seed and time: each slot of time has a generator of its own, so the same
seed gives the same events with the same ids wherever one begins to look, and traffic that is
produced twice counts once. Who takes part (models, agents, users) is in deploy/sample/cast.py.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from deploy.sample.cast import Agent, Cast, Model, User, cast
from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from schemas.units import iso

Event = dict[str, Any]
"""A neutral event, ready for JSON."""

SESSION_MS_MAX: Final = 12 * MINUTE_MS
"""No call or chat lasts longer, so this far back begins all that may still go on."""
_TURNS_END_MS: Final = SESSION_MS_MAX - 3 * MINUTE_MS
"""No turn begins later in a session; the longest turn and a rating take less than the rest."""

EVENTS_A_SESSION: Final = 9.67
"""Measured: the mean over all kinds of sessions. Only decides how many sessions make a rate."""
WARM_UP_EVENTS_MAX: Final = 50_000
"""Live traffic that begins generates what its ongoing sessions have done already: 2 s at most."""

_NIGHT_AND_DAY: Final = (2, 1, 1, 1, 1, 2, 4, 8, 12, 15, 16, 15, 14, 16, 17, 16, 15, 13, 11, 9, 7, 6, 4, 3)  # fmt: skip
_MONDAY_TO_SUNDAY: Final = (1.15, 1.2, 1.2, 1.15, 1.1, 0.65, 0.55)
_EPOCH_WEEKDAY: Final = 3  # 1970-01-01 was a Thursday


def history(seed: int, start_ms: int, end_ms: int, events_per_day: int) -> Iterator[Event]:
    """What happened in [start_ms, end_ms), in order of time, with nights and weekends."""
    stream = _Stream(f"h{events_per_day}", seed, events_per_day / 24, HOUR_MS, _rhythm)
    for at_ms, event in _from(stream, start_ms, start_ms - SESSION_MS_MAX):
        if at_ms >= end_ms:
            return
        yield event


def live(seed: int, start_ms: int, rate_per_s: float) -> Iterator[tuple[int, Event]]:
    """Events from `start_ms` on without end, each with its time, so that the caller paces them;
    at the same rate day and night."""
    stream = _Stream(f"l{rate_per_s:g}", seed, rate_per_s * 60, MINUTE_MS, _even)
    warm_up_ms = int(min(SESSION_MS_MAX, WARM_UP_EVENTS_MAX / rate_per_s * SECOND_MS))
    return _from(stream, start_ms, start_ms - warm_up_ms)


@dataclass(frozen=True)
class _Stream:
    """One seeded traffic. Its name stands in the ids: another rate has other events."""

    name: str
    seed: int
    events_a_slot: float
    slot_ms: int
    rhythm: Callable[[int], float]


def _rhythm(at_ms: int) -> float:
    """How busy this hour is: 1 on average over a week."""
    hour = at_ms % DAY_MS // HOUR_MS
    weekday = (at_ms // DAY_MS + _EPOCH_WEEKDAY) % 7
    return (
        _NIGHT_AND_DAY[hour] * 24 / sum(_NIGHT_AND_DAY)
        * _MONDAY_TO_SUNDAY[weekday] * 7 / sum(_MONDAY_TO_SUNDAY)
    )  # fmt: skip


def _even(_at_ms: int) -> float:
    return 1.0


def _from(stream: _Stream, start_ms: int, sessions_from_ms: int) -> Iterator[tuple[int, Event]]:
    """The stream's events from `start_ms` on, with those of sessions that began a little before."""
    who = cast(stream.seed)
    pending: list[tuple[int, int, Event]] = []
    order = count()  # equal times keep the order in which they were made, and dicts never compare
    for slot in count(sessions_from_ms // stream.slot_ms):
        pending += ((at_ms, next(order), event) for at_ms, event in _slot(stream, slot, who))
        pending.sort()
        final = bisect_left(pending, ((slot + 1) * stream.slot_ms,))
        for at_ms, _, event in pending[:final]:
            if at_ms >= start_ms:
                yield at_ms, event
        del pending[:final]


def _slot(stream: _Stream, slot: int, who: Cast) -> Iterator[tuple[int, Event]]:
    """All events of the sessions that begin in one slot, session by session."""
    rng = random.Random(f"{stream.seed}:{stream.name}:{slot}")  # noqa: S311 - no secrets here
    slot_start_ms = slot * stream.slot_ms
    busy = stream.rhythm(slot_start_ms) * rng.uniform(0.85, 1.15)
    sessions = math.floor(stream.events_a_slot * busy / EVENTS_A_SESSION + rng.random())
    for number in range(sessions):
        start_ms = slot_start_ms + rng.randrange(stream.slot_ms)
        agent = rng.choices(who.agents, cum_weights=who.agent_weights)[0]
        session = _Session(
            rng, f"{stream.name}-{slot:x}-{number}", f"sample-{stream.seed}", start_ms, agent
        )
        if agent.way == "call":
            _call(session, _one_of(rng, who.users))
        elif agent.way == "chat":
            _chat(session, _one_of(rng, who.users))
        else:
            _task(session)
        yield from session.events


def _one_of(rng: random.Random, users: tuple[User, ...]) -> User:
    """The first few are the busiest: one in eight sees a third of the traffic."""
    return users[int(len(users) * rng.random() ** 2)]


# -- sessions --------------------------------------------------------------------------------------


@dataclass
class _Session:
    """One call, chat or task while it is made up. `at_ms` only moves on."""

    rng: random.Random
    name: str
    source: str
    start_ms: int
    agent: Agent
    at_ms: int = 0
    context_tokens: int = 0
    cached_tokens: int = 0
    common: Event = field(default_factory=dict)
    events: list[tuple[int, Event]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.at_ms = self.start_ms
        self.context_tokens = self.agent.prompt_tokens

    def goes_on(self) -> bool:
        return self.at_ms - self.start_ms < _TURNS_END_MS

    def emit(self, kind: str, fields: Event, at_ms: int | None = None) -> None:
        """At the session's own time, or at another where things overlap."""
        at = self.at_ms if at_ms is None else at_ms
        event: Event = {
            "id": f"{self.name}-{len(self.events)}",
            "source": self.source,
            "time": iso(at),
            "kind": kind,
            "agent_id": self.agent.id,
        }
        event.update(self.common)
        event.update(fields)
        self.events.append((at, event))


def _call(session: _Session, user: User) -> None:
    """Somebody rings: hear, think, speak, in turns; then the call itself and perhaps a rating."""
    rng, agent = session.rng, session.agent
    session.common = {
        "user_id": user.id,
        "user_email": user.email,
        "user_name": user.name,
        "call_id": f"call-{session.name}",
        "call_started_at": iso(session.start_ms),
        "service": agent.service,
    }
    if agent.service == "telephony":
        session.common["phone_number"] = user.phone
    for _ in range(rng.randint(2, 9)):
        said_ms = 900 + int(rng.expovariate(1 / 3500))
        session.at_ms += min(said_ms, 20_000)
        if agent.stt is None or agent.tts is None:
            session.at_ms += _realtime(session, min(said_ms, 20_000))
        else:
            _hear(session, agent.stt, min(said_ms, 20_000))
            answer_tokens = _think(session, 10 + said_ms // 300, 12 + int(rng.random() * 70))
            session.at_ms += _speak(session, agent.tts, 4 * answer_tokens)
        if not session.goes_on():
            break
    session.at_ms += rng.randrange(400, 4000)
    session.emit("call", {"duration_ms": session.at_ms - session.start_ms})
    _rate(session, 12)


def _chat(session: _Session, user: User) -> None:
    rng, topic = session.rng, session.rng.choice(session.agent.topics)
    session.common = {
        "user_id": user.id,
        "user_email": user.email,
        "user_name": user.name,
        "chat_id": f"chat-{session.name}",
        "labels": {"team": user.team},
    }
    for turn in range(1 + int(min(rng.expovariate(1 / 6), 25))):
        session.at_ms += 4000 + min(int(rng.expovariate(1 / 15_000)), 55_000)
        asked = 15 + min(int(rng.expovariate(1 / 120)), 6000)
        _think(session, asked, 40 + min(int(rng.expovariate(1 / 350)), 2500))
        if turn == 0:
            asked_for = f"Can you help me with this? {topic.title}"
            news = {"chat_title": topic.title, "tags": [topic.tag], "message_preview": asked_for}
            session.emit("chat", news)
        if not session.goes_on():
            break
    _rate(session, 15)


def _task(session: _Session) -> None:
    """Work in the background: documents are summed up, one after the other, for nobody."""
    rng = session.rng
    session.common = {"labels": {"team": "platform", "job": session.name}}
    for _ in range(rng.randint(1, 12)):
        session.context_tokens = session.agent.prompt_tokens
        _think(session, 500 + min(int(rng.expovariate(1 / 6000)), 90_000), rng.randint(80, 500))
        session.at_ms += rng.randrange(50, 2000)
        if not session.goes_on():
            break


def _rate(session: _Session, percent: int) -> None:
    if session.rng.random() * 100 < percent:
        session.at_ms += session.rng.randrange(2000, 30_000)
        rating = 1 if session.rng.random() < 0.8 else -1
        session.emit("feedback", {**session.agent.llm.names, "rating": rating})


# -- requests to a model ---------------------------------------------------------------------------

_ERRORS: Final = ("RateLimitError", "APITimeoutError", "InternalServerError", "APIConnectionError")
_ERROR_SHARE: Final = 0.01
_CACHE_BLOCK_TOKENS: Final = 128
_CACHE_TOKENS_MIN: Final = 1024
"""Providers cache prompts from this length on, in blocks."""
_LATENCY_MS_MAX: Final = 45 * SECOND_MS


def _failed(session: _Session, kind: str, model: Model) -> bool:
    """One request in a hundred fails; what it used is not reported."""
    rng = session.rng
    if rng.random() >= _ERROR_SHARE:
        return False
    latency_ms = rng.randrange(80, 9000)
    session.at_ms += latency_ms
    session.emit(kind, {**model.names, "latency_ms": latency_ms, "error": rng.choice(_ERRORS)})
    return True


def _think(session: _Session, asked_tokens: int, answer_tokens: int) -> int:
    """One answer of a language model; returns its visible tokens, and the context grows."""
    model, rng = session.agent.llm, session.rng
    if _failed(session, "llm", model):
        return 0
    reasoning = int(answer_tokens * rng.uniform(0.5, 4)) if model.reasons else 0
    input_tokens = session.context_tokens + asked_tokens
    output_tokens = answer_tokens + reasoning
    read, written = _cached(session, model, input_tokens)
    first_ms = min(int(model.first_ms * rng.lognormvariate(0, 0.35)), 8000)
    first_ms += 1000 * reasoning // model.tokens_per_s
    latency_ms = min(first_ms + 1000 * answer_tokens // model.tokens_per_s, _LATENCY_MS_MAX)
    pico_usd = (
        (input_tokens - read - written) * model.input_pico_usd
        + read * model.cache_read_pico_usd
        + written * model.cache_write_pico_usd
        + output_tokens * model.output_pico_usd
    )
    session.at_ms += latency_ms
    session.emit(
        "llm",
        {
            **model.names,
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "cache_read_tokens": read,
            "cache_write_tokens": written,
            "reasoning_tokens": reasoning,
            "input_text_tokens": input_tokens,
            "output_text_tokens": output_tokens,
            "cost_usd": usd_text(pico_usd),
            "latency_ms": latency_ms,
            "first_output_ms": min(first_ms, latency_ms),
        },
    )
    session.context_tokens = input_tokens + answer_tokens
    return answer_tokens


def _cached(session: _Session, model: Model, input_tokens: int) -> tuple[int, int]:
    """Tokens read from and written to the prompt cache: what was sent before need not be read."""
    whole = input_tokens - input_tokens % _CACHE_BLOCK_TOKENS
    if not model.cache_read_pico_usd or whole < _CACHE_TOKENS_MIN or session.rng.random() < 0.1:
        return 0, 0
    read = min(session.cached_tokens, whole)
    session.cached_tokens = whole
    return read, whole - read if model.cache_write_pico_usd else 0


def _realtime(session: _Session, said_ms: int) -> int:
    """One answer of a speech-to-speech model; returns for how long it is spoken."""
    model, rng = session.agent.llm, session.rng
    if _failed(session, "llm", model):
        return 0
    spoken_ms = 1500 + min(int(rng.expovariate(1 / 4000)), 20_000)
    heard, spoken, written = said_ms // 100, spoken_ms // 50, spoken_ms // 300
    text = session.context_tokens
    cached_audio = min(session.cached_tokens, 40_000)
    cached_text = text - text % _CACHE_BLOCK_TOKENS if session.cached_tokens else 0
    latency_ms = min(int(model.first_ms * rng.lognormvariate(0, 0.3)), 8000)
    pico_usd = (
        (text - cached_text) * model.input_pico_usd
        + (cached_text + cached_audio) * model.cache_read_pico_usd
        + heard * model.audio_input_pico_usd
        + written * model.output_pico_usd
        + spoken * model.audio_output_pico_usd
    )
    session.at_ms += latency_ms
    session.emit(
        "llm",
        {
            **model.names,
            "voice": session.agent.voice,
            "input_tokens": text + cached_audio + heard,
            "input_text_tokens": text,
            "input_audio_tokens": cached_audio + heard,
            "cache_read_tokens": cached_text + cached_audio,
            "cache_read_text_tokens": cached_text,
            "cache_read_audio_tokens": cached_audio,
            "output_tokens": written + spoken,
            "output_text_tokens": written,
            "output_audio_tokens": spoken,
            "cost_usd": usd_text(pico_usd),
            "latency_ms": latency_ms,
            "first_output_ms": latency_ms,
        },
    )
    session.cached_tokens = cached_audio + heard + spoken
    session.context_tokens += written
    return spoken_ms


def _hear(session: _Session, model: Model, said_ms: int) -> None:
    if _failed(session, "stt", model):
        return
    latency_ms = int(model.first_ms * session.rng.lognormvariate(0, 0.25))
    session.at_ms += latency_ms
    session.emit(
        "stt",
        {
            **model.names,
            **_speech_tokens(model, heard=said_ms // 100, written=5 + said_ms // 300),
            "stt_audio_ms": said_ms,
            "cost_usd": usd_text(-(-said_ms // SECOND_MS) * model.input_pico_usd),
            "latency_ms": latency_ms,
        },
    )


def _speak(session: _Session, model: Model, characters: int) -> int:
    """Returns for how long the answer is heard: the model is done long before."""
    if characters == 0 or _failed(session, "tts", model):
        return 0
    rng = session.rng
    audio_ms = characters * 62 + rng.randrange(200)
    first_ms = int(model.first_ms * rng.lognormvariate(0, 0.25))
    latency_ms = first_ms + audio_ms // 8
    session.emit(
        "tts",
        {
            **model.names,
            **_speech_tokens(model, read=-(-characters // 4), spoken=audio_ms // 50),
            "voice": session.agent.voice,
            "tts_characters": characters,
            "tts_audio_ms": audio_ms,
            "cost_usd": usd_text(characters * model.input_pico_usd),
            "latency_ms": latency_ms,
            "first_output_ms": first_ms,
        },
        at_ms=session.at_ms + latency_ms,
    )
    return first_ms + max(audio_ms, latency_ms - first_ms)


def _speech_tokens(
    model: Model, *, heard: int = 0, read: int = 0, spoken: int = 0, written: int = 0
) -> Event:
    """Audio and text tokens, in and out, of those models of speech that count them."""
    if not model.reports_tokens:
        return {}
    return {
        "input_tokens": heard + read,
        "input_audio_tokens": heard,
        "output_tokens": spoken + written,
        "output_audio_tokens": spoken,
    }


_PICO: Final = 10**12


def usd_text(pico_usd: int) -> str:
    """Exact decimal US dollars, without zeros at the end."""
    whole, part = divmod(pico_usd, _PICO)
    return f"{whole}.{part:012d}".rstrip("0").rstrip(".")
