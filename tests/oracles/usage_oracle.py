"""What `/v1/usage` must answer, by scanning every event; slow and obvious.

A bucket of a zone is found by its wall clock: it starts at the first five minutes of which the local
date (or week, month, hour) is that of the event.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from calendar import monthrange
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from fractions import Fraction
from typing import Any

from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.tiers import TIERS, Tier, floor_to
from schemas.units import instant_to_ms, iso, ms_to_instant
from tests.api.counters import Asked as Bounds
from tests.api.counters import Event, covered

QUARTER_MS = 15 * MINUTE_MS
GRID_MS = 5 * MINUTE_MS
MEASURES = (
    "requests",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "avg_latency_ms",
    "cost_events",
)
FIXED_MS = {"1m": MINUTE_MS, "5m": 5 * MINUTE_MS, "15m": QUARTER_MS}
"""Steps of which every quarter-hour is a whole number: they begin alike in all zones."""
HOURS_MS = {
    "10m": 10 * MINUTE_MS, "30m": 30 * MINUTE_MS, "1h": HOUR_MS, "3h": 3 * HOUR_MS,
    "6h": 6 * HOUR_MS, "12h": 12 * HOUR_MS,
}  # fmt: skip
MONTHS = {"1mo": 1, "1q": 3, "1y": 12}
LONGEST_MS = {
    name: (days + 1) * DAY_MS
    for name, days in {"1d": 1, "1w": 7, "1mo": 31, "1q": 92, "1y": 366}.items()
}


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
    sunday: bool = False

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
        if self.sunday:
            params["week_start"] = "sunday"
        for end, pairs in (("", self.keep), ("!", self.drop)):
            for name, value in pairs:
                params.setdefault(name + end, []).append(value)
        return params


def rows(events: Iterable[Event], asked: Asked) -> dict[tuple[str, ...], dict[str, Any]]:
    """(time, *group) -> measures. There is a row where there are events, whatever is measured."""
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


def collapses(asked: Asked) -> bool:
    """Whether the range contains time, but no stored bucket begins in it."""
    start_ms, end_ms = instants(asked)
    return asked.from_ms < asked.to_ms and start_ms >= end_ms


def is_kept(asked: Asked, now_ms: int) -> bool:
    """Whether every bucket of the answer begins where a stored one does."""
    if asked.granularity == "none":
        return True
    low_ms, high_ms = instants(asked)
    at_ms = high_ms - 1
    while (start_ms := starts_at(at_ms, asked)) > low_ms:
        if covered(Bounds(start_ms, start_ms, now_ms=now_ms), asked.tiers)[0] != start_ms:
            return False
        at_ms = start_ms - 1
    return True


def compared(asked: Asked) -> Asked:
    """The question about the period before, as `compare=previous` chooses it."""
    zone = asked.zone or UTC
    low, high = (_local(at_ms, zone).replace(tzinfo=None) for at_ms in (asked.from_ms, asked.to_ms))
    months = MONTHS.get(asked.granularity, 0)
    if months:
        count = months
        while _instant(_months_ago(high, count), zone) > asked.from_ms:
            count += months
        moved = [_instant(_months_ago(one, count), zone) for one in (low, high)]
    elif all(
        _instant(_midnight(at), zone) == ms
        for at, ms in ((low, asked.from_ms), (high, asked.to_ms))
    ):
        days = _midnight(high) - _midnight(low)
        moved = [_instant(_midnight(one) - days, zone) for one in (low, high)]
    else:
        moved = [2 * asked.from_ms - asked.to_ms, asked.from_ms]
    return replace(asked, from_ms=moved[0], to_ms=moved[1])


def _midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def _months_ago(at: datetime, months: int) -> datetime:
    """The same day and time, or the last day of a shorter month."""
    year, month = divmod(at.year * 12 + at.month - 1 - months, 12)
    day = min(at.day, monthrange(year, month + 1)[1])
    return at.replace(year=year, month=month + 1, day=day)


def _instant(at: datetime, zone: tzinfo) -> int:
    return instant_to_ms(at.replace(tzinfo=zone).astimezone(UTC))


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
    start_ms = starts_at(at_ms, asked)
    return iso(start_ms) if asked.zone is None else _local(start_ms, asked.zone).isoformat()


def ends_at(start_ms: int, asked: Asked) -> int:
    """The end of the bucket that begins at an instant."""
    step_ms = {**FIXED_MS, **HOURS_MS}.get(asked.granularity, HOUR_MS)
    longest_ms = LONGEST_MS.get(asked.granularity, step_ms)
    later = range(start_ms, start_ms + longest_ms + 2 * DAY_MS, min(step_ms, GRID_MS))
    return later[bisect_right(later, start_ms, key=lambda at: starts_at(at, asked))]


def starts_at(at_ms: int, asked: Asked) -> int:
    """The start of the bucket that holds an instant."""
    if asked.zone is None or asked.granularity in FIXED_MS:
        return _start_in_utc(at_ms, asked)
    at_ms = floor_to(at_ms, GRID_MS)
    if asked.granularity in HOURS_MS:
        while not _begins(at_ms, HOURS_MS[asked.granularity] // MINUTE_MS, asked.zone):
            at_ms -= GRID_MS
    else:
        # What the clock has shown furthest never goes back, so the first quarter-hour is found by halves.
        at_ms = floor_to(at_ms, QUARTER_MS)
        quarters = range(at_ms - LONGEST_MS[asked.granularity], at_ms + QUARTER_MS, QUARTER_MS)
        wanted = _furthest(at_ms, asked)
        at_ms = quarters[bisect_left(quarters, wanted, key=lambda at: _furthest(at, asked))]
    return at_ms


def _begins(at_ms: int, minutes: int, zone: tzinfo) -> bool:
    """Whether the wall clock shows a multiple of so many minutes, or has jumped into another step."""
    now, before = _local(at_ms, zone), _local(at_ms - GRID_MS, zone)
    shown, last = (at.hour * 60 + at.minute for at in (now, before))
    return shown % minutes == 0 or (now.date(), shown // minutes) != (
        before.date(),
        last // minutes,
    )


def _start_in_utc(at_ms: int, asked: Asked) -> int:
    at = _midnight(ms_to_instant(at_ms))
    months = MONTHS.get(asked.granularity)
    if months:
        return instant_to_ms(at.replace(day=1, month=(at.month - 1) // months * months + 1))
    if asked.granularity == "1w":
        return instant_to_ms(at - timedelta(days=(at.weekday() + asked.sunday) % 7))
    return floor_to(at_ms, ({**FIXED_MS, **HOURS_MS, "1d": DAY_MS})[asked.granularity])


def _furthest(at_ms: int, asked: Asked) -> tuple[int, ...]:
    """The furthest date that the wall clock has shown: put back past midnight, it is still that."""
    assert asked.zone is not None
    shown = [_local(at_ms - back, asked.zone) for back in range(0, 3 * HOUR_MS, QUARTER_MS)]
    if asked.granularity == "1w":
        return max((local + timedelta(days=asked.sunday)).isocalendar()[:2] for local in shown)
    if months := MONTHS.get(asked.granularity):
        return max((local.year, (local.month - 1) // months) for local in shown)
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
