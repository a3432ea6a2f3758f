"""Sample traffic: realistic LLM and voice usage as neutral events.

Traffic is a function of seed and time. Each slot of time has its own generator, so the same seed
gives the same events with the same ids from any start time, and traffic that is sent twice counts
once. The models, agents and users are in deploy/sample/cast.py.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Final

from deploy.sample.cast import Cast, SampleUser, cast
from deploy.sample.session import (
    SESSION_MS_MAX,
    Event,
    Session,
    hear,
    speak,
    speak_to_speech,
    think,
)
from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from schemas.units import iso

EVENTS_A_SESSION: Final = 9.67
"""The measured mean over all kinds of sessions. It only converts a rate into sessions."""
WARM_UP_EVENTS_MAX: Final = 50_000
"""At its start, live traffic generates the past of its ongoing sessions: this takes 2 s at most."""

_NIGHT_AND_DAY: Final = (2, 1, 1, 1, 1, 2, 4, 8, 12, 15, 16, 15, 14, 16, 17, 16, 15, 13, 11, 9, 7, 6, 4, 3)  # fmt: skip
_MONDAY_TO_SUNDAY: Final = (1.15, 1.2, 1.2, 1.15, 1.1, 0.65, 0.55)
_EPOCH_WEEKDAY: Final = 3  # 1970-01-01 was a Thursday


def history(seed: int, start_ms: int, end_ms: int, events_per_day: int) -> Iterator[Event]:
    """Yield the events of [start_ms, end_ms) in order of time, with nights and weekends."""
    stream = _Stream(f"h{events_per_day}", seed, events_per_day / 24, HOUR_MS, _rhythm)
    for at_ms, event in _from(stream, start_ms, start_ms - SESSION_MS_MAX):
        if at_ms >= end_ms:
            return
        yield event


def live(seed: int, start_ms: int, rate_per_s: float) -> Iterator[tuple[int, Event]]:
    """Yield events from `start_ms` without end, each with its time, at a constant rate.

    The caller waits for the time of each.
    """
    stream = _Stream(f"l{rate_per_s:g}", seed, rate_per_s * 60, MINUTE_MS, _even)
    warm_up_ms = int(min(SESSION_MS_MAX, WARM_UP_EVENTS_MAX / rate_per_s * SECOND_MS))
    return _from(stream, start_ms, start_ms - warm_up_ms)


@dataclass(frozen=True)
class _Stream:
    """One seeded traffic. Its name is part of the ids, so another rate has other events."""

    name: str
    seed: int
    events_a_slot: float
    slot_ms: int
    rhythm: Callable[[int], float]


def _rhythm(at_ms: int) -> float:
    """Return how busy this hour is; the average over a week is 1."""
    hour = at_ms % DAY_MS // HOUR_MS
    weekday = (at_ms // DAY_MS + _EPOCH_WEEKDAY) % 7
    return (
        _NIGHT_AND_DAY[hour] * 24 / sum(_NIGHT_AND_DAY)
        * _MONDAY_TO_SUNDAY[weekday] * 7 / sum(_MONDAY_TO_SUNDAY)
    )  # fmt: skip


def _even(_at_ms: int) -> float:
    return 1.0


def _from(stream: _Stream, start_ms: int, sessions_from_ms: int) -> Iterator[tuple[int, Event]]:
    """Yield the stream's events from `start_ms`, with those of sessions that began before it."""
    who = cast(stream.seed)
    pending: list[tuple[int, int, Event]] = []
    order = count()  # keeps the order of equal times, so that dicts are never compared
    for slot in count(sessions_from_ms // stream.slot_ms):
        pending += ((at_ms, next(order), event) for at_ms, event in _slot(stream, slot, who))
        pending.sort()
        final = bisect_left(pending, ((slot + 1) * stream.slot_ms,))
        for at_ms, _, event in pending[:final]:
            if at_ms >= start_ms:
                yield at_ms, event
        del pending[:final]


def _slot(stream: _Stream, slot: int, who: Cast) -> Iterator[tuple[int, Event]]:
    """Yield all events of the sessions that begin in one slot, session by session."""
    rng = random.Random(f"{stream.seed}:{stream.name}:{slot}")  # noqa: S311 - no secrets here
    slot_start_ms = slot * stream.slot_ms
    busy = stream.rhythm(slot_start_ms) * rng.uniform(0.85, 1.15)
    sessions = math.floor(stream.events_a_slot * busy / EVENTS_A_SESSION + rng.random())
    for number in range(sessions):
        start_ms = slot_start_ms + rng.randrange(stream.slot_ms)
        agent = rng.choices(who.agents, cum_weights=who.agent_weights)[0]
        session = Session(
            rng, f"{stream.name}-{slot:x}-{number}", f"sample-{stream.seed}", start_ms, agent
        )
        if agent.way == "call":
            _call(session, _one_of(rng, who.users))
        elif agent.way == "chat":
            _chat(session, _one_of(rng, who.users))
        else:
            _task(session)
        yield from session.events


def _one_of(rng: random.Random, users: tuple[SampleUser, ...]) -> SampleUser:
    """Choose a user. The first are the busiest: one in eight makes a third of the traffic."""
    return users[int(len(users) * rng.random() ** 2)]


# -- sessions ---------------------------------------------------------------------------------------


def _call(session: Session, user: SampleUser) -> None:
    """A user calls: hear, think and speak in turns; then the call event and perhaps a rating."""
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
            session.at_ms += speak_to_speech(session, min(said_ms, 20_000))
        else:
            hear(session, agent.stt, min(said_ms, 20_000))
            answer_tokens = think(session, 10 + said_ms // 300, 12 + int(rng.random() * 70))
            session.at_ms += speak(session, agent.tts, 4 * answer_tokens)
        if not session.has_time():
            break
    session.at_ms += rng.randrange(400, 4000)
    session.emit("call", {"duration_ms": session.at_ms - session.start_ms})
    _rate(session, 12)


def _chat(session: Session, user: SampleUser) -> None:
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
        think(session, asked, 40 + min(int(rng.expovariate(1 / 350)), 2500))
        if turn == 0:
            asked_for = f"Can you help me with this? {topic.title}"
            news = {"chat_title": topic.title, "tags": [topic.tag], "message_preview": asked_for}
            session.emit("chat", news)
        if not session.has_time():
            break
    _rate(session, 15)


def _task(session: Session) -> None:
    """Work in the background without a user: summarise documents, one after the other."""
    rng = session.rng
    session.common = {"labels": {"team": "platform", "job": session.name}}
    for _ in range(rng.randint(1, 12)):
        session.context_tokens = session.agent.prompt_tokens
        think(session, 500 + min(int(rng.expovariate(1 / 6000)), 90_000), rng.randint(80, 500))
        session.at_ms += rng.randrange(50, 2000)
        if not session.has_time():
            break


def _rate(session: Session, percent: int) -> None:
    if session.rng.random() * 100 < percent:
        session.at_ms += session.rng.randrange(2000, 30_000)
        rating = 1 if session.rng.random() < 0.8 else -1
        session.emit("feedback", {**session.agent.llm.names, "rating": rating})
