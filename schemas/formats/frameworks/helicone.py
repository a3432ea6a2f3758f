"""Helicone's logs: what its log endpoint takes, a request and its answer. Pure.

The answer is an object of the vendor that made it. Only the model, the user and the times come from
around it. Source: schemas/contracts/producers.md, helicone-helpers 1.2.
"""

from __future__ import annotations

from typing import Any, Final

from schemas.formats.body import AT_MS_MAX, Json, section, text
from schemas.limits import DURATION_MS_MAX, SECOND_MS
from schemas.units import iso

_META: Final = {
    "helicone-user-id": "user_id",
    "helicone-session-id": "call_id",
}


def is_own(payload: Json) -> bool:
    return "providerRequest" in payload and "providerResponse" in payload


def answer(payload: Json) -> Json:
    """The vendor's object."""
    response = section(payload, "providerResponse")
    body = section(response, "json", "providerResponse.")
    asked = section(section(payload, "providerRequest"), "json", "providerRequest.")
    if "model" not in body and isinstance(asked.get("model"), str) and body.get("usage"):
        return {**body, "model": asked["model"]}
    return body


def given(payload: Json) -> dict[str, Any]:
    """The fields of a context that the log tells."""
    request = section(payload, "providerRequest")
    found: dict[str, Any] = {}
    for name, value in section(request, "meta", "providerRequest.").items():
        field = _META.get(name.lower())
        if field is not None and isinstance(value, str):
            found[field] = value
    url = text(request, "url", "providerRequest.")
    if url is not None and "://" in url:
        found["provider"] = url
    timing = section(payload, "timing")
    start, end = _ms(timing, "startTime"), _ms(timing, "endTime")
    if end is not None:
        found["time"] = iso(end)
        if start is not None and 0 <= end - start <= DURATION_MS_MAX:
            found["latency_ms"] = end - start
    return found


def _ms(timing: Json, key: str) -> int | None:
    """Whole seconds since 1970 and ms, as Helicone's loggers write a time."""
    parts = section(timing, key, "timing.")
    seconds, ms = parts.get("seconds"), parts.get("milliseconds")
    if not isinstance(seconds, int) or not isinstance(ms, int):
        return None
    at_ms = seconds * SECOND_MS + ms
    return at_ms if 0 <= at_ms <= AT_MS_MAX else None
