"""OpenAI's objects to events: chat, responses, realtime, transcription, speech, batches. Pure.

None of them has an event id, so the response's id is used, if it makes one event. A stream event
counts if it has the usage of the whole response; a report that is not final (queued, in progress, a
chunk before the end) counts nothing. Texts are never stored; the text of a speech request is measured,
because its length is billed. Source: schemas/contracts/producers.md, openai 3.54.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final

from schemas.formats.body import Json, count, duration_ms, invalid, section, text
from schemas.formats.draft import Draft, IdSource, ReaderResult, Uncounted
from schemas.formats.times import instant
from schemas.formats.vendors import azure
from schemas.formats.vendors.openai_usage import COSTS, COUNTS, svg_of, tokens_of
from schemas.formats.vendors.usage import TOTAL_ALONE, has_any, items_of
from schemas.prices.terms import tier_of

OBJECTS: Final = frozenset(
    {
        "chat.completion",
        "chat.completion.chunk",
        "text_completion",
        "response",
        "response.compaction",
        "list",
        "video",
        "batch",
    }
)
STREAM_PREFIXES: Final = (
    "response.",
    "conversation.",
    "input_audio_buffer.",
    "output_audio_buffer.",
    "rate_limits.",
    "session.",
    "transcript.text.",
    "transcription_session.",
    "speech.audio.",
    "image_generation.",
    "image_edit.",
)
ENDS: Final = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "response.done"}
)
"""Stream events that contain the whole response. The last is Realtime's."""
TRANSCRIBED: Final = frozenset(
    {
        "conversation.item.input_audio_transcription.completed",
        "conversation.item.input_audio_transcription.failed",
        "transcript.text.done",
    }
)
REALTIME_END: Final = "response.done"
IMAGES: Final = frozenset({"image_generation.completed", "image_edit.completed"})
PENDING: Final = frozenset({"queued", "in_progress"})
ENDED: Final = "odometer.ended"
"""Set on a chunk by schemas.formats.joining: an earlier chunk has said why the answer ended."""
AZURE: Final = "odometer.azure"
"""Set on a chunk by schemas.formats.joining: an earlier chunk of its answer is Azure's."""
OPERATIONS: Final = {
    "chat.completion": "chat",
    "chat.completion.chunk": "chat",
    "text_completion": "text_completion",
    "response": "chat",
    "response.compaction": "chat",
    "list": "embeddings",
    "realtime.response": "realtime",
    "video": "video",
}
VIDEO: Final = "a video is billed by its seconds and size, which no price has"
TOOLS: Final = {
    "web_search_call": "web_searches",
    "file_search_call": "file_searches",
    "code_interpreter_call": "code_executions",
    "image_generation_call": "tool_calls",
}
"""Items of a response that are billed beside its tokens."""
_BATCH: Final = "a batch is the sum of its answers: send the lines of its output"
_SEARCH_MODELS: Final = ("-search-preview", "-search-api")
"""Chat models that search the web for each answer."""
_SHORT_ID: Final = re.compile(r"[a-z]*[-_]?(?:\d{0,13}|[a-z]{0,12})|(?:chat)?cmpl-[a-z]\d")
"""An id that says little: Ollama gives one of 999 (`chatcmpl-417`) to each answer, KoboldCpp `chatcmpl-A1`
to all, Cloudflare the time (`id-1764532800000`)."""


def read(payload: Json) -> list[ReaderResult]:
    """One object of the API, one event of its streams, or one line of a batch's output."""
    return _batch_line(payload) if is_batch_line(payload) else [_read(payload), *svg_of(payload)]


