"""What `/api/v1/analytics` must answer, by scanning every event; slow and obvious."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.tiers import DAY, HOUR, MINUTE, QUARTER, ceil_to, floor_to, kept_from
from schemas.units import instant_to_ms, ms_to_instant
from tests.api.counters import NOW_MS, Event, covering
from tests.api.counters import Asked as Bounds

LENGTH_MS = {"10m": 10 * MINUTE_MS, "hourly": HOUR_MS, "3h": 3 * HOUR_MS, "6h": 6 * HOUR_MS}
NEVER_MS = 10**15
LATEST_S = 4_102_444_800


@dataclass(frozen=True)
class Asked:
    """One request; bounds in seconds, `members` are those of the group that is asked for."""

    start_s: int | None = None
    end_s: int | None = None
    members: frozenset[str] | None = None
    metric: str = "messages"
    granularity: str = "daily"
    compare: bool = False
    zone: str = "UTC"
    limit: int = 50
    tenant: str = "acme"
    now_ms: int = NOW_MS

    @property
    def params(self) -> dict[str, Any]:
        sent = {
            "start_date": self.start_s,
            "end_date": self.end_s,
            "group_id": None if self.members is None else "team",
            "metric": self.metric,
            "granularity": self.granularity,
            "compare": self.compare,
            "tz": self.zone,
            "limit": self.limit,
        }
        return {name: value for name, value in sent.items() if value is not None}

    @property
    def is_bounded(self) -> bool:
        return bool(self.start_s and self.end_s)

    def range_ms(self, *, zoned: bool = False) -> tuple[int, int]:
        """`zoned`: where the days are those of the zone, which are kept as long as quarters of an hour."""
        start_ms = (self.start_s or 0) * 1000
        if zoned and self.zone != "UTC" and not self.start_s:
            start_ms = kept_from(QUARTER, DAY, self.now_ms)
        end_ms = self.end_s * 1000 if self.end_s else NEVER_MS
        return self.covered(start_ms, end_ms)

    def covered(self, start_ms: int, end_ms: int) -> tuple[int, int]:
        return covering(Bounds(start_ms, end_ms, now_ms=self.now_ms))


def messages(events: Iterable[Event], asked: Asked, range_ms: tuple[int, int]) -> list[Event]:
    from_ms, to_ms = range_ms
    return [
        event
        for event in events
        if event.kind == "llm"
        and event.tenant == asked.tenant
        and from_ms <= event.at_ms < to_ms
        and (asked.members is None or event.user in asked.members)
    ]


def by(events: Iterable[Event], name: str) -> dict[str, list[Event]]:
    """What is not reported is left out."""
    found: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if getattr(event, name):
            found[getattr(event, name)].append(event)
    return found


def summary(events: Iterable[Event], asked: Asked) -> dict[str, Any]:
    found = messages(events, asked, asked.range_ms())
    return {
        "total_messages": len(found),
        "total_chats": len(by(found, "chat")),
        "total_models": len(by(found, "model")),
        "total_users": len(by(found, "user")),
    }


def models(events: Iterable[Event], asked: Asked) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [
        {
            "model_id": model,
            "count": len(own),
            "unique_users": len(by(own, "user")),
            "unique_chats": len(by(own, "chat")),
        }
        for model, own in by(messages(events, asked, asked.range_ms()), "model").items()
    ]
    return {"models": sorted(rows, key=lambda row: (-row["count"], row["model_id"]))}


def users(events: Iterable[Event], asked: Asked) -> dict[str, Any]:
    found: list[dict[str, Any]] = [
        {
            "user_id": user,
            "name": None,
            "email": None,
            "count": len(own),
            **sums(own),
            "cost": cost(own),
            "models": models_of(own),
        }
        for user, own in by(messages(events, asked, asked.range_ms()), "user").items()
    ]
    first = "total_tokens" if asked.metric == "tokens" else "count"
    found.sort(key=lambda row: (-row[first], -row["count"], row["user_id"]))
    return {"users": found[: asked.limit]}


def models_of(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Of one user."""
    found: list[dict[str, Any]] = [
        {
            "model_id": model,
            "count": len(own),
            "unique_chats": len(by(own, "chat")),
            **sums(own),
            "cached_tokens": cached(own),
            "cost": cost(own),
        }
        for model, own in by(events, "model").items()
    ]
    return sorted(found, key=lambda one: (-(one["cost"] or 0), -one["count"], one["model_id"]))


def tokens(events: Iterable[Event], asked: Asked) -> dict[str, Any]:
    models = by(messages(events, asked, asked.range_ms()), "model")
    found: list[dict[str, Any]] = [
        {
            "model_id": model,
            **sums(own),
            "cached_tokens": cached(own),
            "message_count": len(own),
            "cost": cost(own),
        }
        for model, own in models.items()
    ]
    found.sort(key=lambda row: (-row["total_tokens"], row["model_id"]))
    listed = [event for own in models.values() for event in own]
    total = sums(listed)
    return {
        "models": found,
        "total_input_tokens": total["input_tokens"],
        "total_output_tokens": total["output_tokens"],
        "total_cached_tokens": cached(listed),
        "total_tokens": total["total_tokens"],
        "total_cost": cost(listed),
        "currency": None if cost(listed) is None else "USD",
        "unpriced_models": sum(model["cost"] is None for model in found),
    }


