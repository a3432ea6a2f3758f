"""Which numbers of an event a price bills, and which it must not leave out. Pure.

The bundled list prices a count without those of its parts that have their own price. So a part
without a price costs what its whole costs. That is right for cached input of a model that gives no
discount, and wrong for audio or images that a model makes: they cost many times as much as text. Such
parts, and tools, make an event incomplete where the price has no rate for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from schemas.prices.tariffs import Tariff

_SAME_NAME: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "input_text_tokens",
    "input_audio_tokens",
    "input_image_tokens",
    "input_video_tokens",
    "output_text_tokens",
    "output_audio_tokens",
    "output_image_tokens",
    "web_searches",
    "rerank_searches",
    "code_executions",
)
_RENAMED: Final = {
    "cache_read_text_tokens": "cache_text_read_tokens",
    "cache_read_audio_tokens": "cache_audio_read_tokens",
    "cache_read_image_tokens": "cache_image_read_tokens",
    "reasoning_tokens": "output_reasoning_tokens",
    "tts_characters": "input_characters",
    "file_searches": "storage_searches",
    "pages": "input_document_pages",
}
"""Our field to the price list's usage key, where the names differ."""
_AUDIO: Final = {"stt_audio_ms": "input_audio_seconds", "tts_audio_ms": "output_audio_seconds"}
EXTRAS: Final = ("images", "tool_calls")
"""Fields that only our own lists can price: the bundled one has no such unit."""
BILLED: Final = (*_SAME_NAME, *_RENAMED, *_AUDIO, *EXTRAS)
"""The fields of an event that a price can bill."""
_NEEDED: Final = {
    "input_mtok": "input_tokens",
    "output_mtok": "output_tokens",
    "input_mchars": "tts_characters",
    "input_audio_hours": "stt_audio_ms",
    "output_audio_hours": "tts_audio_ms",
    "input_document_kpages": "pages",
}
"""Price key to the field that it needs. `audio_hours` needs the audio of the event's kind."""
_ALLOWED: Final = frozenset(
    {
        "requests_kcount",  # an event is one request
        "web_searches_kcount",
        "storage_searches_kcount",
        "rerank_searches_kcount",
        "social_searches_kcount",
        "code_executions_kcount",
        "input_annotated_document_kpages",
    }
)
"""Prices of extras: an event that does not report them had none."""
_UNREPORTED: Final = frozenset({"output_video_mtok", "output_citation_mtok"})
"""Tokens that no event tells from others, and that cost more or less than those."""
_TOOLS: Final = {
    "web_searches": "web_searches_kcount",
    "file_searches": "storage_searches_kcount",
    "rerank_searches": "rerank_searches_kcount",
    "code_executions": "code_executions_kcount",
    "tool_calls": "tool_calls",
}
_SAME_FOR_AUDIO: Final = frozenset({"google"})
"""Providers that bill audio input as text, unless the list says otherwise."""


def needs(kind: str, found: Tariff) -> tuple[list[str], list[str]]:
    """The fields that a price needs, and its other keys, which no event of the kind reports."""
    keys = found.keys
    if not keys:
        return [], ["nothing that is known here"]
    if kind != "stt" and found.least_audio_ms:
        return [], ["transcribed audio"]
    needed = {**_NEEDED, "audio_hours": "stt_audio_ms" if kind == "stt" else "tts_audio_ms"}
    fields = list(dict.fromkeys(field for key, field in needed.items() if key in keys))
    if kind == "stt" and "input_audio_mtok" in keys:
        fields.append("input_audio_tokens")
    if "images" in found.extras:
        fields.append("images")
    others = keys - _ALLOWED - needed.keys() - {*EXTRAS}
    return fields, sorted(key for key in others if not key.endswith("_mtok"))


_IMAGE_MODELS: Final = ("gpt-image-", "chatgpt-image-")
"""In the bundled list. All that they make is images: without a rate of its own, that of output is theirs."""
_SPEECH_MODELS: Final = "-preview-tts"

_SPEECH: Final = "-tts"
"""In the names of the bundled list's models that make nothing but audio (`gemini-2.5-flash-tts`)."""


def unreported(found: Tariff) -> list[str]:
    """The parts of tokens that the price bills and no event reports."""
    return sorted(found.keys & _UNREPORTED)


def unrated(kind: str, found: Tariff) -> list[str]:
    """The fields that must be 0, because they cost something and the price does not say what."""
    keys = found.keys
    without = [field for field, key in _TOOLS.items() if key not in keys]
    if found.bills_parts_as_wholes:
        return without
    if "input_mtok" in keys:
        if "input_audio_mtok" not in keys and found.provider not in _SAME_FOR_AUDIO:
            without.append("input_audio_tokens")
        if "cache_write_1h_mtok" not in keys:
            without.append("cache_write_1h_tokens")
    if "output_mtok" in keys:
        speaks = kind == "tts" or _SPEECH in found.info_id
        if "output_audio_mtok" not in keys and not speaks:
            without.append("output_audio_tokens")
        if "output_image_mtok" not in keys and not found.info_id.startswith(_IMAGE_MODELS):
            without.append("output_image_tokens")
    return without


def usage_keys(kind: str) -> Mapping[str, str]:
    """The price list's usage key to our field. `audio_seconds` is the audio of the event's kind."""
    keys = {field: field for field in _SAME_NAME}
    keys |= {key: field for field, key in (*_RENAMED.items(), *_AUDIO.items())}
    return {**keys, "audio_seconds": "stt_audio_ms" if kind == "stt" else "tts_audio_ms"}
