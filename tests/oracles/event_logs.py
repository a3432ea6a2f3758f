"""Events for tests: builders with defaults, and logs of adversarially varied records.

Everything that varies is picked out of a sequence, so one generator serves both a seeded
`random.Random` (`mixed`) and hypothesis (`logs`, which shrinks towards the first of each sequence).
A resent event meets its original on its partition, as the partition key promises.
"""

from __future__ import annotations

import base64
import json
import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import quote

import msgspec
from hypothesis import strategies as st

from schemas import limits
from schemas.errors import Reason
from schemas.event.identity import SECRET_BYTES, new_secret
from schemas.event.kinds import DEFAULT_TENANT, KINDS
from schemas.event.partition_key import partition_key
from schemas.limits import AHEAD_MS_MAX, DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from schemas.tiers import SLACK_MS, TIERS
from schemas.units import iso
from streams.core.decode import BatchDecoder, EventBatch
from streams.core.decode import Record as Polled

T = TypeVar("T")
Fields = dict[str, Any]
Headers = tuple[tuple[str, bytes], ...]

NOW_MS: Final = 1_770_544_800_000
SECRET: Final = new_secret(bytes(range(SECRET_BYTES)))
"""2026-02-08T10:00:00Z: the append time of a log's first record, where a test names none."""

OLDEST_MS: Final = TIERS[-1].kept_ms


@dataclass(frozen=True)
class Record:
    """One record of the log. `readable` is False where the consumer itself cannot read it."""

    partition: int
    offset: int
    append_ms: int
    value: bytes | None
    headers: Headers = ()
    key: bytes | None = None
    readable: bool = True


# -- one event -------------------------------------------------------------------------------------


def event(**changes: Any) -> Fields:
    """A plain valid event; `changes` are the fields that the test is about."""
    return {
        "id": "evt-1",
        "source": "gateway",
        "time": iso(NOW_MS),
        "kind": "llm",
        "provider": "openai",
        "model": "gpt-4o",
        "input_tokens": 1200,
        "output_tokens": 300,
        "cost_usd": "0.0045",
        "latency_ms": 850,
        **changes,
    }


_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


def encode(fields: Fields) -> bytes:
    """The record's value; a Decimal becomes a JSON number, digit for digit."""
    return _ENCODER.encode(fields)


def key_of(fields: Fields) -> bytes:
    """The key that a well-behaved producer gives the record."""
    tenant = fields.get("tenant") or DEFAULT_TENANT
    return partition_key(tenant, fields["source"], fields["id"], fields.get("call_id"))


def record(
    fields: Fields, *, partition: int = 0, offset: int = 0, append_ms: int = NOW_MS
) -> Record:
    """One event as a plain JSON record."""
    return Record(partition, offset, append_ms, encode(fields), key=key_of(fields))


def structured(fields: Fields) -> tuple[bytes, Headers]:
    """The event as a structured CloudEvent: attributes and data in one JSON object."""
    attributes, data = _split(fields)
    body = {"specversion": "1.0", "type": "usage", **attributes, "data": data}
    return encode(body), (("content-type", b"application/cloudevents+json; charset=utf-8"),)


def structured_base64(fields: Fields) -> tuple[bytes, Headers]:
    """As libraries send it whose data were bytes."""
    attributes, data = _split(fields)
    body = {"specversion": "1.0", "type": "usage", **attributes}
    return encode({**body, "data_base64": base64.b64encode(encode(data)).decode()}), (
        ("content-type", b"application/cloudevents+json"),
    )


def binary(fields: Fields) -> tuple[bytes, Headers]:
    """The event as a binary CloudEvent: attributes in headers, percent-encoded as by 2.x."""
    attributes, data = _split(fields)
    headers = {"specversion": "1.0", "type": "usage", **attributes}
    return encode(data), (
        ("content-type", b"application/json"),
        *((f"ce_{name}", quote(text, safe=" :/+").encode()) for name, text in headers.items()),
    )


