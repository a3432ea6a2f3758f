"""Which pages of the old generation the new one can take over, read from its description.

A generation stores a description of its layout, views and measures (`describe` in
schemas/catalog/views.py). A page can be carried over where both generations keep the same view,
measure and tier.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import msgspec

from schemas.catalog.measures import How, Measure
from schemas.catalog.views import (
    CALL_BUCKETS,
    DEFAULT,
    ID_BUCKETS,
    REMEMBERED_MS,
    SLICE_MS,
    Catalog,
    Table,
    View,
)
from schemas.errors import RebuildRefused
from schemas.event.kinds import Kind
from schemas.store.generation import LAYOUT_VERSION
from schemas.store.layout import (
    PageKind,
    counters_of,
    sketch_of,
)
from schemas.tiers import HOUR, TIERS, Tier

FIRST_CARRIED_LAYOUT: Final = 3
"""Its keys and names are those of today. Layout 4 changed ids and bookings, layout 5 rows of counters."""
FIRST_SHORT_ROWS: Final = 5
"""The first layout whose rows of counters vary in length."""


class ViewDescription(msgspec.Struct, frozen=True, array_like=True):
    """The description of one view. `names`: its measures and sketches."""

    id: int
    dimensions: list[str]
    names: list[str]
    tiers: list[int]
    page_series: int
    series_max: int
    fine_sketches: list[str]


class GenerationDescription(msgspec.Struct, frozen=True):
    """What schemas/store/generation.py says of a generation, as far as it is read here."""

    layout: int
    tiers: list[tuple[int, int, int, int]]
    views: list[ViewDescription]
    dimensions: dict[str, list[str]]
    booking_dimensions: list[str]
    measures: list[tuple[str, How, str, tuple[str, str] | None, tuple[Kind, ...], int]]
    remembered: list[int]


class SharedPages(NamedTuple):
    """Pages that both generations keep. `columns`: for each shared measure, its column in the rows of
    the old generation and of the new one. `added`: how many dimensions the new view has after those of
    the old one. One old series is then the sum of several new ones; what these lack goes to the one
    whose added dimensions are empty."""

    old: PageKind
    new: PageKind
    columns: tuple[tuple[int, int], ...]
    added: int = 0


@dataclass(frozen=True)
class SharedHistory:
    """The parts that can be carried over; `page_kinds` by the head of their keys. `missing`: names of views,
    measures and tiers that the old generation does not have; hours are not among them, but under
    `lacks_hours`. `has_fixed_rows`: rows of its counters have the form in memory."""

    page_kinds: Mapping[str, SharedPages]
    tiers: Mapping[int, Tier]
    booking_dimensions: tuple[str, ...]
    missing: tuple[str, ...]
    catalog: Catalog
    has_fixed_rows: bool
    lacks_hours: bool


def shared_with(about: str, catalog: Catalog = DEFAULT) -> SharedHistory:
    """Raises RebuildRefused where the old generation has another layout of keys."""
    try:
        old = msgspec.json.decode(about, type=GenerationDescription)
    except msgspec.DecodeError as error:
        raise RebuildRefused(
            "the topic no longer holds all records, and the counters have no readable description"
        ) from error
    if not FIRST_CARRIED_LAYOUT <= old.layout <= LAYOUT_VERSION or old.remembered != [
        REMEMBERED_MS, SLICE_MS, ID_BUCKETS, CALL_BUCKETS,
    ]:  # fmt: skip
        raise RebuildRefused(
            f"the topic no longer holds all records, and the counters have layout {old.layout}: only "
            f"layouts {FIRST_CARRIED_LAYOUT} to {LAYOUT_VERSION} can be copied"
        )
    measures = {
        name: Measure(name, "", how, field, rest, kinds, equals)
        for name, how, field, rest, kinds, equals in old.measures
    }
    tiers = {
        tier.id: replace(tier, kept_ms=kept_ms)
        for tier in TIERS
        for id_, bucket_ms, kept_ms, chunk_buckets in old.tiers
        if (id_, bucket_ms, chunk_buckets) == (tier.id, tier.bucket_ms, tier.chunk_buckets)
    }
    page_kinds: dict[str, SharedPages] = {}
    missing: list[str] = []
    described = {one.id: one for one in old.views}
    for view in catalog.views:
        was = described.get(view.id)
        if was is None or not _begins_with_dimensions(view, was, old, catalog):
            missing.append(view.name)
            continue
        kept = {name: measures[name] for name in was.names}
        missing += [
            f"{view.name}.{measure.name}"
            for measure in view.measures + view.sketches
            if measure.name not in kept or not _same(kept[measure.name], measure)
        ]
        missing += [
            f"{view.name}.{tier.name}"
            for tier in view.tiers
            if tier.id not in was.tiers and tier is not HOUR
        ]
        page_kinds |= {one.new.head: one for one in _common(view, was, kept)}
    return SharedHistory(
        page_kinds,
        tiers,
        tuple(old.booking_dimensions),
        tuple(missing),
        catalog,
        old.layout < FIRST_SHORT_ROWS,
        HOUR.id not in tiers,
    )


def _begins_with_dimensions(
    view: View, was: ViewDescription, old: GenerationDescription, catalog: Catalog
) -> bool:
    """Whether the view has the dimensions of the old one, and perhaps more after them."""
    return tuple(was.dimensions) == view.dimensions[: len(was.dimensions)] and all(
        tuple(old.dimensions[name]) == catalog.dimensions[name] for name in was.dimensions
    )


def _common(view: View, was: ViewDescription, kept: Mapping[str, Measure]) -> Iterator[SharedPages]:
    """The pages of one view, kind by kind, that both generations have."""
    sums = tuple(measure for measure in kept.values() if measure.is_sum)
    before = View(
        view.id,
        view.name,
        tuple(was.dimensions),
        sums,
        fine_sketches=tuple(kept[name] for name in was.fine_sketches),
        tiers=tuple(tier for tier in TIERS if tier.id in was.tiers),
        page_series=was.page_series,
    )
    added = len(view.dimensions) - len(was.dimensions)
    for kind, table in view.tables.items():
        old = before.tables.get(kind) or Table(before, kind)
        columns = tuple(
            (old.measures.index(kept[measure.name]), at)
            for at, measure in enumerate(table.measures)
            if measure.name in kept and _same(kept[measure.name], measure)
        )
        if columns:
            yield SharedPages(counters_of(old), counters_of(table), columns, added)
        for sketch in table.sketches:
            if sketch.name in kept and _same(kept[sketch.name], sketch):
                yield SharedPages(PageKind(old, sketch), sketch_of(table, sketch), (), added)


def _same(a: Measure, b: Measure) -> bool:
    return replace(a, unit="") == replace(b, unit="")
