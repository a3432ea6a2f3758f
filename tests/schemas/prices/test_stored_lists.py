"""A price list as bytes is the list: versions, models, dates and tiers stay, and other bytes are refused."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest

from schemas.errors import StoreCorrupt
from schemas.prices import genai_list
from schemas.prices.genai_list import INSTALLED
from schemas.prices.price_list import BUNDLED, EarlierPrices
from schemas.prices.stored_lists import CountedPrices, decode_prices, encode_prices, since
from tests.oracles.price_list import OWN


def test_a_list_comes_back_as_it_was() -> None:
    stored = encode_prices(OWN)
    assert len(stored) < 100_000
    back = decode_prices(stored)
    assert (back.version, back.own) == (OWN.version, OWN.own)
    assert back.listed.own == OWN.listed.own


def test_equal_models_are_one_object_so_that_a_second_list_takes_little_memory() -> None:
    back = decode_prices(encode_prices(BUNDLED)).genai.providers
    for id_, provider in INSTALLED.providers.items():
        models = back[id_].models
        assert all(a is b for a, b in zip(provider.models, models, strict=True)), id_


def test_models_that_the_installed_list_lacks_are_read_from_the_bytes() -> None:
    text = genai_list.encoded_providers(INSTALLED)
    back = genai_list._decoded(json.loads(text), {})
    for id_, provider in INSTALLED.providers.items():
        for was, is_now in zip(provider.models, back[id_].models, strict=True):
            assert (was.id, was.match, was.prices) == (is_now.id, is_now.match, is_now.prices)
            assert (was.price_variants or None) == is_now.price_variants
        assert provider.fallback_model_providers == back[id_].fallback_model_providers


def changed(**changes: Any) -> bytes:
    said = json.loads(zlib.decompress(encode_prices(OWN)))
    return zlib.compress(json.dumps(said | changes).encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no bytes of ours",
        zlib.compress(b"[]"),
        encode_prices(OWN)[:-100],
        changed(form=2),
        changed(version="another"),
        changed(genai='[{"id": "x", "models": [{"id": "m", "match": {"like": "m"}}]}]'),
        changed(own=[{"model": "m", "usd_per_request": "much"}]),
        zlib.compress(b'"' + b" " * (17 << 20) + b'"'),
    ],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(StoreCorrupt):
        decode_prices(data)


def test_an_event_has_the_list_of_its_own_time() -> None:
    lists = [
        CountedPrices(0, "a", BUNDLED),
        CountedPrices(100, "b", OWN),
        CountedPrices(100, "c", BUNDLED),
        CountedPrices(200, "d", OWN),
    ]
    made = since(OWN, lists)
    assert made.earlier == (
        EarlierPrices(100, BUNDLED),
        EarlierPrices(100, OWN),
        EarlierPrices(200, BUNDLED),
    )
    assert [made.at(ms) for ms in (0, 99, 100, 199)] == [BUNDLED] * 4
    assert (made.at(200).own, made.at(200).earlier) == (OWN.own, ())
    assert since(made, lists) is made
    assert since(OWN, lists[:1]) is OWN
