"""`/v1/usage`, and the lists of its dimensions, measures and views.

An ETag covers the question, the range, the generation and the rows, but not the state of the
counters. So it does not change while other tenants are counted. `complete_through`, which does
change, is a header of a 304 too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from xxhash import xxh3_128

from api.auth.authenticate import TENANT_HEADER, filters_of, reader, share_of, tenant_of
from api.auth.key_cache import KeyCache
from api.http import problems
from api.http.answer_cache import AnswerCache, CachedAnswer
from api.http.json_body import json_body
from api.http.json_encoding import to_json
from api.http.parameters import check_names, single
from api.http.prepared_response import PreparedResponse
from api.http.singleflight import Singleflight, round_to_second
from api.query.counted_views import NEVER, CountedViews
from api.query.measures import Offered, offered_by
from api.query.plan import Question, Term, plan, tiers_of, view_for, views_that_hold
from api.store.freshness import headers_of, refusals, state_headers
from api.store.reader import Reading, Store
from api.usage.bodies import (
    PAGE_HEADERS,
    complete_through,
    object_of,
    page_headers,
    range_of,
    state_of,
)
from api.usage.export import export
from api.usage.filters import filter_names, parse_filters, parse_person_filters
from api.usage.groups.dimension_values import known_people, stored_dimension, used_values
from api.usage.groups.owners import Owner, named_tenants, owners_of, tenants_of, turn_of
from api.usage.groups.people import PeopleCache
from api.usage.groups.person_dimensions import person_dimensions, person_filter_names
from api.usage.parameters import IGNORED, parse_bounds, parse_limit, parse_zone
from api.usage.query import TENANT, Format, UsageQuery
from api.usage.question import ParsedQuestion, check_read, of_query, parse_question
from api.usage.render import BYTE_ORDER_MARK, MEDIA_TYPES, to_csv, to_ndjson
from api.usage.sections import Completeness, cells_of, sections_of, states_of
from api.usage.several import (
    answer_several,
    owned_questions,
    parse_questions,
    questions_in,
)
from api.usage.steps import Grid, check_range
from schemas.catalog.measures import EVENTS
from schemas.catalog.views import Catalog, View
from schemas.errors import StoreError
from schemas.limits import DAY_MS, SECOND_MS
from schemas.store.layout import Meta
from schemas.tiers import TIERS
from schemas.units import iso

Clock = Callable[[], int]

BODY_BYTES_MAX: Final = 64 * 1024
"""Room for 200 filter values of 256 characters."""
VALUES_DEFAULT: Final = 100
VALUES_MAX: Final = 1000
"""Values of a dimension in one answer: as many as a list in a dashboard can show."""
VALUES_RANGE_MS: Final = 30 * DAY_MS
VALUES_PARAMETERS: Final = ("search", "from", "to", "tz", "limit", "tenant")
CACHING: Final = {
    "cache-control": "private, no-cache",
    "vary": f"accept, authorization, x-api-key, cookie, {TENANT_HEADER}",
}


def routes(
    store: Store, key_cache: KeyCache, clock: Clock, answers: AnswerCache, people: PeopleCache
) -> list[Route]:
    """The first route is the one that dashboards poll."""
    endpoint = partial(
        usage,
        store=store,
        key_cache=key_cache,
        clock=clock,
        singleflight=Singleflight(),
        answers=answers,
        people=people,
    )
    return [
        Route("/v1/usage", endpoint, methods=["GET", "POST"]),
        Route(
            "/v1/dimensions/{name}",
            partial(values, store=store, key_cache=key_cache, clock=clock, directories=people),
        ),
        Route("/v1/measures", partial(measures, store=store, key_cache=key_cache, clock=clock)),
        Route("/v1/views", partial(views, store=store, key_cache=key_cache, clock=clock)),
        Route("/v1/export", partial(export, store=store, key_cache=key_cache, clock=clock)),
    ]


async def usage(
    request: Request,
    store: Store,
    key_cache: KeyCache,
    clock: Clock,
    singleflight: Singleflight[CachedAnswer],
    answers: AnswerCache,
    people: PeopleCache,
) -> Response:
    """`GET /v1/usage`, or POST with the same parameters as a JSON object."""
    now_ms = clock()
    key = await reader(key_cache, request.headers, now_ms, filters=True)
    accept = request.headers.get("accept", "")
    if request.method == "POST":
        content, is_json = await json_body(request, BODY_BYTES_MAX, share_of(key)), True
        if (several := questions_in(content)) is not None:
            begin = partial(key_cache.arrivals.begin, share_of(key))
            at_ms = round_to_second(now_ms)
            asked = await parse_questions(
                several, accept, at_ms, store.catalog, filters_of(key), begin
            )
            named = [named_tenants(key, request.headers, one.query) for one in asked]
            turn = turn_of(key, named)
            owned = await owned_questions(store, people, turn, asked, named)
            body, reading = await answer_several(store, turn, owned)
            headers = state_headers(reading.meta) | CACHING
            return Response(body, headers=headers, media_type="application/json")
    else:
        content, is_json = request.scope["query_string"], False
    parsed = parse_question(
        content,
        accept,
        round_to_second(now_ms),
        store.catalog,
        is_json=is_json,
        only=filters_of(key),
    )
    tenants = await tenants_of(store, key, request.headers, parsed.query)
    turn = turn_of(key, [tenants])
    question = tenants, parsed.text
    make = partial(_make, store, people, turn, question, parsed, answers)
    made = await singleflight.once(question, make)
    return _sent(request, made)


async def values(
    request: Request, store: Store, key_cache: KeyCache, clock: Clock, directories: PeopleCache
) -> Response:
    """`GET /v1/dimensions/{name}`: the values in a range, the most used first."""
    now_ms = clock()
    key = await reader(key_cache, request.headers, now_ms, filters=True)
    name, catalog = request.path_params["name"], store.catalog
    persons = person_dimensions(catalog)
    dimensions = (*catalog.kept_dimensions, *persons)
    if name not in dimensions:
        hint = " Ask /v1/usage with `group_by=tenant`." if name == TENANT else ""
        return problems.problem(
            404, "not-found", f"No view has a dimension {name!r}.{hint}", allowed=dimensions
        )
    raw = of_query(request.query_params)
    filters = *filter_names(catalog), *person_filter_names(catalog)
    check_names(raw, (*VALUES_PARAMETERS, *filters, IGNORED))
    zone_name, zone = parse_zone(raw)
    wide = raw if "from" in raw else {**raw, "from": [f"now-{VALUES_RANGE_MS // DAY_MS}d"]}
    asked = parse_bounds(wide, now_ms, zone)
    limit = parse_limit(raw, VALUES_MAX) or VALUES_DEFAULT
    wanted = (*parse_filters(raw, catalog, splits=True), *filters_of(key))
    of_persons = parse_person_filters(raw, catalog, splits=True, ignores_case=False)
    tenant = tenant_of(key, request.headers, single(raw, "tenant"))
    people = await known_people(directories, tenant, name, persons, of_persons)
    wanted = (*wanted, *map(people.as_filter, of_persons))
    by = (stored_dimension(name, persons),)
    question = Question((Term(EVENTS),), asked.from_ms, asked.to_ms, now_ms, wanted, by)
    kept = tiers_of(view_for(question, catalog), question.terms)
    check_range(asked, Grid(now_ms, zone, zone_name, kept))
    reading = await store.read(tenant, (plan(question, catalog),))
    (covered,) = reading.plans
    search = (single(raw, "search") or "").casefold()
    told = people if name in persons else None
    make = partial(used_values, reading.sums[0], name, told, search)
    found, said = await store.shape(tenant, reading.cells, make)
    body = {
        "dimension": name,
        "range": range_of(covered),
        "values": found[:limit],
        "found": len(found),
        "complete_through": complete_through(reading.meta),
    }
    tag = _tag(tenant, repr((name, search, limit)), reading, said)
    headers = headers_of(reading.meta, covered)
    return _sent(request, _made(tag, reading.meta, said, to_json(body), headers, "json"))


async def measures(request: Request, store: Store, key_cache: KeyCache, clock: Clock) -> Response:
    """`GET /v1/measures`: every measure, with its unit and its views."""
    await reader(key_cache, request.headers, clock(), filters=True)
    return _listing(
        {
            "measures": [
                _about(offered, store.catalog) for offered in offered_by(store.catalog).values()
            ]
        }
    )


async def views(request: Request, store: Store, key_cache: KeyCache, clock: Clock) -> Response:
    """`GET /v1/views`: which dimensions are counted together, and how long buckets are stored."""
    await reader(key_cache, request.headers, clock(), filters=True)
    counted = None
    with suppress(StoreError):
        counted = await store.counted_views()
    return _listing(
        {
            "views": [
                {
                    "name": view.name,
                    **_counting(counted, view),
                    "dimensions": view.dimensions,
                    "measures": [measure.name for measure in view.measures],
                    "sketches": [measure.name for measure in view.sketches],
                    "tiers": [tier.name for tier in view.tiers],
                    "series_max": view.series_max,
                }
                for view in store.catalog.views
            ],
            "tiers": [
                {
                    "name": tier.name,
                    "bucket_s": tier.bucket_ms // SECOND_MS,
                    "kept_s": tier.kept_ms // SECOND_MS,
                }
                for tier in TIERS
            ],
            "dimensions": store.catalog.kept_dimensions,
        }
    )


def _counting(counted: CountedViews | None, view: View) -> dict[str, Any]:
    """Whether the counters have the view, and since when if it was added to them. Null: not known."""
    if counted is None:
        return {"is_counted": None, "counts_from": None}
    since_ms = counted.starts.get(view.id, 0)
    is_counted = since_ms != NEVER
    counts_from = iso(since_ms) if is_counted and since_ms else None
    return {"is_counted": is_counted, "counts_from": counts_from}


# -- the answer ------------------------------------------------------------------------------------


async def _make(
    store: Store,
    directories: PeopleCache,
    turn: str,
    question: tuple[tuple[str, ...], str],
    parsed: ParsedQuestion,
    answers: AnswerCache,
) -> CachedAnswer:
    tenants, query = question[0], parsed.query
    owners = await owners_of(directories, turn, tenants, query)
    owned = owners.owned(parsed.plans, query)
    reading = await store.read_of(turn, owned)
    check_read(query, [plan for _, plan in owned], reading.plans)
    made_from = reading.sums, owners.directories
    states = states_of(query, reading.plans[:: len(tenants)], reading.meta.complete_through_ms)
    cached = question, states
    before = answers.get(cached, made_from)
    if before is not None and before.meta is reading.meta:
        return before
    covered, form = reading.plans[0], query.format
    assert form is not None
    cells = cells_of(query, reading.sums)
    say = partial(_said, query, reading, states, owners.owners)
    if before is not None:
        kept = before.response.headers
        made_of = _Said(before.content, {name: kept[name] for name in PAGE_HEADERS if name in kept})
    else:
        made_of = await store.shape(turn, cells, say)
    body = said = made_of.content
    if form == "json":
        body = b"%s,%s" % (said[:-1], to_json(state_of(reading) | {"view": covered.view.name})[1:])
    tag = _tag(repr(tenants), parsed.text, reading, said + repr(made_of.headers).encode())
    headers = {**headers_of(reading.meta, covered), **made_of.headers}
    if form == "spreadsheet":
        days = "-to-".join(iso(at_ms)[:10] for at_ms in (covered.start_ms, covered.end_ms))
        headers["content-disposition"] = f'attachment; filename="usage-{days}.csv"'
    made = _made(tag, reading.meta, said, body, headers, form)
    answers.put(cached, made_from, made, 2 * len(body))
    return made


def _made(
    tag: str, meta: Meta, said: bytes, body: bytes, freshness: Mapping[str, str], form: Format
) -> CachedAnswer:
    headers = {**freshness, **CACHING, "etag": tag}
    answer = PreparedResponse(body, 200, headers | {"content-type": MEDIA_TYPES[form]})
    return CachedAnswer(meta, said, answer, tag, PreparedResponse(None, 304, headers))


class _Said(NamedTuple):
    """The whole answer without the state of the counters, and its headers."""

    content: bytes
    headers: dict[str, str]


def _said(
    query: UsageQuery, reading: Reading, states: Sequence[Completeness], owners: Sequence[Owner]
) -> _Said:
    current, *before = sections_of(query, reading.sums, states, owners)
    if query.format == "json":
        return _Said(to_json(object_of(query, current, before)), {})
    columns = current.columns
    if before:
        (previous,) = before
        periods = ["current"] * current.length + ["previous"] * previous.length
        columns = {
            "period": periods,
            **{name: [*own, *previous.columns[name]] for name, own in columns.items()},
        }
    headers = page_headers(current.page)
    if query.format == "ndjson":
        return _Said(to_ndjson(columns), headers)
    mark = BYTE_ORDER_MARK if query.format == "spreadsheet" else b""
    return _Said(mark + to_csv(columns), headers)


def _tag(tenant: str, question: str, reading: Reading, said: bytes) -> str:
    """A weak ETag: equal for equal rows of an equal question and range."""
    meta = reading.meta
    ranges = [(one_.start_ms, one_.end_ms) for one_ in reading.plans]
    state = meta.created_ms, reading.generation, meta.history_from_ms, refusals(meta)
    digest = xxh3_128(repr((tenant, question, ranges, state)).encode())
    digest.update(said)
    return f'W/"{digest.hexdigest()}"'


def _sent(request: Request, made: CachedAnswer) -> Response:
    asked_for = request.headers.get("if-none-match")
    if asked_for is None or made.unchanged is None or request.method not in {"GET", "HEAD"}:
        return made.response
    if asked_for == made.tag:
        return made.unchanged
    known = {tag.strip().removeprefix("W/") for tag in asked_for.split(",")}
    return made.unchanged if known & {made.tag.removeprefix("W/"), "*"} else made.response


def _listing(content: Mapping[str, Any]) -> Response:
    return Response(to_json(content), headers=CACHING, media_type="application/json")


def _about(offered: Offered, catalog: Catalog) -> dict[str, Any]:
    kept = {term.measure for term in offered.terms}
    return {
        "name": offered.name,
        "unit": offered.unit,
        "kind": "ratio" if offered.is_ratio else "sum",
        "about": offered.about,
        "made_of": list(
            dict.fromkeys(term.measure.name for term in offered.over + offered.less + offered.under)
        ),
        "views": [
            view.name
            for view in views_that_hold([offered.distinct] * bool(offered.distinct), kept, catalog)
        ],
    }