def _split(fields: Fields) -> tuple[dict[str, str], Fields]:
    """CloudEvents attributes and data; what the data says of id and source is not what applies."""
    names = tuple(name for name in ("id", "source", "time") if name in fields)
    attributes: dict[str, str] = {name: fields[name] for name in names}
    data = {name: value for name, value in fields.items() if name != "time"}
    if fields.get("agent_id"):
        attributes["subject"] = data.pop("agent_id")
    return attributes, {**data, "id": "not-this", "source": "nor-this"}


def countable(records: Sequence[Polled]) -> EventBatch:
    """The events of those that can be counted."""
    reading = BatchDecoder()
    reading.add(records)
    return reading.events()


# -- a log -----------------------------------------------------------------------------------------


class Pick(Protocol):
    """One out of a sequence: `random.Random.choice`, or hypothesis."""

    def __call__(self, options: Sequence[T], /) -> T: ...


@dataclass(frozen=True)
class Mix:
    """What a log is made of; the rest of 100% are fresh valid events in plain JSON."""

    partitions: int = 3
    resent_percent: int = 6
    invalid_percent: int = 5
    cloudevent_percent: int = 15
    unreadable: bool = False
    step_ms: int = 40 * SECOND_MS
    """Longest pause between two appends: a log of 2,000 stays within 24 h, the window in which a
    resend is recognised."""


DEFAULT_MIX: Final = Mix()


def mixed(
    rng: random.Random, n: int, *, start_ms: int = NOW_MS, mix: Mix = DEFAULT_MIX
) -> list[Record]:
    """`n` records in the order of their append times."""
    return _log(rng.choice, n, start_ms, mix)


@st.composite
def logs(
    draw: st.DrawFn, *, n_max: int = 40, start_ms: int = NOW_MS, mix: Mix = DEFAULT_MIX
) -> list[Record]:
    """The same as a hypothesis strategy."""
    n = draw(st.integers(0, n_max))
    return _log(lambda options: draw(st.sampled_from(options)), n, start_ms, mix)


@st.composite
def events(draw: st.DrawFn, *, append_ms: int = NOW_MS, number: int = 1) -> Fields:
    """One valid event, appended at `append_ms`."""
    return fresh(lambda options: draw(st.sampled_from(options)), number, append_ms)


