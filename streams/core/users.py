"""The updates of users and the latest calls to models in a batch. Pure.

Both come from the events that count, so a resend adds nothing. Order and repetition do not matter:
the latest update of a user wins (schemas/store/directory.py), and the latest calls are the last
RECENT_MAX by time and bytes (schemas/store/recent_calls.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from schemas.event.kinds import DEFAULT_TENANT
from schemas.store.directory import UserUpdate, merged
from schemas.store.layout import Int64s
from schemas.store.recent_calls import RECENT_MAX, Recent, pack_recent
from streams.core.decode import READ_AT_ONCE, EventBatch

UserUpdates = Sequence[tuple[str, Sequence[UserUpdate]]]
"""Tenant and the updates of its users, one update a user."""
Calls = Sequence[tuple[str, Sequence[tuple[int, str]]]]
"""Tenant and its latest calls: time in ms and member of the sorted set."""

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
    chosen = [_latest(places, at_ms) for places in _by_tenant(tenants)]
    if not chosen:
        return []
    packed = np.sort(np.concatenate(chosen))
    members: list[str] = []
    for at in range(0, len(packed), READ_AT_ONCE):  # in the order of memory
        some = packed[at : at + READ_AT_ONCE]
        members += _members(events, rows[some].tolist(), costs[some].tolist())
    found: list[tuple[str, Sequence[tuple[int, str]]]] = []
    for places in chosen:
        own = map(members.__getitem__, np.searchsorted(packed, places).tolist())
        # Text sorts like its UTF-8 bytes.
        calls = sorted(zip(at_ms[places].tolist(), own, strict=True))
        tenant = events.fields["tenant"][rows[places[0]]] or DEFAULT_TENANT
        found.append((tenant, calls[-RECENT_MAX:]))
    return found


def _latest(places: Int64s, at_ms: Int64s) -> Int64s:
    """The last RECENT_MAX, and others with the time of the oldest of these: their bytes decide later."""
    if len(places) <= RECENT_MAX:
        return places
    times = at_ms[places]
    oldest = int(np.partition(times, -RECENT_MAX)[-RECENT_MAX])
    return places[times >= oldest]


def _by_tenant(tenants: Int64s) -> list[Int64s]:
    """The rows of each tenant."""
    if not len(tenants):
        return []
    order = np.argsort(tenants, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(tenants[order])) + 1)


def _members(events: EventBatch, rows: Sequence[int], costs: Sequence[int]) -> list[str]:
    """The members of the sorted set, all in one go: a batch of many tenants has one per event."""

    def of(field: str) -> list[Any]:
        column = events.fields[field]
        return [column[row] for row in rows]

    def text(field: str) -> list[str]:
        return [found or "" for found in of(field)]

    users = [user or email for user, email in zip(text("user_id"), text("user_email"), strict=True)]
    calls = map(
        Recent,
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
    )
    return list(map(pack_recent, calls))
