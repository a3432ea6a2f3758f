"""The contract with producers is frozen, and the fold's quick reading accepts nothing else."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.errors import InvalidEvent, Reason
from schemas.event import usage_event as contract
from schemas.event.event_struct import EventStruct
from schemas.event.usage_event import UsageEvent, json_schema, parse_record, parse_usage
from schemas.limits import COST_NANO_USD_MAX, EVENT_BYTES_MAX
from schemas.units import instant_to_ms, iso, seconds_to_ms, usd_to_nano
from streams.core.decode import decode
from tests.oracles.event_logs import NOW_MS, encode, event, events, record
from tests.simulation.log import PolledRecord

FROZEN = Path(contract.__file__).parent / "event.schema.json"


def test_the_json_schema_is_the_frozen_one() -> None:
    """New meaning is a new version. To add an optional field: write the file anew and say why."""
    assert json.loads(FROZEN.read_text()) == json_schema()


def test_the_quick_reading_has_the_fields_of_the_contract() -> None:
    assert EventStruct.__struct_fields__ == tuple(UsageEvent.model_fields)


def read_both(value: bytes) -> tuple[object, object]:
    """What the full model and the quick reading make of a record: an event, or a reason."""
    answers: list[object] = []
    for read in (read_fully, decode_plain):
        try:
            answers.append(read(value))
        except InvalidEvent as invalid:
            answers.append((invalid.reason, invalid.field))
    return answers[0], answers[1]


def read_fully(value: bytes) -> UsageEvent:
    return parse_record(value, (), NOW_MS)[0]


def decode_plain(value: bytes) -> UsageEvent:
    (wire,) = decode(PolledRecord(0, NOW_MS, value, ())).wires
    given = {name: getattr(wire, name) for name in EventStruct.__struct_fields__}
    return UsageEvent.model_construct(**given)


@given(events())
def test_valid_events_read_alike(fields: dict[str, Any]) -> None:
    full, quick = read_both(encode(fields))
    assert full == quick


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=400),
    st.lists(st.text(max_size=3), max_size=40),
    st.dictionaries(st.text(max_size=70), st.text(max_size=3), max_size=18),
    st.sampled_from(["2026-02-08T10:00:00Z", "2026-02-08", "1_0", " 1", "NaN", "1e400", "-0", "٣"]),
)


@given(st.sampled_from(sorted(UsageEvent.model_fields)), VALUES)
@example("rating", 1.0)
@example("rating", -1.0)
@example("rating", True)
@example("input_tokens", 5.0)
@example("input_tokens", True)
def test_any_value_in_any_field_reads_alike(name: str, value: object) -> None:
    full, quick = read_both(json.dumps(event(**{name: value})).encode())
    if isinstance(quick, tuple) and quick[0] in {Reason.TOO_OLD, Reason.TOO_FAR_AHEAD}:
        return  # only the fold knows the record's append time
    assert full == quick


@pytest.mark.parametrize("value", ["1.0", "1e0", "true", '"1"'])
def test_a_rating_is_a_whole_number(value: str) -> None:
    """What the API takes, a worker counts: both refuse what only compares equal to 1."""
    with pytest.raises(InvalidEvent, match=r"rating: must be 1 or -1, a whole number"):
        parse_usage(event(rating=json.loads(value, parse_float=Decimal)))


@given(st.binary(max_size=60))
def test_any_bytes_are_an_event_or_an_invalid_event(value: bytes) -> None:
    full, quick = read_both(value)
    assert full == quick


@pytest.mark.parametrize(
    "value",
    [
        b"[" * 60_000,
        b'{"a":' * 12_000,
        b'{"id":' + b"9" * 60_000 + b"}",
        b'{"id":"\\ud800","source":"s","kind":"llm","time":"2026-02-08T10:00:00Z"}',
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b"null",
        b"[]",
        b'{"cost_usd":NaN}',
    ],
)
def test_hostile_json_is_one_dead_letter(value: bytes) -> None:
    with pytest.raises(InvalidEvent):
        parse_record(value, (), NOW_MS)
    with pytest.raises(InvalidEvent):
        decode(PolledRecord(0, NOW_MS, value, ()))


def test_a_record_at_the_limit_counts_and_one_beyond_does_not() -> None:
    fields = event(chat_title="x")
    padding = EVENT_BYTES_MAX - len(encode(fields))
    fits = encode(fields)[:-1] + b" " * padding + b"}"
    assert parse_record(fits, (), NOW_MS)[0].chat_title == "x"
    with pytest.raises(InvalidEvent, match="the limit is 65536"):
        parse_record(fits + b" ", (), NOW_MS)


def test_a_refusal_names_the_field_the_problem_and_the_limit() -> None:
    with pytest.raises(InvalidEvent) as caught:
        parse_usage({**event(), "input_tokens": 10**9 + 1})
    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_FIELD, "input_tokens")
    assert "less than or equal to 1000000000" in caught.value.detail


def test_unknown_fields_are_named_and_do_not_refuse_the_event() -> None:
    wire = decode(PolledRecord(0, NOW_MS, encode(event(inptu_tokens=1, zz=2)), ()))
    assert wire.unknown == {("default", "inptu_tokens"): 1, ("default", "zz"): 1}


@given(st.decimals(0, COST_NANO_USD_MAX // 10**9, allow_nan=False, places=13))
def test_usd_rounds_half_even_to_nano(usd: Decimal) -> None:
    assert usd_to_nano(usd) == round(usd * 10**9)


def test_seconds_round_half_even_to_ms() -> None:
    texts = {"0.0005": 0, "0.0015": 2, "0.00150001": 2, "1.2345": 1234, "-1": -1000}
    assert {text: seconds_to_ms(Decimal(text)) for text in texts} == texts


@given(st.integers(0, 4_000_000_000_000))
def test_an_instant_survives_its_text(at_ms: int) -> None:
    usage = parse_usage({**event(), "time": iso(at_ms)})
    assert instant_to_ms(usage.time) == at_ms


def test_a_plain_record_is_the_event() -> None:
    usage, unknown = parse_record(record(event(model="m")).value, (), NOW_MS)
    assert (usage.model, unknown) == ("m", ())
