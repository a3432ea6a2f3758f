"""The oracle: keeps every event, and finds by scanning what the counters must be.

It holds the rules of streams/README.md in their plainest form, slow and obvious, and imports nothing of
`streams`; of `schemas` only the event model and data. What it takes for granted: every resend and
every event of a call comes while ids and bookings are remembered (`REMEMBERED_MS`).

Decisions where the contract leaves room, so that the fold and the oracle cannot differ by accident:
- A record is judged first (dead letter or valid), and only then compared with what was counted: a
  dead letter claims no id, and a resend that has become too old meanwhile is a dead letter.
- Valid JSON that is no object is NOT_JSON; so is NaN, and a byte order mark.
- A header `ce_specversion` makes a record a binary CloudEvent, the key `specversion` a structured
  one; it must have the texts `id`, `source` and `type`. Header values are UTF-8, percent-decoded. An
  attribute that is null is absent.
- `time` is judged before `call_started_at`, and that whether the event has a call or not.
- What an event without a cost costs is what `schemas.prices.cost.price` says of it alone.
- What a call adds later than the oldest tier's age after its booked time still goes to that tier.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Any, Final, NoReturn, cast
from urllib.parse import unquote

import msgspec

from schemas.catalog.sketches import GAMMA, chat_digest
from schemas.catalog.views import VIEWS, View
from schemas.errors import InvalidEvent, Reason
from schemas.event.error_class import error_class_of
from schemas.event.kinds import Kind
from schemas.event.usage_event import UsageEvent, parse_usage
from schemas.limits import AHEAD_MS_MAX, EVENT_BYTES_MAX
from schemas.prices.cost import Priced, price
from schemas.prices.price_list import BUNDLED, Prices
from schemas.prices.tariffs import Unpriced, Why
from schemas.store.chats import Chat, DayOfUse
from schemas.tiers import SLACK_MS, TIERS
from schemas.units import instant_to_ms, iso
from tests.oracles.event_logs import Fields, Record

Cell = tuple[Any, ...]
"""View, tier, tenant, the series' values in the view's order, start of the bucket in ms; of a
sketch also its name, and which bin or digest."""


@dataclass(frozen=True)
class Expected:
    """Rows of nothing but zeros are left out; letters are by (partition, offset). `users`: of
    (tenant, user key) the latest address and name, "" where none was ever sent. `recent`: of a
    tenant (time, source, id) of its calls to models, all of them, oldest first."""

    counters: dict[Cell, tuple[int, ...]]
    letters: dict[tuple[int, int], Reason]
    duplicates: int
    accepted: int
    cost_tallies: Counter[str]
    users: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    recent: dict[str, list[tuple[int, str, str]]] = field(default_factory=dict)
    chats: dict[tuple[str, str], Chat] = field(default_factory=dict)

    @property
    def letters_by_reason(self) -> Counter[Reason]:
        return Counter(self.letters.values())

    def total(self, measure: str, view_name: str = "total", tier_name: str = "1d") -> int:
        """One measure's sum over all series and buckets of a view and tier."""
        view = next(view for view in VIEWS if view.name == view_name)
        return sum(
            values[column]
            for (in_view, in_tier, _tenant, (kind, *_), _start, *more), values in (
                self.counters.items()
            )
            if (in_view, in_tier) == (view_name, tier_name)
            and not more
            and measure in [m.name for m in view.tables[kind].measures]
            for column in [[m.name for m in view.tables[kind].measures].index(measure)]
        )


def expected(records: Iterable[Record], prices: Prices = BUNDLED) -> Expected:
    """What the counters must be after these records, in this order."""
    oracle = Oracle(prices)
    for record in records:
        oracle.add(record)
    return oracle.expected()


@dataclass(frozen=True)
class Kept:
    """One event that was counted."""

    append_ms: int
    at_ms: int
    tenant: str
    usage: UsageEvent
    computed: Priced | Unpriced | None
    """The cost by the price list, where the event has usage and sends none."""


