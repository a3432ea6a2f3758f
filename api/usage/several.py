"""Several questions in one POST of /v1/usage, answered from one atomic read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Final

import msgspec

from api.errors import BadParameter, InvalidBody
from api.http.json_body import check_json
from api.http.json_encoding import to_json
from api.query.series_index import Filter
from api.query.sums import Sums
from api.store.reader import Reading, Store
from api.usage.bodies import object_of, state_of
from api.usage.groups.owners import Owner
from api.usage.groups.people import PeopleCache, plans_with
from api.usage.question import ParsedQuestion, check_read, parse_question
from api.usage.sections import cells_of, check_size, sections_of, states_of
from schemas.catalog.views import Catalog

QUESTIONS_MAX: Final = 16
"""Questions of one request: the panels of a dashboard. Together they have the limits of one question."""
QUESTIONS: Final = "questions"


def questions_in(body: bytes) -> Sequence[bytes] | None:
    """The questions of a body `{"questions": [{...}, ...]}`, each as JSON. None if it is one question."""
    check_json(body)
    try:
        content = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return None  # the parser of one question says what is wrong
    if QUESTIONS not in content:
        return None
    others = [name for name in content if name not in {QUESTIONS, "tenant"}]
    if others:
        raise BadParameter(others[0], f"Put `{others[0]}` into each of the `{QUESTIONS}`.")
    try:
        listed = msgspec.json.decode(content[QUESTIONS], type=list[msgspec.Raw])
        tenant = msgspec.json.decode(content.get("tenant", msgspec.Raw(b"null")), type=str | None)
    except msgspec.DecodeError as error:
        detail = f"`{QUESTIONS}` must be a list of objects, and `tenant` a text: {error}."
        raise InvalidBody(400, "invalid-body", detail) from error
    if not 1 <= len(listed) <= QUESTIONS_MAX:
        raise BadParameter(
            QUESTIONS,
            f"A request has 1 to {QUESTIONS_MAX} questions (QUESTIONS_MAX), not {len(listed)}.",
            (f"1 to {QUESTIONS_MAX}",),
        )
    if tenant is None:
        return [bytes(one) for one in listed]
    return [_with_tenant(bytes(one), tenant) for one in listed]


def _with_tenant(question: bytes, tenant: str) -> bytes:
    try:
        content = msgspec.json.decode(question, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return question
    if "tenant" in content:
        raise BadParameter("tenant", f"Name the tenant once, beside `{QUESTIONS}`.")
    return msgspec.json.encode(content | {"tenant": msgspec.Raw(msgspec.json.encode(tenant))})


async def parse_questions(
    texts: Sequence[bytes],
    accept: str,
    now_ms: int,
    catalog: Catalog,
    only: tuple[Filter, ...],
    begin: Callable[[], Awaitable[None]],
) -> list[ParsedQuestion]:
    """`only`: the filters that the key is bound to. Each question but the first waits for its round
    (`begin`), as a request does. Raises BadParameter with the number of the question, from 0, before the
    parameter's name."""
    parsed: list[ParsedQuestion] = []
    for number, text in enumerate(texts):
        if number:
            await begin()
        try:
            parsed.append(_parsed(text, accept, now_ms, catalog, only))
        except BadParameter as error:
            raise _numbered(number, error) from error
    tenants = {one.query.tenant for one in parsed}
    if len(tenants) > 1:
        raise BadParameter("tenant", "All questions of a request must be of one tenant.")
    return parsed


def _numbered(number: int, error: BadParameter) -> BadParameter:
    parameter = f"{QUESTIONS}[{number}].{error.parameter}"
    return BadParameter(parameter, f"Question {number}: {error}", error.allowed, error.nearest)


def _parsed(
    text: bytes, accept: str, now_ms: int, catalog: Catalog, only: tuple[Filter, ...]
) -> ParsedQuestion:
    one = parse_question(text, accept, now_ms, catalog, is_json=True, only=only)
    if one.query.format != "json":
        raise BadParameter("format", "Several questions are answered in JSON only.", ("json",))
    if one.query.has_tenants:
        raise BadParameter("tenant", "Questions about several tenants are asked one by one.")
    return one


async def read_together(
    store: Store, tenant: str, parsed: Sequence[ParsedQuestion]
) -> tuple[Reading, list[tuple[Sums, ...]]]:
    """One atomic read for all questions, and the sums of each in it."""
    reading = await store.read(tenant, [plan for one in parsed for plan in one.plans])
    sums = iter(reading.sums)
    return reading, [tuple(islice(sums, len(one.plans))) for one in parsed]


async def answer_several(
    store: Store, directories: PeopleCache, tenant: str, asked: Sequence[ParsedQuestion]
) -> tuple[bytes, Reading]:
    """The body, and the one reading that all answers are of."""
    people = [await directories.of(tenant, one.query) for one in asked]
    parsed = [
        replace(one, plans=plans_with(one.plans, one.query, known))
        for one, known in zip(asked, people, strict=True)
    ]
    reading, of_each = await read_together(store, tenant, parsed)
    parts = []
    for number, (one, sums) in enumerate(zip(parsed, of_each, strict=True)):
        read = [each.selection.plan for each in sums]
        try:
            check_read(one.query, one.plans, read)
        except BadParameter as error:
            raise _numbered(number, error) from error
        states = states_of(one.query, read, reading.meta.complete_through_ms)
        parts.append((one, sums, states))

    def made() -> bytes:
        answers: list[dict[str, Any]] = []
        rows = cells = 0
        for (one, sums, states), known in zip(parts, people, strict=True):
            current, *before = sections_of(one.query, sums, states, [Owner(tenant, known)])
            rows += current.length
            cells += sum(each.length * len(each.columns) for each in (current, *before))
            check_size(rows, cells, "All answers together")  # before the next ones are made
            answers.append(object_of(one.query, current, before) | {"view": one.plans[0].view.name})
        return to_json({"answers": answers, **state_of(reading)})

    cells = sum(cells_of(one.query, sums) for one, sums, _ in parts)
    return await store.shape(tenant, cells, made), reading
