"""`GET /v1/status`: whether events are counted; and `GET /metrics` for Prometheus, with a key.

Both name all tenants, so only a monitor and a super-admin of all tenants read them whole. Every other key
reads the status of its own tenant.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.auth.authenticate import TENANT_HEADER, authenticate, check_role, tenant_of
from api.auth.key_cache import KeyCache
from api.errors import RoleTooLow
from api.http import problems
from api.http.json_encoding import to_json
from api.http.parameters import check_names, single
from api.query.plan import Question, Term, plan
from api.store.freshness import iso_ms, refusals
from api.store.reader import Reading, Store
from api.usage.question import of_query
from schemas.catalog.measures import COST_EVENTS, EVENTS
from schemas.event.kinds import USAGE_KINDS
from schemas.limits import DAY_MS
from schemas.responses.status import OwnStatus, UnpricedModel
from schemas.store.keys import Key

Clock = Callable[[], int]

UNPRICED_RANGE_MS: Final = 7 * DAY_MS
UNPRICED_SHOWN: Final = 20
PRIVATE: Final = {"cache-control": "no-store"}


class OwnLetters(NamedTuple):
    """Dead letters of a tenant by reason: of the last hour (None: unknown), and of all that their topic holds,
    as far as it was looked at: since `from_ms`, or whole (None)."""

    last_hour: Mapping[str, int] | None
    held: Mapping[str, int]
    from_ms: int | None


@dataclass(frozen=True)
class Installation:
    """How the state of the whole installation is read, which may take seconds. `whole`: what `odometer
    status --json` prints. `dead_letters_of`: dead letters of a tenant; None: unknown."""

    whole: Callable[[], Awaitable[Mapping[str, object]]]
    dead_letters_of: Callable[[str], Awaitable[OwnLetters | None]]


def routes(
    store: Store, key_cache: KeyCache, clock: Clock, installation: Installation | None
) -> list[Route]:
    endpoint = partial(
        status, store=store, key_cache=key_cache, clock=clock, installation=installation
    )
    return [Route("/v1/status", endpoint)]


def metrics_routes(key_cache: KeyCache, clock: Clock, registry: CollectorRegistry) -> list[Route]:
    """On the main port, for scrapers that do not reach the monitor's."""
    endpoint = partial(
        metrics, key_cache=key_cache, clock=clock, registry=registry, turn=asyncio.Lock()
    )
    return [Route("/metrics", endpoint)]


async def status(
    request: Request,
    store: Store,
    key_cache: KeyCache,
    clock: Clock,
    installation: Installation | None,
) -> Response:
    """The whole installation, or one tenant where the key is of it or the request names one."""
    now_ms = clock()
    key = await authenticate(key_cache, request.headers, now_ms)
    raw = of_query(request.query_params)
    check_names(raw, ("tenant",))
    named = single(raw, "tenant")
    if key.watches and named is None and TENANT_HEADER not in request.headers:
        if installation is None:
            return problems.problem(
                404, "not-found", "Only `odometer api` reads the status of the installation."
            )
        return _sent(to_json(await installation.whole()))
    check_role(key, "viewer")
    tenant = tenant_of(key, request.headers, named)
    letters = None if installation is None else await installation.dead_letters_of(tenant)
    models = Question(
        (Term(EVENTS, USAGE_KINDS), Term(COST_EVENTS, USAGE_KINDS)),
        now_ms - UNPRICED_RANGE_MS,
        now_ms,
        now_ms,
        group_by=("kind", "provider", "model"),
    )
    reading = await store.read(tenant, (plan(models, store.catalog),))
    return _sent(_own(tenant, reading, letters).model_dump_json().encode())


def _own(tenant: str, reading: Reading, letters: OwnLetters | None) -> OwnStatus:
    meta = reading.meta
    recent = None if letters is None else letters.last_hour
    unpriced = [
        UnpricedModel(
            kind=kind,
            provider=provider or None,
            model=model or None,
            requests=requests,
            without_cost=requests - with_cost,
        )
        for (kind, provider, model), _, (requests, with_cost), *_ in reading.rows[0]
        if requests > with_cost
    ]
    unpriced.sort(
        key=lambda one: (-one.without_cost, one.kind, one.provider or "", one.model or "")
    )
    return OwnStatus(
        tenant=tenant,
        complete_through=iso_ms(meta.complete_through_ms) if meta.complete_through_ms else None,
        history_from=iso_ms(meta.history_from_ms) if meta.history_from_ms else None,
        refused=refusals(meta),
        dead_letters_last_hour=recent if recent is None else dict(recent),
        dead_letters=None if letters is None else dict(letters.held),
        dead_letters_from=iso_ms(letters.from_ms) if letters and letters.from_ms else None,
        unpriced=unpriced[:UNPRICED_SHOWN],
    )


async def metrics(
    request: Request,
    key_cache: KeyCache,
    clock: Clock,
    registry: CollectorRegistry,
    turn: asyncio.Lock,
) -> Response:
    """The same as on the monitor's port, in the format that the client accepts."""
    key = await authenticate(key_cache, request.headers, clock())
    check_watches(key)
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    async with turn:  # one thread of this process is enough for all scrapers
        body = await asyncio.to_thread(encode, registry)
    return Response(body, headers=PRIVATE | {"content-type": media_type})


def check_watches(key: Key) -> None:
    """Raise RoleTooLow if the key must not read the state of the whole installation."""
    if not key.watches:
        is_top = key.role == "super-admin"
        raise RoleTooLow("monitor", f"{key.role} of some tenants only" if is_top else key.role)


def _sent(body: bytes) -> Response:
    return Response(body, headers=PRIVATE, media_type="application/json")
