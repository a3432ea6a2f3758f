"""What `/api/v1/analytics` must answer, by scanning every event; slow and obvious."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.tiers import DAY, MINUTE, QUARTER, boundary, floor_to, kept_from
from schemas.units import ms_to_instant
from tests.api.counters import NOW_MS, Event, covered
from tests.api.counters import Asked as Bounds

LENGTH_MS = {"10m": 10 * MINUTE_MS, "hourly": HOUR_MS, "3h": 3 * HOUR_MS, "6h": 6 * HOUR_MS}
NEVER_MS = 10**15
COARSE = (QUARTER, DAY)


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

    def range_ms(self, *, coarse: bool = False, zoned: bool = False) -> tuple[int, int]:
        """`coarse`: where chats or users by model are asked, which have no minutes. `zoned`:
        where the days are those of the zone, which are kept as long as quarters of an hour."""
        start_ms = (self.start_s or 0) * 1000
        if zoned and self.zone != "UTC" and not self.start_s:
            start_ms = kept_from(QUARTER, DAY, self.now_ms)
        end_ms = self.end_s * 1000 if self.end_s else NEVER_MS
        return self.covered(start_ms, end_ms, coarse=coarse)

    def covered(self, start_ms: int, end_ms: int, *, coarse: bool) -> tuple[int, int]:
        from_ms, to_ms = covered(Bounds(start_ms, end_ms, now_ms=self.now_ms))
        if coarse:
            from_ms, to_ms = (boundary(at, self.now_ms, COARSE) for at in (from_ms, to_ms))
        return from_ms, max(from_ms, to_ms)


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
    found = messages(events, asked, asked.range_ms(coarse=True))
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
        for model, own in by(messages(events, asked, asked.range_ms(coarse=True)), "model").items()
    ]
    return {"models": sorted(rows, key=lambda row: (-row["count"], row["model_id"]))}


def users(events: Iterable[Event], asked: Asked) -> dict[str, Any]:
    found: list[dict[str, Any]] = [
        {"user_id": user, "name": None, "email": None, "count": len(own), **sums(own)}
        for user, own in by(messages(events, asked, asked.range_ms()), "user").items()
    ]
    first = "total_tokens" if asked.metric == "tokens" else "count"
    found.sort(key=lambda row: (-row[first], -row["count"], row["user_id"]))
    return {"users": found[: asked.limit]}


def tokens(events: Iterable[Event], asked: Asked) -> dict[str, Any]:
    range_ms = asked.range_ms(coarse=asked.members is not None)
    models = by(messages(events, asked, range_ms), "model")
    found: list[dict[str, Any]] = [
        {"model_id": model, **sums(own), "message_count": len(own)} for model, own in models.items()
    ]
    found.sort(key=lambda row: (-row["total_tokens"], row["model_id"]))
    total = sums([event for own in models.values() for event in own])
    return {
        "models": found,
        "total_input_tokens": total["input_tokens"],
        "total_output_tokens": total["output_tokens"],
        "total_tokens": total["total_tokens"],
    }


def daily(events: Iterable[Event], asked: Asked) -> dict[str, Any]:
    coarse = asked.members is not None
    from_ms, to_ms = asked.range_ms(coarse=coarse, zoned=True)
    body = {"data": series(events, asked, (from_ms, to_ms))}
    if asked.compare:
        before = asked.covered(2 * from_ms - to_ms, from_ms, coarse=coarse)
        body["previous"] = series(events, asked, before)
    return body


def series(events: Iterable[Event], asked: Asked, range_ms: tuple[int, int]) -> list[Any]:
    """Every minute of the range names its bucket, so that none is missed."""
    from_ms, to_ms = range_ms
    buckets: dict[str, dict[str, int]] = {}
    if asked.is_bounded:
        buckets = {label(at_ms, asked): {} for at_ms in range(from_ms, to_ms, MINUTE_MS)}
    for model, own in by(messages(events, asked, range_ms), "model").items():
        for event in own:
            models = buckets.setdefault(label(kept_at(event.at_ms, asked), asked), {})
            amount = sums([event])["total_tokens"] if asked.metric == "tokens" else 1
            models[model] = models.get(model, 0) + amount
    return [{"date": date, "models": models} for date, models in sorted(buckets.items())]


def kept_at(at_ms: int, asked: Asked) -> int:
    """Where only days, or quarters of an hour, are kept, what happens in one is at its start."""
    if at_ms < kept_from(QUARTER, DAY, asked.now_ms):
        return floor_to(at_ms, DAY_MS)
    if asked.granularity == "10m" and at_ms < kept_from(MINUTE, QUARTER, asked.now_ms):
        return floor_to(at_ms, QUARTER.bucket_ms)
    return at_ms


def label(at_ms: int, asked: Asked) -> str:
    wall = ms_to_instant(at_ms).astimezone(ZoneInfo(asked.zone))
    if asked.granularity == "daily":
        return f"{wall:%Y-%m-%d}"
    length = LENGTH_MS[asked.granularity] // MINUTE_MS
    minute = (wall.hour * 60 + wall.minute) // length * length
    return f"{wall:%Y-%m-%d} {minute // 60:02}:{minute % 60:02}"


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
