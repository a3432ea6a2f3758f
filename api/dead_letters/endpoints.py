"""`/v1/dead-letters`: an admin lists, reads, corrects and replays dead letters of the own tenants.

A dead letter of another tenant does not exist for the caller. One whose tenant cannot be read may be of any
tenant, so only a super-admin of all tenants sees it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC
from functools import partial
from typing import Any, Final

import msgspec
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.auth.authenticate import authenticate, check_role, share_of
from api.auth.key_cache import KeyCache
from api.dead_letters.audit import read_replays, record_replay
from api.dead_letters.source import DeadLetterSource, LettersWanted, MaySee
from api.errors import (
    BadParameter,
    DeadLettersUnavailable,
    InvalidBody,
    NoSuchDeadLetter,
    NoSuchTenant,
    RateLimited,
)
from api.http.json_body import check_json, json_body
from api.http.parameters import RawParameters, check_names, single
from api.http.tenant_turns import TenantTurns, TurnLimits
from api.query.time_range import ALLOWED, InvalidTime, parse_range
from api.store.reader import Store
from api.usage.parameters import parse_limit
from api.usage.question import of_query
from schemas.errors import Reason
from schemas.responses.dead_letters import (
    ORIGIN_PATTERN,
    ReplayAnswer,
    ReplayAuditAnswer,
    ReplayWish,
)
from schemas.store.keys import ALL, Key

Clock = Callable[[], int]

PARAMETERS: Final = ("reason", "field", "tenant", "since", "until", "limit")
LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 500
BODY_BYTES_MAX: Final = 256 * 1024
"""A corrected record of 64 KiB, each of whose characters is escaped in JSON."""
TURNS: Final = TurnLimits(at_once=1, of_tenant=1, of_tenant_max=4, most=16, timeout_s=5)
"""A reader looks at up to 20,000 records of the topic for half a second, in a thread."""
PRIVATE: Final = {"cache-control": "no-store"}


def routes(
    store: Store, key_cache: KeyCache, clock: Clock, source: DeadLetterSource | None
) -> list[Route]:
    """`source`: None if the process has no Kafka. Then the paths answer 503."""
    turns = TenantTurns(TURNS, late=_late, full=_late)

    def to(endpoint: Callable[..., Any]) -> Callable[..., Any]:
        return partial(
            _answered,
            endpoint=endpoint,
            key_cache=key_cache,
            clock=clock,
            store=store,
            source=source,
            turns=turns,
        )

    return [
        Route("/v1/dead-letters", to(_listed), methods=["GET"]),
        Route("/v1/dead-letters/replay", to(_replayed), methods=["POST"]),
        Route("/v1/dead-letters/audit", to(_audit), methods=["GET"]),
        Route("/v1/dead-letters/{origin}", to(_shown), methods=["GET"]),
    ]


async def _answered(
    request: Request,
    endpoint: Callable[..., Any],
    key_cache: KeyCache,
    clock: Clock,
    store: Store,
    source: DeadLetterSource | None,
    turns: TenantTurns,
) -> Response:
    now_ms = clock()
    key = await authenticate(key_cache, request.headers, now_ms)
    check_role(key, "admin")
    if source is None:
        raise DeadLettersUnavailable("this process has no Kafka, so it cannot read dead letters")
    body: BaseModel = await endpoint(request, key, now_ms, store, source, turns)
    return Response(
        body.model_dump_json(by_alias=True).encode(), 200, PRIVATE, media_type="application/json"
    )


async def _listed(
    request: Request,
    key: Key,
    now_ms: int,
    _store: Store,
    source: DeadLetterSource,
    turns: TenantTurns,
) -> BaseModel:
    """`GET /v1/dead-letters`: the newest first."""
    raw = of_query(request.query_params)
    check_names(raw, PARAMETERS)
    reason, tenant = single(raw, "reason"), single(raw, "tenant")
    if reason is not None and reason not in set(Reason):
        raise BadParameter("reason", f"There is no reason {reason!r}.", [*Reason])
    if tenant is not None and not key.sees(tenant):
        raise NoSuchTenant("this key has no tenant of that name")
    wanted = LettersWanted(
        _may_see(key),
        parse_limit(raw, LIMIT_MAX) or LIMIT_DEFAULT,
        reason=reason,
        field=single(raw, "field"),
        tenant=tenant,
        since_ms=_instant(raw, "since", now_ms),
        until_ms=_instant(raw, "until", now_ms),
    )
    async with turns.turn(share_of(key)):
        return await source.listed(wanted)


async def _shown(
    request: Request,
    key: Key,
    _now_ms: int,
    _store: Store,
    source: DeadLetterSource,
    turns: TenantTurns,
) -> BaseModel:
    """`GET /v1/dead-letters/{origin}`: one in full."""
    check_names(dict.fromkeys(request.query_params, ()), ())
    origin = request.path_params["origin"]
    if not re.fullmatch(ORIGIN_PATTERN, origin):
        raise NoSuchDeadLetter(
            f"there is no dead letter {origin[:300]!r}: an origin is TOPIC:PARTITION:OFFSET"
        )
    async with turns.turn(share_of(key)):
        return await source.shown(origin, _may_see(key))


async def _replayed(
    request: Request,
    key: Key,
    now_ms: int,
    store: Store,
    source: DeadLetterSource,
    turns: TenantTurns,
) -> BaseModel:
    """`POST /v1/dead-letters/replay`: what would be sent is recorded first, and then sent."""
    content = await json_body(request, BODY_BYTES_MAX, share_of(key))
    wish = _wish(content)
    async with turns.turn(share_of(key)):
        lines = await source.replayed(wish, _may_see(key), dry_run=True)
        sendable = [line for line in lines if line.outcome == "sendable"]
        if sendable and not wish.dry_run:
            await record_replay(store, key, wish, sendable, now_ms)
            lines = await source.replayed(wish, _may_see(key), dry_run=False)
    return ReplayAnswer(results=lines)


async def _audit(
    request: Request,
    key: Key,
    _now_ms: int,
    store: Store,
    _source: DeadLetterSource,
    _turns: TenantTurns,
) -> BaseModel:
    """`GET /v1/dead-letters/audit`: who replayed what."""
    check_names(dict.fromkeys(request.query_params, ()), ())
    return ReplayAuditAnswer(lines=await read_replays(store, key))


# -- the request -----------------------------------------------------------------------------------


def _may_see(key: Key) -> MaySee:
    def may_see(tenant: str | None) -> bool:
        if tenant is None:
            return key.role == "super-admin" and key.tenants == ALL
        return key.sees(tenant)

    return may_see


def _instant(raw: RawParameters, name: str, now_ms: int) -> int | None:
    text = single(raw, name)
    if text is None:
        return None
    try:
        return parse_range(text, None, now_ms, UTC)[0]
    except InvalidTime:
        raise BadParameter(
            name, f"Parameter `{name}`: {text[:100]!r} is no time.", ALLOWED
        ) from None


def _wish(content: bytes) -> ReplayWish:
    check_json(content)
    try:
        wish = msgspec.json.decode(content, type=ReplayWish)
    except msgspec.MsgspecError as error:
        detail = f"The body is not a replay: {error}."
        raise InvalidBody(400, "invalid-body", detail) from None
    if wish.value is not None and (len(wish.origins) > 1 or wish.set):
        raise BadParameter(
            "value", "`value` replaces one whole record: send one origin, and no `set`."
        )
    if len({*wish.origins}) < len(wish.origins):
        raise BadParameter("origins", "`origins` names a dead letter twice.")
    return wish


def _late(own: int) -> Exception:
    if own:
        return RateLimited(
            1, "other requests of your tenant are reading dead letters: try again in 1 s"
        )
    return DeadLettersUnavailable("others are reading dead letters: try again in a moment")
