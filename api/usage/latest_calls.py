"""`GET /v1/calls`: the latest calls to models, without their content.

They are the latest of the tenant (`schemas.store.recent_calls.RECENT_MAX`), and filters apply to these. In
the minute of the oldest one some may be missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from xxhash import xxh3_128

from api.auth.authenticate import filters_of, reader, tenant_of
from api.auth.key_cache import KeyCache
from api.http.json_encoding import to_json
from api.http.parameters import check_names, single
from api.store.directory import recent
from api.store.freshness import iso_ms, state_headers
from api.store.reader import Store
from api.usage.parameters import parse_limit
from api.usage.question import of_query
from schemas.limits import NANO_PER_USD
from schemas.store.recent_calls import Recent

Clock = Callable[[], int]

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 500
FILTERS: Final[Mapping[str, Callable[[Recent], str]]] = {
    "provider": lambda call: call.provider,
    "model": lambda call: call.model,
    "agent": lambda call: call.agent,
    "user": lambda call: call.user,
}
CACHING: Final = {"cache-control": "private, no-cache"}


def routes(store: Store, key_cache: KeyCache, clock: Clock) -> list[Route]:
    return [Route("/v1/calls", partial(calls, store=store, key_cache=key_cache, clock=clock))]


async def calls(request: Request, store: Store, key_cache: KeyCache, clock: Clock) -> Response:
    """The newest first. A filter has whole values; repeated, it has several."""
    key = await reader(key_cache, request.headers, clock(), filters=True)
    raw = of_query(request.query_params)
    check_names(raw, (*FILTERS, "limit", "tenant"))
    limit = parse_limit(raw, LIMIT_MAX) or LIMIT_DEFAULT
    tenant = tenant_of(key, request.headers, single(raw, "tenant"))
    latest = await recent(store, tenant, filters_of(key))
    wanted = {name: frozenset(raw[name]) for name in FILTERS if name in raw}
    found = []
    for call in _matching(latest.calls, wanted):
        found.append(_shown(call))
        if len(found) == limit:
            break
    body = to_json({"calls": found})
    tag = f'W/"{xxh3_128(body).hexdigest()}"'
    headers = {**state_headers(latest.meta), **CACHING, "etag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


def _matching(latest: Sequence[Recent], wanted: Mapping[str, frozenset[str]]) -> Iterator[Recent]:
    for call in reversed(latest):
        if all(FILTERS[name](call) in values for name, values in wanted.items()):
            yield call


def _shown(call: Recent) -> dict[str, object]:
    """What was not reported is null, and so is an unknown cost."""
    cost = call.cost_nano_usd
    return {
        "id": call.id,
        "time": iso_ms(call.at_ms),
        "provider": call.provider,
        "model": call.model,
        "agent": call.agent,
        "user": call.user,
        "input_tokens": call.input_tokens,
        "output_tokens": call.output_tokens,
        "cache_read_tokens": call.cache_read_tokens,
        "cost_usd": None if cost is None else cost / NANO_PER_USD,
        "latency_ms": call.latency_ms,
        "error": call.error or None,
    }
