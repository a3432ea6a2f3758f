"""`POST /v1/events`: sends the events of a body to Kafka. The answer comes after Kafka has them.

The content type says how to read the body. The format of its objects is detected, or named by
`?format=`. Other query parameters give fields that the objects lack (schemas/formats/context.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Final

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.auth.authenticate import TENANT_HEADER, authenticate, check_writer, share_of, tenant_of
from api.auth.key_cache import KeyCache
from api.errors import BadParameter, InvalidBody, RefusedEvents
from api.http.caller import CALLER
from api.ingest.backfill import Backfill, is_history
from api.ingest.body_reader import BodyReader
from api.ingest.id_quota import IdQuota
from api.ingest.producer import IngestProducer
from api.ingest.records import ValidatedRecords, answer_of, more, refusals_of, validate
from api.ingest.request_body import BodyBudget
from schemas.errors import InvalidEvent, Reason
from schemas.formats.body import load, load_lines
from schemas.formats.cloudevents import BinaryCloudEvent
from schemas.formats.context import GIVEN, Context, with_given
from schemas.formats.detect import FORMATS
from schemas.formats.parse import parse
from schemas.formats.structure import Poll, never
from schemas.formats.values import load_values
from schemas.store.keys import ALL, Key

IDEMPOTENCY_KEY_CHARS_MAX: Final = 200
"""With the position of an event appended, it still fits into an id."""

JSON_TYPES: Final = ("", "application/json", "text/json")
LINES_TYPES: Final = (
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
)
CLOUDEVENT: Final = "application/cloudevents+json"
CLOUDEVENTS: Final = "application/cloudevents-batch+json"
BOOLEANS: Final = {"": False, "false": False, "0": False, "true": True, "1": True}


def seeds_of(process: str) -> Iterator[str]:
    """A name for each request that has no Idempotency-Key. `process` must differ between processes."""
    return (f"{process}-{number:x}" for number in count())


@dataclass(frozen=True)
class IngestDeps:
    """What every path that takes events needs, one per process. Without `backfill`, history goes to
    Kafka as fast as Kafka accepts it."""

    key_cache: KeyCache
    clock: Callable[[], int]
    producer: IngestProducer
    seeds: Iterator[str]
    backfill: Backfill | None = None
    body_budget: BodyBudget = field(default_factory=BodyBudget)
    reader: BodyReader = field(default_factory=BodyReader)
    id_quota: IdQuota | None = None

    async def send(
        self,
        validated: ValidatedRecords,
        key: Key,
        headers: Mapping[str, str],
        received_ms: int,
        *,
        is_atomic: bool = False,
    ) -> ValidatedRecords:
        """Returns when Kafka has all records, less those of tenants that have used up their quota. History
        first waits for the workers.

        Raises QuotaUsedUp if no record is left, or if one is missing and the request is atomic. Then no
        record was sent.
        """
        if not validated.records:
            return _counted(validated)
        if self.id_quota is None:
            await self._send(validated, key, headers, received_ms)
            return _counted(validated)
        async with self.id_quota.taken(Counter(validated.tenants), is_atomic=is_atomic) as over:
            if over:
                validated = validated.without(over)
            await self._send(validated, key, headers, received_ms)
        return _counted(validated)

    async def _send(
        self, validated: ValidatedRecords, key: Key, headers: Mapping[str, str], received_ms: int
    ) -> None:
        try:
            if self.backfill is None or not is_history(headers, validated.newest_ms, received_ms):
                await self.producer.send(validated.records, share_of(key))
            else:
                await self.backfill.send(validated.records, share_of(key))
        finally:
            size_bytes = sum(len(value) for _key, value in validated.records)
            self.body_budget.memory.body_ended(size_bytes)


def _counted(validated: ValidatedRecords) -> ValidatedRecords:
    """Notes for the metrics what became of the objects of the request."""
    caller = CALLER.get()
    if caller is not None:
        caller.accepted = len(validated.records)
        caller.refused = len(validated.refused) + len(validated.over_quota)
        caller.skipped = len(validated.skipped)
    return validated


@dataclass(frozen=True)
class IngestOptions:
    """What the query string and the headers of a request say."""

    context: Context
    format: str | None
    is_atomic: bool
    is_named: bool


def routes(deps: IngestDeps) -> list[Route]:
    """The native path that takes events; `/v1/traces` is an application of its own."""
    return [Route("/v1/events", partial(events, deps=deps), methods=["POST"])]


async def events(request: Request, deps: IngestDeps) -> Response:
    """`POST /v1/events`: 202 with counts, and the field and reason of each rejected object."""
    headers = headers_of(request)
    key = await writer(headers, deps)
    options = parse_options(request, headers, key, deps)
    with await deps.body_budget.body(request.receive, headers, share_of(key)) as body:
        reading = partial(take, headers, body, options)
        try:
            validated = await deps.reader.read(len(body), share_of(key), request.receive, reading)
        except InvalidEvent as error:
            raise unreadable(error) from error
        finally:
            del body, reading  # a large body is not kept while Kafka answers
    if validated.refused and (options.is_atomic or not (validated.records or validated.skipped)):
        raise RefusedEvents(
            refusals_of(validated.refused),
            is_atomic=options.is_atomic,
            more=more(validated.refused),
        )
    validated = await deps.send(
        validated, key, headers, options.context.received_ms, is_atomic=options.is_atomic
    )
    answer = answer_of(validated, is_named=options.is_named)
    return Response(answer, 202, media_type="application/json")


def headers_of(request: Request) -> dict[str, str]:
    """The first value of each header, as a dict: a request looks up ten headers."""
    raw = reversed(request.scope["headers"])
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in raw}


async def writer(headers: Mapping[str, str], deps: IngestDeps) -> Key:
    """The key of the request. Raises RoleTooLow if it must not send events."""
    key = await authenticate(deps.key_cache, headers, deps.clock(), takes=True)
    check_writer(key)
    return key


# -- the query string and the headers --------------------------------------------------------------


def parse_options(
    request: Request, headers: Mapping[str, str], key: Key, deps: IngestDeps
) -> IngestOptions:
    """Raises BadParameter if the query or the Idempotency-Key is invalid."""
    given = _once_each(request.query_params) if request.scope["query_string"] else {}
    format = given.pop("format", "") or None  # noqa: A001
    if format is not None and format not in FORMATS:
        raise BadParameter(
            "format", f"Parameter `format` must be one of {', '.join(FORMATS)}.", FORMATS
        )
    is_atomic = BOOLEANS.get(given.pop("atomic", "").lower())
    if is_atomic is None:
        raise BadParameter("atomic", "Parameter `atomic` must be true or false.", ("true", "false"))
    seed = _idempotency_key(headers)
    return IngestOptions(
        context_of(key, headers, given, deps, seed),
        format,
        is_atomic=is_atomic,
        is_named=bool(seed),
    )


def context_of(
    key: Key,
    headers: Mapping[str, str],
    given: Mapping[str, str],
    deps: IngestDeps,
    seed: str = "",
) -> Context:
    """The fields that the query gives, and the tenant: the one that the request names, or the only
    one of the key. If there is neither, each event must name a tenant of the key."""
    named = given.get("tenant") or None
    now_ms, seed = deps.clock(), seed or next(deps.seeds)
    if named is not None or TENANT_HEADER in headers or _has_one_tenant(key):
        context = Context(now_ms, seed, tenant=tenant_of(key, headers, named))
    else:
        context = Context(now_ms, seed, writes=key.sees)
    try:
        return with_given(context, given) if given else context
    except InvalidEvent as error:
        allowed = ("format", "atomic", *GIVEN)
        raise BadParameter(error.field, f"{error.field}: {error.detail}.", allowed) from error


def _has_one_tenant(key: Key) -> bool:
    return key.tenants != ALL and len(key.tenants) == 1


def _once_each(params: QueryParams) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, text in params.multi_items():
        if name in given:
            raise BadParameter(name, f"Parameter `{name}` is given more than once.")
        given[name] = text
    return given


def _idempotency_key(headers: Mapping[str, str]) -> str:
    seed = headers.get("idempotency-key", "").strip().strip('"')
    if len(seed) > IDEMPOTENCY_KEY_CHARS_MAX or not (seed.isascii() and seed.isprintable()):
        raise BadParameter(
            "idempotency-key",
            f"Idempotency-Key must have at most {IDEMPOTENCY_KEY_CHARS_MAX} printable ASCII characters.",
        )
    return seed


# -- the body -------------------------------------------------------------------------------------


def take(
    headers: Mapping[str, str], body: bytes, options: IngestOptions, poll: Poll = never
) -> ValidatedRecords:
    """Raises InvalidBody for an unknown content type, InvalidEvent if the body cannot be parsed."""
    content, format = _decoded(headers, body, options.format, poll)  # noqa: A001
    return validate(parse(content, format, options.context, poll), options.context.received_ms)


def _decoded(
    headers: Mapping[str, str], body: bytes, named: str | None, poll: Poll
) -> tuple[object, str | None]:
    media_type = media_type_of(headers)
    if media_type in {
        CLOUDEVENT,
        CLOUDEVENTS,
    }:  # the name of the batch type begins with the other's
        content = load(body, poll)
        if isinstance(content, list) != (media_type == CLOUDEVENTS):
            raise InvalidEvent(
                Reason.UNSUPPORTED_CLOUDEVENT,
                "a batch is an array of events, a structured one is an object: as content-type says",
            )
        return content, _cloudevents(named)
    if "ce-specversion" in headers or "ce-id" in headers:
        return BinaryCloudEvent([*headers.items()], body), _cloudevents(named)
    if media_type in LINES_TYPES:
        return load_lines(body, poll), named
    if media_type in JSON_TYPES:
        return load_values(body, poll), named
    known = ", ".join((*JSON_TYPES[1:], *LINES_TYPES, CLOUDEVENT, CLOUDEVENTS))
    raise InvalidBody(
        415, "unsupported-media-type", f"The content-type is not supported. Send one of {known}."
    )


def _cloudevents(named: str | None) -> str:
    if named not in {None, "cloudevents"}:
        raise InvalidEvent(
            Reason.INVALID_FIELD, f"is {named}, but the request is of CloudEvents", "format"
        )
    return "cloudevents"


def media_type_of(headers: Mapping[str, str]) -> str:
    """In lower case, without parameters. Raises InvalidBody if its charset is not UTF-8."""
    media_type, _, parameters = headers.get("content-type", "").lower().partition(";")
    charset = parameters.partition("charset=")[2].partition(";")[0].strip(' "')
    if charset not in {"", "utf-8", "utf8", "us-ascii"}:
        raise InvalidBody(415, "unsupported-media-type", "The charset of the body must be UTF-8.")
    return media_type.strip()


def unreadable(error: InvalidEvent) -> InvalidBody:
    """The error for a body that cannot be parsed at all."""
    if error.reason is Reason.TOO_LARGE:
        return InvalidBody(413, "too-large", f"{error}.")
    return InvalidBody(400, "invalid-body", f"{error}.")
