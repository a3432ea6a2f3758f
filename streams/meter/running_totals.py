"""The running totals of LiveKit's sessions to differences, in the metrics that the formats read. No I/O.

`session_usage_updated` reports what a session has used of each model since it began. What its
`metrics_collected` events have told already is taken off, because LiveKit Agents sends both. Each
difference becomes the metrics of one request. Source: livekit-agents 1.8.9.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from schemas.formats.body import Json
from schemas.formats.frameworks import livekit
from schemas.formats.vendors.usage import items_of
from schemas.limits import COUNT_MAX

SESSIONS_MAX: Final = 1000
"""Models of sessions whose totals are kept. A process has a few sessions at once, with three models
each; the one that was told longest ago is dropped."""
_LLM: Final = {
    "input_tokens": "prompt_tokens",
    "input_cached_tokens": "prompt_cached_tokens",
    "input_cache_creation_tokens": "cache_creation_tokens",
    "output_tokens": "completion_tokens",
    "output_reasoning_tokens": "reasoning_tokens",
}
_SPEECH: Final = {
    name: name for name in ("input_tokens", "output_tokens", "characters_count", "audio_duration")
}
_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "llm_usage": _LLM,
    "tts_usage": _SPEECH,
    "stt_usage": {**_SPEECH, "input_audio_tokens": "input_audio_tokens"},
}
"""The counts of each kind of total, and their names in the metrics of a request."""
_REALTIME: Final = {
    "input_tokens": ("input_tokens",),
    "output_tokens": ("output_tokens",),
    "input_cached_tokens": ("input_token_details", "cached_tokens"),
    "input_audio_tokens": ("input_token_details", "audio_tokens"),
    "input_text_tokens": ("input_token_details", "text_tokens"),
    "input_image_tokens": ("input_token_details", "image_tokens"),
    "input_cached_audio_tokens": ("input_token_details", "cached_tokens_details", "audio_tokens"),
    "input_cached_text_tokens": ("input_token_details", "cached_tokens_details", "text_tokens"),
    "input_cached_image_tokens": ("input_token_details", "cached_tokens_details", "image_tokens"),
    "output_audio_tokens": ("output_token_details", "audio_tokens"),
    "output_text_tokens": ("output_token_details", "text_tokens"),
}
"""The counts of a realtime model, and their paths in its metrics."""
_LLM_NAMES: Final = (*dict.fromkeys((*_LLM, *_REALTIME)),)
_TOTALS: Final = {
    "llm_metrics": "llm_usage",
    "realtime_model_metrics": "llm_usage",
    "tts_metrics": "tts_usage",
    "stt_metrics": "stt_usage",
}
_SMALLEST: Final = Decimal("0.0005")
"""Seconds: the differences of sums of floats that are no usage."""
_Sums = dict[str, Decimal]


class RunningTotals:
    """What each session is known to have used of each model. `session` names a session."""

    def __init__(self) -> None:
        self._told: dict[tuple[object, str, str, str], _Sums] = {}

    def see(self, session: object, payload: Json) -> None:
        """Notes the metrics of one request, so that the next total does not count them again."""
        metrics = payload.get("metrics") if payload.get("type") == livekit.COLLECTED else payload
        kind = metrics.get("type") if isinstance(metrics, dict) else None
        total = _TOTALS.get(kind) if isinstance(kind, str) else None
        if not isinstance(metrics, dict) or total is None:
            return
        said = metrics.get("metadata")
        said = said if isinstance(said, dict) else {}
        key = _key(session, total, said.get("model_provider"), said.get("model_name"))
        sums = self._told.setdefault(key, {})
        paths = (
            _REALTIME
            if kind == "realtime_model_metrics"
            else {name: (field,) for name, field in _NAMES[total].items()}
        )
        for name, path in paths.items():
            sums[name] = sums.get(name, Decimal()) + _number(_at(metrics, path))

    def differences(self, session: object, payload: Json) -> tuple[list[Json], list[str]]:
        """The metrics of what is new in a `session_usage_updated`, and why the rest is skipped."""
        made: list[Json] = []
        skipped: list[str] = []
        for total in _model_usage(payload):
            kind = total.get("type")
            names: Iterable[str] | None = _NAMES.get(kind) if isinstance(kind, str) else None
            if names is None:
                skipped.append(f"{str(kind)[:64]} of a session counts no tokens and no seconds")
                continue
            if kind == "llm_usage":
                names = _LLM_NAMES
            key = _key(session, str(kind), total.get("provider"), total.get("model"))
            now = {name: _number(total.get(name)) for name in names}
            told = self._told.pop(key, {})
            if any(now[name] < told.get(name, Decimal()) - _SMALLEST for name in now):
                told = {}  # less than before: another session of the same name has begun
            self._told[key] = now
            new = {name: now[name] - told.get(name, Decimal()) for name in now}
            if any(value >= _SMALLEST for value in new.values()):
                made.append(_metrics(str(kind), total, new, payload.get("created_at")))
            else:
                skipped.append("the total of a session has nothing that was not counted before")
        while len(self._told) > SESSIONS_MAX:
            del self._told[next(iter(self._told))]
        return made, skipped


def _model_usage(payload: Json) -> list[Json]:
    usage = payload.get("usage")
    return items_of(usage, "model_usage") if isinstance(usage, dict) else []


def _metrics(kind: str, total: Json, new: _Sums, at: object) -> Json:
    """The difference as the metrics of one request. `request_id` says that it is no connection."""
    made: Json = {
        "request_id": "difference",
        "timestamp": at,
        "metadata": {"model_provider": total.get("provider"), "model_name": total.get("model")},
    }
    by_modality = ("audio_tokens", "image_tokens", "text_tokens")
    if kind == "llm_usage" and any(new[name] for name in _REALTIME if name.endswith(by_modality)):
        made["type"] = "realtime_model_metrics"
        for name, path in _REALTIME.items():
            holder = made
            for part in path[:-1]:
                holder = holder.setdefault(part, {})
            holder[path[-1]] = int(new[name])
        return made
    made["type"] = kind.replace("_usage", "_metrics")
    for name, field in _NAMES[kind].items():
        made[field] = new[name] if name == "audio_duration" else int(new[name])
    return made


def _key(
    session: object, kind: str, provider: object, model: object
) -> tuple[object, str, str, str]:
    return session, kind, str(provider or ""), str(model or "")


def _at(holder: Any, path: tuple[str, ...]) -> object:  # noqa: ANN401  any JSON
    for part in path:
        holder = holder.get(part) if isinstance(holder, dict) else None
    return holder


def _number(value: object) -> Decimal:
    """A count or seconds; 0 for anything else, and for what no session can have used."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return Decimal()
    exact = Decimal(value)
    return exact if exact.is_finite() and 0 <= exact <= COUNT_MAX else Decimal()