def _read(payload: Json) -> ReaderResult:  # noqa: C901, PLR0911  one return for each kind of object
    kind = text(payload, "type") or ""
    if kind.startswith(STREAM_PREFIXES):
        return _stream_event(payload, kind)
    named = payload.get("object")
    if named == "list":
        return _list(payload)
    if named == "batch" or payload.get("deleted") is True:
        return Uncounted(_BATCH if named == "batch" else "what was deleted is no answer of a model")
    if is_moderation(payload) or (isinstance(named, str) and named in OBJECTS):
        return _response(payload)
    if azure.is_filter_chunk(payload):
        return Uncounted("a chunk with Azure's filter results carries no usage")
    if is_images(payload):
        return _with_usage(payload, "llm")
    if is_speech_request(payload):
        return _speech(payload)
    if is_transcription(payload):
        return _transcription(payload)
    if isinstance(payload.get("usage"), dict):
        return _with_usage(payload, "llm")
    if is_error(payload):
        return Uncounted("an error's body names no model and no tokens: it is no answer")
    raise invalid(
        "", "is not an object of OpenAI's API: it has none of object, type, usage and error"
    )


def _stream_event(payload: Json, kind: str) -> ReaderResult:
    if kind in ENDS:
        return _response(section(payload, "response"))
    if kind in TRANSCRIBED:
        return _transcription(payload)
    if kind == "speech.audio.done":
        return _with_usage(payload, "tts")
    if kind in IMAGES:
        return _with_usage(payload, "llm")
    return Uncounted(f"the stream event {kind[:64]} carries no usage")


def is_batch_line(payload: Json) -> bool:
    """A line of the output file of a batch: each has the answer to one request."""
    return "custom_id" in payload and "response" in payload


def is_moderation(payload: Json) -> bool:
    return isinstance(payload.get("results"), list) and str(payload.get("id")).startswith("modr-")


def is_speech_request(payload: Json) -> bool:
    return isinstance(payload.get("input"), str) and "voice" in payload and "usage" not in payload


def is_images(payload: Json) -> bool:
    """The answer of an image API: links or contents of images."""
    made = items_of(payload, "data")
    told = payload.keys() & {"created", "model"} or any(
        one.keys() & {"b64_json", "revised_prompt"} for one in made
    )
    return (
        (payload.get("object") is None or (payload["object"] == "list" and "model" in payload))
        and bool(told)
        and bool(made)
        and all(one.keys() & {"url", "b64_json"} for one in made)
    )


def is_error(payload: Json) -> bool:
    """An error's body, of whatever vendor: `error` and nothing of an answer."""
    about = {"error", "type", "request_id", "status", "code", "user_id", "message", "event_id"}
    return isinstance(payload.get("error"), dict) and payload.keys() <= about


def is_transcription(payload: Json) -> bool:
    """`text` with usage by tokens or duration, or the verbose form with `duration`."""
    usage = payload.get("usage")
    kind = usage.get("type") if isinstance(usage, dict) else None
    billed = kind == "tokens" or kind == "duration"  # noqa: PLR1714  # it may be unhashable
    named = billed or ("duration" in payload and "type" not in payload)
    return isinstance(payload.get("text"), str) and named


def _batch_line(payload: Json) -> list[ReaderResult]:
    response = section(payload, "response")
    body = section(response, "body", "response.")
    status = count(response, "status_code", "response.")
    if not body or status is None or status >= 400:
        return [Uncounted("the line of a batch has no answer, so nothing is billed for it")]
    made = _read(body)
    if isinstance(made, Draft):
        made = replace(made, fields={**made.fields, "service_tier": "batch"})
    return [made]


def _list(payload: Json) -> ReaderResult:
    """A list of embeddings is an answer; one of models, files or stored answers is not."""
    data = payload.get("data")
    first = data[0] if isinstance(data, list) and data else None
    of = first.get("object") if isinstance(first, dict) else None
    of = of if isinstance(of, str) else "anything"
    if (
        is_images(payload)
        or of == "embedding"
        or (isinstance(payload.get("usage"), dict) and "model" in payload)
    ):
        return _with_usage(payload, "llm")
    return Uncounted(f"a list of {of[:64]} is no answer of a model: send its items one by one")


