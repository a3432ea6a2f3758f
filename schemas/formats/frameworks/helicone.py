"""Helicone's logs: what its log endpoint takes, a request and its answer. Pure.

The answer is an object of the vendor that made it, or the lines of its stream. Only the model, the user
and the times come from around it. A call that failed is an event with its error. Source: schemas/contracts/producers.md, helicone-helpers 1.2.
"""

from __future__ import annotations

from typing import Any, Final

from schemas.errors import InvalidEvent
from schemas.formats.body import AT_MS_MAX, Json, load_lines, milliseconds, section, text
from schemas.formats.draft import Draft, ReaderResult, Uncounted
from schemas.limits import DURATION_MS_MAX, SECOND_MS
from schemas.prices.names import names
from schemas.units import iso

_META: Final = {
    "helicone-user-id": "user_id",
    "helicone-session-id": "call_id",
}
_TOOLS: Final = ("tool", "vector_db", "data")
_FAILED: Final = 400


def is_own(payload: Json) -> bool:
    return "providerRequest" in payload and "providerResponse" in payload


def outcome(payload: Json) -> list[ReaderResult] | None:
    """What a log without an answer becomes: a call that failed, or a tool's; None for all others."""
    asked = section(section(payload, "providerRequest"), "json", "providerRequest.")
    if asked.get("_type") in _TOOLS:
        return [Uncounted(f"a log of {asked['_type']} is no call to a model")]
    response = section(payload, "providerResponse")
    status = response.get("status")
    if not isinstance(status, int) or status < _FAILED:
        return None
    error = section(response, "json", "providerResponse.").get("error")
    told = [error.get(name) for name in ("code", "type")] if isinstance(error, dict) else []
    model = asked.get("model")
    provider, model = names(
        None, model if isinstance(model, str) else None, _url(payload), "openai"
    )
    code = next((one for one in told if isinstance(one, str) and one), str(status))
    return [Draft({"kind": "llm", "provider": provider, "model": model, "error": code})]


def answers(payload: Json) -> list[object]:
    """The vendor's object, or those of its stream."""
    response = section(payload, "providerResponse")
    lines = text_lines(response.get("textBody"))
    if lines:
        return lines
    body = section(response, "json", "providerResponse.")
    asked = section(section(payload, "providerRequest"), "json", "providerRequest.")
    if "model" not in body and isinstance(asked.get("model"), str) and body.get("usage"):
        return [{**body, "model": asked["model"]}]
    return [body]


def text_lines(said: object) -> list[object]:
    """The objects of a stream's text: JSON lines, or server-sent events."""
    if not isinstance(said, str):
        return []
    lines = (line.strip().removeprefix("data:").strip() for line in said.split("\n"))
    found = load_lines("\n".join(line for line in lines if line.startswith("{")).encode())
    return [one for one in found if not isinstance(one, InvalidEvent)]


def given(payload: Json) -> dict[str, Any]:
    """The fields of a context that the log tells."""
    request = section(payload, "providerRequest")
    found: dict[str, Any] = {}
    for name, value in section(request, "meta", "providerRequest.").items():
        field = _META.get(name.lower())
        if field is not None and isinstance(value, str):
            found[field] = value
    url = _url(payload)
    if url is not None:
        found["provider"] = url
    timing = section(payload, "timing")
    start, end = _ms(timing, "startTime"), _ms(timing, "endTime")
    if end is not None:
        found["time"] = iso(end)
        if start is not None and 0 <= end - start <= DURATION_MS_MAX:
            found["latency_ms"] = end - start
    first_ms = milliseconds(timing, "timeToFirstToken", "timing.")
    if first_ms:
        found["first_output_ms"] = first_ms
    return found


def _url(payload: Json) -> str | None:
    url = text(section(payload, "providerRequest"), "url", "providerRequest.")
    return url if url is not None and "://" in url else None


def _ms(timing: Json, key: str) -> int | None:
    """Whole seconds since 1970 and ms, as Helicone's loggers write a time."""
    parts = section(timing, key, "timing.")
    seconds, ms = parts.get("seconds"), parts.get("milliseconds")
    if not isinstance(seconds, int) or not isinstance(ms, int):
        return None
    at_ms = seconds * SECOND_MS + ms
    return at_ms if 0 <= at_ms <= AT_MS_MAX else None
