"""Which views of the catalog the counters have, and since when each counts. Pure.

The list of views of the generation is the truth (schemas/store/added_views.py). An API may have more
views than the counters, until a worker with the same catalog starts, or fewer. It may not have another
view, dimension or measure in the place of one of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

from api.errors import CountersMissing, UnanswerableQuestion
from schemas.catalog.views import Catalog, View
from schemas.store.added_views import catalog_difference, unpack_starts, views_key
from schemas.store.generation import LAYOUT_BYTES, layout_digest
from schemas.store.layout import about_key, meta_key, unpack_meta

NEVER: Final = 1 << 62
"""Since when a view counts that the counters do not have."""


@dataclass(frozen=True)
class CountedViews:
    """`digest`: of the counters, without their prices. `catalog`: that of the API; views that have all
    events come first in it. `starts`: since when the others count, in ms, by id."""

    digest: bytes
    catalog: Catalog
    starts: Mapping[int, int] = field(default_factory=dict)

    def has(self, view: View) -> bool:
        return self.starts.get(view.id) != NEVER

    def since_ms(self, view: View) -> int:
        """0: it has all events. Raises UnanswerableQuestion if the counters do not have the view."""
        if not self.has(view):
            raise UnanswerableQuestion(
                f"View {view.name} is in the catalog file of this API, but nothing is counted in it yet:"
                " restart the workers with the same file (ODOMETER_CATALOG_FILE)."
            )
        return self.starts.get(view.id, 0)


def keys_of(generation: int) -> Sequence[str]:
    return meta_key(generation), about_key(generation), views_key(generation)


def counted_views(read: Sequence[bytes | None], topic: str, catalog: Catalog) -> CountedViews:
    """`read`: the values of `keys_of`, at one instant. Raises CountersMissing if the API cannot read
    these counters."""
    record, about, starts = read
    if record is None:
        raise CountersMissing("the current generation has no meta record")
    digest = unpack_meta(record).digest[:LAYOUT_BYTES]
    added: tuple[int, ...] = ()
    if digest != layout_digest(topic, catalog):
        difference = catalog_difference((about or b"").decode(), topic, catalog)
        if difference.problem:
            raise CountersMissing(
                "the counters in Redis were counted with other limits, views or topic than this API"
                f" uses ({difference.problem}). Run the API and the workers in one version, on one topic,"
                " with one catalog file; or count again from the log with odometer rebuild"
            )
        added = difference.added
    own = {view.id for view in catalog.views}
    known = {id_: at_ms for id_, at_ms in unpack_starts(starts).items() if id_ in own}
    since = {**known, **dict.fromkeys(added, NEVER)}
    if not since:
        return CountedViews(digest, catalog)
    return CountedViews(digest, _ordered(catalog, tuple(sorted(since.items()))), since)


@lru_cache(maxsize=16)
def _ordered(catalog: Catalog, starts: tuple[tuple[int, int], ...]) -> Catalog:
    """The first view that has a question's dimensions and measures answers it: the one with most history."""
    since = dict(starts)
    return replace(
        catalog, views=tuple(sorted(catalog.views, key=lambda view: since.get(view.id, 0)))
    )