@dataclass
class Oracle:
    """Keeps every event; the invariant is that `kept` holds each identity once, in log order."""

    prices: Prices = BUNDLED
    kept: list[Kept] = field(default_factory=list)
    identities: set[tuple[str, str, str]] = field(default_factory=set)
    letters: dict[tuple[int, int], Reason] = field(default_factory=dict)
    duplicates: int = 0

    def add(self, record: Record) -> None:
        try:
            usage = judge(record)
        except InvalidEvent as refused:
            self.letters[record.partition, record.offset] = refused.reason
            return
        tenant = usage.tenant or "default"
        is_answer = usage.kind == "llm" and ANSWER_ID.fullmatch(usage.id)
        identity = (tenant, "" if is_answer else usage.source, usage.id)
        if identity in self.identities:
            self.duplicates += 1
            return
        self.identities.add(identity)
        computed = None
        if usage.kind in USAGE_KINDS and usage.cost_usd is None:
            computed = price(usage, self.prices)
        at_ms = instant_to_ms(usage.time)
        self.kept.append(Kept(record.append_ms, at_ms, tenant, usage, computed))

    def expected(self) -> Expected:
        sums: defaultdict[Cell, Counter[str]] = defaultdict(Counter)
        for kept in self.kept:
            _add_event(sums, kept)
        calls: defaultdict[tuple[str, str], list[Kept]] = defaultdict(list)
        for kept in self.kept:
            if kept.usage.call_id:
                calls[kept.tenant, kept.usage.call_id].append(kept)
        for events in calls.values():
            _add_call(sums, events)
        rows = {
            cell: tuple(measures.get(name, 0) for name in _names(cell))
            for cell, measures in sums.items()
        }
        return Expected(
            counters={cell: values for cell, values in rows.items() if any(values)},
            letters=dict(self.letters),
            duplicates=self.duplicates,
            accepted=len(self.kept),
            users=_people(self.kept),
            recent=_recent(self.kept),
            cost_tallies=Counter(name for kept in self.kept if (name := _cost_tally(kept))),
            chats=_chats(self.kept),
        )


# -- what it says of users ------------------------------------------------------------------------


def _people(events: list[Kept]) -> dict[tuple[str, str], tuple[str, str]]:
    """The latest address and name by the events' own time; of equal times the greater text."""
    said: defaultdict[tuple[str, str], list[Kept]] = defaultdict(list)
    for kept in events:
        key = kept.usage.user_id or kept.usage.user_email
        if key and (kept.usage.user_email or kept.usage.user_name):
            said[kept.tenant, key].append(kept)
    return {
        who: (
            max(((k.at_ms, k.usage.user_email) for k in kept if k.usage.user_email), default=(0, ""))[1],
            max(((k.at_ms, k.usage.user_name) for k in kept if k.usage.user_name), default=(0, ""))[1],
        )
        for who, kept in said.items()
    }  # fmt: skip


def _recent(events: list[Kept]) -> dict[str, list[tuple[int, str, str]]]:
    calls: defaultdict[str, list[tuple[int, str, str]]] = defaultdict(list)
    for kept in events:
        if kept.usage.kind == "llm":
            calls[kept.tenant].append((kept.at_ms, kept.usage.source, kept.usage.id))
    return {tenant: sorted(found) for tenant, found in calls.items()}


# -- is it an event? -------------------------------------------------------------------------------


def judge(record: Record) -> UsageEvent:
    """The event of one record, or InvalidEvent."""
    if not record.readable:
        raise InvalidEvent(Reason.UNREADABLE, "the consumer cannot read it")
    if not record.value:
        raise InvalidEvent(Reason.EMPTY, "it has no value")
    if len(record.value) > EVENT_BYTES_MAX:
        raise InvalidEvent(Reason.TOO_LARGE, "its value is too large")
    usage = parse_usage(_fields(record.value, dict(record.headers), record.append_ms))
    _check_age("time", instant_to_ms(usage.time), record.append_ms)
    if usage.call_started_at is not None:
        _check_age("call_started_at", instant_to_ms(usage.call_started_at), record.append_ms)
    return usage


def _check_age(name: str, at_ms: int, append_ms: int) -> None:
    if at_ms < append_ms - TIERS[-1].kept_ms:
        raise InvalidEvent(Reason.TOO_OLD, "no tier is kept that long", name)
    if at_ms > append_ms + AHEAD_MS_MAX:
        raise InvalidEvent(Reason.TOO_FAR_AHEAD, "it has not happened yet", name)


