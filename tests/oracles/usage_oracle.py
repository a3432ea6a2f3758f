"""What `/v1/usage` must answer, by scanning every event; slow and obvious.

A bucket of a zone is found by its wall clock: it starts at the first quarter-hour of which the
local date (or week, month, hour) is that of the event.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from fractions import Fraction
from typing import Any

from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.tiers import TIERS, Tier, floor_to
from schemas.units import instant_to_ms, iso, ms_to_instant
from tests.api.counters import Asked as Bounds
from tests.api.counters import Event, covered

QUARTER_MS = 15 * MINUTE_MS
MEASURES = (
    "requests",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "avg_latency_ms",
    "cost_events",
)
FIXED_MS = {"1m": MINUTE_MS, "5m": 5 * MINUTE_MS, "15m": QUARTER_MS}


@dataclass(frozen=True)
class Asked:
    from_ms: int
    to_ms: int
    now_ms: int
    granularity: str = "none"
    zone: tzinfo | None = None
    group_by: tuple[str, ...] = ()
    keep: tuple[tuple[str, str], ...] = ()
    drop: tuple[tuple[str, str], ...] = ()
    measures: tuple[str, ...] = MEASURES
    tiers: tuple[Tier, ...] = TIERS

    @property
    def params(self) -> dict[str, Any]:
        params: dict[str, Any] = {
            "from": iso(self.from_ms),
            "to": iso(self.to_ms),
            "granularity": self.granularity,
            "measures": ",".join(self.measures),
            "group_by": ",".join(self.group_by),
        }
        if self.zone is not None:
            params["tz"] = str(self.zone)
        for end, pairs in (("", self.keep), ("!", self.drop)):
            for name, value in pairs:
                params.setdefault(name + end, []).append(value)
        return params


def rows(events: Iterable[Event], asked: Asked) -> dict[tuple[str, ...], dict[str, Any]]:
    """(time, *group) -> measures. Rows in which nothing happened are left out."""
    from_ms, to_ms = instants(asked)
    members: dict[tuple[str, ...], list[Event]] = defaultdict(list)
    for event in events:
        if event.tenant == "acme" and from_ms <= event.at_ms < to_ms and _passes(event, asked):
            time = () if asked.granularity == "none" else (bucket(event.at_ms, asked),)
            members[(*time, *(getattr(event, name) for name in asked.group_by))].append(event)
    return {key: measured(own, asked.measures) for key, own in members.items()}


def instants(asked: Asked) -> tuple[int, int]:
    """The half-open range that is answered; `tiers` are those of the view that must answer."""
    return covered(Bounds(asked.from_ms, asked.to_ms, now_ms=asked.now_ms), asked.tiers)


def measured(events: list[Event], names: Sequence[str]) -> dict[str, Any]:
    if names == MEASURES:
        return sums(events)
    return {name: _measure(events, name) for name in names}


def _measure(events: list[Event], name: str) -> float | None:
    """A percentile by nearest rank, how many chats, how many users, or the sum of what is kept by this
    name."""
    if name == "chats":
        return len({event.chat for event in events if event.chat})
    if name == "users":
        return len({e.user for e in events if e.user and e.kind in {"llm", "tts", "stt"}})
    if name == "cost_nano_usd" and not sum(
        event.measures.get("cost_events", 0) for event in events
    ):
        requests = [e.measures.get("events", 0) for e in events if e.kind in {"llm", "tts", "stt"}]
        return None if any(requests) else 0
    if not name.startswith("p"):
        return sum(event.measures.get(name, 0) for event in events)
    field = "latency_ms" if name.endswith("_latency_ms") else "first_output_ms"
    share = name.removeprefix("p").removesuffix("_" + field)
    values: list[int] = sorted(v for event in events if (v := getattr(event, field)) is not None)
    if not values:
        return None
    rank = math.ceil(Fraction(share.replace("_", ".")) / 100 * len(values))
    return values[max(rank, 1) - 1]


def sums(events: list[Event]) -> dict[str, Any]:
    latencies = [event.latency_ms for event in events if event.latency_ms is not None]
    costs = [event.cost_nano_usd for event in events if event.cost_nano_usd is not None]
    requests = sum(event.kind in {"llm", "tts", "stt"} for event in events)
    return {
        "requests": requests,
        "input_tokens": sum(event.input_tokens for event in events),
        "output_tokens": sum(event.output_tokens for event in events),
        "cost_usd": number(Fraction(sum(costs), 10**9)) if costs or not requests else None,
        "avg_latency_ms": number(Fraction(sum(latencies), len(latencies))) if latencies else None,
        "cost_events": len(costs),
    }


def number(exact: Fraction) -> int | float:
    return exact.numerator if exact.denominator == 1 else float(exact)


def bucket(at_ms: int, asked: Asked) -> str:
    """The label of the bucket that holds an instant."""
    if asked.zone is None or asked.granularity in FIXED_MS:
        start_ms = _start_in_utc(at_ms, asked.granularity)
        return iso(start_ms) if asked.zone is None else _local(start_ms, asked.zone).isoformat()
    at_ms = floor_to(at_ms, QUARTER_MS)
    if asked.granularity == "1h":
        while _local(at_ms, asked.zone).minute != 0:
            at_ms -= QUARTER_MS
    else:
        wanted = _furthest(at_ms, asked)
        while _furthest(at_ms - QUARTER_MS, asked) == wanted:
            at_ms -= QUARTER_MS
    return _local(at_ms, asked.zone).isoformat()


def _start_in_utc(at_ms: int, granularity: str) -> int:
    at = ms_to_instant(at_ms)
    if granularity == "1mo":
        return instant_to_ms(at.replace(day=1, hour=0, minute=0, second=0, microsecond=0))
    if granularity == "1w":
        return floor_to(at_ms, DAY_MS) - at.weekday() * DAY_MS
    return floor_to(at_ms, {**FIXED_MS, "1h": HOUR_MS, "1d": DAY_MS}[granularity])


def _furthest(at_ms: int, asked: Asked) -> tuple[int, ...]:
    """The furthest date that the wall clock has shown: put back past midnight, it is still that."""
    assert asked.zone is not None
    shown = [_local(at_ms - back, asked.zone) for back in range(0, 3 * HOUR_MS, QUARTER_MS)]
    if asked.granularity == "1w":
        return max(local.isocalendar()[:2] for local in shown)
    if asked.granularity == "1mo":
        return max((local.year, local.month) for local in shown)
    return max((local.year, local.month, local.day) for local in shown)


def _local(at_ms: int, zone: tzinfo) -> datetime:
    return ms_to_instant(at_ms).astimezone(zone)


def _passes(event: Event, asked: Asked) -> bool:
    kept = {name: [v for n, v in asked.keep if n == name] for name, _ in asked.keep}
    dropped = {name: [v for n, v in asked.drop if n == name] for name, _ in asked.drop}
    return all(_is_one_of(getattr(event, name), v) for name, v in kept.items()) and not any(
        _is_one_of(getattr(event, name), v) for name, v in dropped.items()
    )


def _is_one_of(value: str, patterns: list[str]) -> bool:
    return any(value.startswith(p[:-1]) if p.endswith("*") else value == p for p in patterns)
