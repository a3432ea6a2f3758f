"""What `odometer top` shows, at one time: the state of the system, and usage. Read only.

The state comes from Redis and Kafka, as `odometer status` reads it; usage comes from the API, so the key
decides which tenant is shown. If one of them does not answer, the other is shown all the same.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel

from deploy.monitor.installation import read_installation
from deploy.settings import Settings
from deploy.watch.asking import Api
from schemas.errors import OdometerError
from schemas.responses.status import Status, Verdict
from streams.operations.replay import read_letters
from streams.operations.verdict import judge

DIMENSIONS: Final = ("model", "agent", "user", "provider")
COLUMNS: Final = ("requests", "errors", "total_tokens", "cost_usd", "avg_latency_ms")
TOTALS: Final = (
    "requests",
    "errors",
    "total_tokens",
    "cost_usd",
    "p95_latency_ms",
    "p95_first_output_ms",
)
ROWS_MAX: Final = 200
LINE_MINUTES: Final = 40
"""A line of so many blocks, its name and its total fit 80 columns."""
LETTERS_SHOWN: Final = 100
KAFKA_S: Final = 5.0


class TopUsage(BaseModel):
    """Usage of the range. `lines`: each total by minute of the last LINE_MINUTES, oldest first. `rows`: by
    `by`, most requests first. `filters`: what rows and totals are limited to."""

    by: str
    filters: dict[str, str]
    totals: dict[str, int | float | None]
    lines: dict[str, list[int | float | None]]
    rows: list[dict[str, Any]]
    complete_through: str | None


class TopSnapshot(BaseModel):
    """`usage`: None where the API gives none; `usage_away` says why."""

    at_ms: int
    verdict: Verdict
    status: Status
    usage: TopUsage | None
    usage_away: str


class TopLetter(BaseModel):
    """A dead letter, without its contents."""

    origin: str
    append_ms: int
    reason: str
    field: str
    detail: str


@dataclass(frozen=True)
class TopQuestion:
    """What is asked: `from_` and `by` as in `/v1/usage`, and filters by dimension."""

    from_: str = "now-1h"
    by: str = "model"
    filters: Mapping[str, str] = field(default_factory=dict)
    tenant: str | None = None


async def read_snapshot(settings: Settings, api: Api, question: TopQuestion) -> TopSnapshot:
    """Raises InvalidConfig."""
    usage, away = None, ""
    try:
        usage = read_usage(api, question)
    except OdometerError as error:
        away = str(error)
    status, now_ms = await read_installation(settings, KAFKA_S)
    return TopSnapshot(
        at_ms=now_ms, verdict=judge(status, now_ms), status=status, usage=usage, usage_away=away
    )


def read_usage(api: Api, question: TopQuestion) -> TopUsage:
    """Raises ApiRefused, ApiUnreachable."""
    filters = dict(question.filters)
    of_range = {"from": question.from_} | filters
    asked: dict[str, Any] = {
        "questions": [
            of_range | {"measures": list(TOTALS)},
            of_range
            | {
                "measures": list(COLUMNS),
                "group_by": [question.by],
                "limit": ROWS_MAX,
                "order_by": "-requests",
            },
            {
                "measures": list(TOTALS),
                "from": f"now-{LINE_MINUTES}m",
                "granularity": "1m",
                "fill": "zero",
            }
            | filters,
        ]
    }
    if question.tenant is not None:
        asked["tenant"] = question.tenant
    answer = api.post("/v1/usage", asked)
    totals, table, by_minute = answer["answers"]
    return TopUsage(
        by=question.by,
        filters=filters,
        totals=totals["totals"],
        lines={name: [row[name] for row in by_minute["rows"]] for name in TOTALS},
        rows=table["rows"],
        complete_through=answer["complete_through"],
    )


async def read_latest_letters(settings: Settings) -> list[TopLetter]:
    """The newest dead letters first. Raises LogError, and InvalidConfig where there is no such topic."""
    newest: deque[TopLetter] = deque(maxlen=LETTERS_SHOWN)
    async for one in read_letters(settings.kafka, settings.dead_letter_topic, lambda _: True):
        newest.append(
            TopLetter(
                origin=one.origin,
                append_ms=one.append_ms,
                reason=one.reason,
                field=one.field,
                detail=one.detail,
            )
        )
    return sorted(newest, key=lambda one: -one.append_ms)


def now_ms() -> int:
    return time.time_ns() // 1_000_000
