"""Open WebUI's analytics: `/api/v1/analytics`.

A message is one request to a language model, with or without a chat. The key is checked before the
parameters, as its server does, where all of this is for admins. Bounds are rounded as in every other
answer. The members of a group are those of now.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.auth.authenticate import authenticate, check_role, tenant_of
from api.auth.key_cache import KeyCache
from api.http.json_encoding import to_json
from api.http.singleflight import round_to_second
from api.openwebui.bodies import (
    BY_MODEL,
    ORDERS_OF_WORDS,
    RATINGS,
    SPENT,
    TERMS,
    WHOLE,
    by_words,
    chat_of,
    history_of,
    message_of,
    models_of,
    newest_first,
    series_of,
    summary_of,
    tags_of,
    tokens_of,
    top_users,
    users_of,
    without_cost,
)
from api.openwebui.errors import PRIVATE, BadRange
from api.openwebui.first_event import read_from_first_event
from api.openwebui.parameters import (
    ChatsParameters,
    DailyParameters,
    GroupParameters,
    MessagesParameters,
    OverviewParameters,
    RangeParameters,
    UsersParameters,
    check_kept,
    check_read,
    parse,
    series_bounds,
)
from api.openwebui.series import axis_before, axis_of, before
from api.query.answered_range import answered_range
from api.query.plan import Plan, Question, Term, plan, plans
from api.query.series_index import Filter
from api.query.sums import Row
from api.query.time_buckets import DAILY
from api.store.chats import chats, used_by
from api.store.directory import members, people, recent, titles
from api.store.freshness import WITHOUT_COST, range_headers, state_headers
from api.store.reader import Reading, Store
from api.store.slots import Shaped
from schemas.limits import DAY_MS
from schemas.store.chats import Chat
from schemas.store.directory import Person
from schemas.store.layout import Meta
from schemas.tiers import floor_to

Clock = Callable[[], int]

_LLM: Final = Filter("kind", frozenset(("llm",)))
UNBOUNDED: Final = "Comparison requires a bounded date range"
BUCKET_COLUMNS: Final = 2
"""Cells of an empty bucket: its date, and what is in it."""
DAY_COLUMNS: Final = 3
USER_COLUMNS: Final = 9
LISTED_WITH_MODELS_MAX: Final = 100
"""Users whose models are listed too: chats of more users by model would be too many sets for one answer."""
EVER_MS: Final = 2**53
"""A time after everything that is kept."""


def routes(store: Store, key_cache: KeyCache, clock: Clock) -> list[Route]:
    """The paths of the analytics."""
    endpoints = {
        "/summary": summary,
        "/models": models,
        "/users": users,
        "/tokens": tokens,
        "/daily": daily,
        "/messages": messages,
        "/models/{model_id:path}/chats": model_chats,
        "/models/{model_id:path}/overview": overview,
    }
    return [
        Route(
            f"/api/v1/analytics{path}",
            partial(endpoint, store=store, key_cache=key_cache, clock=clock),
        )
        for path, endpoint in endpoints.items()
    ]


async def summary(request: Request, store: Store, key_cache: KeyCache, clock: Clock) -> Response:
    """`GET /summary`: how many messages, chats, models and users."""
    now_ms, tenant = await _allowed(request, key_cache, clock)
    asked = parse(GroupParameters, request.query_params)
    whole = _question(asked, now_ms, await _filters(store, tenant, asked), WHOLE)
    by = [replace(whole, terms=TERMS, group_by=(name,)) for name in ("model", "user")]
    body, meta, covered = await _read(
        store, tenant, asked, [whole, *by], lambda *rows: to_json(summary_of(*rows))
    )
    return _answer(body, meta, covered)


async def models(request: Request, store: Store, key_cache: KeyCache, clock: Clock) -> Response:
    """`GET /models`: messages by model, with how many users and chats had it."""
    now_ms, tenant = await _allowed(request, key_cache, clock)
    asked = parse(GroupParameters, request.query_params)
    filters = await _filters(store, tenant, asked)
    by_model = _question(asked, now_ms, filters, WHOLE, ("model",))
    by_user = replace(by_model, terms=TERMS, group_by=("model", "user"))
    body, meta, covered = await _read(
        store, tenant, asked, [by_model, by_user], lambda *rows: to_json(models_of(*rows))
    )
    return _answer(body, meta, covered)


async def users(request: Request, store: Store, key_cache: KeyCache, clock: Clock) -> Response:
    """`GET /users`: users with the most messages or tokens."""
    now_ms, tenant = await _allowed(request, key_cache, clock)
    asked = parse(UsersParameters, request.query_params)
    filters = await _filters(store, tenant, asked)
    by_user = _question(asked, now_ms, filters, SPENT, ("user",))
    first = partial(top_users, metric=asked.metric, limit=asked.limit)
    top, meta, covered = await _read(store, tenant, asked, [by_user], first)
    keys = [row.group[0] for row in top]
    known = await people(store, tenant, keys)
    if len(top) > LISTED_WITH_MODELS_MAX:
        body = await store.shape(
            tenant, USER_COLUMNS * len(top), lambda: to_json(users_of(top, known))
        )
        return _answer(body, meta, covered, without_cost(top))
    # Again, of these users only, so that a user's sums and those of the models are of one instant.
    these = replace(by_user, filters=(*by_user.filters, Filter("user", frozenset(keys))))
    by_model = replace(these, terms=BY_MODEL, group_by=("user", "model"))

    def made(rows: Sequence[Row], models: Sequence[Row]) -> tuple[bytes, int]:
        shown = top_users(rows, asked.metric, asked.limit)
        return to_json(users_of(shown, known, models)), without_cost(shown)

    (body, unpriced), meta, covered = await _read(store, tenant, asked, [these, by_model], made)
    return _answer(body, meta, covered, unpriced)


async def tokens(request: Request, store: Store, key_cache: KeyCache, clock: Clock) -> Response:
    """`GET /tokens`: tokens by model."""
    now_ms, tenant = await _allowed(request, key_cache, clock)
    asked = parse(GroupParameters, request.query_params)
    filters = await _filters(store, tenant, asked)
    by_model = _question(asked, now_ms, filters, SPENT, ("model",))
    (body, unpriced), meta, covered = await _read(
        store,
        tenant,
        asked,
        [by_model],
        lambda rows: (to_json(tokens_of(rows)), without_cost(row for row in rows if row.group[0])),
    )
    return _answer(body, meta, covered, unpriced)


async def daily(request: Request, store: Store, key_cache: KeyCache, clock: Clock) -> Response:
    """`GET /daily`: messages or tokens by model and time, with the range before, if `compare` is set."""
    now_ms, tenant = await _allowed(request, key_cache, clock)
    asked = parse(DailyParameters, request.query_params)
    if asked.compare and not asked.is_bounded:
        raise BadRange(UNBOUNDED)
    filters = await _filters(store, tenant, asked)
    ranges, axes = [series_bounds(asked, now_ms)], [axis_of(asked, now_ms)]
    if asked.compare:
        moved_ms = before(asked.from_ms, asked.to_ms(now_ms), asked.zone)
        ranges.append(answered_range(*moved_ms, now_ms))
        axes.append(axis_before(*moved_ms, asked))
        if ranges[1][0] < ranges[1][1]:
            check_kept(asked, *ranges[1], now_ms)

    def plans_from(first_ms: int) -> list[Plan]:
        starts_ms = [first_ms, *(start_ms for start_ms, _ in ranges[1:])]
        return [
            plan(
                Question(
                    SPENT, start_ms, end_ms, now_ms, filters, ("model",), asked.step, asked.zone
                ),
                store.catalog,
            )
            for start_ms, (_, end_ms) in zip(starts_ms, ranges, strict=True)
        ]

    planned, reading = await _reading(store, tenant, asked, now_ms, ranges[0][0], plans_from)
    check_read(asked, planned, reading.plans[: len(planned)])

    def made() -> tuple[bytes, int]:
        sections = [
            series_of(sums.rows, axis, asked)
            for sums, axis in zip(reading.sums, axes, strict=False)
        ]
        body = to_json(dict(zip(("data", "previous"), sections, strict=False)))
        return body, without_cost(row for row in reading.sums[0].rows if row.group[0])

    cells = reading.cells + BUCKET_COLUMNS * sum(map(len, axes))
    body, unpriced = await store.shape(tenant, cells, made)
    return _answer(body, reading.meta, reading.plans[0], unpriced)


async def messages(request: Request, store: Store, key_cache: KeyCache, clock: Clock) -> Response:
    """`GET /messages`: the latest requests of one model or user, newest first, or of one chat, oldest
    first. For a chat all of them, whatever the other parameters are, as its server does."""
    now_ms, tenant = await _allowed(request, key_cache, clock)
    asked = parse(MessagesParameters, request.query_params)
    latest = await recent(store, tenant)
    start_ms, end_ms = asked.covered_ms(now_ms)
    field, wanted = next(
        (one for one in (("model", asked.model_id), ("user", asked.user_id)) if one[1]), ("", "")
    )
    if asked.chat_id:
        start_ms, end_ms = RangeParameters().covered_ms(now_ms)
        found = [call for call in latest.calls if call.chat_id == asked.chat_id]
    else:
        found = [
            call
            for call in reversed(latest.calls)
            if wanted and getattr(call, field) == wanted and start_ms <= call.at_ms < end_ms
        ][asked.skip : asked.skip + asked.limit]
    body = to_json([message_of(call) for call in found])
    return _sent(body, latest.meta, start_ms, end_ms)


async def model_chats(
    request: Request, store: Store, key_cache: KeyCache, clock: Clock
) -> Response:
    """`GET /models/{id}/chats`: the chats of a model, one page."""
    now_ms, tenant = await _allowed(request, key_cache, clock)
    asked = parse(ChatsParameters, request.query_params)
    start_ms, end_ms = asked.covered_ms(now_ms)
    reading = await store.state()
    last_ms = await used_by(store, tenant, request.path_params["model_id"], start_ms, end_ms)
    ids = newest_first(last_ms, is_reversed=asked.direction == "asc")
    if asked.order_by in ORDERS_OF_WORDS:
        every = list((await chats(store, tenant, ids, last_ms)).values())
        titled, named = await _words_of(store, tenant, every)
        page = by_words(every, asked.order_by, asked.direction, titled, named)
        page = page[asked.skip : asked.skip + asked.limit]
    else:
        wanted = ids[asked.skip : asked.skip + asked.limit]
        page = list((await chats(store, tenant, wanted, last_ms)).values())
        titled, named = await _words_of(store, tenant, page)
    body = {"chats": [chat_of(chat, titled, named) for chat in page], "total": len(ids)}
    return _sent(to_json(body), reading.meta, start_ms, end_ms)


async def _words_of(
    store: Store, tenant: str, some: Sequence[Chat]
) -> tuple[dict[str, str], dict[str, Person]]:
    """Titles by chat, and users by key, that the directory knows."""
    return (
        await titles(store, tenant, [chat.id for chat in some]),
        await people(store, tenant, {chat.user for chat in some if chat.user}),
    )


async def overview(request: Request, store: Store, key_cache: KeyCache, clock: Clock) -> Response:
    """`GET /models/{id}/overview`: ratings by day up to today, in UTC, and tags of its chats."""
    now_ms, tenant = await _allowed(request, key_cache, clock)
    asked = parse(OverviewParameters, request.query_params)
    model = request.path_params["model_id"]
    today_ms = floor_to(now_ms, DAY_MS)
    from_ms = today_ms - asked.days * DAY_MS if asked.days > 0 else 0
    one = Filter("model", frozenset((model,)))
    rated = Question(RATINGS, from_ms, today_ms + DAY_MS, now_ms, (one,), (), DAILY)
    planned = plan(rated, store.catalog)
    reading = await store.read(tenant, (planned,))
    (rows,) = reading.rows
    first_ms = from_ms if asked.days > 0 else min([row.at_ms for row in rows], default=None)
    last_ms = await used_by(store, tenant, model, 0, EVER_MS)
    tagged = await chats(store, tenant, last_ms, last_ms)

    def made() -> bytes:
        history = history_of(rows, first_ms, today_ms)
        return to_json({"history": history, "tags": tags_of(tagged.values())})

    days = 0 if first_ms is None else (today_ms - first_ms) // DAY_MS + 1
    cells = DAY_COLUMNS * days + len(tagged)
    return _answer(await store.shape(tenant, cells, made), reading.meta, planned)


# -- pieces ----------------------------------------------------------------------------------------


async def _allowed(request: Request, key_cache: KeyCache, clock: Clock) -> tuple[int, str]:
    """The current time in whole seconds, and the tenant, if the key has the role admin."""
    now_ms = clock()
    key = await authenticate(key_cache, request.headers, now_ms)
    check_role(key, "admin")
    return round_to_second(now_ms), tenant_of(key, request.headers)


async def _filters(store: Store, tenant: str, asked: GroupParameters) -> tuple[Filter, ...]:
    """Calls to language models, and only of the members of the group, if one is named."""
    if not asked.group_id:
        return (_LLM,)
    return _LLM, Filter("user", await members(store, tenant, asked.group_id))


def _question(
    asked: RangeParameters,
    now_ms: int,
    filters: tuple[Filter, ...],
    terms: tuple[Term, ...] = TERMS,
    group_by: tuple[str, ...] = (),
) -> Question:
    return Question(terms, *asked.covered_ms(now_ms), now_ms, filters, group_by)


async def _read(
    store: Store,
    tenant: str,
    asked: RangeParameters,
    questions: Sequence[Question],
    make: Callable[..., Shaped],
) -> tuple[Shaped, Meta, Plan]:
    """What `make` makes of the rows of each question, for the same range and from one read."""

    def plans_from(first_ms: int) -> tuple[Plan, ...]:
        return plans([replace(one, from_ms=first_ms) for one in questions], store.catalog)

    planned, reading = await _reading(
        store, tenant, asked, questions[0].now_ms, questions[0].from_ms, plans_from
    )
    sums = reading.sums[: len(planned)]
    made = await store.shape(tenant, reading.cells, lambda: make(*[one.rows for one in sums]))
    return made, reading.meta, reading.plans[0]


async def _reading(
    store: Store,
    tenant: str,
    asked: RangeParameters,
    now_ms: int,
    from_ms: int,
    plans_from: Callable[[int], Sequence[Plan]],
) -> tuple[Sequence[Plan], Reading]:
    """The plans from `from_ms`, or from the first event if no start is asked for; and their reading."""
    if not asked.start_date:
        return await read_from_first_event(
            store, tenant, now_ms, lambda first_ms: plans_from(max(from_ms, first_ms))
        )
    planned = plans_from(from_ms)
    return planned, await store.read(tenant, planned)


def _answer(body: bytes, meta: Meta, covered: Plan, unpriced: int | None = None) -> Response:
    """`unpriced`: of an answer that has costs, how many of its messages have none."""
    return _sent(body, meta, covered.start_ms, covered.end_ms, unpriced)


def _sent(
    body: bytes, meta: Meta, start_ms: int, end_ms: int, unpriced: int | None = None
) -> Response:
    headers = PRIVATE | state_headers(meta) | range_headers(start_ms, end_ms)
    if unpriced is not None:
        headers |= {WITHOUT_COST: str(unpriced)}
    return Response(body, 200, headers, media_type="application/json")
