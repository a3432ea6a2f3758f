"""AgentLens's `GET /api/events` and `GET /api/agents`: the latest calls, and the agents that make them.

The calls are the latest of the tenant (`schemas.store.recent_calls.RECENT_MAX`), without their content;
`total` counts among them. Only `llm_response` is stored, so the lists of other types are empty.
Parameters are parsed as its server parses them, but `from` and `to` are times.

An agent is listed if the counters saw it within AGENTS_MS. Its first day is a UTC day. Its last
appearance is that of its latest call, or a quarter-hour if that is not among the latest calls. What its
server calls a session is a chat of the agent (AgentLens' producers send each session as one), or a call
that was booked on it, whichever are more. Chats are exact up to 1,024 of an agent in a day.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from api.agentlens.access import authorize, within
from api.agentlens.analytics import instant_of, ratio
from api.agentlens.errors import problem
from api.auth.authenticate import filters_of, tenant_of
from api.auth.key_cache import KeyCache
from api.errors import UnanswerableQuestion
from api.http.singleflight import round_to_second
from api.query.plan import Plan, Question, Term, plan
from api.query.series_index import Filter
from api.query.sums import Row
from api.query.time_buckets import DAILY, STEPS, Step
from api.store.directory import recent
from api.store.freshness import headers_of, iso_ms, state_headers
from api.store.reader import Store
from schemas.catalog.measures import CALLS, CHATS, ERRORS, EVENTS
from schemas.catalog.sketches import Distinct
from schemas.event.kinds import USAGE_KINDS
from schemas.limits import DAY_MS, NANO_PER_USD
from schemas.responses.agentlens import (
    Agent,
    AgentLensBody,
    AgentLensEvent,
    AgentLensEvents,
    Agents,
    LlmResponse,
    TokenCounts,
)
from schemas.store.recent_calls import Recent, pack_recent
from schemas.units import iso

Clock = Callable[[], int]

CALL: Final = "llm_response"
LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 500
TEXTS_KEPT: Final = 4_000
"""Texts of calls that were searched: 0.5 kB each, and 50 us to make."""
CALL_CELLS: Final = 8
"""What it costs to show or to search a call, in cells of a body."""
AGENTS_MS: Final = 90 * DAY_MS
"""The days of 90 days are in four pages a series, so one read covers 10,000 series of agents."""
_QUARTERLY: Final = next(step for step in STEPS if step.name == "15m")
_TERMS: Final = (Term(EVENTS), Term(EVENTS, USAGE_KINDS), Term(ERRORS), Term(CALLS))
_SESSIONS: Final = (Term(CHATS),)
_LEADING_INTEGER: Final = re.compile(r"\s*([+-]?\d{1,15})", re.ASCII)


# -- events ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EventsQuery:
    """The parsed query string. Empty sets and texts mean no filter."""

    types: frozenset[str]
    severities: frozenset[str]
    session: str
    agent: str
    search: str
    from_ms: int | None
    to_ms: int | None
    limit: int
    offset: int
    is_ascending: bool


async def events(request: Request, store: Store, key_cache: KeyCache, clock: Clock) -> Response:
    """`GET /api/events`: a page of the latest calls."""
    key = await authorize(request, key_cache, clock(), filters=True)
    tenant = tenant_of(key, request.headers)
    query = parse_query(dict(reversed(request.query_params.multi_items())))
    latest = await recent(store, tenant, filters_of(key))
    cells = CALL_CELLS * (
        min(query.limit, len(latest.calls)) + (len(latest.calls) if query.search else 0)
    )
    body = await store.shape(tenant, cells, partial(_page, latest.calls, query, tenant))
    return _answer(body, state_headers(latest.meta))


def _page(calls: Sequence[Recent], query: EventsQuery, tenant: str) -> bytes:
    found = list(matching(calls, query))
    if not query.is_ascending:
        found.reverse()
    page = found[query.offset : query.offset + query.limit]
    return AgentLensEvents(
        events=[event_of(call, tenant) for call in page],
        total=len(found),
        has_more=query.offset + len(page) < len(found),
    ).json_bytes()


async def event(request: Request, store: Store, key_cache: KeyCache, clock: Clock) -> Response:
    """`GET /api/events/{id}`."""
    key = await authorize(request, key_cache, clock(), filters=True)
    tenant = tenant_of(key, request.headers)
    latest = await recent(store, tenant, filters_of(key))
    for call in reversed(latest.calls):
        if call.id == request.path_params["id"]:
            return _sent(event_of(call, tenant), state_headers(latest.meta))
    return problem(404, "Event not found")


def parse_query(first: Mapping[str, str]) -> EventsQuery:
    """The first value of a repeated parameter is used. Raises InvalidQueryParameter."""
    return EventsQuery(
        types=_listed(first.get("eventType", "")),
        severities=_listed(first.get("severity", "")),
        session=first.get("sessionId", ""),
        agent=first.get("agentId", ""),
        search=first.get("search", "").casefold(),
        from_ms=_bound("from", first),
        to_ms=_bound("to", first),
        limit=max(1, min(_integer(first.get("limit", "")) or LIMIT_DEFAULT, LIMIT_MAX)),
        offset=max(0, _integer(first.get("offset", ""))),
        is_ascending=first.get("order") == "asc",
    )


def matching(calls: Iterable[Recent], query: EventsQuery) -> Iterable[Recent]:
    """The calls that pass every filter, in order. Both bounds are inclusive, as at its server."""
    if query.types and CALL not in query.types:
        return
    for call in calls:
        if (
            (not query.severities or severity_of(call) in query.severities)
            and (not query.session or query.session == session_of(call))
            and (not query.agent or query.agent == call.agent)
            and (query.from_ms is None or call.at_ms >= query.from_ms)
            and (query.to_ms is None or call.at_ms <= query.to_ms)
            and (not query.search or query.search in _searched(call))
        ):
            yield call


def event_of(call: Recent, tenant: str) -> AgentLensEvent:
    """A call as its server shows it. Amounts that were not reported are 0, as analytics has them."""
    known = {"source": call.source, "userId": call.user}
    return AgentLensEvent(
        id=call.id,
        timestamp=iso_ms(call.at_ms),
        session_id=session_of(call),
        agent_id=call.agent,
        event_type=CALL,
        severity=severity_of(call),
        payload=payload_of(call),
        metadata={name: value for name, value in known.items() if value},
        prev_hash=None,
        hash=hashlib.sha256(pack_recent(call).encode()).hexdigest(),
        tenant_id=tenant,
    )


def payload_of(call: Recent) -> LlmResponse:
    input_tokens, output_tokens = call.input_tokens or 0, call.output_tokens or 0
    parts = {
        "cache_read_tokens": call.cache_read_tokens,
        "cache_write_tokens": call.cache_write_tokens,
        "thinking_tokens": call.reasoning_tokens,
    }
    usage = TokenCounts(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        total_tokens=input_tokens + output_tokens,
        **{name: count for name, count in parts.items() if count is not None},
    )
    return LlmResponse(
        call_id=call.call_id or call.id,
        provider=call.provider,
        model=call.model,
        completion=None,
        finish_reason=call.finish_reason or ("error" if call.error else ""),
        usage=usage,
        cost_usd=ratio(call.cost_nano_usd or 0, NANO_PER_USD),
        latency_ms=call.latency_ms or 0,
        **({"error": call.error} if call.error else {}),
    )


def session_of(call: Recent) -> str:
    """Its session: the chat of the call, or the call itself if it is in no chat."""
    return call.chat_id or call.call_id


def severity_of(call: Recent) -> str:
    return "error" if call.error else "info"


@lru_cache(maxsize=TEXTS_KEPT)
def _searched(call: Recent) -> str:
    return payload_of(call).json_bytes().decode().casefold()


def _listed(text: str) -> frozenset[str]:
    return frozenset(text.split(",")) if text else frozenset()


def _bound(name: str, first: Mapping[str, str]) -> int | None:
    text = first.get(name)
    return instant_of(name, text) if text else None


def _integer(text: str) -> int:
    """The integer that a text begins with, as JavaScript reads it; 0 if there is none."""
    found = _LEADING_INTEGER.match(text)
    return int(found[1]) if found else 0


# -- agents ----------------------------------------------------------------------------------------


async def agents(request: Request, store: Store, key_cache: KeyCache, clock: Clock) -> Response:
    """`GET /api/agents`: the agent that was seen last comes first."""
    now_ms = clock()
    key = await authorize(request, key_cache, now_ms, filters=True)
    tenant = tenant_of(key, request.headers)
    body, headers = await _agents(
        store,
        tenant,
        round_to_second(now_ms),
        (),
        filters_of(key),
        lambda found: Agents(agents=found).json_bytes(),
    )
    return _answer(body, headers)


async def agent(request: Request, store: Store, key_cache: KeyCache, clock: Clock) -> Response:
    """`GET /api/agents/{id}`."""
    now_ms = clock()
    key = await authorize(request, key_cache, now_ms, filters=True)
    tenant = tenant_of(key, request.headers)
    one = Filter("agent", frozenset((request.path_params["id"],)))
    body, headers = await _agents(
        store,
        tenant,
        round_to_second(now_ms),
        (one,),
        filters_of(key),
        lambda found: found[0].json_bytes() if found else b"",
    )
    return _answer(body, headers) if body else problem(404, "Agent not found")


async def _agents(
    store: Store,
    tenant: str,
    now_ms: int,
    filters: tuple[Filter, ...],
    only: tuple[Filter, ...],
    body_of: Callable[[list[Agent]], bytes],
) -> tuple[bytes, dict[str, str]]:
    """The body of these agents, and its headers. `only`: the filters of the key."""
    with within(only):
        plans = plans_for(now_ms, (*filters, *only))
    try:
        reading = await store.read(tenant, plans)
    except UnanswerableQuestion:  # more than 16 million sessions: only booked calls are counted
        reading = await store.read(tenant, plans[:2])
    latest = await recent(store, tenant, only)

    def made() -> bytes:
        days, quarters, *sessions = reading.rows
        return body_of(agents_of(days, quarters, tenant, latest.calls, sessions))

    return await store.shape(tenant, reading.cells, made), headers_of(
        reading.meta, reading.plans[0]
    )


def plans_for(now_ms: int, filters: tuple[Filter, ...]) -> tuple[Plan, Plan, Plan]:
    """The days of AGENTS_MS, the quarter-hours of the last day, and the chats of AGENTS_MS."""

    def question(terms: tuple[Term, ...], length_ms: int, step: Step | None) -> Plan:
        return plan(Question(terms, now_ms - length_ms, now_ms, now_ms, filters, ("agent",), step))

    return (
        question(_TERMS, AGENTS_MS, DAILY),
        question(_TERMS, DAY_MS, _QUARTERLY),
        question(_SESSIONS, AGENTS_MS, None),
    )


def agents_of(
    days: Sequence[Row],
    quarters: Sequence[Row],
    tenant: str,
    latest: Sequence[Recent] = (),
    sessions: Sequence[Sequence[Row]] = (),
) -> list[Agent]:
    """Agents from rows by agent and time. Rows without an agent are ignored.

    `latest`: the latest calls, which have exact times. `sessions`: the rows of the chats by agent.
    """
    seen: dict[str, list[int]] = {}
    chats = {row.group[0]: _size(row) for rows in sessions for row in rows}
    sums: dict[str, list[int]] = {}
    for row in (*days, *quarters):
        if row.group[0] and any(row.values):
            seen.setdefault(row.group[0], []).append(row.at_ms)
    for call in latest:
        if call.agent in seen:
            seen[call.agent].append(call.at_ms)
    for row in days:
        total = sums.setdefault(row.group[0], [0] * len(_TERMS))
        sums[row.group[0]] = [a + b for a, b in zip(total, row.values, strict=True)]
    last_first = sorted(seen, key=lambda name: (-max(seen[name]), name))
    return [
        Agent(
            id=name,
            name=name,
            first_seen_at=iso(min(seen[name])),
            last_seen_at=iso(max(seen[name])),
            session_count=max(sums[name][3], chats.get(name, 0)),
            tenant_id=tenant,
            error_rate=ratio(sums[name][2], sums[name][1]),
        )
        for name in last_first
    ]


def _size(row: Row) -> int:
    return len(row.sketches[0]) if isinstance(row.sketches[0], Distinct) else 0


def _sent(body: AgentLensBody, freshness: Mapping[str, str]) -> Response:
    return _answer(body.json_bytes(), freshness)


def _answer(body: bytes, freshness: Mapping[str, str]) -> Response:
    return Response(
        body,
        media_type="application/json",
        headers={"x-api-version": "v1", "cache-control": "no-store", **freshness},
    )
