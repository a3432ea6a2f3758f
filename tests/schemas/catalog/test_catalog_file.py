"""An operator's file: what it adds, that what is ours stays, and each sentence about what cannot be."""

from __future__ import annotations

import pytest

from schemas.catalog.catalog_file import (
    CATALOG_BYTES_MAX,
    DIMENSIONS_MAX,
    FIRST_VIEW_ID,
    MEASURES_MAX,
    VIEWS_MAX,
    parse_catalog,
)
from schemas.catalog.measures import BOOKED, CHATS, CORE, EVENTS, LATENCY, MEASURES, USAGE, How
from schemas.catalog.views import (
    COARSE,
    DEFAULT,
    SERIES_MAX,
    VIEWS,
    Catalog,
    View,
    booking_dimensions,
)
from schemas.errors import InvalidConfig
from schemas.event.kinds import KINDS
from schemas.limits import LABELS_MAX
from schemas.store.generation import describe, generation_digest, layout_digest
from schemas.store.layout import SLOT_BUCKETS
from schemas.tiers import TIERS

TEAM = '[dimensions.team]\nlabel = "team"\n'
PAGES = '[measures.pages]\nlabel = "pages"\nunit = "pages"\n'
BY_TEAM = '[views.by_team]\ndimensions = ["team"]\n'


def catalog(text: str) -> Catalog:
    return parse_catalog(text.encode(), "catalog.toml")


def view(found: Catalog, name: str) -> View:
    return next(one for one in found.views if one.name == name)


def test_an_empty_file_adds_nothing() -> None:
    assert catalog("# nothing yet\n") is DEFAULT
    assert catalog("[views]\n[measures]\n") is DEFAULT


def test_two_entries_are_a_view_of_the_core() -> None:
    found = catalog(TEAM + BY_TEAM)
    own = view(found, "by_team")
    assert own.dimensions == ("kind", "team")
    assert own.measures == CORE
    assert (own.sketches, own.tiers, own.series_max) == ((), TIERS, SERIES_MAX)
    assert found.dimensions["team"] == ("labels.team",)
    assert found.kept_dimensions == (*DEFAULT.kept_dimensions, "team")


def test_everything_that_an_entry_may_say() -> None:
    found = catalog(
        """
        [measures.pages]
        label = "pages.read"
        unit = "pages"
        kinds = ["llm", "call"]
        [measures.paged]
        label = "pages.read"
        unit = "events"
        how = "reported"
        [dimensions.team]
        label = ["team", "squad"]
        [dimensions.sender]
        field = ["source", "service"]
        [views.wide]
        dimensions = ["team", "sender", "model"]
        measures = ["pages", "booked", "core", "events", "paged"]
        histograms = ["latency"]
        distincts = ["chats"]
        tiers = ["15m", "1d"]
        series_max = 1_000_000
        [views.all]
        measures = ["usage"]
        """
    )
    *_, pages = sorted(found.measures, key=lambda one: one.name == "pages")
    assert (pages.field, pages.how, pages.kinds) == ("labels.pages.read", How.SUM, ("llm", "call"))
    wide, total = view(found, "wide"), view(found, "all")
    assert wide.dimensions == ("kind", "team", "sender", "model")
    assert [one.name for one in wide.measures] == [
        *(one.name for one in (*CORE, *BOOKED)),
        *("paged", "pages"),
    ]
    assert wide.sketches == (LATENCY, CHATS)
    assert wide.fine_sketches == (LATENCY,)
    assert (wide.tiers, wide.series_max, wide.page_series) == (COARSE, 1_000_000, 32)
    assert wide.page_series <= SLOT_BUCKETS
    assert found.dimensions["team"] == ("labels.team", "labels.squad")
    assert found.dimensions["sender"] == ("source", "service")
    assert {"team", "sender"} <= {*booking_dimensions(found)}
    assert (total.dimensions, total.measures) == (("kind",), USAGE)
    assert [one.name for one in found.views[len(VIEWS) :]] == ["all", "wide"]  # cheapest first


def test_what_is_ours_stays_as_it_is() -> None:
    found = catalog(TEAM + PAGES + BY_TEAM + 'measures = ["pages", "events"]')
    assert found.views[: len(VIEWS)] == VIEWS
    assert found.measures[: len(MEASURES)] == MEASURES
    assert {name: found.dimensions[name] for name in DEFAULT.dimensions} == DEFAULT.dimensions
    assert booking_dimensions(found) == booking_dimensions(DEFAULT)
    assert view(found, "by_team").measures[0] is EVENTS


