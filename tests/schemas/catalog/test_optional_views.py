"""Views that a setting turns on are added as those of a file are, and do not collide with them."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from deploy.settings import read_catalog, read_settings
from schemas.catalog.catalog_file import FIRST_VIEW_ID, parse_catalog
from schemas.catalog.optional_views import OPTIONAL, with_optional
from schemas.catalog.views import DEFAULT, VIEWS
from schemas.errors import InvalidConfig
from schemas.store.added_views import catalog_difference
from schemas.store.generation import describe

TEAM = '[dimensions.team]\nlabel = "team"\n[views.teams]\ndimensions = ["team"]\n'


def test_their_ids_are_between_those_of_built_in_views_and_of_a_file() -> None:
    ids = [view.id for view in OPTIONAL.values()]
    assert len({*ids}) == len(ids)
    assert max(view.id for view in VIEWS) < min(ids) <= max(ids) < FIRST_VIEW_ID


def test_nothing_is_added_by_default() -> None:
    assert with_optional(DEFAULT, []) is DEFAULT


def test_each_can_be_added_to_any_others_and_to_a_file() -> None:
    file = parse_catalog(TEAM.replace("team", "group").encode(), "f")
    for before in (DEFAULT, file):
        for some in (one for n in range(3) for one in combinations(OPTIONAL, n)):
            about = describe("t", with_optional(before, some))
            for name in OPTIONAL.keys() - {*some}:
                more = [one for one in OPTIONAL if one in some or one == name]
                found = catalog_difference(about, "t", with_optional(before, more))
                assert (found.added, found.lacking, found.problem) == ((OPTIONAL[name].id,), "", "")


def test_a_setting_turns_each_on(tmp_path: Path) -> None:
    for name in OPTIONAL:
        catalog = read_catalog(read_settings(**{f"by_{name}": True}))
        assert catalog.views[-1].name == f"by_{name}"
        assert name in catalog.kept_dimensions
    file = tmp_path / "catalog.toml"
    file.write_text(TEAM)
    with pytest.raises(InvalidConfig, match=r"has a dimension team .* --by-team"):
        read_catalog(read_settings(by_team=True, catalog_file=file))
