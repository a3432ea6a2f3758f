"""What the LiveKit dialect must answer, by scanning every event; slow and obvious.

A log is neutral events as producers send them (`Fields`), in the order in which they count. Shares
the rule of the bounds with tests.api.counters, and nothing with the API.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from schemas.units import instant_to_ms, iso
from tests.api import counters
from tests.api.counters import NOW_MS, Event

Fields = dict[str, Any]
USAGE = ("llm", "tts", "stt")
PATHS = (
    "dashboard",
    "calls/by-user",
    "calls/by-phone-number",
    "calls/by-service",
    "tokens/summary",
    "tokens/by-user",
    "tokens/by-assistant",
    "tokens/by-model",
)
FILTERS = {
    "dashboard": ("user_email",),
    "calls/by-phone-number": ("user_email",),
    "tokens/summary": ("user_email", "assistant_id"),
    "tokens/by-assistant": ("user_email",),
    "tokens/by-model": ("user_email", "assistant_id"),
}
CENT = Decimal("0.01")


@dataclass(frozen=True)
class Asked:
    """One request; times in ms. Filters that the path does not have are ignored by it."""

    path: str
    from_ms: int
    to_ms: int
    user_email: str = ""
    assistant_id: str = ""
    tenant: str = "acme"
    now_ms: int = NOW_MS

    @property
    def params(self) -> dict[str, str]:
        return {
            "start_date": iso(self.from_ms),
            "end_date": iso(self.to_ms),
            "user_email": self.user_email,
            "assistant_id": self.assistant_id,
        }

    def wants(self, name: str) -> str:
        value: str = getattr(self, name) if name in FILTERS.get(self.path, ()) else ""
        return value


@dataclass(frozen=True)
class Call:
    """As it is booked: with its first event; of several durations the last."""

    first: Fields
    duration_ms: int
    with_usage: bool

    @property
    def booked_ms(self) -> int:
        return at_ms(self.first.get("call_started_at") or self.first["time"])


def at_ms(text: str) -> int:
    return instant_to_ms(datetime.fromisoformat(text))


def user_of(event: Fields) -> str:
    return event.get("user_id") or event.get("user_email") or ""


def calls_of(log: Iterable[Fields]) -> list[Call]:
    events: defaultdict[tuple[str, str], list[Fields]] = defaultdict(list)
    for event in log:
        if event.get("call_id"):
            events[event["tenant"], event["call_id"]].append(event)
    return [
        Call(
            first=some[0],
            duration_ms=[
                0,
                *(
                    one["duration_ms"]
                    for one in some
                    if one["kind"] == "call" and one.get("duration_ms") is not None
                ),
            ][-1],
            with_usage=any(one["kind"] in USAGE for one in some),
        )
        for some in events.values()
    ]


def addresses_of(log: Iterable[Fields], tenant: str) -> dict[str, str]:
    """User key -> the address of the latest event that has one."""
    latest: dict[str, tuple[int, str]] = {}
    for event in log:
        if event["tenant"] == tenant and event.get("user_email"):
            said = at_ms(event["time"]), event["user_email"]
            latest[user_of(event)] = max(latest.get(user_of(event), said), said)
    return {key: address for key, (_, address) in latest.items()}


def packed(log: Sequence[Fields], *, late: bool = False) -> list[Event]:
    """What the fold counts of it: usage where it is, calls where they are booked. `late`: all of it
    was appended now."""
    appended_ms = NOW_MS if late else None
    found = [
        replace(
            _whose(event, at_ms(event["time"])),
            kind=event["kind"],
            provider=event.get("provider") or "",
            model=event.get("model") or "",
            appended_ms=appended_ms,
            others=_measures(event),
        )
        for event in log
    ]
    for call in calls_of(log):
        used = int(call.with_usage)
        booked = {
            "calls": 1,
            "call_duration_ms": call.duration_ms,
            "calls_with_usage": used,
            "usage_call_duration_ms": used * call.duration_ms,
        }
        whose = _whose(call.first, call.booked_ms)
        found.append(replace(whose, kind="call", appended_ms=appended_ms, others=booked))
    return found


def _whose(event: Fields, moment_ms: int) -> Event:
    """Without what it counts."""
    return Event(
        moment_ms,
        provider="",
        model="",
        tenant=event["tenant"],
        agent=event.get("agent_id") or "",
        user=user_of(event),
        service=event.get("service") or "",
        phone=event.get("phone_number") or "",
    )


def _measures(event: Fields) -> dict[str, int]:
    if event["kind"] not in USAGE:
        return {"events": 1}
    fields = {name: value for name, value in event.items() if isinstance(value, int)}
    for part in ("input", "output", "cache_read"):
        fields.setdefault(
            f"{part}_text_tokens",
            max(0, fields.get(f"{part}_tokens", 0) - fields.get(f"{part}_audio_tokens", 0)),
        )
    nano_usd = int(Decimal(event.get("cost_usd") or 0) * 10**9)
    return fields | {"events": 1, "cost_nano_usd": nano_usd}


# -- the answer ------------------------------------------------------------------------------------


def answer(log: Sequence[Fields], asked: Asked, covered: tuple[int, int] | None = None) -> Any:
    """`data`, by scanning; `covered` is the range, where the clock of the API is not `now_ms`."""
    bounds = counters.Asked(asked.from_ms, asked.to_ms, now_ms=asked.now_ms)
    from_ms, to_ms = covered or counters.covering(bounds)
    addresses = addresses_of(log, asked.tenant)

    def shown(event: Fields) -> str:
        key = user_of(event)
        return addresses.get(key) or key or "unknown"

    def counts(event: Fields, moment_ms: int) -> bool:
        return (
            event["tenant"] == asked.tenant
            and from_ms <= moment_ms < to_ms
            and asked.wants("user_email") in {"", shown(event)}
            and asked.wants("assistant_id") in {"", event.get("agent_id") or ""}
        )

    calls = [call for call in calls_of(log) if counts(call.first, call.booked_ms)]
    usage = [
        event for event in log if event["kind"] in USAGE and counts(event, at_ms(event["time"]))
    ]
    if asked.path == "dashboard":
        return _dashboard(calls, asked, shown)
    if asked.path == "tokens/summary":
        return _summary(usage, calls)
    by_agent, by_service = _or_unknown("agent_id"), _or_unknown("service")
    return {
        "calls/by-user": {"users": _calls_by(calls, "user_email", shown, _calls_with_average)},
        "calls/by-phone-number": {
            "phone_numbers": _calls_by(calls, "phone_number", _number, _calls)
        },
        "calls/by-service": {"services": _calls_by(calls, "service", by_service, _calls)},
        "tokens/by-user": {"users": _tokens_by(usage, calls, "user_email", shown)},
        "tokens/by-assistant": {"assistants": _tokens_by(usage, calls, "assistant_id", by_agent)},
        "tokens/by-model": {"models": _by_model(usage)},
    }[asked.path]


def _or_unknown(name: str) -> Callable[[Fields], str]:
    return lambda event: event.get(name) or "unknown"


def _number(event: Fields) -> str:
    if event.get("service") == "web":
        return "WEB_CALL"
    return event.get("phone_number") or "UNKNOWN_PLATFORM"


def _dashboard(calls: list[Call], asked: Asked, shown: Callable[[Fields], str]) -> Any:
    start, end = (
        datetime.fromisoformat(iso(bound_ms)).isoformat()
        for bound_ms in (asked.from_ms, asked.to_ms)
    )
    return _calls_with_average(calls) | {
        "total_active_users": len({shown(call.first) for call in calls} - {"unknown"}),
        "date_range": {"start_date": start, "end_date": end},
    }


def _calls_by(
    calls: list[Call],
    label: str,
    by: Callable[[Fields], str],
    figures: Callable[[list[Call]], dict[str, Any]],
) -> list[Any]:
    groups: defaultdict[str, list[Call]] = defaultdict(list)
    for call in calls:
        groups[by(call.first)].append(call)
    order = sorted(groups, key=lambda name: (-sum(c.duration_ms for c in groups[name]), name))
    return [{label: name, **figures(groups[name])} for name in order]


def _calls(calls: list[Call]) -> dict[str, Any]:
    total_ms = sum(call.duration_ms for call in calls)
    return {
        "total_calls": len(calls),
        "total_duration_minutes": _cents(Decimal(total_ms) / 60_000),
        "total_duration_hours": _cents(Decimal(total_ms) / 3_600_000),
    }


def _calls_with_average(calls: list[Call]) -> dict[str, Any]:
    minutes = Decimal(sum(call.duration_ms for call in calls)) / 60_000
    return _calls(calls) | {"avg_duration_minutes": _cents(minutes / max(1, len(calls)))}


def _tokens_by(
    usage: list[Fields], calls: list[Call], label: str, by: Callable[[Fields], str]
) -> list[Any]:
    names = {by(event) for event in usage} | {by(c.first) for c in calls if c.with_usage}
    rows = []
    for name in names:
        mine = [event for event in usage if by(event) == name]
        used = [call for call in calls if call.with_usage and by(call.first) == name]
        rows.append({label: name, **_tokens(mine, used)})
    return sorted(rows, key=lambda row: (-row["total_llm_tokens"], row[label]))


def _tokens(usage: list[Fields], used: list[Call]) -> dict[str, Any]:
    call_ms = Decimal(sum(call.duration_ms for call in used))
    return {
        "total_calls": len(used),
        "total_llm_tokens": _llm_tokens(usage),
        "total_llm_input_audio_tokens": _total(usage, "input_audio_tokens", "llm"),
        "total_llm_output_text_tokens": _total(usage, "output_text_tokens", "llm"),
        "total_tts_characters": _total(usage, "tts_characters", *USAGE),
        "total_tts_audio_duration": _seconds(usage, "tts_audio_ms"),
        "total_call_duration_minutes": _cents(call_ms / 60_000),
        "total_call_duration_hours": _cents(call_ms / 3_600_000),
        "total_stt_audio_duration": _seconds(usage, "stt_audio_ms"),
        "total_llm_input_cached_tokens": _total(usage, "cache_read_tokens", "llm"),
        "total_llm_input_cache_creation_tokens": _total(usage, "cache_write_tokens", "llm"),
    }


def _splits(usage: list[Fields]) -> dict[str, Any]:
    names = {
        "total_llm_input_audio_tokens": "input_audio_tokens",
        "total_llm_input_text_tokens": "input_text_tokens",
        "total_llm_input_cached_audio_tokens": "cache_read_audio_tokens",
        "total_llm_input_cached_text_tokens": "cache_read_text_tokens",
        "total_llm_output_audio_tokens": "output_audio_tokens",
        "total_llm_output_text_tokens": "output_text_tokens",
        "total_llm_input_cached_tokens": "cache_read_tokens",
        "total_llm_input_cache_creation_tokens": "cache_write_tokens",
    }
    return {shown: _total(usage, name, "llm") for shown, name in names.items()} | {
        "total_records": len(usage),
        "total_llm_tokens": _llm_tokens(usage),
        "total_tts_characters": _total(usage, "tts_characters", *USAGE),
        "total_tts_audio_duration": _seconds(usage, "tts_audio_ms"),
        "total_stt_audio_duration": _seconds(usage, "stt_audio_ms"),
    }


def _summary(usage: list[Fields], calls: list[Call]) -> Any:
    call_ms = Decimal(sum(call.duration_ms for call in calls if call.with_usage))
    return _splits(usage) | {"total_call_duration_minutes": _cents(call_ms / 60_000)}


def _by_model(usage: list[Fields]) -> list[Any]:
    groups: defaultdict[tuple[str, str, str], list[Fields]] = defaultdict(list)
    for event in usage:
        provider, model = (event.get(name) or "unknown" for name in ("provider", "model"))
        groups[event["kind"] + "_usage", provider, model].append(event)
    return [
        {
            **dict(zip(("type", "provider", "model"), name, strict=True)),
            **_splits(groups[name]),
            "total_estimated_cost_usd": sum(
                Decimal(event.get("cost_usd") or 0) for event in groups[name]
            ),
            "total_tts_input_tokens": _total(groups[name], "input_tokens", "tts"),
            "total_tts_output_tokens": _total(groups[name], "output_tokens", "tts"),
            "total_stt_input_tokens": _total(groups[name], "input_tokens", "stt"),
            "total_stt_output_tokens": _total(groups[name], "output_tokens", "stt"),
        }
        for name in sorted(groups)
    ]


def _llm_tokens(usage: list[Fields]) -> int:
    return _total(usage, "input_tokens", "llm") + _total(usage, "output_tokens", "llm")


def _total(usage: list[Fields], name: str, *kinds: str) -> int:
    return sum(_measures(event).get(name, 0) for event in usage if event["kind"] in kinds)


def _seconds(usage: list[Fields], name: str) -> Decimal:
    return _cents(Decimal(_total(usage, name, *USAGE)) / 1000)


def _cents(number: Decimal) -> Decimal:
    return number.quantize(CENT, ROUND_HALF_EVEN)
