"""One session of the sample traffic, such as a call: its state and its requests to models."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Final

from deploy.sample.cast import SampleAgent, SampleModel
from schemas.limits import MINUTE_MS, SECOND_MS
from schemas.units import iso

Event = dict[str, Any]
"""A neutral event, ready for JSON."""

SESSION_MS_MAX: Final = 12 * MINUTE_MS
"""No call or chat lasts longer. So every session that may still be running began within this time."""
_TURNS_END_MS: Final = SESSION_MS_MAX - 3 * MINUTE_MS
"""No turn begins later in a session: the longest turn and a rating take less than the rest."""


@dataclass
class Session:
    """One call, chat or task while it is generated. `at_ms` never goes back."""

    rng: random.Random
    name: str
    source: str
    start_ms: int
    agent: SampleAgent
    at_ms: int = 0
    context_tokens: int = 0
    cached_tokens: int = 0
    common: Event = field(default_factory=dict)
    events: list[tuple[int, Event]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.at_ms = self.start_ms
        self.context_tokens = self.agent.prompt_tokens

    def has_time(self) -> bool:
        return self.at_ms - self.start_ms < _TURNS_END_MS

    def emit(self, kind: str, fields: Event, at_ms: int | None = None) -> None:
        """Add an event at the session's time, or at `at_ms` if it overlaps with others."""
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


# -- requests to a model ----------------------------------------------------------------------------

_ERRORS: Final = ("RateLimitError", "APITimeoutError", "InternalServerError", "APIConnectionError")
_ERROR_SHARE: Final = 0.01
_CACHE_BLOCK_TOKENS: Final = 128
_CACHE_TOKENS_MIN: Final = 1024
"""Providers cache prompts from this length on, in blocks."""
_LATENCY_MS_MAX: Final = 45 * SECOND_MS


def _failed(session: Session, kind: str, model: SampleModel) -> bool:
    """Let one request in a hundred fail, without usage. Return whether it failed."""
    rng = session.rng
    if rng.random() >= _ERROR_SHARE:
        return False
    latency_ms = rng.randrange(80, 9000)
    session.at_ms += latency_ms
    session.emit(kind, {**model.names, "latency_ms": latency_ms, "error": rng.choice(_ERRORS)})
    return True


def think(session: Session, asked_tokens: int, answer_tokens: int) -> int:
    """Add one answer of a language model to the context. Return its visible tokens."""
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


def _cached(session: Session, model: SampleModel, input_tokens: int) -> tuple[int, int]:
    """Return the tokens read from and written to the prompt cache."""
    whole = input_tokens - input_tokens % _CACHE_BLOCK_TOKENS
    if not model.cache_read_pico_usd or whole < _CACHE_TOKENS_MIN or session.rng.random() < 0.1:
        return 0, 0
    read = min(session.cached_tokens, whole)
    session.cached_tokens = whole
    return read, whole - read if model.cache_write_pico_usd else 0


def speak_to_speech(session: Session, said_ms: int) -> int:
    """Add one answer of a speech-to-speech model. Return its duration in ms."""
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


def hear(session: Session, model: SampleModel, said_ms: int) -> None:
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


def speak(session: Session, model: SampleModel, characters: int) -> int:
    """Add the speech of an answer. Return its duration in ms: the model is done long before."""
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
    model: SampleModel, *, heard: int = 0, read: int = 0, spoken: int = 0, written: int = 0
) -> Event:
    """Return the audio and text tokens of a speech model, if it counts them."""
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
    """Return exact decimal US dollars, without trailing zeros."""
    whole, part = divmod(pico_usd, _PICO)
    return f"{whole}.{part:012d}".rstrip("0").rstrip(".")