def _response(payload: Json) -> ReaderResult:
    """Chat completions, responses, realtime responses and embeddings have the same usage."""
    status = payload.get("status")
    if isinstance(status, str) and status in PENDING:
        return Uncounted(f"the response is {status}: only its last report counts")
    if payload.get("object") == "chat.completion.chunk":
        if not usage_of(payload):
            return Uncounted("a chunk of a stream carries no usage, only the last one may")
        if not (is_last_chunk(payload) or payload.get(ENDED)):
            return Uncounted("a chunk without finish_reason is not the last report of its answer")
    return _with_usage(payload, "llm")


def is_last_chunk(payload: Json) -> bool:
    """Whether a chunk ends its answer: it says why, or has nothing but usage."""
    choices = payload.get("choices")
    if not isinstance(choices, list) or not choices:
        return True
    return any(isinstance(one, dict) and one.get("finish_reason") for one in choices)


def usage_of(payload: Json) -> tuple[Json, str] | None:
    """The usage and its path. Groq's streams have it under `x_groq`, Moonshot's in the choice that ends."""
    if isinstance(payload.get("usage"), dict):
        return payload["usage"], "usage."
    groq = payload.get("x_groq")
    if isinstance(groq, dict) and isinstance(groq.get("usage"), dict):
        return groq["usage"], "x_groq.usage."
    for choice in items_of(payload, "choices"):
        if isinstance(choice.get("usage"), dict):
            return choice["usage"], "choices.usage."
    return None


def _with_usage(payload: Json, kind: str) -> Draft:
    usage, path = usage_of(payload) or (section(payload, "usage"), "usage.")
    if usage and not has_any(usage, (*COUNTS, *COSTS)):
        raise invalid("usage", f"has none of OpenAI's counts: {', '.join(COUNTS)}")
    model = text(payload, "model")
    tokens, unknown = tokens_of(usage, path, model)
    operation = _operation(payload)
    if tokens["cost_problem"] == TOTAL_ALONE and operation == "embeddings":
        # Voyage reports no more
        tokens |= {"input_tokens": count(usage, "total_tokens", path), "cost_problem": None}
    if operation == "image" and tokens["output_image_tokens"] is None:
        # Image APIs tell text and images apart only for models that make both.
        tokens |= {"output_image_tokens": tokens["output_tokens"], "output_text_tokens": None}
    fields = {
        "kind": kind,
        "time": instant(payload, "created") or instant(payload, "created_at"),
        "provider": _vendor(payload, usage),
        "model": model,
        "operation": "speech" if kind == "tts" else operation,
        "service_tier": tier_of(_word(payload, "service_tier")),
        "finish_reason": _finish_reason(payload),
        "error": _error(payload),
        **tokens,
        **_tools(payload, model, tokens),
    }
    if operation == "image" and not usage:
        fields["images"] = len(items_of(payload, "data"))
    if operation == "video" and fields["error"] is None:
        fields["cost_problem"] = VIDEO
    return Draft(fields, _identity(payload, fields), IdSource.RESPONSE, unknown=unknown)


def _vendor(payload: Json, usage: Json) -> str | None:
    """The vendor, where the answer has fields that only one writes."""
    if "x_groq" in payload:
        return "groq"
    if payload.get(AZURE) or azure.is_azure(payload):
        return "azure"
    if str(payload.get("id")).startswith("gen-") and isinstance(payload.get("provider"), str):
        return "openrouter"
    return "deepseek" if "prompt_cache_miss_tokens" in usage else None


def _operation(payload: Json) -> str | None:
    if is_moderation(payload):
        return "moderation"
    if payload.get("object") == "list" and "results" in payload:
        return "rerank"
    if (
        is_images(payload)
        or {"data", "created"} <= payload.keys()
        or str(payload.get("type")).startswith("image_")
    ):
        return "image"
    return OPERATIONS.get(str(payload.get("object")))


