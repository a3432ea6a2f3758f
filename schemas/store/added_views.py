"""Views that were added to a generation, without a rebuild: which, and since when each counts. Pure.

    N:views    JSON: id of a view -> the time in ms from which on it has all events. A view that is
               not in it has all events of the generation.
    N:newest   the start of the newest minute that has an event, in ms; 0 if nothing is counted

A worker whose catalog only adds views lets them take effect in one atomic step (`add_views` in
streams/redis/lua/generations.lua). That step changes the digest of the generation, so Redis rejects
the commits of workers without these views. An event that was counted before the step is in no added
view. Its time is at most that of `N:newest`. So an added view is complete from the next minute on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from schemas.catalog.views import DEFAULT, Catalog
from schemas.errors import StoreCorrupt
from schemas.store.generation import describe
from schemas.store.layout import prefix

OF_CATALOG: Final = frozenset({"views", "dimensions", "booking_dimensions", "measures"})
"""The parts of a description that a catalog decides. All others must be equal."""


@dataclass(frozen=True)
class CatalogDifference:
    """What the catalog of a process has beside that of the counters.

    `added`: ids of views that the counters lack. `lacking`: dimensions of a view that the counters
    have and the catalog lacks ("": it has all). `problem`: what is not the same in both.
    """

    added: tuple[int, ...] = ()
    lacking: str = ""
    problem: str = ""


def views_key(generation: int) -> str:
    return prefix(generation) + "views"


def unpack_starts(data: bytes | None) -> Mapping[int, int]:
    """Since when each added view counts, in ms, by its id."""
    if data is None:
        return {}
    try:
        return msgspec.json.decode(data, type=dict[int, int], strict=False)
    except msgspec.MsgspecError as error:
        raise StoreCorrupt(f"the starts of added views are {data[:100]!r}") from error


def catalog_difference(about: str, topic: str, catalog: Catalog = DEFAULT) -> CatalogDifference:
    """`about`: the description of the counters (`describe` in schemas/store/generation.py)."""
    try:
        theirs: dict[str, Any] = dict(json.loads(about))
        return _difference(theirs, json.loads(describe(topic, catalog)), catalog)
    except (ValueError, KeyError, TypeError, IndexError):
        return CatalogDifference(problem="the counters have no readable description")


def _difference(
    theirs: dict[str, Any], ours: dict[str, Any], catalog: Catalog
) -> CatalogDifference:
    if other := sorted(
        name
        for name in (theirs.keys() | ours.keys()) - OF_CATALOG
        if theirs.get(name) != ours.get(name)
    ):
        return CatalogDifference(problem=f"{', '.join(other)}: not the same in both")
    their_views, our_views = ({one[0]: one for one in of["views"]} for of in (theirs, ours))
    names = {view.id: view.name for view in catalog.views}
    for id_, view in our_views.items():
        was = their_views.get(id_)
        if was is not None and was != view:
            return CatalogDifference(problem=_changed(names[id_], was, view))
    for name, sources in ours["dimensions"].items():
        was = theirs["dimensions"].get(name, sources)
        if was != sources:
            return CatalogDifference(
                problem=f"dimension {name} is read from {', '.join(sources)}, and was from"
                f" {', '.join(was)}"
            )
    measures = {one[0]: one for one in theirs["measures"]}
    for measure in ours["measures"]:
        if measures.get(measure[0], measure) != measure:
            return CatalogDifference(problem=f"measure {measure[0]} is not the same in both")
    booked = [of["booking_dimensions"] for of in (theirs, ours)]
    shared = min(map(len, booked))
    if booked[0][:shared] != booked[1][:shared]:
        return CatalogDifference(
            problem=f"calls are booked by {', '.join(booked[1])}, and were by {', '.join(booked[0])}"
        )
    lacking = next((one for id_, one in their_views.items() if id_ not in our_views), None)
    return CatalogDifference(
        tuple(id_ for id_ in our_views if id_ not in their_views),
        "" if lacking is None else ", ".join(lacking[1]),
    )


def _changed(name: str, was: list[Any], now: list[Any]) -> str:
    if was[1] != now[1]:
        return (
            f"view {name} has the dimensions {', '.join(now[1])}, and the counters have"
            f" {', '.join(was[1])} in its place: a new view goes to the end of the catalog file"
        )
    return f"view {name} has other measures, tiers or limits than in the counters"
