"""The headers of an answer: its freshness, the range that it covers, and partitions that are paused."""

from __future__ import annotations

from typing import Final

from api.query.plan import Plan
from schemas.store.layout import Meta
from schemas.units import iso, ms_to_instant

UNKNOWN: Final = "unknown"
COUNTS_FROM: Final = "odometer-counts-from"
"""Header of an answer whose range begins later than asked: its view lacks earlier events."""
WITHOUT_COST: Final = "odometer-calls-without-cost"
"""Header of a dialect's answer with costs: how many of the calls have no cost, and so add 0 to it."""


def headers_of(meta: Meta, covered: Plan) -> dict[str, str]:
    """The headers of an answer from counters."""
    headers = state_headers(meta) | range_headers(covered.start_ms, covered.end_ms)
    if covered.counts_from_ms:
        headers[COUNTS_FROM] = iso(covered.counts_from_ms)
    return headers


def range_headers(start_ms: int, end_ms: int) -> dict[str, str]:
    return {"odometer-range-from": iso(start_ms), "odometer-range-to": iso(end_ms)}


def state_headers(meta: Meta) -> dict[str, str]:
    """The headers of any answer, without a range."""
    complete_ms, history_ms = meta.complete_through_ms, meta.history_from_ms
    headers = {"odometer-complete-through": iso_ms(complete_ms) if complete_ms else UNKNOWN}
    if history_ms:
        headers["odometer-history-from"] = iso_ms(history_ms)
    if refused := refusals(meta):
        headers["odometer-refused"] = ", ".join(refused)
    return headers


def refusals(meta: Meta) -> list[str]:
    """What a worker has paused: "generation", or the numbers of partitions."""
    refused = ["generation"] if meta.refused else []
    return refused + [str(n) for n, part in enumerate(meta.partitions) if part.refused]


def iso_ms(at_ms: int) -> str:
    return ms_to_instant(at_ms).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
