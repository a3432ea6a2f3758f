"""What `/v1/measures` says of each measure: a description that a reader can act on."""

import re

import pytest

from api.query.measures import Offered, offered_by
from schemas.catalog.catalog_file import parse_catalog
from schemas.catalog.measures import CORE, MEASURES, SKETCHES

OWN = parse_catalog(
    b"""
[measures.pages]
label = "pages"
unit = "pages"
kinds = ["llm", "call"]
[measures.have_pages]
label = "pages"
unit = "events"
how = "reported"
[views.pages]
measures = ["core", "pages", "have_pages"]
""",
    "catalog.toml",
)
OFFERED = offered_by(OWN)


@pytest.mark.parametrize("one", OFFERED.values(), ids=OFFERED.keys())
def test_a_description_is_whole_sentences_and_more_than_the_name(one: Offered) -> None:
    assert re.fullmatch(r"[A-Z].*[a-z0-9`%]\.", one.about)
    sentences = re.split(r"(?<=\.) ", one.about)
    assert all(re.match(r"[A-Z`]", sentence) for sentence in sentences)
    of_name = {*one.name.split("_"), "the", "sum", "of", "kept", "that", "is"}
    others = {word for word in re.findall(r"[a-z]+", one.about.lower()) if word not in of_name}
    assert len(others) >= 4, one.about


def test_no_two_measures_have_one_description() -> None:
    assert len({one.about for one in OFFERED.values()}) == len(OFFERED)


@pytest.mark.parametrize("one", OFFERED.values(), ids=OFFERED.keys())
def test_a_measure_that_can_be_null_says_when(one: Offered) -> None:
    assert ("Null where" in one.about) == (one.is_ratio or bool(one.known))


@pytest.mark.parametrize("name", [measure.name for measure in MEASURES + SKETCHES])
def test_a_description_names_the_field_that_is_read(name: str) -> None:
    (measure,) = [one for one in MEASURES + SKETCHES if one.name == name]
    field = {"cost_nano_usd": "cost" if name == "cost_events" else "cost_usd"}.get(
        measure.field, measure.field
    )
    assert field in measure.about


def test_an_own_measure_is_described_by_its_label() -> None:
    assert OFFERED["pages"].about == (
        "Sum of the whole numbers in the label `pages` of events of kind llm or call, in pages."
        " Events without that label add 0."
    )
    assert "`pages`" in OFFERED["have_pages"].about
    assert {measure.name for measure in CORE} <= OFFERED.keys()
