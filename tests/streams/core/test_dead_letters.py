"""Dead letters: written and read back; what a replay sends, and what it leaves alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidConfig, InvalidEvent, Reason
from schemas.event.usage_event import parse_record
from schemas.limits import DAY_MS, HOUR_MS
from schemas.units import iso
from streams.core.dead_letters import (
    NO_CHANGE,
    SURE_MS,
    Change,
    DeadLetter,
    EventIdentity,
    ReplayMark,
    ReplayState,
    already_sent,
    dead_letter_record,
    doubt,
    marked,
    read_dead_letter,
    resend,
)
from tests.oracles.event_logs import NOW_MS, encode, event

LATER_MS = NOW_MS + DAY_MS
HEADERS = st.lists(st.tuples(st.text(max_size=8), st.binary(max_size=8)), max_size=4)


def letter(value: bytes | None, *headers: tuple[str, bytes], **changes: Any) -> DeadLetter:
    given: dict[str, Any] = {
        "origin": "usage.events:3:17",
        "append_ms": NOW_MS,
        "reason": Reason.INVALID_FIELD,
        "field": "model",
        "detail": "is wrong",
        **changes,
    }
    return DeadLetter(value=value, headers=headers, **given)


@given(
    value=st.none() | st.binary(max_size=50),
    headers=HEADERS,
    detail=st.text(max_size=50),
    mark=st.none() | st.builds(
        ReplayMark, st.sampled_from(ReplayState), st.integers(0, 2**50), st.builds(EventIdentity, *[st.text()] * 3)
    ),
)  # fmt: skip
def test_a_letter_is_read_as_it_was_written(
    value: bytes | None, headers: list[tuple[str, bytes]], detail: str, mark: ReplayMark | None
) -> None:
    one = letter(value, detail=detail.encode(errors="replace").decode(), replay=mark)
    one = DeadLetter(**{**vars(one), "headers": headers})
    key, written, why = dead_letter_record(one)
    assert key == b"usage.events:3:17"
    assert read_dead_letter(written, why) == one


@given(headers=HEADERS)
def test_what_is_no_letter_of_ours_is_none(headers: list[tuple[str, bytes]]) -> None:
    assert read_dead_letter(b"{}", headers) is None
    _, _, why = dead_letter_record(letter(b"{}"))
    assert read_dead_letter(b"{}", [*why, ("odometer-replay", b"?")]) is None


def test_a_sound_event_is_sent_with_its_very_bytes_and_its_origin() -> None:
    """As after a limit that was too low was raised."""
    value = b' {"id" : "e","source":"s","kind":"llm","time":"2026-02-08T10:00:00Z","typo":1}'
    resent = resend(letter(value, ("traceparent", b"00")), NO_CHANGE, NOW_MS)
    assert resent.identity == ("default", "s", "e")
    assert resent.record == (
        b"default|s|e",
        value,
        [("traceparent", b"00"), ("odometer-replay-of", b"usage.events:3:17")],
    )


def test_what_is_replayed_twice_names_its_first_origin_only() -> None:
    before = ("odometer-replay-of", b"usage.events:0:1")
    _, _, headers = resend(letter(encode(event()), before), NO_CHANGE, NOW_MS).record
    assert headers == [("odometer-replay-of", b"usage.events:3:17")]


@pytest.mark.parametrize("missing", [{}, {"id": None}, {"id": ""}])
def test_an_event_without_an_id_gets_its_origin(missing: dict[str, Any]) -> None:
    fields = {name: value for name, value in event().items() if name != "id"} | missing
    for now_ms in (NOW_MS, LATER_MS):
        resent = resend(letter(encode(fields)), NO_CHANGE, now_ms)
        assert resent.identity == ("default", "gateway", "usage.events:3:17")


def test_a_field_is_mended_and_the_rest_stays_to_the_digit() -> None:
    value = encode(event(model=7)).replace(b'"0.0045"', b"0.00450000000000000000001")
    with pytest.raises(InvalidEvent, match=r"^model: "):
        resend(letter(value), NO_CHANGE, NOW_MS)
    change = Change(fields={"model": "gpt-4o", "latency_ms": None, "call_id": "c"})
    key, mended, _ = resend(letter(value), change, NOW_MS).record
    assert key == b"default|c"
    assert mended is not None
    assert b"0.00450000000000000000001" in mended
    assert json.loads(mended) == {
        **{name: given for name, given in event().items() if name != "latency_ms"},
        "cost_usd": 0.0045,
        "call_id": "c",
    }


def test_another_value_stands_for_the_whole_record() -> None:
    change = Change(value=encode(event(id="new")), fields={"model": "m"})
    resent = resend(letter(b"\xff", ("ce_id", b"1")), change, NOW_MS)
    assert resent.identity.id == "new"
    assert dict(resent.record[2]) == {"odometer-replay-of": b"usage.events:3:17"}


def test_a_field_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(InvalidConfig, match="'modle' is not a field of an event"):
        Change(fields={"modle": "x"})


def test_a_cloudevent_becomes_a_neutral_event_with_the_time_of_its_first_append() -> None:
    data = {name: value for name, value in event(model=7).items() if name != "time"}
    attributes = {"specversion": "1.0", "id": "ce", "source": "/s", "type": "t", "subject": "ag"}
    structured = letter(json.dumps({**attributes, "data": data}).encode())
    binary = letter(
        json.dumps(data).encode(),
        *((f"ce_{name}", text.encode()) for name, text in attributes.items()),
        ("content-type", b"application/json"),
        ("kept", b"1"),
    )
    kept: list[bool] = []
    for one in (structured, binary):
        key, value, headers = resend(one, Change(fields={"model": "m"}), LATER_MS).record
        usage, unknown = parse_record(value, headers, LATER_MS)
        assert (usage.id, usage.source, usage.agent_id, usage.model) == ("ce", "/s", "ag", "m")
        assert iso(NOW_MS) == usage.time.isoformat().replace("+00:00", "Z")
        assert key == b"default|/s|ce"
        assert not unknown
        assert not [name for name, _ in headers if name.startswith("ce_")]
        kept.append(("kept", b"1") in headers)
    assert kept == [False, True]


def test_a_cloudevent_of_another_version_can_be_mended_as_a_whole() -> None:
    old = letter(json.dumps({"specversion": "0.3", "data": event()}).encode())
    with pytest.raises(InvalidEvent, match=r"^specversion: "):
        resend(old, NO_CHANGE, NOW_MS)
    resent = resend(old, Change(value=json.dumps(event()).encode()), NOW_MS)
    assert resent.identity.id == "evt-1"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.EMPTY),
        (b"", Reason.EMPTY),
        (b"\xff", Reason.NOT_JSON),
        (b"[1]", Reason.NOT_JSON),
        (b" " * (64 * 1024) + b"{}", Reason.TOO_LARGE),
        (b'{"kind":"llm"}', Reason.INVALID_FIELD),
        (b'{"source":"\\ud800","kind":"llm"}', Reason.NOT_JSON),
        (encode(event(time=iso(NOW_MS + 2 * HOUR_MS))), Reason.TOO_FAR_AHEAD),
        (encode(event(time="2019-01-01T00:00:00Z")), Reason.TOO_OLD),
    ],
)
def test_what_would_be_refused_again_is_not_sent(value: bytes | None, reason: Reason) -> None:
    with pytest.raises(InvalidEvent) as refused:
        resend(letter(value), NO_CHANGE, NOW_MS)
    assert refused.value.reason == reason


def test_what_was_too_far_ahead_counts_when_its_time_has_come() -> None:
    ahead = letter(encode(event(time=iso(NOW_MS + 2 * HOUR_MS))))
    assert resend(ahead, NO_CHANGE, NOW_MS + HOUR_MS).identity.id == "evt-1"


def test_a_mark_says_what_must_not_be_sent_again() -> None:
    who, other = EventIdentity("default", "s", "1"), EventIdentity("default", "s", "2")
    fresh = letter(encode(event()))
    sent = marked(fresh, ReplayState.SENT, who, NOW_MS)
    sending = marked(fresh, ReplayState.SENDING, who, NOW_MS)
    assert already_sent(fresh) == already_sent(sending) == ""
    assert already_sent(sent) == "was replayed at 2026-02-08T10:00:00Z as default|s|1"
    assert doubt(fresh, who, NOW_MS) == doubt(sent, who, NOW_MS) == ""
    assert doubt(sending, who, NOW_MS + SURE_MS) == ""
    assert "expired" in doubt(sending, who, NOW_MS + SURE_MS + 1)
    assert "as default|s|1: send it under that id" in doubt(sending, other, NOW_MS)
