"""What decides the counters of a generation: its description and its digest. Pure.

A generation holds the counters that one configuration has made of one log. Workers and the API
compare their own digest with the stored one, so that no process adds to, or reads, counters that
were made differently.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from schemas import limits
from schemas.catalog.measures import SKETCHES
from schemas.catalog.views import (
    CALL_BUCKETS,
    DEFAULT,
    ID_BUCKETS,
    REMEMBERED_MS,
    SLICE_MS,
    TENANTS_MAX,
    Catalog,
    View,
    booking_dimensions,
)
from schemas.prices.price_list import BUNDLED_VERSION
from schemas.tiers import SLACK_MS, SOURCES, TIERS

LAYOUT_VERSION: Final = 7
"""Goes up with any change of keys, of the packed rows, or of what the commit does."""

LAYOUT_BYTES: Final = 8
"""Half of a digest covers all but the prices, the other half covers the prices. Nobody forges
digests: two that differ are equal by chance with odds of 2^-64."""


def generation_digest(
    topic: str, prices: str = BUNDLED_VERSION, catalog: Catalog = DEFAULT
) -> bytes:
    """16 bytes over all that decides what the counters of a log are.

    `prices` is the version of the price list (schemas/prices/price_list.py). Two workers with
    different digests would count differently, so the store rejects the second one.
    """
    return layout_digest(topic, catalog) + hashlib.sha256(prices.encode()).digest()[:LAYOUT_BYTES]


def layout_digest(topic: str, catalog: Catalog = DEFAULT) -> bytes:
    """The first 8 bytes of the digest, over all but the prices: readers need no more."""
    return hashlib.sha256(describe(topic, catalog).encode()).digest()[:LAYOUT_BYTES]


def describe(topic: str, catalog: Catalog = DEFAULT) -> str:
    """All but the prices that decides what the counters of a log are, as JSON.

    The text is stored with the counters, so that a rebuild can read what an earlier configuration
    has written.
    """
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
        "closing": [[tier.id, source.id] for tier, source in SOURCES.items()],
        "views": [_described(view) for view in catalog.views],
        "dimensions": dict(catalog.dimensions),
        "booking_dimensions": booking_dimensions(catalog),
        "measures": [
            [m.name, m.how, m.field, m.rest, m.kinds, m.equals]
            for m in (*catalog.measures, *SKETCHES)
        ],
        "remembered": [REMEMBERED_MS, SLICE_MS, ID_BUCKETS, CALL_BUCKETS],
        "tenants": TENANTS_MAX,
    }
    return json.dumps(described, sort_keys=True, separators=(",", ":"))


def _described(view: View) -> list[Any]:
    names = [measure.name for measure in view.measures + view.sketches]
    tiers = [tier.id for tier in view.tiers]
    fine = [sketch.name for sketch in view.fine_sketches]
    return [view.id, view.dimensions, names, tiers, view.page_series, view.series_max, fine]