def _word(payload: Json, key: str) -> str | None:
    """A word beside the numbers: a wrong one costs no answer its usage."""
    found = payload.get(key)
    return found if isinstance(found, str) else None


def _finish_reason(payload: Json) -> str | None:
    for choice in items_of(payload, "choices"):
        return _word(choice, "finish_reason")
    details = payload.get("incomplete_details")
    return _word(details, "reason") if isinstance(details, dict) else None


def _tools(payload: Json, model: str | None, tokens: Json) -> Json:
    """Searches and other tools that the answer says were run, unless its usage counts them."""
    found: dict[str, int] = {}
    for item in items_of(payload, "output"):
        field = TOOLS.get(str(item.get("type")))
        action = item.get("action")
        if field == "web_searches" and isinstance(action, dict):
            field = (
                field if action.get("type", "search") == "search" else None
            )  # or a page is opened
        if field is not None:
            found[field] = found.get(field, 0) + 1
    if model is not None and any(part in model for part in _SEARCH_MODELS):
        found.setdefault("web_searches", 1)
    found |= _tool_usage(section(payload, "tool_usage"), found)
    return {name: n for name, n in found.items() if tokens.get(name) is None}


def _tool_usage(told: Json, found: dict[str, int]) -> dict[str, int]:
    """What is billed for tools, as the response says. The tokens of images have prices of another model."""
    searches = count(
        section(told, "web_search", "tool_usage."), "num_requests", "tool_usage.web_search."
    )
    tokens = count(
        section(told, "image_gen", "tool_usage."), "total_tokens", "tool_usage.image_gen."
    )
    billed = {} if searches is None else {"web_searches": searches}
    return {**billed, "tool_calls": max(1, found.get("tool_calls", 0))} if tokens else billed


def _identity(payload: Json, fields: dict[str, Any]) -> str | None:
    """The response's id. A short one gets what tells two answers apart: their time and numbers."""
    response_id = text(payload, "id")
    if response_id is None or not _SHORT_ID.fullmatch(response_id.lower()):
        return response_id
    told = [fields[name] for name in ("time", "input_tokens", "output_tokens")]
    return "/".join(str(part) for part in (response_id, *told) if part is not None)


def _error(payload: Json) -> str | None:
    """The error code of a failed response. Incomplete and cancelled responses are no errors."""
    holders: list[tuple[Any, str]] = [(payload.get("error"), "error.")]
    details = payload.get("status_details")  # Realtime
    if isinstance(details, dict):
        holders.append((details.get("error"), "status_details.error."))
    for error, path in holders:
        if isinstance(error, dict):
            code = error.get("code")
            return str(code) if code else text(error, "type", path) or "failed"
    return "failed" if payload.get("status") == "failed" else None


def _transcription(payload: Json) -> Draft:
    """Tokens or seconds, whichever is billed. Only Realtime's has an id, that of its event."""
    usage = section(payload, "usage")
    seconds = duration_ms(usage, "seconds", "usage.")
    if seconds is None and not usage:
        seconds = duration_ms(payload, "duration")
    model = text(payload, "model")
    tokens, unknown = tokens_of(usage, "usage.", model)
    return Draft(
        fields={
            "kind": "stt",
            "provider": _vendor(payload, usage),
            "model": model,
            "operation": "translation" if payload.get("task") == "translate" else "transcription",
            "stt_audio_ms": seconds,
            "error": _error(payload),
            **tokens,
        },
        id=text(payload, "event_id"),
        id_source=IdSource.RESPONSE,
        unknown=unknown,
    )


def _speech(payload: Json) -> Draft:
    voice = payload.get("voice")
    name = text(voice, "id", "voice.") if isinstance(voice, dict) else text(payload, "voice")
    return Draft(
        fields={
            "kind": "tts",
            "model": text(payload, "model"),
            "operation": "speech",
            "voice": name,
            "tts_characters": len(payload["input"]),
        }
    )
