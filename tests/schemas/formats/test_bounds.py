"""What a hostile body builds is bounded by its bytes: judged by bytes and counts, never by a clock."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from schemas.errors import InvalidEvent, Reason
from schemas.event.event_struct import EventStruct
from schemas.event.usage_event import UsageEvent, parse_usage
from schemas.formats import body as body_module
from schemas.formats.body import BODY_BYTES_MAX, ITEMS_MAX, LINES_MAX, load, load_lines
from schemas.formats.complete import EVENT_FIELDS_MAX
from schemas.formats.objects import parse_with
from schemas.formats.structure import (
    COMMAS_MAX,
    CONTAINERS_MAX,
    MEMBERS_MAX,
    BodyTooLarge,
    check_structure,
)
from schemas.formats.vendors.anthropic import ITERATIONS_MAX
from schemas.limits import LABELS_MAX, TAGS_MAX
from tests.oracles.event_logs import event
from tests.schemas.formats.fixtures import CONTEXT, fixture, read

SENT_BYTES: int = BODY_BYTES_MAX // 2
"""Of a hostile body: every limit is exceeded by far."""
REFUSED_PEAK: int = 6 << 20
"""Of a body that is refused: pieces of it without escapes and texts, and its brackets."""
READ_PEAK: int = 400 << 20
"""Of a body that is read: 700,000 entries of 330 B, and as many arrays and objects."""


def peak_bytes(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refuse(body: bytes, reading: Callable[[bytes], object] = load) -> InvalidEvent:
    with pytest.raises(InvalidEvent) as caught:
        reading(body)
    return caught.value


def full(start: bytes, each: bytes, end: bytes) -> bytes:
    """As many of `each` as fit into `SENT_BYTES`."""
    return start + each * ((SENT_BYTES - len(start) - len(end)) // len(each)) + end


REFUSED: list[tuple[str, bytes]] = [
    ("zeros", full(b"[", b"0,", b"0]")),
    ("zeros in a field", full(b'{"x":[', b"0,", b"0]}")),
    ("texts", full(b"[", b'"",', b'""]')),
    ("the same name", full(b"{", b'"":0,', b'"":0}')),
    ("fractions", full(b"[", b".1,", b"1]")),
    ("objects", full(b"[", b"{},", b"{}]")),
    ("arrays", full(b"[", b"[],", b"[]]")),
    ("labels", full(b'{"labels":{', b'"a":"b",', b'"a":"b"}}')),
    ("escapes", full(b'["', b"\\\\", b'",' + b"0," * COMMAS_MAX + b"0]")),
]
BROKEN: list[tuple[str, bytes]] = [
    ("quotes", full(b"[[]" * 65, b'"', b"")),
    ("ends", full(b"[" * 65, b"]", b"")),
    ("ends of objects", full(b"[" * 65, b"}", b"")),
    ("levels", b"[" * CONTAINERS_MAX),
    ("levels that end", b"[" * CONTAINERS_MAX + b"]" * CONTAINERS_MAX),
]


@pytest.mark.parametrize("body", [pytest.param(body, id=name) for name, body in REFUSED])
def test_a_body_of_too_many_parts_is_refused_before_they_are_built(body: bytes) -> None:
    assert peak_bytes(lambda: refuse(body)) < REFUSED_PEAK
    assert refuse(body).reason is Reason.TOO_LARGE


@pytest.mark.parametrize("body", [pytest.param(body, id=name) for name, body in BROKEN])
def test_a_body_that_no_decoder_reads_is_refused_before(body: bytes) -> None:
    assert peak_bytes(lambda: refuse(body)) < REFUSED_PEAK
    assert refuse(body).reason is Reason.NOT_JSON


@pytest.mark.parametrize("shift", range(6))
def test_a_text_that_is_longer_than_a_piece_is_left_out(shift: int) -> None:
    """Escapes and quotes are at every place relative to the end of a piece."""
    for escape in (b"\\\\", b'\\"', b'\\\\\\"', b'\\",[{'):
        text = b"x" * shift + escape * (600_000 // len(escape))
        body = b'[["' + text + b'",{"' + text + b'":0}],0]'
        assert check_structure(body) == (3, 2)
        assert load(body) == json.loads(body)


@pytest.mark.parametrize("seed", range(20))
def test_the_structure_is_what_the_decoder_finds(seed: int) -> None:
    rng = random.Random(seed)
    texts = ["", "\\", '"', '\\"', "[{,]}", "\u2028", "x" * 100]
    items: list[Any] = []
    while len(items) < 3000:
        key, text = ("".join(rng.choices(texts, k=rng.randrange(9))) for _ in range(2))
        items.append(rng.choice([text, {key: text, key + "1": [text]}, [text, [], {}], 5]))
    body = json.dumps(items).encode()
    found = {"containers": 1, "commas": len(items) - 1}
    for item in items:
        if isinstance(item, dict):
            found["containers"] += 2
            found["commas"] += 1
        elif isinstance(item, list):
            found["containers"] += 3
            found["commas"] += 2
    assert check_structure(body, 0)._asdict() == found


def test_what_is_read_is_bounded() -> None:
    names = ",".join(f'"{n:x}":{n}.5' for n in range(COMMAS_MAX - 1))
    body = b"{" + names.encode() + b"}"
    assert len(body) < BODY_BYTES_MAX
    assert peak_bytes(lambda: refuse(body)) < READ_PEAK
    assert f"the limit is {MEMBERS_MAX}" in refuse(body).detail
    assert peak_bytes(lambda: load(b"[" + b"0," * COMMAS_MAX + b"0]")) < READ_PEAK


def test_bodies_at_the_limits_are_read() -> None:
    assert load(b"[" + b"0," * COMMAS_MAX + b"0]") == [0] * (COMMAS_MAX + 1)
    assert refuse(b"[" + b"0," * (COMMAS_MAX + 1) + b"0]").reason is Reason.TOO_LARGE
    members = {f"{n}": n for n in range(MEMBERS_MAX)}
    assert load(json.dumps(members).encode()) == members
    assert refuse(json.dumps({**members, "x": 1}).encode()).reason is Reason.TOO_LARGE
    prose = {"text": ", ".join(["[{word}]"] * COMMAS_MAX)}
    assert load(json.dumps(prose).encode()) == prose
    escaped = {"text": '\\",\\' * COMMAS_MAX}
    assert load(json.dumps(escaped).encode()) == escaped


@pytest.mark.parametrize("value", [0, "", [], {"a": [1, 2]}], ids=str)
def test_an_object_of_too_many_members_is_refused_before_it_is_built(
    value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decoder builds an object without letting other threads run."""
    many = {f"{n}": value for n in range(MEMBERS_MAX + 1)}
    whole = json.dumps({"id": "a", "more": [{"labels": many}, "x,{"]}).encode()
    batch = json.dumps([*({"a": 1, "b": 2},) * 9000, {"labels": many}]).encode()

    def build(*_: object) -> NoReturn:
        pytest.fail("the body was decoded")

    monkeypatch.setattr(body_module, "decoder_of", build)
    assert refuse(whole).reason is Reason.TOO_LARGE
    assert refuse(batch).reason is Reason.TOO_LARGE


