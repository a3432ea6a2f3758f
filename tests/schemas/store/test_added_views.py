"""What a catalog may add to counters without a rebuild, and how another difference is named."""

from __future__ import annotations

import json
from typing import Final

import pytest

from schemas.catalog.catalog_file import parse_catalog
from schemas.catalog.views import DEFAULT, Catalog, booking_dimensions
from schemas.errors import StoreCorrupt
from schemas.store.added_views import CatalogDifference, catalog_difference, unpack_starts
from schemas.store.generation import describe

TOPIC: Final = "usage.events"
TEAM: Final = '[dimensions.team]\nlabel = "team"\n[views.by_team]\ndimensions = ["team", "model"]\n'
SOURCE: Final = (
    '[dimensions.source]\nfield = "source"\n[views.by_source]\ndimensions = ["source"]\n'
)
PAGES: Final = (
    '[measures.pages]\nlabel = "pages"\nunit = "pages"\n'
    '[views.pages]\nmeasures = ["core", "pages"]\n'
)


def catalog(text: str) -> Catalog:
    return parse_catalog(text.encode(), "catalog.toml")


def difference(counted: str, own: str) -> CatalogDifference:
    return catalog_difference(describe(TOPIC, catalog(counted)), TOPIC, catalog(own))


def test_equal_catalogs_do_not_differ() -> None:
    assert difference(TEAM, TEAM) == CatalogDifference()


@pytest.mark.parametrize(
    ("counted", "own", "added"),
    [
        ("", TEAM, (64,)),
        ("", TEAM + SOURCE, (64, 65)),
        (TEAM, TEAM + SOURCE, (65,)),
        (TEAM, TEAM + PAGES, (65,)),
        # The order of all but views means nothing.
        (
            TEAM,
            '[dimensions.a]\nlabel = "a"\n' + TEAM + '[views.by_a]\ndimensions = ["a"]\n',
            (65,),
        ),
    ],
)
def test_views_at_the_end_of_the_file_are_added(
    counted: str, own: str, added: tuple[int, ...]
) -> None:
    found = difference(counted, own)
    assert ({*found.added}, found.lacking, found.problem) == ({*added}, "", "")


def test_a_catalog_that_lacks_a_view_of_the_counters_says_which() -> None:
    assert difference(TEAM + SOURCE, TEAM) == CatalogDifference(lacking="kind, source")
    assert difference(TEAM, "") == CatalogDifference(lacking="kind, team, model")


@pytest.mark.parametrize(
    ("counted", "own", "problem"),
    [
        (TEAM, SOURCE + TEAM, "a new view goes to the end of the catalog file"),
        (
            TEAM,
            TEAM.replace('"team", "model"', '"team"'),
            "view by_team has the dimensions kind, team",
        ),
        (TEAM, TEAM + 'measures = ["usage"]\n', "view by_team has other measures, tiers or limits"),
        (TEAM, TEAM + "series_max = 5\n", "view by_team has other measures, tiers or limits"),
        (
            TEAM,
            TEAM.replace('label = "team"', 'label = "group"'),
            "dimension team is read from labels.group, and was from labels.team",
        ),
        (PAGES, PAGES.replace('label = "pages"', 'label = "p"'), "measure pages is not the same"),
    ],
)
def test_what_is_changed_is_named(counted: str, own: str, problem: str) -> None:
    found = difference(counted, own)
    assert problem in found.problem
    assert not found.added


def test_another_version_or_topic_is_no_addition() -> None:
    about = json.loads(describe(TOPIC))
    about["limits"]["TEXT_CHARS_MAX"] = 1
    found = catalog_difference(json.dumps(about), TOPIC, catalog(TEAM))
    assert found.problem == "limits: not the same in both"
    assert "topic" in catalog_difference(describe("other"), TOPIC).problem


@pytest.mark.parametrize("about", ["", "{", "[]", "{}", '{"views":[[]]}'])
def test_counters_without_a_readable_description_take_no_addition(about: str) -> None:
    assert catalog_difference(about, TOPIC, catalog(TEAM)).problem


def test_bookings_of_before_an_addition_begin_those_after_it() -> None:
    """They are stored as a list of values."""
    booked = 'measures = ["booked"]\n'
    first = catalog(TEAM + booked)
    more = catalog(
        '[dimensions.a]\nlabel = "a"\n'
        + TEAM
        + booked
        + '[views.by_a]\ndimensions = ["a"]\n'
        + booked
    )
    ours = booking_dimensions(DEFAULT)
    assert booking_dimensions(first) == (*ours, "team", "model")
    assert booking_dimensions(more) == (*ours, "team", "model", "a")
    assert catalog_difference(describe(TOPIC, first), TOPIC, more).added == (65,)


def test_starts() -> None:
    assert unpack_starts(None) == {}
    assert unpack_starts(b'{"64":1770544860000}') == {64: 1_770_544_860_000}
    with pytest.raises(StoreCorrupt):
        unpack_starts(b"[]")
