"""Several questions, each of one or more tenants, that are answered from one atomic read: in one POST of
/v1/usage, or pushed by a stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import msgspec

from api.errors import BadParameter, InvalidBody
from api.http.json_body import check_json
from api.http.json_encoding import to_json
from api.query.plan import Owned
from api.query.series_index import Filter
from api.query.sums import Sums
from api.store.reader import Reading, Store
from api.usage.bodies import object_of, state_of
from api.usage.groups.owners import Owners, counted_tenants, owners_of
from api.usage.groups.people import PeopleCache
from api.usage.parameters import TENANTS_MAX
from api.usage.question import ParsedQuestion, check_read, parse_question
from api.usage.sections import Completeness, Section, cells_of, check_size, sections_of, states_of
from schemas.catalog.views import Catalog

QUESTIONS_MAX: Final = 16
"""Questions of one request: the panels of a dashboard. Together they have the limits of one question."""
QUESTIONS: Final = "questions"


@dataclass(frozen=True, eq=False)
class OwnedQuestion:
    """A question, the tenants that it is of, and the plan of each range for each of them."""

    parsed: ParsedQuestion
    owners: Owners
    owned: Sequence[Owned]

    @classmethod
    def of(cls, parsed: ParsedQuestion, owners: Owners) -> OwnedQuestion:
        return cls(parsed, owners, owners.owned(parsed.plans, parsed.query))

    def check(self, sums: Sequence[Sums]) -> None:
        """Raise BadParameter if the counters cannot answer all of what was asked for."""
        asked = [plan for _, plan in self.owned]
        check_read(self.parsed.query, asked, [each.selection.plan for each in sums])

    def states(self, sums: Sequence[Sums], through_ms: int) -> tuple[Completeness, ...]:
        """Of each range. All tenants have the same."""
        read = [each.selection.plan for each in sums[:: len(self.owners.owners)]]
        return states_of(self.parsed.query, read, through_ms)

    def sections(self, sums: Sequence[Sums], states: Sequence[Completeness]) -> list[Section]:
        return sections_of(self.parsed.query, sums, states, self.owners.owners)


async def read_together(
    store: Store, turn: str, asked: Sequence[OwnedQuestion]
) -> tuple[Reading, list[tuple[Sums, ...]]]:
    """One atomic read for all questions, and the sums of each in it. `turn`: whose turn it is."""
    reading = await store.read_of(turn, [owned for one in asked for owned in one.owned])
    sums = iter(reading.sums)
    return reading, [tuple(islice(sums, len(one.owned))) for one in asked]


async def owned_questions(
    store: Store,
    people: PeopleCache,
    turn: str,
    asked: Sequence[ParsedQuestion],
    named: Sequence[tuple[str, ...] | None],
) -> list[OwnedQuestion]:
    """The questions with their tenants, which `named_tenants` gave for each. Raises BadParameter if they have more
    tenants together than one question may have."""
    every = await counted_tenants(store, None) if None in named else ()
    of_each = [every if names is None else names for names in named]
    total = sum(map(len, of_each))
    if total > max(TENANTS_MAX, len(asked)):
        raise BadParameter(
            "tenant",
            f"The questions have {total} tenants together, more than the limit of {TENANTS_MAX}"
            " (TENANTS_MAX): name fewer, or ask fewer questions at once.",
        )
    return [
        OwnedQuestion.of(one, await owners_of(people, turn, tenants, one.query))
        for one, tenants in zip(asked, of_each, strict=True)
    ]


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
        tenant = content.get("tenant", msgspec.Raw(b"null"))
        named = msgspec.json.decode(tenant, type=str | list[str] | None)
    except msgspec.DecodeError as error:
        detail = f"`{QUESTIONS}` must be a list of objects, and `tenant` a text or a list of texts: {error}."
        raise InvalidBody(400, "invalid-body", detail) from error
    if not 1 <= len(listed) <= QUESTIONS_MAX:
        raise BadParameter(
            QUESTIONS,
            f"A request has 1 to {QUESTIONS_MAX} questions (QUESTIONS_MAX), not {len(listed)}.",
            (f"1 to {QUESTIONS_MAX}",),
        )
    if not named:
        return [bytes(one) for one in listed]
    return [_with_tenant(bytes(one), tenant) for one in listed]


def _with_tenant(question: bytes, tenant: msgspec.Raw) -> bytes:
    try:
        content = msgspec.json.decode(question, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return question
    if "tenant" in content:
        raise BadParameter("tenant", f"Name tenants beside `{QUESTIONS}`, or in each of them.")
    return msgspec.json.encode(content | {"tenant": tenant})


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
    return one


async def answer_several(
    store: Store, turn: str, asked: Sequence[OwnedQuestion]
) -> tuple[bytes, Reading]:
    """The body, and the one reading that all answers are of."""
    reading, of_each = await read_together(store, turn, asked)
    for number, (one, sums) in enumerate(zip(asked, of_each, strict=True)):
        try:
            one.check(sums)
        except BadParameter as error:
            raise _numbered(number, error) from error

    def made() -> bytes:
        answers: list[dict[str, Any]] = []
        rows = cells = 0
        for one, sums in zip(asked, of_each, strict=True):
            query = one.parsed.query
            states = one.states(sums, reading.meta.complete_through_ms)
            current, *before = one.sections(sums, states)
            rows += current.length
            cells += sum(each.length * len(each.columns) for each in (current, *before))
            check_size(rows, cells, "All answers together")  # before the next ones are made
            answers.append(object_of(query, current, before) | {"view": current.covered.view.name})
        return to_json({"answers": answers, **state_of(reading)})

    parts = zip(asked, of_each, strict=True)
    cells = sum(cells_of(one.parsed.query, sums) for one, sums in parts)
    return await store.shape(turn, cells, made), reading