def test_ids_of_added_tables_are_none_of_ours_nor_of_each_other() -> None:
    names = [f"v{n}" for n in range(VIEWS_MAX)]
    found = catalog(TEAM + "".join(f'[views.{n}]\ndimensions = ["team"]\n' for n in names))
    ids = {one.name: one.id for one in found.views}
    assert [ids[name] for name in names] == [*range(FIRST_VIEW_ID, FIRST_VIEW_ID + VIEWS_MAX)]
    assert max(one.id for one in VIEWS) < FIRST_VIEW_ID
    tables = [table.id for table in found.tables]
    assert len({*tables}) == len(tables)
    assert max(tables) <= (FIRST_VIEW_ID + VIEWS_MAX - 1) * 8 + len(KINDS) - 1 == 765


def test_a_generation_is_another_one_under_another_file_and_no_other_under_the_same() -> None:
    found = catalog(TEAM + PAGES + BY_TEAM + 'measures = ["pages", "events"]')
    same = catalog(
        '[views.by_team]\nmeasures = ["events", "pages"]\ndimensions = ["team"]\n' + PAGES + TEAM
    )
    assert describe("t", found) == describe("t", same)
    digests = {
        layout_digest("t", one)
        for one in (
            DEFAULT,
            found,
            catalog(TEAM + BY_TEAM),
            catalog(TEAM + BY_TEAM + "series_max = 9"),
            catalog(TEAM + BY_TEAM + 'tiers = ["15m", "1d"]'),
            catalog(TEAM.replace('"team"', '"squad"') + BY_TEAM),
        )
    }
    assert len(digests) == 6
    assert generation_digest("t", catalog=found).startswith(layout_digest("t", found))


def many(section: str, count: int, fields: str) -> str:
    return "".join(f"[{section}.x{n}]\n{fields}\n" for n in range(count))


