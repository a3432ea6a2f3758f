"""An answer without its texts, images and vectors: what the formats read of it. No I/O.

The app's thread makes it, so that the queue holds no content, however long the server is away.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from schemas.formats.vendors.openai import TOOLS

_KEPT: Final = ("id", "object", "type", "created", "created_at", "model", "status", "service_tier",
                "stop_reason", "duration", "provider", "event_id", "usage", "x_groq", "error",
                "incomplete_details", "tool_usage", "svg_usage")  # fmt: skip
_EMPTY: Final = (("text", ""), ("results", ()), ("prompt_filter_results", ()))
"""Fields that the formats only look for."""
_NOTHING: Final[dict[str, Any]] = {}
ITEMS_MAX: Final = 256
"""Of a list of choices, tools or images."""
_CODE: Final = re.compile(r"[\w.:-]{1,64}")
"""A code or a class name, and no sentence: that may have texts of the app."""


def reduced(answer: object) -> dict[str, Any]:
    """A dict of the same format; an empty one for an object without fields.

    Its structures may be models of pydantic, which hold numbers alone: the meter's thread dumps them.
    """
    held = fields_of(answer)
    made = {name: held[name] for name in _KEPT if held.get(name) is not None}
    made.update({name: empty for name, empty in _EMPTY if name in held})
    choices = held.get("choices")
    if isinstance(choices, list):
        made["choices"] = [
            {"finish_reason": fields_of(one).get("finish_reason")} for one in choices[:ITEMS_MAX]
        ]
    output = held.get("output")
    if isinstance(output, list):
        made["output"] = [tool for one in output[:ITEMS_MAX] if (tool := _tool(one)) is not None]
    data = held.get("data")
    if isinstance(data, list):
        names = [fields_of(one).get("object") for one in data[:ITEMS_MAX]]
        made["data"] = [{} if name is None else {"object": name} for name in names]
    return made


def fields_of(answer: object) -> Mapping[str, Any]:
    """The fields of a dict or a pydantic model, with those that its class does not declare."""
    if isinstance(answer, dict):
        return answer
    held: dict[str, Any] = getattr(answer, "__dict__", _NOTHING)
    extra = getattr(answer, "__pydantic_extra__", None)
    return {**held, **extra} if extra else held


def plain(value: object) -> Any:  # noqa: ANN401  any JSON
    """The JSON of a pydantic model, without a warning if a server sent another type than declared."""
    as_plain: Any = getattr(value, "model_dump", None)
    if not callable(as_plain):
        raise TypeError(f"{type(value).__name__} has no JSON")
    try:
        return as_plain(mode="json", warnings=False)
    except TypeError:  # not pydantic's, or an older one
        return as_plain(mode="json")


def error_of(error: BaseException) -> str:
    """The provider's code of an error, else its class: never its message."""
    body = getattr(error, "body", None)
    inner = body.get("error", body) if isinstance(body, dict) else None
    inner = inner if isinstance(inner, dict) else {}
    said = (getattr(error, "code", None), inner.get("type"), getattr(error, "status", None))
    for code in said:
        if isinstance(code, str) and _CODE.fullmatch(code):
            return code
    return type(error).__name__


def _tool(item: object) -> dict[str, Any] | None:
    held = fields_of(item)
    if held.get("type") not in TOOLS:
        return None
    action = held.get("action")
    kind = None if action is None else fields_of(action).get("type")
    return {"type": held["type"], **({} if kind is None else {"action": {"type": kind}})}
