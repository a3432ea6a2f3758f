"""Turns the sums of counters into the numbers of OpenAI's results.

OpenAI's parts of the input are uncached; ours include cached and cache-write tokens. A part that the
sums do not decide is None, never a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from schemas.catalog.measures import (
    CACHE_READ_AUDIO_TOKENS,
    CACHE_READ_TEXT_TOKENS,
    CACHE_READ_TOKENS,
    CACHE_WRITE_TOKENS,
    COST_EVENTS,
    COST_NANO_USD,
    EVENTS,
    FILE_SEARCHES,
    IMAGES,
    INPUT_AUDIO_TOKENS,
    INPUT_IMAGE_TOKENS,
    INPUT_TEXT_TOKENS,
    INPUT_TOKENS,
    OUTPUT_AUDIO_TOKENS,
    OUTPUT_IMAGE_TOKENS,
    OUTPUT_TEXT_TOKENS,
    OUTPUT_TOKENS,
    STT_AUDIO_MS,
    TTS_CHARACTERS,
    WEB_SEARCHES,
    Measure,
)
from schemas.limits import NANO_PER_USD, SECOND_MS
from schemas.responses.openai import Result

Summed = Mapping[Measure, int]
"""The sums of a group. A measure that the view does not keep is not in it."""
Figures = Callable[[Summed, frozenset[str]], Result]
"""The numbers of a result, from its sums and the kinds of its events."""

REQUESTS: Final = "num_model_requests"


def completions(summed: Summed, _kinds: frozenset[str]) -> Result:
    cached, written = summed.get(CACHE_READ_TOKENS), summed.get(CACHE_WRITE_TOKENS)
    cached_audio, audio = summed.get(CACHE_READ_AUDIO_TOKENS), summed.get(INPUT_AUDIO_TOKENS)
    cached_text, image = summed.get(CACHE_READ_TEXT_TOKENS), summed.get(INPUT_IMAGE_TOKENS)
    cached_image = 0 if image == 0 or cached == 0 else None  # cached images are not counted
    text = _text(summed, INPUT_TOKENS, INPUT_TEXT_TOKENS, INPUT_AUDIO_TOKENS, INPUT_IMAGE_TOKENS)
    return {
        "input_tokens": summed[INPUT_TOKENS],
        "output_tokens": summed[OUTPUT_TOKENS],
        REQUESTS: summed[EVENTS],
        "input_cached_tokens": cached,
        "input_uncached_tokens": _less(summed[INPUT_TOKENS], cached, written),
        "input_text_tokens": _less(text, cached_text, written, cached_image),
        "input_audio_tokens": _less(audio, cached_audio),
        "input_image_tokens": _less(image, cached_image),
        "input_cached_text_tokens": None if cached_image is None else cached_text,
        "input_cached_audio_tokens": cached_audio,
        "input_cached_image_tokens": cached_image,
        "input_cache_write_tokens": written,
        "output_text_tokens": _text(
            summed, OUTPUT_TOKENS, OUTPUT_TEXT_TOKENS, OUTPUT_AUDIO_TOKENS, OUTPUT_IMAGE_TOKENS
        ),
        "output_audio_tokens": summed.get(OUTPUT_AUDIO_TOKENS),
        "output_image_tokens": summed.get(OUTPUT_IMAGE_TOKENS),
    }


def input_only(summed: Summed, _kinds: frozenset[str]) -> Result:
    return {"input_tokens": summed[INPUT_TOKENS], REQUESTS: summed[EVENTS]}


def images(summed: Summed, _kinds: frozenset[str]) -> Result:
    return {"images": summed[IMAGES], REQUESTS: summed[EVENTS]}


def speeches(summed: Summed, _kinds: frozenset[str]) -> Result:
    return {"characters": summed[TTS_CHARACTERS], REQUESTS: summed[EVENTS]}


def transcriptions(summed: Summed, _kinds: frozenset[str]) -> Result:
    return {"seconds": seconds(summed[STT_AUDIO_MS]), REQUESTS: summed[EVENTS]}


def web_searches(summed: Summed, _kinds: frozenset[str]) -> Result:
    return {"num_requests": summed[WEB_SEARCHES], REQUESTS: None}


def file_searches(summed: Summed, _kinds: frozenset[str]) -> Result:
    return {"num_requests": summed[FILE_SEARCHES]}


def nothing(_summed: Summed, _kinds: frozenset[str]) -> Result:
    return {}


def costs(summed: Summed, kinds: frozenset[str]) -> Result:
    """`kinds` is empty unless the question is by line item: only then there is a quantity."""
    nano = summed[COST_NANO_USD] if summed[COST_EVENTS] else None
    quantity, unit = _quantity(summed, kinds)
    return {
        "amount": {"value": None if nano is None else nano / NANO_PER_USD, "currency": "usd"},
        "quantity": quantity,
        "quantity_unit": unit,
    }


def seconds(ms: int) -> int:
    """Half-even."""
    whole, rest = divmod(ms, SECOND_MS)
    return whole + (2 * rest > SECOND_MS or (2 * rest == SECOND_MS and whole % 2))


def _quantity(summed: Summed, kinds: frozenset[str]) -> tuple[float | None, str | None]:
    """Of a line item: its tokens, characters or seconds; nothing if it has events of several kinds."""
    if len(kinds) != 1:
        return None, None
    (kind,) = kinds
    of_kind = {
        "llm": ("tokens", (INPUT_TOKENS, OUTPUT_TOKENS)),
        "tts": ("characters", (TTS_CHARACTERS,)),
        "stt": ("duration_seconds", (STT_AUDIO_MS,)),
    }
    unit, measures = of_kind[kind]
    if not all(measure in summed for measure in measures):
        return None, None
    total = sum(summed[measure] for measure in measures)
    return (total / SECOND_MS if kind == "stt" else total), unit


def _text(summed: Summed, whole: Measure, *parts: Measure) -> int | None:
    """The text tokens. An event that does not report them adds to ours whatever is not audio: so with
    images the sums must say whether images are in them."""
    if not all(part in summed for part in parts):
        return None
    text, audio, image = (summed[part] for part in parts)
    if not image or text + audio + image == summed[whole]:
        return text
    return text - image if text + audio == summed[whole] else None


def _less(whole: int | None, *parts: int | None) -> int | None:
    """What is left of `whole`; None if a part is not known, or the reports contradict each other."""
    if whole is None or None in parts:
        return None
    left = whole - sum(part for part in parts if part is not None)
    return left if left >= 0 else None
