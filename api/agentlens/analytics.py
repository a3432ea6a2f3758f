"""AgentLens's `GET /api/analytics/llm`.

Only events of kind llm are its calls. Amounts are computed here, once, from exact sums. Its server
compares `from` and `to` as raw text; here they are times, so an empty one is a 400 (its SDKs never send
one). For times before the 90 days of quarter-hours, an hour gets the sum of the day that contains it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from functools import lru_cache, partial
from typing import Any, Final

import numpy as np
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from api.agentlens.access import authorize, within
from api.agentlens.errors import InvalidQueryParameter
from api.auth.authenticate import filters_of, tenant_of
from api.auth.key_cache import KeyCache
from api.http.answer_cache import AnswerCache, CachedAnswer
from api.http.json_encoding import to_json
from api.http.prepared_response import PreparedResponse
from api.http.singleflight import Singleflight, round_to_second
from api.query.answered_range import answered_range
from api.query.plan import Plan, Question, Term, plan
from api.query.series_index import Filter
from api.query.sums import Row
from api.query.time_buckets import DAILY, HOURLY, WEEKLY, Step, labels
from api.query.time_range import iso_to_ms
from api.store.freshness import WITHOUT_COST, headers_of
from api.store.reader import Reading, Store
from schemas.catalog.measures import (
    COST_EVENTS,
    COST_NANO_USD,
    EVENTS,
    INPUT_TOKENS,
    LATENCY_EVENTS,
    LATENCY_MS,
    OUTPUT_TOKENS,
)
from schemas.limits import DAY_MS, NANO_PER_USD
from schemas.responses.agentlens import Amount

Clock = Callable[[], int]

MEASURES: Final = (
    EVENTS,
    COST_NANO_USD,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    LATENCY_MS,
    LATENCY_EVENTS,
    COST_EVENTS,
)
_TERMS: Final = tuple(Term(measure) for measure in MEASURES)
GRANULARITIES: Final[Mapping[str, Step]] = {"hour": HOURLY, "day": DAILY, "week": WEEKLY}
FILTERS: Final = {"agentId": "agent", "model": "model", "provider": "provider"}
"""Query parameter -> dimension."""
_LLM: Final = Filter("kind", frozenset(("llm",)))
UNDERSTOOD_KEPT: Final = 1024
"""Parsed queries in the cache: a few kB each."""


@dataclass(frozen=True)
class LlmAnalyticsQuery:
    """The parsed query string."""

    from_ms: int
    to_ms: int
    step: Step
    filters: tuple[Filter, ...]


async def llm(
    request: Request,
    store: Store,
    key_cache: KeyCache,
    clock: Clock,
    singleflight: Singleflight[CachedAnswer],
    answers: AnswerCache,
) -> Response:
    """`GET /api/analytics/llm`: summary, models and series from one read."""
    now_ms = clock()
    key = await authorize(request, key_cache, now_ms, filters=True)
    only = filters_of(key)
    plans = _understood(request.scope["query_string"], round_to_second(now_ms), only)
    tenant = tenant_of(key, request.headers)
    question = tenant, request.scope["query_string"], only, plans[0].start_ms, plans[0].end_ms
    made = await singleflight.once(question, partial(_make, store, question, plans, answers))
    return made.response


@lru_cache(maxsize=UNDERSTOOD_KEPT)
def _understood(query: bytes, now_ms: int, only: tuple[Filter, ...]) -> tuple[Plan, Plan, Plan]:
    asked = parse_query(QueryParams(query.decode("latin-1")), now_ms)
    with within(only):
        return plans_for(replace(asked, filters=(*asked.filters, *only)), now_ms)


async def _make(
    store: Store,
    question: tuple[str, bytes, tuple[Filter, ...], int, int],
    plans: Sequence[Plan],
    answers: AnswerCache,
) -> CachedAnswer:
    reading = await store.read(question[0], plans)
    before = answers.get(question, reading.sums)
    if before is not None and before.meta is reading.meta:
        return before
    if before is None:
        body, without_cost = await store.shape(question[0], reading.cells, partial(shaped, reading))
    else:
        body, without_cost = before.content, before.response.headers[WITHOUT_COST]
    headers = {
        "content-type": "application/json",
        "x-api-version": "v1",
        "cache-control": "no-store",
        WITHOUT_COST: without_cost,
        **headers_of(reading.meta, reading.plans[0]),
    }
    made = CachedAnswer(reading.meta, body, PreparedResponse(body, 200, headers))
    answers.put(question, reading.sums, made, len(body))
    return made


def parse_query(params: QueryParams, now_ms: int) -> LlmAnalyticsQuery:
    """The first value of a repeated parameter is used. Raises InvalidQueryParameter."""
    first = dict(reversed(params.multi_items()))
    step = GRANULARITIES.get(first.get("granularity", "hour"))
    if step is None:
        raise InvalidQueryParameter("Invalid granularity. Use: hour, day, week")
    return LlmAnalyticsQuery(
        from_ms=_instant("from", first, now_ms - DAY_MS),
        to_ms=_instant("to", first, now_ms),
        step=step,
        filters=tuple(
            Filter(dimension, frozenset((first[name],)))
            for name, dimension in FILTERS.items()
            if first.get(name)
        ),
    )


def plans_for(query: LlmAnalyticsQuery, now_ms: int) -> tuple[Plan, Plan, Plan]:
    """A plan for each section: the total, by model, by time."""
    filters = (_LLM, *query.filters)
    from_ms, to_ms = answered_range(query.from_ms, query.to_ms, now_ms)

    def question(group_by: tuple[str, ...], step: Step | None) -> Plan:
        return plan(Question(_TERMS, from_ms, to_ms, now_ms, filters, group_by, step))

    return question((), None), question(("provider", "model"), None), question((), query.step)


def shaped(reading: Reading) -> tuple[bytes, str]:
    """The body, and how many calls have no cost."""
    rows = reading.rows
    return to_json(body_from(*rows)), _without_cost(rows[0][0])


def body_from(whole: list[Row], models: list[Row], buckets: list[Row]) -> dict[str, Any]:
    """As `schemas.responses.agentlens.LlmAnalytics`, but of plain objects: a series has hundreds."""
    times = labels(np.array([row.at_ms for row in buckets], np.int64), UTC)
    return {
        "summary": _summary(whole[0]),
        "byModel": [
            {"provider": row.group[0], "model": row.group[1], **_sums(row)}
            for row in sorted(models, key=_most_expensive_first)
        ],
        "byTime": [
            {"bucket": label, **_sums(row)} for label, row in zip(times, buckets, strict=True)
        ],
    }


# -- the request -----------------------------------------------------------------------------------


def _instant(name: str, first: Mapping[str, str], default_ms: int) -> int:
    text = first.get(name)
    return default_ms if text is None else instant_of(name, text)


def instant_of(name: str, text: str) -> int:
    """A bound in ms. Raises InvalidQueryParameter."""
    at_ms = iso_to_ms(text, UTC)
    if at_ms is not None:
        return at_ms
    raise InvalidQueryParameter(
        f"Invalid {name}. Use an ISO 8601 time such as 2026-02-08T10:00:00Z or 2026-02-08"
        " (in a URL, write + as %2B)"
    )


# -- the body --------------------------------------------------------------------------------------


def _summary(row: Row) -> dict[str, Amount]:
    calls, cost_nano_usd, input_tokens, output_tokens, latency_ms, latency_events, _ = row.values
    return {
        "totalCalls": calls,
        "totalCostUsd": ratio(cost_nano_usd, NANO_PER_USD),
        "totalInputTokens": input_tokens,
        "totalOutputTokens": output_tokens,
        "avgLatencyMs": ratio(latency_ms, latency_events),
        "avgCostPerCall": ratio(cost_nano_usd, NANO_PER_USD * calls),
    }


def _without_cost(row: Row) -> str:
    return str(row.values[MEASURES.index(EVENTS)] - row.values[MEASURES.index(COST_EVENTS)])


def _sums(row: Row) -> dict[str, Amount]:
    calls, cost_nano_usd, input_tokens, output_tokens, latency_ms, latency_events, _ = row.values
    return {
        "calls": calls,
        "costUsd": ratio(cost_nano_usd, NANO_PER_USD),
        "inputTokens": input_tokens,
        "outputTokens": output_tokens,
        "avgLatencyMs": ratio(latency_ms, latency_events),
    }


def _most_expensive_first(row: Row) -> tuple[int, bytes, bytes]:
    provider, model = row.group
    return -row.values[MEASURES.index(COST_NANO_USD)], provider.encode(), model.encode()


def ratio(total: int, count: int) -> Amount:
    """The quotient of two exact sums, rounded once to the nearest double; 0 if `count` is 0."""
    if count == 0:
        return 0
    return total // count if total % count == 0 else total / count
