"""From the units that producers send to our integers, nano-USD and milliseconds, exactly. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from schemas.limits import COST_NANO_USD_MAX, NANO_PER_USD

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
ONE_MS: Final = timedelta(milliseconds=1)
_NANO: Final = Decimal("1e-9")
_MILLI: Final = Decimal("1e-3")
_COST_USD_MAX: Final = Decimal(COST_NANO_USD_MAX) / NANO_PER_USD
_SECONDS_MAX: Final = Decimal(10**12)  # 31,000 years: keeps the integers small


def usd_to_nano(usd: Decimal) -> int:
    """Exact decimal USD to whole nano-USD, half-even; ValueError outside 0 to 10,000 USD."""
    if not usd.is_finite() or not 0 <= usd <= _COST_USD_MAX:
        raise ValueError(f"must be a decimal number of US dollars from 0 to {_COST_USD_MAX}")
    # Most costs have no more than nine decimal places and need no rounding. The product has 28
    # digits. If it is whole only because it was rounded there, rounding half-even gives the same.
    scaled = usd * NANO_PER_USD
    whole = int(scaled)
    if scaled == whole:
        return whole
    return int(usd.quantize(_NANO, ROUND_HALF_EVEN).scaleb(9))


def seconds_to_ms(seconds: Decimal) -> int:
    """Decimal seconds to whole milliseconds, half-even; ValueError for any other number."""
    if not seconds.is_finite() or abs(seconds) > _SECONDS_MAX:
        raise ValueError("must be a decimal number of seconds")
    return int(seconds.quantize(_MILLI, ROUND_HALF_EVEN).scaleb(3))


def duration(ms: int) -> str:
    """A duration for people, rounded down: 0.4 s, 90 s, 5 min, 3 h, 1830 days."""
    if ms < 10_000:
        return f"{max(0, ms) // 100 / 10:.1f} s"
    for size_ms, unit in ((86_400_000, "days"), (3_600_000, "h"), (60_000, "min")):
        if ms >= 2 * size_ms:
            return f"{ms // size_ms} {unit}"
    return f"{ms // 1000} s"


def instant_to_ms(instant: datetime) -> int:
    """An aware datetime to whole ms since 1970, rounded down, without a float in between."""
    return (instant - EPOCH) // ONE_MS


def ms_to_instant(at_ms: int) -> datetime:
    return EPOCH + timedelta(milliseconds=at_ms)


def iso(at_ms: int) -> str:
    """`2026-02-08T10:00:00.123Z`, without the fraction where it is zero."""
    text = ms_to_instant(at_ms).replace(tzinfo=None).isoformat(timespec="milliseconds")
    return text.removesuffix(".000") + "Z"