WRONG = (
    ("a = ", "is not TOML"),
    ("\xff", "is not TOML"),
    (TEAM + TEAM + BY_TEAM, "is not TOML"),
    ("#" * (CATALOG_BYTES_MAX + 1), f"a catalog has at most {CATALOG_BYTES_MAX}"),
    ("[tables.a]", r"'tables' is not a section of a catalog.*\[measures.NAME\]"),
    ("views = 3", r"views must be tables with names: \[views.NAME\]"),
    ("[[views]]\ndimensions = []", "views must be tables with names"),
    ("[views]\nby_team = 1", "views must be tables with names"),
    (many("views", VIEWS_MAX + 1, ""), f"has {VIEWS_MAX + 1} views, the limit is {VIEWS_MAX}"),
    (many("dimensions", LABELS_MAX + 1, 'label="a"'), f"the limit is {DIMENSIONS_MAX}"),
    (many("measures", MEASURES_MAX + 1, 'label="a"'), f"measures, the limit is {MEASURES_MAX}"),
    ('[dimensions."Team"]\nlabel="t"', "dimension Team: a name must consist of a-z, 0-9 and _,"),
    ('[dimensions.1team]\nlabel="t"', "dimension 1team: a name must .* begin with a letter"),
    (f"[views.{'v' * 41}]", "at most 40 characters"),
    ('[dimensions.model]\nlabel="t"', "dimension model: this name has another meaning"),
    ('[dimensions.group_by]\nlabel="t"', "dimension group_by: this name has another meaning"),
    ('[dimensions.tenant]\nlabel="t"', "dimension tenant: this name has another meaning"),
    ('[measures.cost_usd]\nlabel="t"\nunit="t"', "measure cost_usd: this name has another meaning"),
    ('[measures.events]\nlabel="t"\nunit="t"', "measure events: this name has another meaning"),
    ('[measures.core]\nlabel="t"\nunit="t"', "measure core: this name has another meaning"),
    (
        '[measures.p95_latency_ms]\nlabel="t"\nunit="t"',
        "measure p95_latency_ms: this name has another",
    ),
    ("[views.model]", "view model: this name is taken"),
    ("[views.tenant]", "view tenant: this name is taken"),
    (PAGES + '[dimensions.pages]\nlabel="t"', "dimension pages: a measure has this name"),
    ('[measures.pages]\nunit="p"', "measure pages: label: Field required"),
    ('[measures.pages]\nlabel="p"', "measure pages: unit: Field required"),
    (PAGES + 'kinds = ["llm", "ocr"]', r"measure pages: kinds.1: Input should be 'llm', 'tts'"),
    (PAGES + "kinds = []", "measure pages: kinds: .*at least 1 item"),
    (PAGES + 'how = "mean"', "measure pages: how: Input should be 'sum' or 'reported'"),
    (
        PAGES + 'colour = "red"',
        "measure pages: colour: unknown field; the fields are label, unit",
    ),
    ('[measures.pages]\nlabel=""\nunit="p"', "label: String should have at least 1 character"),
    ('[measures.pages]\nlabel=3\nunit="p"', "measure pages: label: Input should be a valid string"),
    (f'[measures.pages]\nlabel="{"l" * 65}"\nunit="p"', "label: .*at most 64 characters"),
    ('[measures.pages]\nlabel="p"\nunit="\\n"', "measure pages: unit: String should match"),
    ("[dimensions.team]", "dimension team: exactly one of label = ... and field = "),
    (TEAM + 'field = "source"', "dimension team: exactly one of .* is required"),
    ("[dimensions.team]\nlabel = []", "dimension team: label: .*at least 1 item"),
    ('[dimensions.team]\nlabel = ["a","b","c","d","e"]', "label: .*at most 4 items"),
    ('[dimensions.team]\nfield = "call_id"', "dimension team: field.0: Input should be 'provider'"),
    (BY_TEAM, "view by_team: dimensions: 'team' is unknown; allowed are kind, provider, model"),
    (
        TEAM + '[views.a]\ndimensions = ["teem"]',
        r"'teem' is unknown \(did you mean team\?\); allowed are",
    ),
    (
        TEAM + '[views.a]\ndimensions = ["team", "team"]',
        "view a: dimensions: a name is given twice",
    ),
    ('[views.a]\ndimensions = ["kind"]', "dimensions: kind is part of every view: leave it"),
    ('[views.a]\ndimensions = "model"', "view a: dimensions: Input should be a valid tuple"),
    (f"[views.a]\ndimensions = {['model'] * 7}", "view a: dimensions: .*at most 6 items"),
    (
        '[views.a]\nmeasures = ["cost"]',
        r"view a: measures: 'cost' is unknown.*; allowed are core, usage, booked",
    ),
    ('[views.a]\nmeasures = ["latency"]', "view a: measures: 'latency' "),
    ("[views.a]\nmeasures = []", "view a: measures: the view keeps nothing: name a measure"),
    (
        '[views.a]\nhistograms = ["chats"]',
        "histograms: 'chats' is unknown; allowed are latency, first_output",
    ),
    (
        '[views.a]\ndistincts = ["users"]',
        "view a: distincts: 'users' is unknown; allowed are chats",
    ),
    (
        '[views.a]\ntiers = ["1d"]',
        r"tiers: must be \[1m, 15m, 1h, 1d\] or \[15m, 1h, 1d\]: days in any zone",
    ),
    ("[views.a]\nseries_max = 0", "view a: series_max: Input should be greater than or equal to 1"),
    ("[views.a]\nseries_max = 2_000_000", "series_max: .*less than or equal to 1000000"),
    ("[views.a]\nseries_max = true", "view a: series_max: Input should be a valid integer"),
    ('[views.a]\nkinds = ["llm"]', "view a: kinds: unknown field; the fields are dimensions"),
    (TEAM, "dimension team: no view keeps it: add it to the dimensions of a view"),
    (TEAM + PAGES + BY_TEAM, "measure pages: no view keeps it: add it to the measures of a view"),
)


@pytest.mark.parametrize(("text", "problem"), WRONG)
def test_what_cannot_be_is_named_with_file_entry_field_and_what_is_allowed(
    text: str, problem: str
) -> None:
    with pytest.raises(InvalidConfig, match=problem) as raised:
        parse_catalog(text.encode("latin-1"), "my/catalog.toml")
    assert str(raised.value).startswith("my/catalog.toml")
    assert str(raised.value).endswith(".")