def daily(events: Iterable[Event], asked: Asked) -> dict[str, Any]:
    body = {"data": series(events, asked, asked.range_ms(zoned=True), axis(asked))}
    if asked.compare:
        from_ms, to_ms = moved(asked)
        walls = [wall_of(ceil_to(at_ms, MINUTE_MS), asked) for at_ms in (from_ms, to_ms)]
        labels = buckets_of(walls[0], walls[1] - timedelta(microseconds=1), asked)
        body["previous"] = series(events, asked, asked.covered(from_ms, to_ms), labels)
    return body


def axis(asked: Asked) -> list[str]:
    """As its server fills gaps: by the wall clock, from the bucket of the start to the end itself."""
    if not asked.is_bounded:
        return []
    zone = ZoneInfo(asked.zone)
    bounds = []
    for bound in (asked.start_s or 0, asked.end_s or 0):
        at_s = bound / 1000 if bound > 10_000_000_000 else bound
        is_believed = 1_577_836_800 <= at_s <= asked.now_ms / 1000 + 86_400
        at = datetime.fromtimestamp(at_s if is_believed else asked.now_ms / 1000, zone)
        bounds.append(at.replace(tzinfo=None))
    return buckets_of(bounds[0], bounds[1], asked)


def buckets_of(first: datetime, last: datetime, asked: Asked) -> list[str]:
    found, at = [], floored(first, asked)
    while at <= last:
        found.append(text_of(at, asked))
        at += timedelta(minutes=minutes_of(asked))
    return found


def moved(asked: Asked) -> tuple[int, int]:
    """The range before, as asked: by whole local days if it is a day or longer."""
    zone = ZoneInfo(asked.zone)
    bounds = [min(max(s or 0, 0), LATEST_S) * 1000 for s in (asked.start_s, asked.end_s)]
    walls = [wall_of(at_ms, asked) for at_ms in bounds]
    length = walls[1] - walls[0]
    if length < timedelta(days=1, seconds=-1):
        by_ms = bounds[1] - bounds[0] + 1000 if bounds[0] < bounds[1] else 0
        return bounds[0] - by_ms, bounds[1] - by_ms
    days = -(-length // timedelta(days=1))
    return (
        instant_to_ms((walls[0] - timedelta(days=days)).replace(tzinfo=zone)),
        instant_to_ms((walls[1] - timedelta(days=days)).replace(tzinfo=zone)),
    )


def series(
    events: Iterable[Event], asked: Asked, range_ms: tuple[int, int], labels: Iterable[str]
) -> list[Any]:
    buckets: dict[str, list[Event]] = {name: [] for name in labels} if asked.is_bounded else {}
    for event in messages(events, asked, range_ms):
        if event.model:
            buckets.setdefault(label(kept_at(event.at_ms, asked), asked), []).append(event)
    return [
        {
            "date": date,
            "models": {
                model: sums(own)["total_tokens"] if asked.metric == "tokens" else len(own)
                for model, own in sorted(by(events, "model").items())
            },
            "tokens": {
                model: sums(own)["total_tokens"]
                for model, own in sorted(by(events, "model").items())
            },
            "costs": {
                model: cost(own)
                for model, own in sorted(by(events, "model").items())
                if cost(own) is not None
            },
        }
        for date, events in sorted(buckets.items())
    ]


def kept_at(at_ms: int, asked: Asked) -> int:
    """Where only days, hours, or quarters of an hour are kept, what happens in one is at its start."""
    if at_ms < kept_from(HOUR, DAY, asked.now_ms):
        return floor_to(at_ms, DAY_MS)
    if asked.granularity == "10m" and at_ms < kept_from(QUARTER, HOUR, asked.now_ms):
        return floor_to(at_ms, HOUR.bucket_ms)
    if asked.granularity == "10m" and at_ms < kept_from(MINUTE, QUARTER, asked.now_ms):
        return floor_to(at_ms, QUARTER.bucket_ms)
    return at_ms


def label(at_ms: int, asked: Asked) -> str:
    return text_of(floored(wall_of(at_ms, asked), asked), asked)


def wall_of(at_ms: int, asked: Asked) -> datetime:
    return ms_to_instant(at_ms).astimezone(ZoneInfo(asked.zone)).replace(tzinfo=None)


def minutes_of(asked: Asked) -> int:
    return LENGTH_MS.get(asked.granularity, DAY_MS) // MINUTE_MS


def floored(wall: datetime, asked: Asked) -> datetime:
    minute = (wall.hour * 60 + wall.minute) // minutes_of(asked) * minutes_of(asked)
    return wall.replace(hour=minute // 60, minute=minute % 60, second=0, microsecond=0)


def text_of(wall: datetime, asked: Asked) -> str:
    return f"{wall:%Y-%m-%d}" if asked.granularity == "daily" else f"{wall:%Y-%m-%d %H:%M}"


def cached(events: Iterable[Event]) -> int:
    return sum(event.cache_read_tokens for event in events)


def cost(events: Iterable[Event]) -> float | None:
    """In USD; None if no event has one."""
    known = [event.cost_nano_usd for event in events if event.cost_nano_usd is not None]
    return sum(known) / 10**9 if known else None


def sums(events: Iterable[Event]) -> dict[str, int]:
    rows = list(events)
    input_tokens = sum(event.input_tokens for event in rows)
    output_tokens = sum(event.output_tokens for event in rows)
    return {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
    }


ANSWERS: Mapping[str, Callable[[Iterable[Event], Asked], dict[str, Any]]] = {
    "summary": summary,
    "models": models,
    "users": users,
    "tokens": tokens,
    "daily": daily,
}
