"""How a catalog that only adds views takes effect without a rebuild.

The list of views of the generation is the truth. A worker with more views adds them in one atomic step
(`add_views` in streams/redis/lua/generations.lua), and each of them counts from then on. From that step
on, Redis rejects commits of workers that lack these views. So no event is counted without them. A worker
that lacks a view of the generation waits, and says which.
"""

from __future__ import annotations

from typing import Final

from schemas.catalog.views import Catalog
from schemas.store.added_views import catalog_difference
from schemas.store.generation import LAYOUT_BYTES, describe, layout_digest
from schemas.store.layout import RETIRED, Meta
from streams.core.ports import CounterStore

_WHAT_TO_DO: Final = (
    "Start the worker with the catalog file of the counters, or count the topic under this one: odometer"
    " rebuild"
)


def has_other_views(meta: Meta, digest: bytes) -> bool:
    """Whether a generation differs from the configuration `digest` in more than prices."""
    return not meta.digest.startswith(digest[:LAYOUT_BYTES]) and meta.state != RETIRED


async def add_views(store: CounterStore, meta: Meta, topic: str, catalog: Catalog) -> str | None:
    """Why the views of this catalog do not take effect; None if they did, or if the generation has
    changed meanwhile: look again. `meta`: of a generation with other views than the worker's."""
    difference = catalog_difference(await store.about(), topic, catalog)
    if difference.problem:
        return (
            f"the counters were made under another configuration than this worker's:"
            f" {difference.problem}. Views can only be added. {_WHAT_TO_DO}"
        )
    if difference.lacking:
        return (
            f"the counters have a view by {difference.lacking}, which this worker's catalog lacks:"
            f" it would count events without it. {_WHAT_TO_DO}"
        )
    new = layout_digest(topic, catalog) + meta.digest[LAYOUT_BYTES:]
    await store.add_views(meta.digest, new, describe(topic, catalog), difference.added)
    return None