@dataclass
class _Writer:
    """Appends to the partitions; offsets have gaps, as transaction markers leave them."""

    pick: Pick
    mix: Mix
    now_ms: int
    records: list[Record] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=dict)

    def append(self, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        partition = zlib.crc32(key or b"") % self.mix.partitions
        offset = self.ends.get(partition, 0) + self.pick((0, 0, 0, 0, 0, 0, 0, 1, 2))
        self.ends[partition] = offset + 1
        self.records.append(Record(partition, offset, self.now_ms, value, headers, key))
        self.now_ms += self.pick((0, 1, 250, SECOND_MS, self.mix.step_ms))


def _log(pick: Pick, n: int, start_ms: int, mix: Mix) -> list[Record]:
    writer = _Writer(pick, mix, start_ms)
    sent: list[Fields] = []
    for number in range(n):
        if _chance(pick, mix.invalid_percent):
            _append_invalid(writer, number)
            continue
        if sent and _chance(pick, mix.resent_percent):
            fields = _resent(pick, pick(sent))
        else:
            fields = fresh(pick, number, writer.now_ms)
            sent.append(fields)
        form = plain
        if _chance(pick, mix.cloudevent_percent):
            form = pick((structured, binary, structured_base64))
        writer.append(key_of(fields), *form(fields))
    return writer.records


def plain(fields: Fields) -> tuple[bytes, Headers]:
    return encode(fields), ()


def _chance(pick: Pick, percent: int) -> bool:
    return pick(range(100)) >= 100 - percent


def _resent(pick: Pick, fields: Fields) -> Fields:
    """The same event; sometimes its producer has changed its mind, and the first must stand."""
    if _chance(pick, 30):
        return {**fields, "input_tokens": 999_999, "cost_usd": "77", "agent_id": "changed"}
    return fields


# -- fresh valid events ----------------------------------------------------------------------------

TENANTS: Final = (None, "default", "", "acme", "a|b")
SOURCES: Final = ("gateway", "s|2", "quelle-ü")
PROVIDERS: Final = ("openai", "anthropic", None, "")
MODELS: Final = ("gpt-4o", "claude-sonnet-4-5", "größe/模型", None, "")
AGENTS: Final = ("my-agent", "agent 2", "Käfer", None, "", '"quoted"')
USERS: Final = ("u-1", "u-2", None, "")
SPLITS: Final = (
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "input_text_tokens",
    "input_audio_tokens",
    "cache_read_text_tokens",
    "cache_read_audio_tokens",
    "output_text_tokens",
    "output_audio_tokens",
    "tts_characters",
)
COUNTS: Final = (None, 0, 1, 7, 1200, limits.COUNT_MAX)
COSTS: Final = (
    None,
    None,
    None,
    None,
    None,
    "0",
    "0.0045",
    "0.0000000005",  # half of a nano-USD: to the even 0
    "0.0000000015",  # to the even 2
    "0.00000000250000000000000001",  # more than half: to 3
    "1e-9",
    "2.5E-9",
    "12.345678901234567890123",
    "10000",
    3,
    Decimal("0.1"),
    Decimal("0.30000000000000004"),
    Decimal("1.0000000005"),
)
LATENCIES: Final = (None, 0, 1, 850, limits.DURATION_MS_MAX)
ERRORS: Final = (None, None, None, None, "", "RateLimitError")
CALL_DURATIONS: Final = (None, 0, 1, 61_000, 3_600_000)
AGES_MS: Final = (
    0,
    1,
    SECOND_MS,
    MINUTE_MS,
    10 * MINUTE_MS,
    HOUR_MS,
    DAY_MS,
    3 * DAY_MS,
    40 * DAY_MS,
    400 * DAY_MS,
    -MINUTE_MS,
    1 - AHEAD_MS_MAX,
    -AHEAD_MS_MAX,
    # the last and the first age on both sides of each tier's edge
    *(t.kept_ms + SLACK_MS + step for t in TIERS[:-1] for step in (0, 1)),
    *(t.kept_ms + step for t in TIERS[:-1] for step in (0, 1)),
    OLDEST_MS - 1,
    OLDEST_MS,
)


def fresh(pick: Pick, number: int, append_ms: int) -> Fields:
    """A valid event that no other of this log has the identity of."""
    kind = pick(KINDS)
    fields: Fields = {
        "id": f"evt-{number}",
        "source": pick(SOURCES),
        "time": instant(pick, append_ms - pick(AGES_MS)),
        "kind": kind,
        "tenant": pick(TENANTS),
        "provider": pick(PROVIDERS),
        "model": pick(MODELS),
        "agent_id": pick(AGENTS),
        "input_tokens": pick(COUNTS),
        "output_tokens": pick(COUNTS),
        "cost_usd": pick(COSTS),
        "latency_ms": pick(LATENCIES),
        "error": pick(ERRORS),
        "duration_ms": pick(CALL_DURATIONS),
        "user_id": pick(USERS),
        "user_email": pick((None, "a@example.com", "", "b@example.com")),
        "user_name": pick((None, "Ann", "", "Änne")),
    }
    if _chance(pick, 40):
        fields |= {name: pick(COUNTS) for name in SPLITS}
        fields |= {name: pick(LATENCIES) for name in ("first_output_ms", "tts_audio_ms")}
        fields |= {"stt_audio_ms": pick(LATENCIES), "service": pick((None, "", "sip"))}
        fields["phone_number"] = pick((None, "+1555010012", ""))
    if _chance(pick, 50):
        fields["call_id"] = pick(("", "c|0", *(f"call-{number // 25}-{n}" for n in range(3))))
    fields |= _chat_of(number) | _facts_of(number)
    if _chance(pick, 20):
        fields["call_started_at"] = instant(pick, append_ms - pick(AGES_MS))
    if _chance(pick, 20):
        fields |= {"labels": {"team": "search"}, "tags": ["ünï"], "misspelt_tokens": [{"a": 1.5}]}
    if _chance(pick, 30):  # null and left out are the same
        fields = {name: value for name, value in fields.items() if value is not None}
    return fields


def _chat_of(number: int) -> Fields:
    """Two events in five belong to a chat; `number` alone decides what they say of it."""
    if number % 5 > 1:
        return {}
    chats = ("", "ch|ät", *(f"chat-{number // 60}-{n}" for n in range(3)))
    return {
        "chat_id": chats[number // 5 % 5],
        "chat_title": (None, "", "Title", "Títle\x00 2")[number // 3 % 4],
        "message_preview": (None, "Hello", "", "ü" * 300)[number // 4 % 4],
        "tags": (None, [], ["a"], ["b", "größe"])[number // 7 % 4],
    }


def _facts_of(number: int) -> Fields:
    """What decides prices, in one event of three; `number` alone decides what it says."""
    if number % 3:
        return {}
    at = number // 3
    return {
        "operation": (None, "chat", "", "embeddings")[at % 4],
        "service_tier": (None, "default", "flex", "", "batch", "Größe")[at % 6],
        "speed": (None, None, None, "fast")[at // 2 % 4],
        "region": (None, None, "us", "global")[at // 3 % 4],
        "error_class": (None, None, "", "timeout")[at % 4],
        "cache_write_1h_tokens": (None, None, 0, 5)[at // 4 % 4],
        "input_image_tokens": (None, 0, 3)[at % 3],
        "cache_read_image_tokens": (None, None, 0, 1)[at % 4],
        "output_image_tokens": (None, None, 2)[at // 2 % 3],
        "input_video_tokens": (None, 0, 4)[at // 3 % 3],
        "images": (None, 1, 2)[at % 3],
        "pages": (None, None, 7)[at // 5 % 3],
        "web_searches": (None, 0, 3, None)[at // 2 % 4],
        "file_searches": (None, None, 2)[at // 3 % 3],
        "rerank_searches": (None, None, None, 1)[at // 4 % 4],
        "code_executions": (None, None, 0, 1)[at // 5 % 4],
        "tool_calls": (None, None, None, None, 6)[at % 5],
        "cost_problem": (None, None, None, None, "", "total_tokens contradicts")[at // 2 % 6],
        "finish_reason": (None, "stop", "")[at % 3],
    }


def instant(pick: Pick, at_ms: int) -> str:
    """One of the ways to write the same millisecond in RFC 3339."""
    style = pick(range(4))
    if style == 0:
        return iso(at_ms)
    if style == 1:
        return iso(at_ms + 5 * HOUR_MS + 30 * MINUTE_MS).removesuffix("Z") + "+05:30"
    text = iso(at_ms - 8 * HOUR_MS).removesuffix("Z")
    if "." not in text:
        text += ".000"
    return f"{text}999-08:00" if style == 2 else f"{text}000-08:00"


# -- invalid records -------------------------------------------------------------------------------

Broken = Callable[[Fields, int], tuple[bytes | None, Headers]]
"""From a valid event and its append time to a record that must not count."""


def _append_invalid(writer: _Writer, number: int) -> None:
    """The identity stays unused: a dead letter claims no id, so the next good event may have it."""
    pick = writer.pick
    fields = event(id=f"evt-{number}", source=pick(SOURCES), time=iso(writer.now_ms))
    reason = pick(tuple(Reason) if writer.mix.unreadable else READABLE_REASONS)
    if reason is Reason.UNREADABLE:
        writer.append(key_of(fields), encode(fields), ())
        last = writer.records.pop()
        writer.records.append(unreadable(last))
        return
    value, headers = pick(INVALID[reason])(fields, writer.now_ms)
    writer.append(key_of(fields), value, headers)
    if _chance(pick, 30):
        writer.append(key_of(fields), encode(fields), ())


def unreadable(original: Record) -> Record:
    """As if a header's key were not UTF-8, or the record had rotted on the broker's disk."""
    return Record(original.partition, original.offset, original.append_ms, None, readable=False)


def _with(**changes: Any) -> Broken:
    return lambda fields, _append_ms: plain({**fields, **changes})


def _without(name: str) -> Broken:
    return lambda fields, _append_ms: plain({k: v for k, v in fields.items() if k != name})


def _raw(value: bytes | None) -> Broken:
    return lambda _fields, _append_ms: (value, ())


def _aged(name: str, age_ms: int) -> Broken:
    return lambda fields, append_ms: plain({**fields, name: iso(append_ms - age_ms)})


def _cut(fields: Fields, _append_ms: int) -> tuple[bytes, Headers]:
    return encode(fields)[:-2], ()


def _old_structured(fields: Fields, _append_ms: int) -> tuple[bytes, Headers]:
    value, headers = structured(fields)
    return encode({**json.loads(value), "specversion": "0.3"}), headers


def _new_binary(fields: Fields, _append_ms: int) -> tuple[bytes, Headers]:
    value, headers = binary(fields)
    return value, tuple((k, b"2.0" if k == "ce_specversion" else v) for k, v in headers)


def _invalid_in_cloudevent(fields: Fields, _append_ms: int) -> tuple[bytes, Headers]:
    return structured({**fields, "output_tokens": "300"})


WRONG_FIELDS: Final[tuple[Fields, ...]] = (
    {"id": ""},
    {"id": 17},
    {"id": "x" * (limits.ID_CHARS_MAX + 1)},
    {"source": None},
    {"kind": "image"},
    {"tenant": "t" * (limits.TENANT_CHARS_MAX + 1)},
    {"model": ["gpt-4o"]},
    {"time": "2026-02-08T10:00:00"},
    {"time": "yesterday"},
    {"time": 1_770_544_800},
    {"time": None},
    {"call_started_at": "2026-02-30T10:00:00Z"},
    {"input_tokens": "12"},
    {"input_tokens": True},
    {"input_tokens": -1},
    {"input_tokens": Decimal("12.5")},
    {"input_tokens": Decimal("12.0")},
    {"input_tokens": limits.COUNT_MAX + 1},
    {"input_tokens": 2**70},
    {"latency_ms": Decimal("0.5")},
    {"duration_ms": limits.DURATION_MS_MAX + 1},
    {"reasoning_tokens": -1},
    {"cost_usd": "a lot"},
    {"cost_usd": "NaN"},
    {"cost_usd": -1},
    {"cost_usd": True},
    {"cost_usd": "10000.000000001"},
    {"error": "e" * (limits.ERROR_CHARS_MAX + 1)},
    {"error": {"class": "RateLimitError"}},
    {"rating": 0},
    {"labels": {"": "empty"}},
    {"labels": {"team": 3}},
    {"labels": {str(n): "x" for n in range(limits.LABELS_MAX + 1)}},
    {"tags": [""]},
)

INVALID: Final[dict[Reason, tuple[Broken, ...]]] = {
    Reason.EMPTY: (_raw(b""), _raw(None)),
    Reason.TOO_LARGE: (_with(note="x" * limits.EVENT_BYTES_MAX),),
    Reason.NOT_JSON: (
        _cut,
        *map(_raw, (b"{", b"nope", b"\xff\xfe{\x00}\x00", b"[]", b'"text"', b"12", b"null")),
        _raw(b'{"id":NaN}'),
        _raw(b"\xef\xbb\xbf{}"),
    ),
    Reason.INVALID_FIELD: (
        *map(_without, ("id", "source", "time", "kind")),
        *(_with(**changes) for changes in WRONG_FIELDS),
        _invalid_in_cloudevent,
    ),
    Reason.UNSUPPORTED_CLOUDEVENT: (_old_structured, _new_binary),
    Reason.TOO_OLD: (
        _aged("time", OLDEST_MS + 1),
        _aged("time", 20 * 366 * DAY_MS),
        _aged("call_started_at", OLDEST_MS + 1),
    ),
    Reason.TOO_FAR_AHEAD: (
        _aged("time", -AHEAD_MS_MAX - 1),
        _aged("time", -400 * DAY_MS),
        _aged("call_started_at", -AHEAD_MS_MAX - 1),
    ),
}
READABLE_REASONS: Final = tuple(INVALID)
