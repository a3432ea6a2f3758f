"""The updates of users and the latest calls to models in a batch. Pure.

Both come from the events that count, so a resend adds nothing. Order and repetition do not matter:
the latest update of a user wins (schemas/store/directory.py), and the latest calls are the last
RECENT_MAX by time, in one record a minute (schemas/store/recent_calls.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np

from schemas.event.kinds import DEFAULT_TENANT
from schemas.limits import MINUTE_MS
from schemas.store.directory import UserUpdate, merged
from schemas.store.layout import Int64s
from schemas.store.recent_calls import RECENT_MAX, RecentRecord, Row, record_of
from streams.core.decode import READ_AT_ONCE, EventBatch

UserUpdates = Sequence[tuple[str, Sequence[UserUpdate]]]
"""Tenant and the updates of its users, one update a user."""
Calls = Sequence[tuple[str, Sequence[RecentRecord]]]
"""Tenant and its latest calls."""

_FIRST, _LAST = 0, 1
CALL_KIND: Final = "llm"


def user_updates(events: EventBatch, rows: Iterable[int]) -> UserUpdates:
    """The updates of users whose name or address is in these events."""
    emails, names = events.fields["user_email"], events.fields["user_name"]
    if not any(emails) and not any(names):
        return []
    tenants, ids, times_ms = (
        events.fields["tenant"],
        events.fields["user_id"],
        events.at_ms.tolist(),
    )
    times: dict[tuple[str | None, str | None, str | None, str | None], list[int]] = {}
    for row in rows:
        email, name = emails[row], names[row]
        if not email and not name:
            continue
        who = (tenants[row], ids[row], email, name)
        at_ms = times_ms[row]
        known = times.get(who)
        if known is None:
            times[who] = [at_ms, at_ms]
        elif at_ms > known[_LAST]:
            known[_LAST] = at_ms
        elif at_ms < known[_FIRST]:
            known[_FIRST] = at_ms
    updates_of: dict[str, dict[str, UserUpdate]] = {}
    for (tenant, user_id, email, name), (first_ms, last_ms) in times.items():
        key = user_id or email
        if not key:
            continue
        update = UserUpdate(
            key,
            first_ms,
            last_ms,
            last_ms if email else 0,
            email or "",
            last_ms if name else 0,
            name or "",
        )
        updates = updates_of.setdefault(tenant or DEFAULT_TENANT, {})
        updates[key] = merged(updates[key], update) if key in updates else update
    return [(tenant, list(updates.values())) for tenant, updates in updates_of.items()]


def latest_calls(
    events: EventBatch, rows: Int64s, tenants: Int64s, at_ms: Int64s, costs: Int64s
) -> Calls:
    """The latest calls among `events`, at most RECENT_MAX per tenant. `rows` are the rows of calls;
    the other three are aligned with them: tenant number, time in ms, cost in nano-USD or -1."""
    if not len(rows):
        return []
    order = _latest(tenants, at_ms)
    starts = _starts(tenants[order], at_ms[order] // MINUTE_MS)
    calls = _calls(events, rows, costs, order)
    found: dict[str, list[RecentRecord]] = {}
    for start, end in pairwise([*starts, len(order)]):
        tenant = events.fields["tenant"][rows[order[start]]] or DEFAULT_TENANT
        found.setdefault(tenant, []).append(record_of(calls[start:end]))
    return list(found.items())


def _latest(tenants: Int64s, at_ms: Int64s) -> Int64s:
    """The places of the last RECENT_MAX calls of each tenant, by tenant and time."""
    order = np.lexsort((at_ms, tenants))
    ordered = tenants[order]
    from_end = np.searchsorted(ordered, ordered, side="right") - np.arange(len(ordered))
    return order[from_end <= RECENT_MAX]


def _starts(tenants: Int64s, minutes: Int64s) -> list[int]:
    """Where another tenant or minute begins."""
    differs = (tenants[1:] != tenants[:-1]) | (minutes[1:] != minutes[:-1])
    return [0, *(np.flatnonzero(differs) + 1).tolist()]


def _calls(events: EventBatch, rows: Int64s, costs: Int64s, order: Int64s) -> list[Row]:
    """The calls at the places in `order`. They are read in the order of memory."""
    places = np.sort(order)
    calls: list[Row] = []
    for at in range(0, len(places), READ_AT_ONCE):
        some = places[at : at + READ_AT_ONCE]
        calls += _rows_of(events, rows[some].tolist(), costs[some].tolist())
    return list(map(calls.__getitem__, np.searchsorted(places, order).tolist()))


def _rows_of(events: EventBatch, rows: Sequence[int], costs: Sequence[int]) -> Iterable[Row]:
    """The fields of `Recent` of each call."""

    def of(field: str) -> Iterable[Any]:
        return map(events.fields[field].__getitem__, rows)

    def text(field: str) -> Iterable[str]:
        return [found or "" for found in of(field)]

    users = [user or email for user, email in zip(text("user_id"), text("user_email"), strict=True)]
    return zip(
        of("id"),
        of("source"),
        events.at_ms[rows].tolist(),
        text("provider"),
        text("model"),
        text("agent_id"),
        users,
        text("call_id"),
        text("chat_id"),
        of("input_tokens"),
        of("output_tokens"),
        of("cache_read_tokens"),
        of("cache_write_tokens"),
        of("reasoning_tokens"),
        [None if cost < 0 else cost for cost in costs],
        of("latency_ms"),
        text("error"),
        text("finish_reason"),
        strict=True,
    )
