"""One call of a model that a wrapped client makes: its times, and what is recorded of it at its end.

The app's thread notes times and the answer, and puts the call into the queue. The meter's thread makes the
event of it (`ClientCall.item`).
"""

from __future__ import annotations

import json
import os
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from schemas.event.error_class import error_class_of
from schemas.prices.names import names
from schemas.prices.providers import known
from streams.meter.clients.reduced import error_of, fields_of, reduced
from streams.meter.clients.routes import Route
from streams.meter.clients.stream_notes import StreamNotes
from streams.meter.queued import LibraryObject, RecordedEvent, WireBody

CLOSED: Final = "the stream was closed before its end, so its usage is not known"
UNREPORTED: Final = "the stream ended without usage"
NO_USAGE: Final = "the answer reports no usage"
NO_SECONDS: Final = "the answer is text alone: ask for response_format json or verbose_json"
PENDING_MAX: Final = 1000
"""Background responses whose end is awaited. The oldest is dropped."""
_MODEL_CHARS_MAX: Final = 256
_PENDING: Final = frozenset({"queued", "in_progress"})
_LARGE: Final = frozenset({"embeddings", "image"})
"""Operations whose answers are too large to wait in a queue."""
_DEFAULTS: Final = {"openai": "openai", "anthropic": "anthropic", "gemini": "google"}
"""The provider of a client whose URL and model name no other."""


_FORKS: Final = [0]
"""How often this process and its parents were forked."""


def _after_fork() -> None:
    _FORKS[0] += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Recorder(NamedTuple):
    """What a call needs of its meter: to be recorded at its end, and to say something once."""

    ended: Callable[[ClientCall], None]
    once: Callable[[str], None]
    streams: weakref.WeakSet[Any]
    """The taps of streams that may be open: they end with the meter."""


class WrappedClient:
    """What all calls of one client share. `given`: the context that the app gave."""

    def __init__(self, recorder: Recorder, url: object, given: Mapping[str, str | int]) -> None:
        self.recorder = recorder
        self.given = given
        self.asks_usage = True
        self.provider = known(str(url)) if url is not None else None
        self.pending: dict[str, None] = {}

    def problem(self, error: Exception) -> None:
        """A failure of the hook's own is logged once and is not the app's problem."""
        self.recorder.once(f"a call of a wrapped client was not recorded: {error!r}")

    def guarded(self, work: Callable[..., Any], *values: object) -> Any:  # noqa: ANN401
        """What `work` returns; None if it fails."""
        try:
            return work(*values)
        except Exception as error:  # noqa: BLE001  the root of a hook
            self.problem(error)
            return None


