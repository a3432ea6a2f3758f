"""Views that a setting turns on: by source, by team and by API key. Data. Pure.

Each is as the built-in view by agent and model, with another dimension in the place of the agent. It is
added to the counters as a view of a file is (schemas/store/added_views.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from schemas.catalog.measures import FACTS, USAGE
from schemas.catalog.views import AGENT_MODEL, ASKED, LABEL, Catalog, View
from schemas.errors import InvalidConfig


class OptionalView(NamedTuple):
    """`id` of the view, and the fields that its dimension is read from."""

    id: int
    fields: tuple[str, ...]


OPTIONAL: Final[Mapping[str, OptionalView]] = {
    "source": OptionalView(60, ("source",)),
    "team": OptionalView(61, (LABEL + "team",)),
    "api_key": OptionalView(62, (LABEL + "api_key",)),
}
"""By dimension. Built-in views have lower ids, those of a file begin at 64."""


def with_optional(catalog: Catalog, dimensions: Sequence[str]) -> Catalog:
    """The catalog with the views by these dimensions. InvalidConfig if a file has one of them too."""
    if not dimensions:
        return catalog
    views = []
    for name in dimensions:
        view = _view(name)
        if name in catalog.dimensions or view.name in {one.name for one in catalog.views}:
            raise InvalidConfig(
                f"The catalog file has a dimension {name} or a view {view.name}, and --by-"
                f"{name.replace('_', '-')} (ODOMETER_BY_{name.upper()}) adds them too: use one of the two."
            )
        views.append(view)
    added = {name: OPTIONAL[name].fields for name in dimensions}
    return Catalog({**catalog.dimensions, **added}, catalog.measures, (*catalog.views, *views))


def _view(name: str) -> View:
    return View(
        OPTIONAL[name].id,
        f"by_{name}",
        ("kind", name, "provider", "model", *ASKED),
        USAGE + FACTS,
        page_series=AGENT_MODEL.page_series,
        series_max=AGENT_MODEL.series_max,
    )
