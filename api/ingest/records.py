"""Validates parsed events, and makes the records for Kafka and the answer to the producer.

The time of an event is checked here as the worker will check it against the append time. So the
producer learns at once about events that would otherwise become dead letters. Kafka appends a record
later than it is received, by its own clock, so both ends of the range are checked with a margin.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

from api.http.json_encoding import to_json
from schemas.errors import InvalidEvent
from schemas.event.age import check_age
from schemas.event.kinds import DEFAULT_TENANT
from schemas.event.partition_key import partition_key
from schemas.formats.parse import Event, Parsed
from schemas.formats.parsed import InvalidObject, SkippedObject
from schemas.limits import ID_CHARS_MAX, MINUTE_MS, SECOND_MS
from schemas.units import instant_to_ms

APPEND_DELAY_MS: Final = 10 * MINUTE_MS
"""A record is appended at most this much after it was received: live ones within 4 s, history when the
workers have room."""
CLOCKS_DIFFER_MS: Final = SECOND_MS
"""The broker's clock may be behind ours: twice what workers allow."""
ANSWERS_KEPT: Final = 256
"""120 B each: the batches of a producer have few sizes."""
LISTED_MAX: Final = 100
"""Refusals in an answer, and skips: enough to see what is wrong. The rest is a number."""
QUOTA_USED_UP: Final = "quota_used_up"
"""Reason of a rejected event that could be counted. It is no dead letter, so it is not in `Reason`."""
UNKNOWN_SHOWN: Final = 16
"""Names of unknown fields in an answer: enough to see a typo."""
UNKNOWN_KEPT: Final = 1024
"""Of a body, once one event has so many: 700,000 of them would be sorted for a second, during which no
other thread runs."""


@dataclass(frozen=True)
class ValidatedRecords:
    """The records to send (key, value), the position and the tenant of each in the request, the time of the
    newest event, and the objects that are rejected or skipped. `over_quota`: those of a tenant that
    has used up its quota of ids."""

    records: Sequence[tuple[bytes, bytes]]
    refused: Sequence[InvalidObject]
    skipped: Sequence[SkippedObject]
    seeded: int
    unknown: Sequence[str]
    newest_ms: int = 0
    indexes: Sequence[int] = ()
    tenants: Sequence[str] = ()
    over_quota: Sequence[tuple[int, str]] = ()

    def without(self, over: Collection[str]) -> ValidatedRecords:
        """Without the records of these tenants."""
        kept = [place for place, tenant in enumerate(self.tenants) if tenant not in over]
        by_tenant = zip(self.indexes, self.tenants, strict=True)
        return replace(
            self,
            records=[self.records[place] for place in kept],
            indexes=[self.indexes[place] for place in kept],
            tenants=[self.tenants[place] for place in kept],
            over_quota=[(index, tenant) for index, tenant in by_tenant if tenant in over],
        )


def validate(parsed: Parsed, received_ms: int) -> ValidatedRecords:
    records: list[tuple[bytes, bytes]] = []
    refused: list[InvalidObject] = []
    seeded = newest_ms = 0
    unknown: set[str] = set()
    indexes: list[int] = []
    tenants: list[str] = []
    for event in parsed.events:
        at_ms = instant_to_ms(event.usage.time)
        try:
            records.append((_key(event, at_ms, received_ms), event.record))
        except InvalidEvent as error:
            refused.append(InvalidObject(event.index, error))
            continue
        newest_ms = max(newest_ms, at_ms)
        indexes.append(event.index)
        tenants.append(event.usage.tenant or DEFAULT_TENANT)
        seeded += event.is_seeded
        if len(unknown) < UNKNOWN_KEPT:
            unknown.update(event.unknown)
    if refused:
        refused = sorted([*parsed.refused, *refused], key=lambda one: one.index)
    else:
        refused = [*parsed.refused]
    names = sorted(unknown)[:UNKNOWN_SHOWN]
    return ValidatedRecords(
        records, refused, parsed.skipped, seeded, names, newest_ms, indexes, tenants
    )


def _key(event: Event, at_ms: int, received_ms: int) -> bytes:
    usage = event.usage
    _check_age("time", at_ms, received_ms)
    if usage.call_started_at is not None:
        _check_age("call_started_at", instant_to_ms(usage.call_started_at), received_ms)
    return partition_key(usage.tenant or DEFAULT_TENANT, usage.source, usage.id, usage.call_id)


def _check_age(field: str, at_ms: int, received_ms: int) -> None:
    """Raises InvalidEvent if the worker might reject the time, whenever Kafka appends the record."""
    check_age(field, at_ms, received_ms - CLOCKS_DIFFER_MS)
    check_age(field, at_ms, received_ms + APPEND_DELAY_MS)


def answer_of(validated: ValidatedRecords, *, is_named: bool) -> bytes:
    """`schemas.responses.ingest.IngestAnswer`; `is_named`: the request has an Idempotency-Key."""
    ids = "generated" if validated.seeded and not is_named else "given"
    if validated.refused or validated.skipped or validated.unknown or validated.over_quota:
        return to_json(_answer(validated, ids))
    return _good_answer(len(validated.records), ids)


@lru_cache(maxsize=ANSWERS_KEPT)
def _good_answer(accepted: int, ids: str) -> bytes:
    """Every event was accepted, as almost always."""
    return to_json(_answer(ValidatedRecords([(b"", b"")] * accepted, (), (), 0, ()), ids))


def _answer(validated: ValidatedRecords, ids: str) -> dict[str, Any]:
    return {
        "accepted": len(validated.records),
        "skipped": len(validated.skipped),
        "refused": len(validated.refused) + len(validated.over_quota),
        "ids": ids,
        "unknown_fields": [shown(name) for name in validated.unknown],
        "refusals": refusals_of(validated.refused, validated.over_quota),
        "more_refusals": more([*validated.refused, *validated.over_quota]),
        "skips": [
            {"index": one.index, "format": one.format, "reason": shown(one.reason)}
            for one in validated.skipped[:LISTED_MAX]
        ],
        "more_skips": more(validated.skipped),
    }


def more(found: Sequence[object]) -> int:
    """How many an answer does not list."""
    return max(0, len(found) - LISTED_MAX)


def refusals_of(
    refused: Sequence[InvalidObject], over_quota: Sequence[tuple[int, str]] = ()
) -> list[dict[str, Any]]:
    """The first `LISTED_MAX`, in the order of the body."""
    refusals = [
        {
            "index": one.index,
            "field": shown(one.error.field),
            "reason": one.error.reason.value,
            "detail": shown(one.error.detail),
        }
        for one in refused[:LISTED_MAX]
    ]
    if not over_quota:
        return refusals
    refusals += [
        {
            "index": index,
            "field": "tenant",
            "reason": QUOTA_USED_UP,
            "detail": f"tenant {shown(tenant)} has used up its quota of event ids",
        }
        for index, tenant in over_quota[:LISTED_MAX]
    ]
    return sorted(refusals, key=itemgetter("index"))[:LISTED_MAX]


def shown(text: str) -> str:
    """A text of the producer in an answer: bounded, and valid UTF-8 in any case."""
    return text[: 2 * ID_CHARS_MAX].encode(errors="replace").decode()
