"""Frozen: what a generation is said to be, and its digest, byte for byte.

A changed hash means that no worker continues the counters that are stored, and every operator has
to rebuild. So a change here needs a new LAYOUT_VERSION and a line in the change log.
"""

import hashlib

import pytest

from schemas.catalog.catalog_file import parse_catalog
from schemas.catalog.views import DEFAULT, Catalog
from schemas.store.generation import (
    LAYOUT_BYTES,
    describe,
    generation_digest,
    layout_digest,
)

TOPIC = "usage.events"
OWN = parse_catalog(
    b"""
[dimensions.team]
label = "team"
[dimensions.src]
field = ["source", "error"]
[measures.pages]
label = "pages"
unit = "pages"
kinds = ["llm", "call"]
[measures.have_pages]
label = "pages"
unit = "events"
how = "reported"
[views.by_team]
dimensions = ["team", "model"]
measures = ["core", "pages", "have_pages"]
histograms = ["latency"]
distincts = ["chats"]
tiers = ["15m", "1d"]
series_max = 50000
[views.by_src]
dimensions = ["src"]
measures = ["usage", "booked"]
series_max = 1000000
""",
    "catalog.toml",
)


@pytest.mark.parametrize(
    ("catalog", "length", "sha256"),
    [
        (DEFAULT, 7777, "2cc978a0d031b681bc7c4c47505b29804f694760bd584565a40119aff52e3809"),
        (OWN, 8667, "9b855f22c4222054ae3893617f1d51fa666114ea42b7210f2433bceda69b1d3a"),
    ],
    ids=["default", "own"],
)
def test_the_description_and_its_digest_are_frozen(
    catalog: Catalog, length: int, sha256: str
) -> None:
    text = describe(TOPIC, catalog)
    assert len(text) == length
    assert hashlib.sha256(text.encode()).hexdigest() == sha256
    assert layout_digest(TOPIC, catalog).hex() == sha256[: 2 * LAYOUT_BYTES]


def test_the_second_half_of_a_digest_is_of_the_prices() -> None:
    one, other = generation_digest(TOPIC, "one"), generation_digest(TOPIC, "other")
    assert one[:LAYOUT_BYTES] == other[:LAYOUT_BYTES] == layout_digest(TOPIC)
    assert one[LAYOUT_BYTES:] == hashlib.sha256(b"one").digest()[:LAYOUT_BYTES]
    assert one != other
