"""`GET /v1/export`: the rows of one view at one tier as a table for warehouses, Parquet or Arrow.

All rows are of one atomic read. The metadata of the table says what they are exact to: the generation,
the range, `complete_through`, and for each partition the position up to which it is counted.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC
from functools import lru_cache, partial
from importlib import import_module
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from api.auth.authenticate import filters_of, reader, tenant_of
from api.auth.key_cache import KeyCache
from api.errors import BadParameter, FilterNotApplied, NotAcceptable, UnanswerableQuestion
from api.http.parameters import RawParameters, check_names, single
from api.query.measures import with_presence
from api.query.plan import Plan, Question, Term, plan
from api.query.sums import Row
from api.query.time_buckets import STEPS
from api.store.freshness import headers_of
from api.store.reader import Reading, Store
from api.usage.bodies import range_of, state_of
from api.usage.parameters import listed, parse_bounds, reject
from api.usage.question import of_query
from schemas.catalog.measures import Measure
from schemas.catalog.views import Catalog, View
from schemas.store.layout import NO_POSITION
from schemas.tiers import DAY, TIERS, Tier, ceil_to, kept_from
from schemas.units import iso

Clock = Callable[[], int]

EXPORT_PARAMETERS: Final = (
    "view",
    "tier",
    "from",
    "to",
    "dimensions",
    "measures",
    "tenant",
    "format",
)
FORMATS: Final = {
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}
SUM_MAX: Final = 2**63 - 1
METADATA: Final = b"odometer"
"""Key of the table's metadata: JSON."""


async def export(request: Request, store: Store, key_cache: KeyCache, clock: Clock) -> Response:
    """The table. Any role may read, except `write-only`."""
    now_ms = clock()
    key = await reader(key_cache, request.headers, now_ms, filters=True)
    raw = of_query(request.query_params)
    check_names(raw, EXPORT_PARAMETERS)
    view = _view(raw, store.catalog)
    only = filters_of(key)
    if lacking := [one.dimension for one in only if one.dimension not in view.dimensions]:
        raise FilterNotApplied(
            f"view {view.name} does not have {', '.join(lacking)}, by which the key or token is bound"
        )
    tier = _tier(raw, view)
    form = single(raw, "format") or "parquet"
    if form not in FORMATS:
        raise BadParameter("format", f"{form!r} is not a format.", tuple(FORMATS))
    measures = _measures(raw, view)
    asked = parse_bounds(raw, now_ms, UTC)
    oldest_ms = _oldest_ms(tier, view, now_ms)
    if asked.from_ms < oldest_ms:
        raise BadParameter(
            "from",
            f"Buckets of {tier.name} have expired before {iso(oldest_ms)}. Use a later `from`, or a"
            " coarser `tier`.",
            (iso(oldest_ms),),
        )
    planned = plan(
        Question(
            with_presence(tuple(map(Term, measures)), view),
            asked.from_ms,
            asked.to_ms,
            now_ms,
            only,
            _dimensions(raw, view),
            next(step for step in STEPS if step.length_ms == tier.bucket_ms),
        ),
        _only(store.catalog, view),
    )
    tenant = tenant_of(key, request.headers, single(raw, "tenant"))
    arrow = await asyncio.to_thread(_arrow)  # the first time, 0.3 s
    reading = await store.read(tenant, (planned,))
    (covered,) = reading.plans
    if covered is not planned and (
        covered.split_days_end_ms or covered.start_ms < planned.start_ms
    ):
        raise BadParameter(
            "from",
            f"These counters were copied by a rebuild, without hours: at {iso(planned.start_ms)} only days"
            " of UTC are stored. Use a later `from`, or tier=1d.",
        )
    make = partial(_table, arrow, tenant, tier, covered, reading, measures, form)
    body = await store.shape(tenant, reading.cells, make)
    name = f"{view.name}-{tier.name}-{iso(covered.start_ms)[:10]}.{form}"
    return Response(
        body,
        headers={
            "cache-control": "no-store",
            "content-disposition": f'attachment; filename="{name}"',
            **headers_of(reading.meta, covered),
        },
        media_type=FORMATS[form],
    )


# -- what is asked ---------------------------------------------------------------------------------


