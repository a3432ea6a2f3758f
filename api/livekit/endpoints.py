"""The dialect of the LiveKit voice platform: `GET /admin/analytics/...`, in its envelope.

Each path asks for usage, booked calls or both (api/livekit/questions.py). Dates are read by pydantic,
as the platform's own server reads them: ISO 8601, or seconds or milliseconds since 1970. The texts of
a 422 are pydantic's too. A call counts at the time it was booked, tokens at the time they were used.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.auth.authenticate import authenticate, check_role, tenant_of
from api.auth.key_cache import KeyCache
from api.http.application import application
from api.livekit.bodies import Addresses, AnalyticsEndpoint, Bounds, data_of
from api.livekit.errors import ENCODER, InvalidDates, error_response
from api.livekit.questions import ENDPOINTS, USER_EMAIL
from api.query.answered_range import answered_range
from api.query.plan import Plan, Question, plans
from api.query.series_index import Filter
from api.query.sums import Row
from api.store.directory import keys_of_address, people
from api.store.freshness import headers_of
from api.store.reader import Store
from schemas.units import EPOCH, ONE_MS, ms_to_instant

Clock = Callable[[], int]

PREFIX: Final = "/admin/analytics"
DEFAULT_RANGE: Final = timedelta(days=30)
"""Before now, not before `end_date`: as its server does."""

_DATE: Final = TypeAdapter(datetime)


@dataclass(frozen=True)
class AnalyticsQuery:
    """The parsed query string: the range, and the values of the filters that are not empty."""

    bounds: Bounds
    wanted: Mapping[str, str]


def livekit(store: Store, key_cache: KeyCache, clock: Clock) -> Starlette:
    """The dialect as an application."""
    return application(
        [
            Route(
                PREFIX + endpoint.path,
                partial(answer, endpoint=endpoint, store=store, key_cache=key_cache, clock=clock),
                name=endpoint.path,
            )
            for endpoint in ENDPOINTS
        ],
        error_response,
        redirects_slashes=True,
    )


async def answer(
    request: Request, endpoint: AnalyticsEndpoint, store: Store, key_cache: KeyCache, clock: Clock
) -> Response:
    """The answer of one path, from one atomic read."""
    now_ms = clock()
    key = await authenticate(key_cache, request.headers, now_ms)
    check_role(key, "super-admin")
    tenant = tenant_of(key, request.headers)
    query = parse_query(request.query_params, endpoint, now_ms)
    address = query.wanted.get(USER_EMAIL)
    users = None if address is None else await users_of(store, tenant, address)
    planned = plans_for(endpoint, query, users, now_ms)
    reading = await store.read(tenant, planned)
    addresses: Addresses = {}
    async with store.turn(tenant, reading.cells) as turn:
        answers = await turn.run(lambda: reading.rows)
        if "user" in endpoint.group_by:
            seen = {row.group[0] for rows in answers for row in rows}
            addresses = await addresses_of(store, tenant, seen)
        body = await turn.run(partial(_body, endpoint, query.bounds, answers, addresses))
    return Response(
        body,
        headers={"cache-control": "no-store", **headers_of(reading.meta, reading.plans[0])},
        media_type="application/json",
    )


def _body(
    endpoint: AnalyticsEndpoint,
    bounds: Bounds,
    answers: Sequence[Sequence[Row]],
    addresses: Addresses,
) -> bytes:
    data = data_of(endpoint, bounds, answers, addresses)
    return ENCODER.encode({"success": True, "message": endpoint.message, "data": data})


def parse_query(params: QueryParams, endpoint: AnalyticsEndpoint, now_ms: int) -> AnalyticsQuery:
    """The last value of a repeated parameter is used. Raises InvalidDates with all invalid dates."""
    now = ms_to_instant(now_ms)
    dates = {"start_date": now - DEFAULT_RANGE, "end_date": now}
    errors: list[dict[str, Any]] = []
    for name in dates:
        text = params.get(name)
        if text is None:
            continue
        try:
            dates[name] = _DATE.validate_python(text)
        except ValidationError as error:
            found = error.errors(include_url=False)
            errors += [{**one, "loc": ["query", name]} for one in found]
    if errors:
        raise InvalidDates(errors)
    wanted = {name: params[name] for name in endpoint.filters if params.get(name)}
    return AnalyticsQuery(Bounds(dates["start_date"], dates["end_date"]), wanted)


def plans_for(
    endpoint: AnalyticsEndpoint, query: AnalyticsQuery, users: frozenset[str] | None, now_ms: int
) -> tuple[Plan, ...]:
    """The questions of the endpoint over one range; `users`: the keys of the users to select."""
    filters = [
        Filter(dimension, frozenset((query.wanted[name],)))
        for name, dimension in endpoint.filters.items()
        if name in query.wanted and name != USER_EMAIL
    ]
    if users is not None:
        filters.append(Filter("user", users))
    if endpoint.kinds:
        filters.append(Filter("kind", frozenset(endpoint.kinds)))
    start, end = query.bounds
    from_ms, to_ms = answered_range(_to_ms(start), _to_ms(end), now_ms)
    return plans(
        [
            Question(terms, from_ms, to_ms, now_ms, tuple(filters), endpoint.group_by)
            for terms in endpoint.questions
        ]
    )


def _to_ms(at: datetime) -> int:
    """The time, rounded up to a millisecond. A time without an offset is UTC."""
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    return -((EPOCH - aware) // ONE_MS)


# -- users -----------------------------------------------------------------------------------------


async def users_of(store: Store, tenant: str, address: str) -> frozenset[str]:
    """The keys of all users that are shown under this address: users whose latest known address it
    is, and the user whose key is the address, unless another address is known of that user."""
    found = await keys_of_address(store, tenant, address)
    itself = await addresses_of(store, tenant, [address])
    return found | {address} if itself.get(address, address) == address else found


async def addresses_of(store: Store, tenant: str, users: Collection[str]) -> Addresses:
    known = await people(store, tenant, users)
    return {user: person.email for user, person in known.items() if person.email}
