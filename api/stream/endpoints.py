"""`GET /v1/stream`: a snapshot, then what changes, as server-sent events.

A stream ends when its key ends: authentication is repeated every second, from the same headers. It does
not count as a request. A slow reader gets the newest state when it has read what was sent before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Final
from urllib.parse import urlencode

from sse_starlette.sse import EventSourceResponse
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from api.auth.authenticate import filters_of, reader, share_of
from api.auth.key_cache import KeyCache
from api.errors import BadParameter, RateLimited
from api.http.parameters import check_names
from api.http.singleflight import round_to_second
from api.query.series_index import Filter
from api.store.reader import Store
from api.stream.feed import Feed, PushedQuestion, event
from api.stream.feeds import Feeds
from api.usage.groups.owners import named_tenants, turn_of
from api.usage.query import UsageQuery
from api.usage.question import of_query, parse_question
from schemas.catalog.views import Catalog
from schemas.errors import OdometerError, StoreError
from schemas.store.keys import Key

Clock = Callable[[], int]
Tenants = list[tuple[str, ...] | None]
"""Those of each question; None: all that have counters."""

QUESTIONS_MAX: Final = 16
"""Questions of one stream: the tiles, charts and tables of one page."""
RETRY_MS: Final = 2000
"""When a browser connects again. A restart of the API takes a second."""
STREAM_PARAMETERS: Final = ("question", "tenant")
"""Of a stream with several questions; one with a single question has the parameters of /v1/usage."""


def routes(store: Store, key_cache: KeyCache, clock: Clock, feeds: Feeds) -> list[Route]:
    endpoint = partial(stream, store=store, key_cache=key_cache, clock=clock, feeds=feeds)
    return [Route("/v1/stream", endpoint, methods=["GET"])]


async def stream(
    request: Request, store: Store, key_cache: KeyCache, clock: Clock, feeds: Feeds
) -> Response:
    now_ms = clock()
    key = await reader(key_cache, request.headers, now_ms, filters=True)
    only = filters_of(key)
    begin = partial(key_cache.arrivals.begin, share_of(key))
    asked = await _questions(request, store.catalog, round_to_second(now_ms), begin, only)
    named = partial(_named, queries=[query for _, query in asked], headers=request.headers)
    tenants = named(key)
    turn = turn_of(key, tenants)
    questions = [
        PushedQuestion(text, names) for (text, _), names in zip(asked, tenants, strict=True)
    ]
    async with AsyncExitStack() as stack:
        stack.enter_context(feeds.place(key.id, turn))
        feed = await stack.enter_async_context(feeds.feed(turn, questions, only))
        ended = partial(_ended, key, named, request.headers, key_cache, clock)
        sent = events(feed, _seen(request.headers, feed), ended)
        return UsageStream(sent, stack.pop_all())


class UsageStream(EventSourceResponse):
    """Gives its place back when it ends, however that happens."""

    def __init__(self, content: AsyncIterator[bytes], stack: AsyncExitStack) -> None:
        super().__init__(content, ping=0, sep="\n")  # `state` is the heartbeat
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._stack:
            await super().__call__(scope, receive, send)


async def events(
    feed: Feed, version: int, ended: Callable[[], Awaitable[str]]
) -> AsyncIterator[bytes]:
    """The events of one stream that has `version`. Ends when the feed is over or `ended` says why."""
    beat = feed.beat
    yield b"retry: %d\n" % RETRY_MS
    if version == feed.version:
        yield feed.state()
    while feed.over is None:
        newest = feed.version
        if version != newest:
            changes, version = await _changes(feed, version)
            if changes:
                yield changes
        await feed.wait(max(version, newest), beat)
        if feed.over is None and feed.beat != beat:
            beat = feed.beat
            if reason := await ended():
                yield event("end", {"reason": reason})
                return
            yield feed.state()
    yield event("end", {"reason": f"{feed.over}"})


async def _changes(feed: Feed, version: int) -> tuple[bytes, int]:
    """As of the feed; nothing if the process is too busy to write them: the next beat comes soon."""
    try:
        return await feed.changes(version)
    except (RateLimited, StoreError):
        return b"", version


async def _ended(
    key: Key,
    named: Callable[[Key], Tenants],
    headers: Mapping[str, str],
    key_cache: KeyCache,
    clock: Clock,
) -> str:
    """Why the stream of this key ends; "" if it goes on."""
    now_ms = clock()
    if key.state(now_ms) != "active":  # known without Redis
        return "the API key's time is over"
    try:
        record = await reader(key_cache, headers, now_ms, counts=False, filters=True)
        if record.tenants != key.tenants and named(record) != named(key):
            return "the tenants of the API key have changed"
        if filters_of(record) != filters_of(key):
            return "the filters of the API key have changed"
    except StoreError:
        return ""  # its counters cannot be read either
    except OdometerError as error:
        return str(error)
    return ""


def _seen(headers: Mapping[str, str], feed: Feed) -> int:
    """The version that a client has that connects again; 0: none of this feed."""
    name, _, version = headers.get("last-event-id", "").partition(".")
    if name != feed.name or not (version.isascii() and version.isdigit() and len(version) < 16):
        return 0
    return int(version) if int(version) <= feed.version else 0


async def _questions(
    request: Request,
    catalog: Catalog,
    now_ms: int,
    begin: Callable[[], Awaitable[None]],
    only: tuple[Filter, ...],
) -> list[tuple[bytes, UsageQuery]]:
    """The query strings of the questions, each with its tenants, and the questions. Each but the first waits
    for its round (`begin`), as a request does. Raises BadParameter, and what a question raises."""
    raw = of_query(request.query_params)
    if "question" not in raw:
        content = request.scope["query_string"]
        return [(content, _parsed(content, now_ms, catalog, only))]
    check_names(raw, STREAM_PARAMETERS)
    texts = raw["question"]
    if len(texts) > QUESTIONS_MAX:
        raise BadParameter(
            "question",
            f"The stream has {len(texts)} questions, more than the limit of {QUESTIONS_MAX}"
            " (QUESTIONS_MAX).",
        )
    found: list[tuple[bytes, UsageQuery]] = []
    for number, text in enumerate(texts, 1):
        if number > 1:
            await begin()
        try:
            content = _with_tenants(text, raw.get("tenant", ()))
            found.append((content, _parsed(content, now_ms, catalog, only)))
        except BadParameter as error:
            detail = f"Question {number}: {error}"
            raise BadParameter(error.parameter, detail, error.allowed, error.nearest) from error
    return found


def _with_tenants(text: str, beside: Sequence[str]) -> bytes:
    """The query string with the tenants that are named `beside` all questions. Raises BadParameter."""
    if not beside:
        return text.encode()
    if "tenant" in QueryParams(text):
        raise BadParameter("tenant", "Name tenants beside the questions, or in each of them.")
    return f"{text}&{urlencode([('tenant', name) for name in beside])}".encode()


def _parsed(content: bytes, now_ms: int, catalog: Catalog, only: tuple[Filter, ...]) -> UsageQuery:
    query = parse_question(content, "", now_ms, catalog, is_json=False, only=only).query
    if query.format != "json":
        raise BadParameter("format", "A stream is JSON: leave `format` out.", ("json",))
    if query.cursor is not None:
        raise BadParameter(
            "cursor",
            "A stream has the first groups only, because the range of a cursor does not move: use a larger"
            " `limit`, or ask /v1/usage for the next groups.",
        )
    if query.is_wide:
        raise BadParameter(
            "layout",
            "A stream sends the rows that change, one for each group: use `long`, or ask /v1/usage.",
            ("long",),
        )
    return query


def _named(key: Key, queries: Sequence[UsageQuery], headers: Mapping[str, str]) -> Tenants:
    return [named_tenants(key, headers, query) for query in queries]