def _view(raw: RawParameters, catalog: Catalog) -> View:
    known = {view.name: view for view in catalog.views}
    name = single(raw, "view")
    if name is None:
        raise BadParameter("view", "`view` is missing. GET /v1/views lists them.", tuple(known))
    return known[_known("view", name, tuple(known))]


def _tier(raw: RawParameters, view: View) -> Tier:
    tiers = {tier.name: tier for tier in view.tiers}
    return tiers[_known("tier", single(raw, "tier") or DAY.name, tuple(tiers))]


def _dimensions(raw: RawParameters, view: View) -> tuple[str, ...]:
    """Those that are named, or all of the view; in the order of the view."""
    names = _listed(raw, "dimensions")
    for name in names or ():
        _known("dimensions", name, view.dimensions)
    return view.dimensions if names is None else tuple(d for d in view.dimensions if d in names)


def _measures(raw: RawParameters, view: View) -> tuple[Measure, ...]:
    known = {measure.name: measure for measure in view.measures}
    names = _listed(raw, "measures")
    if names is None:
        return view.measures
    return tuple(known[_known("measures", name, tuple(known))] for name in names)


def _listed(raw: RawParameters, name: str) -> list[str] | None:
    return listed(raw, name, splits=True) if name in raw else None


def _known(parameter: str, name: str, known: Sequence[str]) -> str:
    if name not in known:
        reject(parameter, name, parameter, known)
    return name


def _oldest_ms(tier: Tier, view: View, now_ms: int) -> int:
    place = view.tiers.index(tier)
    if place + 1 < len(view.tiers):
        return kept_from(tier, view.tiers[place + 1], now_ms)
    return ceil_to(now_ms - TIERS[-1].kept_ms, TIERS[-1].bucket_ms)


@lru_cache(maxsize=256)
def _only(catalog: Catalog, view: View) -> Catalog:
    """The catalog with this view alone, so that no cheaper one answers."""
    return replace(catalog, views=(view,))


# -- the table -------------------------------------------------------------------------------------


def _arrow() -> Any:  # noqa: ANN401  an optional library without types
    try:
        arrow = import_module("pyarrow")
        import_module("pyarrow.parquet")
    except ImportError as error:
        raise NotAcceptable(
            "This API cannot write tables: install its extra `export` (pyarrow).", ()
        ) from error
    return arrow


def _table(
    arrow: Any,  # noqa: ANN401  the module
    tenant: str,
    tier: Tier,
    covered: Plan,
    reading: Reading,
    measures: Sequence[Measure],
    form: str,
) -> bytes:
    rows: Sequence[Row] = reading.rows[0]
    if any(abs(value) > SUM_MAX for row in rows for value in row.values):
        raise UnanswerableQuestion("A sum does not fit into 64 bits. Use a finer `tier`.")
    group_by = covered.question.group_by
    times = arrow.array([row.at_ms for row in rows], arrow.timestamp("ms", tz="UTC"))
    columns = {"time": times}
    for place, name in enumerate(group_by):
        texts = arrow.array([row.group[place] for row in rows], arrow.string())
        columns[name] = texts.dictionary_encode()
    for place, measure in enumerate(measures):
        columns[measure.name] = arrow.array([row.values[place] for row in rows], arrow.int64())
    metadata = {METADATA: json.dumps(_exact_to(tenant, tier, covered, reading)).encode()}
    table = arrow.table(columns).replace_schema_metadata(metadata)
    sink = io.BytesIO()
    if form == "parquet":
        arrow.parquet.write_table(table, sink, compression="zstd")
    else:
        with arrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return sink.getvalue()


def _exact_to(tenant: str, tier: Tier, covered: Plan, reading: Reading) -> dict[str, Any]:
    """What the rows are exact to. A position is the next offset of a partition, null if it has none."""
    positions = [
        None if part.position == NO_POSITION else part.position for part in reading.meta.partitions
    ]
    return {
        "tenant": tenant,
        "view": covered.view.name,
        "tier": tier.name,
        **_bound_to(covered),
        **range_of(covered),
        **state_of(reading),
        "positions": positions,
    }


def _bound_to(covered: Plan) -> dict[str, Any]:
    """The filters that the key is bound to: an export has no others."""
    filters = covered.question.filters
    return {"only": {one.dimension: sorted(one.values) for one in filters}} if filters else {}