def test_lines_share_the_limits_of_a_body() -> None:
    each = b"[" + b"0," * 700 + b"0]\n"
    assert len(load_lines(each * (COMMAS_MAX // 700))) == COMMAS_MAX // 700
    for line in (each, b"[" + b"[]," * 700 + b"[]]\n"):
        with pytest.raises(BodyTooLarge):
            load_lines(line * (COMMAS_MAX // 700 + 1))
    prose = json.dumps({"text": ",[{" * 500}).encode() + b"\n"
    assert len(load_lines(prose * 2000)) == 2000
    small = b"[" + b"0," * 30 + b"[]]\n"
    assert len(load_lines(small * LINES_MAX)) == LINES_MAX
    assert CONTAINERS_MAX <= COMMAS_MAX


def test_refusals_keep_nothing_of_what_they_refuse() -> None:
    lines = load_lines((b'{"text":"' + b"x" * 10_000 + b"\n") * 20)
    refused = [one.error for one in read([event(id=5)] * 20).refused]
    for error in [*lines, *refused]:
        assert isinstance(error, InvalidEvent)
        assert error.__traceback__ is None
        assert error.__cause__ is None


# -- one event -------------------------------------------------------------------------------------


def error_of(fields: dict[str, Any]) -> InvalidEvent:
    (refused,) = read({"format": "neutral", "payload": fields}).refused
    return refused.error


def test_an_event_of_many_fields_is_refused_before_it_is_read() -> None:
    validated: list[object] = []

    def validate(fields: dict[str, Any]) -> EventStruct | UsageEvent:
        validated.append(fields)
        return parse_usage(fields)

    unknown = {f"x{n}": n for n in range(EVENT_FIELDS_MAX - len(event()))}
    assert len(parse_with(validate, {**event(), **unknown}, "neutral", CONTEXT).events) == 1
    many = {**event(), **unknown, "more": 0}
    (refused,) = parse_with(validate, many, "neutral", CONTEXT).refused
    assert f"the limit is {EVENT_FIELDS_MAX}" in refused.error.detail
    assert len(validated) == 1


@pytest.mark.parametrize(
    ("name", "value", "limit"),
    [
        ("labels", {str(n): n for n in range(MEMBERS_MAX)}, LABELS_MAX),
        ("labels", [0] * 100_000, LABELS_MAX),
        ("tags", [0] * 100_000, TAGS_MAX),
        ("tags", {str(n): n for n in range(MEMBERS_MAX)}, TAGS_MAX),
    ],
)
def test_labels_and_tags_are_counted_before_they_are_read(
    name: str, value: Any, limit: int
) -> None:
    error = error_of({**event(), name: value})
    assert (error.field, error.reason) == (name, Reason.INVALID_FIELD)
    assert f"has {len(value)} items, the limit is {limit}" in error.detail
    fields = {**event(), name: value}
    assert peak_bytes(lambda: refuse(b"", lambda _: parse_usage(fields))) < 64 * 1024


@pytest.mark.parametrize("wrong", [-1, "", [], {}, True])
def test_an_event_that_is_wrong_everywhere_builds_few_errors(wrong: object) -> None:
    fields = dict.fromkeys(UsageEvent.model_fields, wrong)
    fields |= {"labels": {str(n): n for n in range(LABELS_MAX)}, "tags": [0] * TAGS_MAX}
    assert peak_bytes(lambda: refuse(b"", lambda _: parse_usage(fields))) < 48 * 1024


def test_the_first_wrong_field_of_many_is_named() -> None:
    for name in UsageEvent.model_fields:
        fields: dict[str, Any] = {**event(), "tags": [0] * TAGS_MAX, name: -1}
        fields["labels"] = {str(n): n for n in range(LABELS_MAX)}
        names = list(UsageEvent.model_fields)
        for later in names[names.index(name) + 1 :]:
            fields[later] = -1
        found = error_of(fields).field.partition(".")[0]
        assert found == (name if names.index(name) < names.index("tags") else "tags")


def test_one_object_makes_a_bounded_number_of_events() -> None:
    message = fixture("anthropic/beta_advisor")
    advisor = {"type": "advisor_message", "model": "m"}
    usage = {**message["usage"], "iterations": [advisor] * ITERATIONS_MAX}
    assert len(read({**message, "usage": usage}).events) == ITERATIONS_MAX + 1
    with pytest.raises(BodyTooLarge):
        read([{**message, "usage": usage}] * (ITEMS_MAX // ITERATIONS_MAX + 2))
    usage["iterations"] = [advisor] * (ITERATIONS_MAX + 1)
    assert read({**message, "usage": usage}).refused[0].error.field == "usage.iterations"


@pytest.mark.parametrize(
    "body",
    [
        {"events": [0] * (ITEMS_MAX + 1)},
        {"resourceSpans": [{}] * (ITEMS_MAX + 1)},
        {"resourceSpans": [{"scopeSpans": [{}] * (ITEMS_MAX // 2 + 1)}] * 2},
        {"resourceSpans": [{"scopeSpans": [{"spans": [{}] * (ITEMS_MAX // 2 + 1)}] * 2}]},
    ],
)
def test_objects_within_one_object_are_counted_before_they_are_built(body: Any) -> None:
    for sent in (body, [body, event()]):
        with pytest.raises(BodyTooLarge, match=f"more than {ITEMS_MAX}"):
            read(sent)