class ClientCall:
    """Ends once, in `answered`, `failed` or `ended`; all later ends are ignored."""

    __slots__ = (
        "_answer",
        "_at_ms",
        "_client",
        "_end_s",
        "_first_s",
        "_forks",
        "_last_s",
        "_marks",
        "_request",
        "_started_s",
        "route",
    )  # fmt: skip

    def __init__(self, client: WrappedClient, route: Route, request: object) -> None:
        self.route = route
        self._client = client
        self._request: Mapping[str, Any] = _asked(route, request) if type(request) is dict else {}
        self._forks = _FORKS[0]
        self._answer: object = None
        self._marks: Mapping[str, object] = {}
        self._at_ms = 0
        self._first_s = self._last_s = self._end_s = 0.0
        self._started_s = time.perf_counter()

    @property
    def recorder(self) -> Recorder:
        return self._client.recorder

    def guarded(self, work: Callable[..., Any], *values: object) -> Any:  # noqa: ANN401
        """`WrappedClient.guarded`."""
        return self._client.guarded(work, *values)

    @property
    def has_ended(self) -> bool:
        return bool(self._end_s)

    # -- in the app's thread ---------------------------------------------------------------------

    def answered(self, answer: object) -> None:
        """A whole answer came: an object of the library, a body of JSON, or None if it cannot be read."""
        if self.route.operation in _LARGE:
            answer = _read(answer)
        self._end(time.perf_counter(), answer, {})

    def failed(self, error: BaseException) -> None:
        if not self.route.is_lookup:
            self._end(time.perf_counter(), {}, {"error": error_of(error), **_class(error)})

    def read(self, notes: StreamNotes) -> None:
        """Some bytes of the stream came."""
        self._last_s = time.perf_counter()
        if not self._first_s and notes.has_output:
            self._first_s = self._last_s

    def ended(self, notes: StreamNotes, error: BaseException | None = None) -> None:
        """A stream ended: read to its end, closed by the app, or broken by `error`."""
        if self._end_s:
            return
        marks: dict[str, object] = {}
        broken = notes.error or (None if error is None else error_of(error))
        if broken is not None:
            marks["error"] = broken
        if not notes.has_whole_usage and self.route.kind == "llm":
            marks["cost_problem"] = UNREPORTED if notes.is_complete else CLOSED
        answer = notes.answer
        if self.route.format == "gemini" and not notes.has_usage:
            answer = {}
        if not notes.is_complete and not self._request.get("background"):
            answer = {name: value for name, value in answer.items() if name != "status"}
        # A dropped stream is noticed late: it was in use until its last bytes were read.
        end_s = 0.0 if notes.is_complete else self._last_s
        self._end(end_s or time.perf_counter(), answer, marks)

    def let_go(self) -> None:
        """Keeps nothing of the answer but what is recorded: the queue is long."""
        self._answer = _read(self._answer)

    def _end(self, at_s: float, answer: object, marks: Mapping[str, object]) -> None:
        """A call that ends in a forked child is the parent's."""
        if self._end_s or self._forks != _FORKS[0]:
            return
        self._end_s, self._answer, self._marks = at_s, answer, marks
        self._at_ms = time.time_ns() // 1_000_000
        self._client.recorder.ended(self)

    # -- in the meter's thread ---------------------------------------------------------------------

    def item(self, seed: str) -> RecordedEvent | LibraryObject | None:
        """What is recorded, once the call has ended; None for a report that is not final."""
        answer = _read(self._answer)
        if isinstance(answer, dict) and not self._is_final(answer):
            return None
        if isinstance(answer, dict) and not (self._marks and not answer):
            own = self._own_fields(answer)
        else:
            own = {} if not answer else None
        if own is not None:
            fields = {**self._fields(), **own, **self._marks}
            kept = {name: value for name, value in fields.items() if value is not None}
            return RecordedEvent(seed, self._at_ms, self.route.kind, kept)
        context = self._context()
        return LibraryObject(
            seed, self._at_ms, answer, self.route.format, context, marks=self._marks
        )

    def _is_final(self, answer: Mapping[str, Any]) -> bool:
        """Whether a response is done; a lookup counts if the app awaited it."""
        name, pending = answer.get("id"), self._client.pending
        if isinstance(name, str) and answer.get("status") in _PENDING:
            pending[name] = None
            if len(pending) > PENDING_MAX:
                del pending[next(iter(pending))]
            return False
        is_awaited = pending.pop(str(name), ...) is None
        return is_awaited or not self.route.is_lookup

    def _own_fields(self, answer: Mapping[str, Any]) -> dict[str, object] | None:
        """What an answer says that no format reads; None if its format does."""
        if self.route.kind == "tts" and "usage" not in answer:
            # The characters of the request are billed.
            asked = self._request
            return {"tts_characters": asked.get("characters"), "voice": asked.get("voice")}
        if self.route.operation == "image" and "usage" not in answer:
            return {"images": len(answer.get("data", ()))}
        if self.route.kind == "stt" and "text" not in answer:
            return {"cost_problem": NO_SECONDS}
        return None if answer else {"cost_problem": NO_USAGE}

    def _fields(self) -> dict[str, object]:
        """The fields of an event of its own, where there is no answer that a format could read."""
        named = names(self._client.provider, self._model, default=_DEFAULTS[self.route.format])
        return {
            "operation": self.route.operation,
            "provider": named.provider,
            "model": named.model,
            **self._times(),
            **self._client.given,
        }

    def _context(self) -> dict[str, str | int]:
        made: dict[str, str | int] = {"operation": self.route.operation, **self._times()}
        if self._client.provider is not None:
            made["provider"] = self._client.provider
        if self._model is not None:
            made["model"] = self._model
        return {**made, **self._client.given}

    @property
    def _model(self) -> str | None:
        model = self._request.get("model")
        return model if isinstance(model, str) and len(model) <= _MODEL_CHARS_MAX else None

    def _times(self) -> dict[str, int]:
        if self.route.is_lookup:
            return {}
        times = {"latency_ms": round(1000 * (self._end_s - self._started_s))}
        if self._first_s:
            times["first_output_ms"] = round(1000 * (self._first_s - self._started_s))
        return times


def _asked(route: Route, request: dict[str, Any]) -> dict[str, Any]:
    """What is needed of a request. The queue must not hold its texts and images."""
    asked = {"model": request.get("model"), "background": request.get("background")}
    if route.kind == "tts":
        said, voice = request.get("input"), request.get("voice")
        asked["characters"] = len(said) if isinstance(said, str) else None
        asked["voice"] = voice if isinstance(voice, str) else fields_of(voice).get("id")
    return asked


def _read(answer: object) -> Any:  # noqa: ANN401  any JSON
    """The answer, reduced. Gemini's stays as it came: its format reads other names."""
    if isinstance(answer, WireBody):
        return answer if answer.is_whole else reduced(json.loads(answer.json))
    return answer if type(answer) is dict else reduced(answer)


def _class(error: BaseException) -> dict[str, str]:
    """The class of an error whose code does not tell it."""
    if error_class_of(error_of(error)) != "other":
        return {}
    by_name = error_class_of(type(error).__name__)
    status = getattr(error, "status_code", None)
    by_status = error_class_of(str(status)) if isinstance(status, int) else "other"
    found = by_name if by_name != "other" else by_status
    return {} if found == "other" else {"error_class": found}
