"""OpenAI's organization usage API: `GET /openai/v1/organization/usage/...` and `costs`, for every provider.

Each answer is one atomic read of one page of buckets. Buckets are those of UTC; the first and the last
one end where the range does, rounded up as every bound is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.auth.authenticate import reader, tenant_of
from api.auth.key_cache import KeyCache
from api.http.application import application
from api.http.json_encoding import to_json
from api.openai.bodies import Grouping, dimensions_of, page_body
from api.openai.errors import error_response
from api.openai.pages import BucketPage, check_read, page_of
from api.openai.parameters import OrganizationQuery, parse_query
from api.openai.questions import PATHS, WIDTHS, OrganizationPath
from api.query.plan import Question, Term, plans, tiers_of, views_that_hold
from api.store.freshness import WITHOUT_COST, headers_of, range_headers, state_headers
from api.store.reader import Store
from schemas.catalog.measures import Measure
from schemas.catalog.views import Catalog
from schemas.tiers import TIERS, Tier

Clock = Callable[[], int]

PREFIX: Final = "/openai/v1/organization/"


def openai(store: Store, key_cache: KeyCache, clock: Clock) -> Starlette:
    """The dialect as an application."""
    return application(
        [
            Route(
                PREFIX + path.path,
                partial(answer, path=path, store=store, key_cache=key_cache, clock=clock),
                name=path.path,
            )
            for path in PATHS
        ],
        error_response,
    )


async def answer(
    request: Request, path: OrganizationPath, store: Store, key_cache: KeyCache, clock: Clock
) -> Response:
    """The answer of one path."""
    now_ms = clock()
    key = await reader(key_cache, request.headers, now_ms)
    tenant = tenant_of(key, request.headers)
    query = parse_query(request.query_params.multi_items(), path, store.catalog)
    owner = repr((tenant, path.path))
    if not path.required:
        page = page_of(query, owner, TIERS, now_ms)
        meta = await store.meta()
        body, _ = page_body(Grouping(path, query, (), ()), page, ())
        headers = state_headers(meta) | range_headers(page.buckets[0][0], page.buckets[-1][1])
        return _response(to_json(body), headers)
    dimensions = dimensions_of(query)
    measures, tiers = _measures(path, query, dimensions, store.catalog)
    page = page_of(query, owner, tiers, now_ms)
    (planned,) = plans((_question(path, query, measures, page, now_ms),), store.catalog)
    reading = await store.read(tenant, (planned,))
    (covered,) = reading.plans
    check_read(planned, covered)
    grouping = Grouping(path, query, dimensions, measures)

    def make() -> tuple[bytes, int]:
        body, without_cost = page_body(grouping, page, reading.rows[0])
        return to_json(body), without_cost

    content, without_cost = await store.shape(tenant, reading.cells, make)
    headers = headers_of(reading.meta, covered)
    if without_cost:
        headers[WITHOUT_COST] = str(without_cost)
    return _response(content, headers)


def _response(content: bytes, headers: dict[str, str]) -> Response:
    return Response(
        content,
        headers={"cache-control": "no-store", **headers},
        media_type="application/json",
    )


def _measures(
    path: OrganizationPath,
    query: OrganizationQuery,
    dimensions: tuple[str, ...],
    catalog: Catalog,
) -> tuple[tuple[Measure, ...], tuple[Tier, ...]]:
    """The measures to sum, and the tiers that have them: of the first view with short enough buckets and
    the most measures. If no view has even the required ones, the plan rejects the question."""
    asked = {*dimensions, *(one.dimension for one in (*path.selects, *query.filters))}
    holding = views_that_hold(asked, path.required, catalog)
    if not holding:
        return path.required, TIERS
    width_ms = WIDTHS[query.width].length_ms
    fine = [view for view in holding if view.tiers[0].bucket_ms <= width_ms]
    view = max(fine or holding, key=lambda one: len(one.holds & {m.name for m in path.optional}))
    kept = tuple(measure for measure in path.optional if measure.name in view.holds)
    measures = path.required + kept
    terms = tuple(map(Term, measures))
    same = [one for one in views_that_hold(asked, measures, catalog) if one in (fine or holding)]
    return measures, tiers_of(same[0], terms)


def _question(
    path: OrganizationPath,
    query: OrganizationQuery,
    measures: tuple[Measure, ...],
    page: BucketPage,
    now_ms: int,
) -> Question:
    return Question(
        tuple(map(Term, measures)),
        page.buckets[0][0],
        page.buckets[-1][1],
        now_ms,
        (*path.selects, *query.filters),
        dimensions_of(query),
        WIDTHS[query.width],
    )
