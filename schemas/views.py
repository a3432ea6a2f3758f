"""The views: the sets of dimensions that are kept. Data. Pure.

A series is one combination of a view's dimensions within a tenant; a view keeps its measures for
each series and bucket. kind is in every view. A question is answered by the cheapest view that
holds its dimensions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from schemas import limits
from schemas.grid import SLACK_MS, TIERS
from schemas.measures import BOOKED, CALLS, MEASURES, USAGE, Measure
from schemas.prices import BUNDLED_VERSION

LAYOUT_VERSION: Final = 1
"""Goes up with any change of keys, of the packed rows, or of what the commit does."""

LAYOUT_BYTES: Final = 8
"""Of a generation's digest, over all but the prices; as many over those follow. Nobody forges them:
two that differ by chance have odds of 2^-64."""

DIMENSIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "kind": ("kind",),
    "provider": ("provider",),
    "model": ("model",),
    "agent": ("agent_id",),
    "user": ("user_id", "user_email"),
    "service": ("service",),
    "phone": ("phone_number",),
}
"""Each with the event's fields that it is read from: the first that is reported."""


@dataclass(frozen=True)
class View:
    """`id` stands in keys and never changes its meaning."""

    id: int
    name: str
    dimensions: tuple[str, ...]
    measures: tuple[Measure, ...]
    page_series: int = 1

    def columns(self) -> list[int]:
        """Where this view's measures stand in the fold's matrix."""
        return [MEASURES.index(measure) for measure in self.measures]


TOTAL: Final = View(1, "total", ("kind",), USAGE + BOOKED)
MODEL: Final = View(2, "model", ("kind", "provider", "model"), USAGE)
AGENT: Final = View(3, "agent", ("kind", "agent"), USAGE + BOOKED)
AGENT_MODEL: Final = View(4, "agent_model", ("kind", "agent", "provider", "model"), USAGE)
USER: Final = View(5, "user", ("kind", "user"), USAGE + BOOKED)
USER_AGENT: Final = View(6, "user_agent", ("kind", "user", "agent"), USAGE + BOOKED)
USER_MODEL: Final = View(7, "user_model", ("kind", "user", "provider", "model"), USAGE)
SERVICE: Final = View(8, "service", ("kind", "service"), BOOKED)
PHONE: Final = View(9, "phone", ("kind", "service", "phone"), BOOKED)
"""With the service: a call over the web has no number, and is told from one whose number is not
known by that."""
USER_PHONE: Final = View(10, "user_phone", ("kind", "user", "service", "phone"), BOOKED)
VIEWS: Final = (
    TOTAL,
    MODEL,
    AGENT,
    AGENT_MODEL,
    SERVICE,
    PHONE,
    USER,
    USER_PHONE,
    USER_AGENT,
    USER_MODEL,
)
"""Cheapest first: the first that holds a question's dimensions and measures answers it."""

REMEMBERED_MS: Final = 24 * limits.HOUR_MS
"""W: an event's id, and a call's booking, is remembered for at least this long after its first
record was appended. 9 B an id (a set of integers): 1,000 events/s for 24 to 36 h is 0.8 to 1.2 GB.
Ids are 64-bit digests: with n remembered, an event is taken for one of them with odds of n / 2^64
(1.3e8 remembered: 7e-12 an event, one event in 4,500 years of 1,000 a second)."""
SLICE_MS: Final = REMEMBERED_MS // 2
"""What is remembered is dropped in slices of append time: fewer slices are fewer look-ups an id,
more slices hold less beyond W. Two in W: three look-ups, at most 1.5 W held."""
ID_BUCKETS: Final = 1 << 13
"""Sets of one slice. A set of integers stays compact up to `set-max-intset-entries` of them: with
4,096 (as our Valkey is set) 33M ids a slice, 776 events/s; with the servers' default of 512 an
eighth of that. Beyond that ids cost 40 B instead of 9, nothing else. More buckets are more commands
a commit: of 20,000 ids, two or three share one."""
CALL_BUCKETS: Final = 1 << 12
"""Hashes of call bookings of one slice."""


BOOKING_DIMENSIONS: Final = tuple(
    name
    for name in DIMENSIONS
    if name != "kind" and any(CALLS in v.measures and name in v.dimensions for v in VIEWS)
)
"""What a booking remembers of its first event: the dimensions of the views that count calls."""


def generation_digest(topic: str, prices: str = BUNDLED_VERSION) -> bytes:
    """16 bytes over all that decides what the counters of a log are; `prices` is the version of
    the price list (schemas/prices.py).

    Two workers with different digests would count differently, so the store refuses the second.
    """
    return layout_digest(topic) + hashlib.sha256(prices.encode()).digest()[:LAYOUT_BYTES]


def layout_digest(topic: str) -> bytes:
    """The first 8 bytes of it, over all but the prices: what those need to know who only read."""
    return hashlib.sha256(describe(topic).encode()).digest()[:LAYOUT_BYTES]


def describe(topic: str) -> str:
    """All but the prices that decides what the counters of a log are, as JSON. It stands beside the
    counters, so that a rebuild can read what an earlier configuration has written."""
    limit_values = {
        name: value
        for name, value in sorted(vars(limits).items())
        if name.isupper() and isinstance(value, int)
    }
    described: dict[str, Any] = {
        "layout": LAYOUT_VERSION,
        "topic": topic,
        "limits": limit_values,
        "slack_ms": SLACK_MS,
        "tiers": [[t.id, t.bucket_ms, t.kept_ms, t.chunk_buckets] for t in TIERS],
        "views": [[v.id, v.dimensions, [m.name for m in v.measures], v.page_series] for v in VIEWS],
        "dimensions": DIMENSIONS,
        "booking_dimensions": BOOKING_DIMENSIONS,
        "measures": [[m.name, m.how, m.field, m.rest] for m in MEASURES],
        "remembered": [REMEMBERED_MS, SLICE_MS, ID_BUCKETS, CALL_BUCKETS],
    }
    return json.dumps(described, sort_keys=True, separators=(",", ":"))
