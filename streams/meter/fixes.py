"""What to pass to `record_from` in place of an object that it cannot read. No I/O."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Final

_RAW: Final = "it is a raw response: pass its `.parse()`"
_STREAM: Final = (
    "it is a stream: pass each of its events, or let `meter.wrap(client)` record the client's calls"
)
_MANAGER: Final = (
    "it opens a stream: pass `stream.get_final_message()` or `stream.get_final_completion()` at its"
    " end, or let `meter.wrap(client)` record the client's calls"
)
_AUDIO: Final = "it is audio: pass the request, {'model': ..., 'voice': ..., 'input': ...}"
_HTTP: Final = "it is a response of HTTP: pass its `.json()`"
_OTHER: Final = (
    "pass an answer of a model as its library returns it, or as a dict, with `format=` if it does not"
    ' show its format; or call `meter.record("llm", model=..., input_tokens=...)`'
)


def fix_for(answer: object) -> str:
    """One sentence for the log: what is wrong with the object, and what to pass."""
    try:
        return _fix_for(answer)
    except BaseException:  # noqa: BLE001  the object is the app's, and may raise on any question
        return _OTHER


def said(error: BaseException) -> str:
    """The error as its class writes it, which is the app's and may raise."""
    try:
        return repr(error)
    except BaseException:  # noqa: BLE001
        return type(error).__name__


def _fix_for(answer: object) -> str:
    if answer is None:
        return "it is None: pass the answer of the call"
    if inspect.isawaitable(answer):
        return "it was not awaited: pass `await ...`"
    if isinstance(answer, str | bytes | bytearray):
        return "it is text: pass `json.loads(text)`"
    if type(answer).__name__.endswith("Manager"):
        return _MANAGER
    if isinstance(answer, BaseException):
        return (
            "it is an error, which reports no usage: call"
            ' `meter.record("llm", model=..., error=type(error).__name__)`'
        )
    return next(
        (fix for names, fix in _BY_METHODS if all(_has(answer, *any_of) for any_of in names)),
        _OTHER,
    )


_BY_METHODS: Final[Sequence[tuple[Sequence[Sequence[str]], str]]] = (
    ((("parse",), ("http_response",)), _RAW),
    ((("get_final_message", "get_final_completion"),), _MANAGER),
    ((("__next__", "__anext__"),), _STREAM),
    ((("stream_to_file",),), _AUDIO),
    ((("iter_bytes", "aiter_bytes"),), _HTTP),
)
"""Methods by which the objects of OpenAI's and Anthropic's libraries are told apart, one of each list."""


def _has(answer: object, *names: str) -> bool:
    """Whether the object's class has one of the names, or the object itself: no property is read."""
    held = getattr(answer, "__dict__", {})
    return any(name in held or hasattr(type(answer), name) for name in names)
