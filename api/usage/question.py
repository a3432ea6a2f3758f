"""Questions of /v1/usage as they arrive: parsed, planned, and cached for a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

import msgspec
from starlette.datastructures import QueryParams

from api.errors import BadParameter, InvalidBody, NotAcceptable
from api.http.json_body import check_json
from api.http.parameters import RawParameters
from api.query.plan import Plan
from api.query.series_index import Filter
from api.query.time_range import AskedRange
from api.usage.parameters import parse
from api.usage.query import UsageQuery
from api.usage.render import accepted, media_types
from api.usage.sections import plans_of
from schemas.catalog.views import Catalog
from schemas.units import iso

PARSED_KEPT: Final = 1024
"""Parsed questions in the cache: a few kB each."""
PARSED_BYTES_MAX: Final = 4096
"""A longer question is parsed at every request."""


@dataclass(frozen=True, eq=False)
class ParsedQuestion:
    """A question with the range that it covers and its format. Equal questions have equal `text`."""

    query: UsageQuery
    plans: tuple[Plan, ...]
    text: str


def parse_question(
    content: bytes,
    accept: str,
    now_ms: int,
    catalog: Catalog,
    *,
    is_json: bool,
    only: tuple[Filter, ...] = (),
) -> ParsedQuestion:
    """`content`: a query string, or a JSON object. `only`: the filters that the key is bound to, which hold
    beside those of the question. Raises BadParameter, InvalidBody, NotAcceptable, UnanswerableQuestion."""
    is_short = len(content) + len(accept) <= PARSED_BYTES_MAX
    parse_now = _parsed if is_short else _parsed.__wrapped__
    return parse_now(content, accept, now_ms, catalog, is_json=is_json, only=only)


@lru_cache(maxsize=PARSED_KEPT)
def _parsed(
    content: bytes,
    accept: str,
    now_ms: int,
    catalog: Catalog,
    *,
    is_json: bool,
    only: tuple[Filter, ...],
) -> ParsedQuestion:
    raw = of_json(content) if is_json else of_query(QueryParams(content.decode("latin-1")))
    query = parse(raw, now_ms, catalog, splits=not is_json, only=only)
    form = query.format or accepted(accept)
    if form is None:
        raise NotAcceptable(
            "The Accept header allows none of the formats of this API. You can choose one with `format`.",
            media_types(),
        )
    plans = plans_of(query, now_ms, catalog)
    ranges = [AskedRange(one_.start_ms, one_.end_ms) for one_ in plans]
    covered = replace(query, from_ms=ranges[0].from_ms, to_ms=ranges[0].to_ms, format=form)
    if query.compared is not None:
        covered = replace(covered, compared=ranges[1])
    return ParsedQuestion(covered, plans, _canonical(covered))


def check_read(query: UsageQuery, asked: Sequence[Plan], read: Sequence[Plan]) -> None:
    """Raise BadParameter if the counters cannot answer the plans that were asked for: a rebuild had only
    days to copy, so they have no hours before some day (`Meta.hours_from_ms`)."""
    for wanted, found in zip(asked, read, strict=True):
        if found is wanted:
            continue
        if found.start_ms < wanted.start_ms:
            raise BadParameter(
                "from",
                f"At {iso(wanted.start_ms)} only days of UTC are stored: these counters were copied by"
                " a rebuild, without hours. The range contains no whole day. Use a longer range.",
            )
        if query.step is not None and found.split_days_end_ms:
            raise BadParameter(
                "granularity",
                f"Before {iso(found.split_days_end_ms)} only days of UTC are stored: these counters were"
                f" copied by a rebuild, without hours. Use a later `from`, or days of UTC.",
            )


def of_query(params: QueryParams) -> RawParameters:
    raw: dict[str, list[str]] = {}
    for name, text in params.multi_items():
        raw.setdefault(name, []).append(text)
    return raw


def of_json(body: bytes) -> RawParameters:
    """The members of the JSON object, as lists of texts."""
    check_json(body)
    try:
        content = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        detail = f"The body is not a JSON object: {error}."
        raise InvalidBody(400, "invalid-body", detail) from error
    return {
        name: [_text(name, one_) for one_ in (value if isinstance(value, list) else [value])]
        for name, value in content.items()
        if value is not None
    }


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str | int | float):
        return str(value)
    raise BadParameter(name, f"`{name}` must be a text, a number, a boolean, or a list of these.")


def _canonical(query: UsageQuery) -> str:
    """A text that is equal for equal questions, in every process."""
    plain = replace(query, filters=(), person_filters=(), measures=(), having=(), tenants=())
    return repr((plain, query.identity))
