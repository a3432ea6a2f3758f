"""Bytes to a body, a body to its format, a request's context to what an event lacks."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidEvent, Reason
from schemas.formats.body import BODY_BYTES_MAX, ITEMS_MAX, NUMBER_CHARS_MAX, load
from schemas.formats.context import with_given
from schemas.formats.detect import FORMATS
from schemas.formats.draft import IdSource
from schemas.formats.structure import CONTAINERS_MAX, DEPTH_MAX
from tests.schemas.formats.fixtures import CONTEXT, NAMES, fixture, only, read

CHAT: dict[str, Any] = {
    "object": "chat.completion",
    "id": "chatcmpl-1",
    "model": "gpt-4o",
    "usage": {"prompt_tokens": 10, "completion_tokens": 5},
}

# -- bytes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "UTF-8 JSON"),
        (b"\xff", "UTF-8 JSON"),
        (b"{", "UTF-8 JSON"),
        (b'{"a":NaN}', "NaN is not a JSON number"),
        (b'{"a":-Infinity}', "-Infinity is not a JSON number"),
        (b'{"a":{"b":1,"b":1}}', "the key 'b' is in one object twice"),
        (b'{"a":' + b"9" * 5000 + b"}", f"5000 characters, the limit is {NUMBER_CHARS_MAX}"),
        (b'{"a":' + b"9" * (NUMBER_CHARS_MAX + 1) + b"}", f"the limit is {NUMBER_CHARS_MAX}"),
        (b" " * 65_500 + b"9" * (NUMBER_CHARS_MAX + 1), f"the limit is {NUMBER_CHARS_MAX}"),
        (b'{"a":1.' + b"9" * NUMBER_CHARS_MAX + b"}", f"the limit is {NUMBER_CHARS_MAX}"),
        (b'{"a":1e99999999999999999999999}', "UTF-8 JSON"),
        (b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1), f"deeper than {DEPTH_MAX} levels"),
        (b"[" * (DEPTH_MAX + 1) + b"{}" + b"]" * (DEPTH_MAX + 1), "deeper than"),
        (b'{"a":' * (DEPTH_MAX + 1) + b"1" + b"}" * (DEPTH_MAX + 1), "deeper than"),
        (b'["\\\\", ' + b"[" * DEPTH_MAX + b"]" * DEPTH_MAX + b"]", "deeper than"),
        (b"[" * 10**5, f"deeper than {DEPTH_MAX} levels"),
        (b'{"a":' * 10**5, f"deeper than {DEPTH_MAX} levels"),
    ],
)
def test_what_is_no_unambiguous_json_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(InvalidEvent, match=r"^the body is") as caught:
        load(body)
    assert said in str(caught.value)
    assert caught.value.reason is Reason.NOT_JSON


def test_a_body_at_its_limits_is_read() -> None:
    deep = b"[" * DEPTH_MAX + b"]" * DEPTH_MAX
    assert load(deep) is not None
    quoted = rb'["\\\"[[[", "\\", "]"' + b", " + deep[1:-1] + b"]"
    assert isinstance(load(quoted), list)
    wide = b"[" + b",".join([b'"[[[{\\"{"'] * 1000 + [b"[]"] * 1000) + b"]"
    assert load(wide) == ['[[[{"{'] * 1000 + [[]] * 1000
    assert load(b"1." + b"1" * (NUMBER_CHARS_MAX - 2)) == Decimal("1." + "1" * 62)
    assert load(b"1" * NUMBER_CHARS_MAX) == int("1" * NUMBER_CHARS_MAX)
    assert load(b'["' + b"1" * 5000 + b'",1]') == ["1" * 5000, 1]


@given(st.lists(st.booleans(), max_size=2 * DEPTH_MAX))
def test_the_depth_is_counted_to_the_level(kinds: list[bool]) -> None:
    opening = b"".join(b'{"a":' if is_object else b"[" for is_object in kinds)
    closing = b"".join(b"}" if is_object else b"]" for is_object in reversed(kinds))
    body = opening + b"[1,[]]" + closing
    if len(kinds) + 2 <= DEPTH_MAX:
        load(body)
    else:
        with pytest.raises(InvalidEvent, match="deeper than 64 levels"):
            load(body)


def test_a_body_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(InvalidEvent) as caught:
        load(b" " * (BODY_BYTES_MAX + 1))
    assert caught.value.reason is Reason.TOO_LARGE


def test_arrays_and_objects_of_a_body_are_bounded() -> None:
    load(b"[" + b"{}," * (CONTAINERS_MAX - 2) + b"{}]")
    with pytest.raises(InvalidEvent, match="more than 700000 arrays and objects"):
        load(b"[" + b"[]," * (CONTAINERS_MAX - 1) + b"{}]")
    load(b'["' + b"{" * (CONTAINERS_MAX + 1) + b'"]')


def test_objects_of_a_body_are_bounded() -> None:
    many = [{**CHAT, "id": f"chatcmpl-B{number}"} for number in range(ITEMS_MAX)]
    assert len(read(many).events) == ITEMS_MAX
    for body in (
        [CHAT] * (ITEMS_MAX + 1),
        {"events": [{"eventType": "x"}] * (ITEMS_MAX + 1)},
    ):
        with pytest.raises(InvalidEvent, match="more than 10000 objects"):
            read(body)


@pytest.mark.parametrize("name", ["1e999999999", "-1e999999999", "1e-999999999"])
def test_numbers_out_of_all_measure_cost_nothing(name: str) -> None:
    huge = load(b'{"a":%s}' % name.encode())
    assert isinstance(huge, dict)
    for field in ("timestamp", "duration", "ttft", "prompt_tokens"):
        parsed = read({**fixture("livekit/llm"), field: huge["a"]})
        assert len(parsed.events) + len(parsed.refused) == 1


# -- formats ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_format_is_told_from_the_body(name: str) -> None:
    parsed = read(fixture(name))
    told = {event.format for event in parsed.events} | {one.format for one in parsed.skipped}
    vendor = {"helicone": "openai"}  # a log has the answer of a vendor
    library = name.partition("/")[0]
    assert told == {vendor.get(library, library)} or parsed.refused


def refusal(body: object, format: str | None = None) -> InvalidEvent:  # noqa: A002
    parsed = read(body, format)
    assert not parsed.events
    return parsed.refused[0].error


def test_an_ambiguous_body_names_the_formats() -> None:
    body = {"model": "m", "usage": {"input_tokens": 1, "output_tokens": 2}}
    error = refusal(body)
    assert error.field == "format"
    assert "openai or anthropic" in error.detail
    assert only(read(body, "openai"))["provider"] == "openai"
    assert only(read(body, "anthropic"))["provider"] == "anthropic"


def test_a_bare_usage_is_told_by_what_only_one_has() -> None:
    cached = {"usage": {"input_tokens": 1, "cache_read_input_tokens": 2}}
    assert only(read(cached))["input_tokens"] == 3
    assert only(read({"usage": {"prompt_tokens": 4}}))["provider"] == "openai"


@pytest.mark.parametrize("body", [{}, {"a": 1}, {"usage": {}}, {"type": "message_of_ours"}])
def test_an_unknown_body_names_all_formats(body: object) -> None:
    assert all(name in refusal(body).detail for name in FORMATS)


def test_a_format_that_we_do_not_have_is_refused() -> None:
    with pytest.raises(InvalidEvent, match=r"^format: must be one of openai"):
        read(CHAT, "replicate")
    assert refusal({"format": ["openai"], "payload": CHAT}).field == "format"


@pytest.mark.parametrize("body", [None, 1, "x", [1], [[CHAT]]])
def test_what_is_no_object_is_refused(body: object) -> None:
    assert refusal(body).detail == "must be an object"


def test_each_object_of_an_array_has_its_own_format_and_refusal() -> None:
    parsed = read([CHAT, {}, fixture("livekit/eou"), fixture("anthropic/message"), 5])
    assert [(event.index, event.format) for event in parsed.events] == [
        (0, "openai"),
        (3, "anthropic"),
    ]
    assert [skipped.index for skipped in parsed.skipped] == [2]
    assert [refused.index for refused in parsed.refused] == [1, 4]


# -- context ---------------------------------------------------------------------------------------


def test_an_envelope_says_what_the_object_lacks() -> None:
    context = {"agent_id": "a", "latency_ms": 850, "call_id": "c", "id": "evt-1"}
    fields = only(read({"format": "openai", "context": context, "payload": CHAT}))
    assert {name: fields[name] for name in context} == context


def test_what_the_object_says_is_not_overwritten() -> None:
    context = {"model": "other", "time": "2026-01-01T00:00:00Z", "latency_ms": "1"}
    fields = only(read(fixture("litellm/chat"), None, with_given(CONTEXT, context)))
    assert (fields["model"], fields["latency_ms"]) == ("gpt-4o", 850)
    assert fields["time"] == "2026-02-08T10:00:01.100Z"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"agent": "a"}, "context.agent"),
        ({"latency_ms": "fast"}, "context.latency_ms"),
        ({"latency_ms": True}, "context.latency_ms"),
        ({"latency_ms": -1}, "latency_ms"),
        ({"agent_id": 5}, "context.agent_id"),
        ({"received_ms": 5}, "context.received_ms"),
        ({"agent_id": "x" * 257}, "agent_id"),
    ],
)
def test_a_wrong_context_is_refused(given: dict[str, Any], field: str) -> None:
    assert refusal({"context": given, "payload": CHAT}).field == field


def test_nobody_writes_to_another_tenant() -> None:
    context = replace(CONTEXT, tenant="acme")
    assert only(read(CHAT, None, context))["tenant"] == "acme"
    event = {"id": "e", "source": "s", "time": "2026-02-08T10:00:00Z", "kind": "llm"}
    assert only(read(event, None, context))["tenant"] == "acme"
    for body in ({**event, "tenant": "b"}, {"context": {"tenant": "b"}, "payload": CHAT}):
        (refused,) = read(body, None, context).refused
        assert refused.error.field.endswith("tenant")


def test_ids_are_the_events_own_the_requests_the_answers_or_seeded() -> None:
    named = replace(CONTEXT, id="evt-1")
    span, answer, metrics = (
        fixture("litellm/chat"),
        CHAT,
        fixture("livekit/llm"),
    )

    def identity(body: object, context: Any = CONTEXT) -> tuple[IdSource, str]:
        (event,) = read(body, None, context).events
        return event.id_source, event.fields["id"]

    assert identity(span, named) == (IdSource.EVENT, "chatcmpl-123")
    assert identity(answer, named) == (IdSource.CONTEXT, "evt-1")
    assert identity(answer) == (IdSource.RESPONSE, "chatcmpl-1/10/5")
    assert identity(metrics) == (IdSource.SEED, "seed-0")
    several = read([metrics, metrics], None, named)
    assert [event.fields["id"] for event in several.events] == ["evt-1-0", "evt-1-1"]


def test_events_of_one_answer_have_their_own_ids_and_share_one_latency() -> None:
    named = replace(CONTEXT, id="evt-1", latency_ms=900, agent_id="a")
    first, second = read(fixture("anthropic/beta_advisor"), None, named).events
    assert (first.fields["id"], second.fields["id"]) == ("evt-1", "evt-1-0-1")
    assert first.fields["latency_ms"] == 900
    assert "latency_ms" not in second.fields
    assert second.fields["agent_id"] == "a"


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "asked", "expected"),
    [
        ("gpt-4o", None, ("openai", "gpt-4o")),
        ("claude-sonnet-4-5", None, ("anthropic", "claude-sonnet-4-5")),
        ("llama3.2", None, (None, "llama3.2")),
        ("llama3.2", "http://localhost:11434/v1", ("ollama", "llama3.2")),
        ("models/gemini-2.5-flash", None, ("google", "gemini-2.5-flash")),
        (
            "anthropic/claude-sonnet-4.5",
            "openrouter",
            ("openrouter", "anthropic/claude-sonnet-4.5"),
        ),
    ],
)
def test_an_answer_of_openais_shape_has_the_provider_that_bills(
    model: str, asked: str | None, expected: tuple[str | None, str]
) -> None:
    answer = {"object": "chat.completion", "model": model, "usage": {"prompt_tokens": 1}}
    (event,) = read(answer, None, replace(CONTEXT, provider=asked)).events
    assert (event.usage.provider, event.usage.model) == expected


def test_a_request_gives_what_decides_the_price() -> None:
    texts = {"operation": "chat", "service_tier": "flex", "speed": "fast", "region": "us"}
    numbers = {"cache_write_1h_tokens": 5, "output_image_tokens": 6, "images": 1, "web_searches": 2}
    given = with_given(CONTEXT, {**texts, **{name: str(n) for name, n in numbers.items()}})
    first, second = read(fixture("anthropic/beta_advisor"), None, given).events
    assert first.fields.items() >= {**texts, **numbers}.items()
    assert second.fields.items() >= texts.items()
    assert not second.fields.keys() & numbers.keys()  # of two events, one has the numbers
    exact = with_given(CONTEXT, {"cost_usd": Decimal("0.10")}, "context.")
    (event,) = read({"object": "response", "usage": {"input_tokens": 1}}, None, exact).events
    assert event.fields["cost_usd"] == "0.10"


@pytest.mark.parametrize(
    ("name", "value"),
    [("images", "-1"), ("web_searches", 1.5), ("cost_usd", True), ("pages", True)],
)
def test_a_request_gives_no_other_numbers(name: str, value: object) -> None:
    with pytest.raises(InvalidEvent) as refused:
        with_given(CONTEXT, {name: value}, "context.")
    assert refused.value.field == f"context.{name}"