def _fields(value: bytes, headers: Mapping[str, bytes], append_ms: int) -> Fields:
    body = _json_object(value)
    if "ce_specversion" in headers:
        attributes = {
            name.removeprefix("ce_"): unquote(text.decode())
            for name, text in headers.items()
            if name.startswith("ce_")
        }
        return _cloudevent(attributes, body, append_ms)
    if "specversion" in body:
        return _cloudevent(body, _data(body), append_ms)
    return body


def _json_object(text: bytes) -> Fields:
    try:
        body = json.loads(text.decode("utf-8"), parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidEvent(Reason.NOT_JSON, "it is not JSON") from error
    if not isinstance(body, dict):
        raise InvalidEvent(Reason.NOT_JSON, "it is no JSON object")
    return body


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _data(body: Fields) -> Fields:
    if "data_base64" in body:
        try:
            return _json_object(base64.b64decode(body["data_base64"], validate=True))
        except (TypeError, binascii.Error) as error:
            raise InvalidEvent(Reason.UNSUPPORTED_CLOUDEVENT, "data_base64 is not") from error
    data = body.get("data")
    if not isinstance(data, dict):
        raise InvalidEvent(Reason.UNSUPPORTED_CLOUDEVENT, "data is no JSON object")
    return data


def _cloudevent(attributes: Mapping[str, Any], data: Fields, append_ms: int) -> Fields:
    if attributes.get("specversion") != "1.0":
        raise InvalidEvent(Reason.UNSUPPORTED_CLOUDEVENT, "specversion is not 1.0")
    for name in ("id", "source", "type"):
        if not isinstance(attributes.get(name), str) or not attributes[name]:
            raise InvalidEvent(Reason.UNSUPPORTED_CLOUDEVENT, "it is missing", name)
    fields = {**data, "id": attributes["id"], "source": attributes["source"]}
    if attributes.get("time") is not None:
        fields["time"] = attributes["time"]
    if fields.get("time") is None:
        fields["time"] = iso(append_ms)
    if not fields.get("agent_id") and attributes.get("subject"):
        fields["agent_id"] = attributes["subject"]
    return fields


# -- what it adds ----------------------------------------------------------------------------------

ANSWER_ID: Final = re.compile(
    r"(?:msg_|chatcmpl-|resp_|gen-\d{10}-)(?=[\d_-]*[A-Za-z])[\w-]{16,128}", re.ASCII
)
"""Ids that providers give to one answer each, the same in every report of it."""
USAGE_KINDS: Final = ("llm", "tts", "stt")


SUMMED_FIELDS: Final = (
    "input_tokens",
    "output_tokens",
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
    "tts_audio_ms",
    "stt_audio_ms",
    "latency_ms",
    "first_output_ms",
)
LLM_FIELDS: Final = (
    "cache_write_1h_tokens",
    "input_image_tokens",
    "output_image_tokens",
    "images",
    "web_searches",
    "file_searches",
    "tool_calls",
)
HISTOGRAMS: Final = {"latency": "latency_ms", "first_output": "first_output_ms"}
Addend = str | tuple[str, int]
"""A measure's name, or a sketch's with a bin or digest of it."""
CELL_OF_SUMS: Final = 5
TEXT_FIELDS: Final = {
    "input_text_tokens": ("input_tokens", "input_audio_tokens"),
    "cache_read_text_tokens": ("cache_read_tokens", "cache_read_audio_tokens"),
    "output_text_tokens": ("output_tokens", "output_audio_tokens"),
}
"""Where a provider gives no split, text is what is left without audio."""


def _add_event(sums: defaultdict[Cell, Counter[str]], kept: Kept) -> None:
    usage = kept.usage
    additions: dict[Addend, int] = {"events": 1}
    if usage.kind in USAGE_KINDS:
        nano_usd = None if usage.cost_usd is None else round(Fraction(usage.cost_usd) * 10**9)
        if isinstance(kept.computed, Priced):
            nano_usd = kept.computed.nano_usd
        additions |= {
            "errors": 1 if usage.error else 0,
            "cost_nano_usd": nano_usd or 0,
            "cost_events": 0 if nano_usd is None else 1,
            "latency_events": 0 if usage.latency_ms is None else 1,
            "first_output_events": 0 if usage.first_output_ms is None else 1,
        }
        additions |= {name: getattr(usage, name) or 0 for name in SUMMED_FIELDS}
        for text, (whole, audio) in TEXT_FIELDS.items():
            if getattr(usage, text) is None:
                left = (getattr(usage, whole) or 0) - (getattr(usage, audio) or 0)
                additions[text] = max(left, 0)
    if usage.kind == "feedback":
        additions |= {"ratings_up": int(usage.rating == 1), "ratings_down": int(usage.rating == -1)}
    values = {
        "kind": usage.kind,
        "provider": usage.provider or "",
        "model": usage.model or "",
        "agent": usage.agent_id or "",
        "user": usage.user_id or usage.user_email or "",
        "service": usage.service or "",
        "phone": usage.phone_number or "",
        "voice": usage.voice or "",
        "operation": usage.operation or "",
        "service_tier": usage.service_tier or "",
        "error_class": usage.error_class or (error_class_of(usage.error) if usage.error else ""),
    }
    if usage.kind == "llm":
        additions |= {name: getattr(usage, name) or 0 for name in LLM_FIELDS}
    if usage.kind in USAGE_KINDS:
        for name, field_name in HISTOGRAMS.items():
            value = getattr(usage, field_name)
            if value is not None:
                additions[name, bin_of(value)] = 1
    if usage.kind == "llm" and usage.chat_id:
        additions["chats", chat_digest(kept.tenant, usage.chat_id)] = 1
    _add(sums, kept.tenant, values, kept.at_ms, kept.append_ms, additions)


def _cost_tally(kept: Kept) -> str:
    """How the cost of an event that sends none is told; "" where it is not."""
    if isinstance(kept.computed, Priced):
        return "cost:own_prices" if kept.computed.tariff.is_own else "cost:bundled_prices"
    if kept.computed is None or kept.computed.why is Why.NOTHING:
        return ""
    name = f"{kept.usage.provider or ''}/{kept.usage.model or ''}"
    if kept.computed.why is Why.UNKNOWN:
        return f"unpriced:{name}"
    return f"incomplete:{name}: {kept.computed.label[:64]}"


def _add_call(sums: defaultdict[Cell, Counter[str]], events: list[Kept]) -> None:
    """The events of one call in log order; each adds by how much it changes what is known."""
    first = events[0]
    booked_ms = first.at_ms
    if first.usage.call_started_at is not None:
        booked_ms = instant_to_ms(first.usage.call_started_at)
    values = {
        "kind": "call",
        "agent": first.usage.agent_id or "",
        "user": first.usage.user_id or first.usage.user_email or "",
        "service": first.usage.service or "",
        "phone": first.usage.phone_number or "",
    }
    before: Counter[str] = Counter()
    for count in range(1, len(events) + 1):
        after = _call_so_far(events[:count])
        change: dict[Addend, int] = {name: after[name] - before[name] for name in after}
        _add(sums, first.tenant, values, booked_ms, events[count - 1].append_ms, change)
        before = after


def _call_so_far(events: list[Kept]) -> Counter[str]:
    durations = [
        kept.usage.duration_ms
        for kept in events
        if kept.usage.kind == "call" and kept.usage.duration_ms is not None
    ]
    duration_ms = durations[-1] if durations else 0
    with_usage = any(kept.usage.kind in USAGE_KINDS for kept in events)
    return Counter(
        calls=1,
        call_duration_ms=duration_ms,
        calls_with_usage=int(with_usage),
        usage_call_duration_ms=duration_ms if with_usage else 0,
    )


def _add(
    sums: defaultdict[Cell, Counter[str]],
    tenant: str,
    values: Mapping[str, str],
    at_ms: int,
    append_ms: int,
    additions: Mapping[Addend, int],
) -> None:
    """To every view that keeps one of these measures, in every tier that is still written."""
    kind = values["kind"]
    summed = [(name, n) for name, n in additions.items() if isinstance(name, str) and n]
    sketched = [(name, n) for name, n in additions.items() if not isinstance(name, str)]
    for view in VIEWS:
        table = view.tables.get(cast("Kind", kind))
        if table is None:
            continue
        series = tuple(values.get(dimension, "") for dimension in view.dimensions)
        for tier in view.tiers:
            if tier is not TIERS[-1] and append_ms - at_ms > tier.kept_ms + SLACK_MS:
                continue
            start_ms = at_ms // tier.bucket_ms * tier.bucket_ms
            cell = (view.name, tier.name, tenant, series, start_ms)
            measures = sums[cell]
            for name, number in summed:
                measures[name] += number
            for (sketch, place), number in sketched:
                if sketch in _sketches_in(view.name, kind, tier.name):
                    in_sketch = sums[*cell, sketch, place]
                    in_sketch[sketch] = 1 if sketch == "chats" else in_sketch[sketch] + number


@cache
def _sketches_in(view: str, kind: str, tier: str) -> frozenset[str]:
    kept = _view(view)
    sketches = kept.tables[cast("Kind", kind)].sketches
    return frozenset(
        one.name for one in sketches if tier in {held.name for held in kept.tiers_of(one)}
    )


@cache
def bin_of(value: int) -> int:
    """0 of 0; else how many powers of GAMMA, rounded down to integers, lie below the value."""
    bin_ = 0
    while bin_ == 0 or math.floor(GAMMA ** (bin_ - 1)) < value:
        if value == 0:
            return 0
        bin_ += 1
    return bin_


def _names(cell: Cell) -> list[str]:
    """What stands in a cell, in order."""
    if len(cell) > CELL_OF_SUMS:
        return [cell[CELL_OF_SUMS]]
    return _measures_of(cell[0], cell[3][0])


@cache
def _measures_of(view: str, kind: Kind) -> list[str]:
    return [measure.name for measure in _view(view).tables[kind].measures]


# -- chats -----------------------------------------------------------------------------------------


def _chats(events: Iterable[Kept]) -> dict[tuple[str, str], Chat]:
    """By tenant and id: what is known of each chat where previews are kept."""
    chats: defaultdict[tuple[str, str], list[Kept]] = defaultdict(list)
    for kept in events:
        if kept.usage.chat_id and kept.usage.kind in {"llm", "chat"}:
            chats[kept.tenant, kept.usage.chat_id].append(kept)
    return {which: _chat(which[1], own) for which, own in chats.items()}


def without_previews(chats: dict[tuple[str, str], Chat]) -> dict[tuple[str, str], Chat]:
    """The same where the operator keeps none."""
    return {
        which: msgspec.structs.replace(chat, preview_ms=0, preview="")
        for which, chat in chats.items()
    }


def _chat(chat_id: str, events: list[Kept]) -> Chat:
    users = [(-k.at_ms, k.usage.user_id or k.usage.user_email) for k in events]
    previews = [(-k.at_ms, (k.usage.message_preview or "")[:200]) for k in events]
    titles = [(k.at_ms, k.usage.chat_title) for k in events]
    tags = [
        (k.at_ms, json.dumps(k.usage.tags, ensure_ascii=False, separators=(",", ":")))
        for k in events
        if k.usage.tags is not None
    ]
    user_ms, user = max([one for one in users if one[1]], default=(0, ""))
    preview_ms, preview = max([one for one in previews if one[1]], default=(0, ""))
    title_ms, title = max([one for one in titles if one[1]], default=(0, ""))
    tags_ms, last_tags = max(tags, default=(0, "[]"))
    models = {k.usage.model for k in events if k.usage.kind == "llm" and k.usage.model}
    days = {model: _days(k.at_ms for k in events if _uses(k, model)) for model in sorted(models)}
    return Chat(
        id=chat_id,
        first_ms=min(kept.at_ms for kept in events),
        last_ms=max(kept.at_ms for kept in events),
        user_ms=-user_ms,
        user=user or "",
        preview_ms=-preview_ms,
        preview=preview,
        title_ms=title_ms,
        title=title or "",
        tags_ms=tags_ms,
        tags=tuple(json.loads(last_tags)),
        models=tuple(sorted(models)),
        days=tuple(days.items()),
    )


def _uses(kept: Kept, model: str) -> bool:
    return kept.usage.kind == "llm" and kept.usage.model == model


def _days(times_ms: Iterable[int]) -> tuple[DayOfUse, ...]:
    """The first and last second of each UTC day, of the 90 days before the newest."""
    seconds = sorted(at_ms // 1000 for at_ms in times_ms)
    found: dict[int, list[int]] = {}
    for at_s in seconds:
        found.setdefault(at_s // 86_400, []).append(at_s % 86_400)
    newest = seconds[-1] // 86_400
    return tuple(
        DayOfUse(day, some[0], some[-1]) for day, some in found.items() if day > newest - 90
    )


def _view(name: str) -> View:
    return next(view for view in VIEWS if view.name == name)
