"""What a batch says beside its counts: who its users are, and its latest calls to models. Pure.

Both come out of the events that count, so a resend says nothing, and both are such that order and
repetition do not matter: of words about a user the latest stands (schemas/directory.py), and the
latest calls are the last RECENT_MAX by time and bytes (schemas/recent.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from schemas.directory import Word, merged
from schemas.event import DEFAULT_TENANT
from schemas.layout import Int64s
from schemas.recent import RECENT_MAX, Recent, pack_recent
from streams.decode import Decoded

Said = Sequence[tuple[str, Sequence[Word]]]
"""Tenant and what is said of its users, each user once."""
Calls = Sequence[tuple[str, Sequence[tuple[int, str]]]]
"""Tenant and its latest calls: time in ms and member of the sorted set."""

_FIRST, _LAST = 0, 1
CALL_KIND: Final = "llm"


def words_of(events: Iterable[Decoded]) -> Said:
    """The words about users whose name or address these events carry."""
    times: dict[tuple[str | None, str | None, str | None, str | None], list[int]] = {}
    for decoded in events:
        event = decoded.event
        email, name = event.user_email, event.user_name
        if not email and not name:
            continue
        who = (event.tenant, event.user_id, email, name)
        at_ms = decoded.at_ms
        known = times.get(who)
        if known is None:
            times[who] = [at_ms, at_ms]
        elif at_ms > known[_LAST]:
            known[_LAST] = at_ms
        elif at_ms < known[_FIRST]:
            known[_FIRST] = at_ms
    said: dict[str, dict[str, Word]] = {}
    for (tenant, user_id, email, name), (first_ms, last_ms) in times.items():
        key = user_id or email
        if not key:
            continue
        word = Word(
            key,
            first_ms,
            last_ms,
            last_ms if email else 0,
            email or "",
            last_ms if name else 0,
            name or "",
        )
        words = said.setdefault(tenant or DEFAULT_TENANT, {})
        words[key] = merged(words[key], word) if key in words else word
    return [(tenant, list(words.values())) for tenant, words in said.items()]


def latest_calls(
    events: Sequence[Decoded], rows: Int64s, tenants: Int64s, at_ms: Int64s, costs: Sequence[int]
) -> Calls:
    """The latest calls among `events`, RECENT_MAX a tenant. Of those at the places `rows` the other
    three stand beside: tenant as a number, time, cost in nano-USD or -1 where there is none."""
    found: list[tuple[str, Sequence[tuple[int, str]]]] = []
    for places in _by_tenant(tenants):
        if len(places) > RECENT_MAX:
            times = at_ms[places]
            oldest = np.partition(times, -RECENT_MAX)[-RECENT_MAX]
            places = places[times >= oldest]  # noqa: PLW2901  equal times are settled by bytes
        calls = [(int(at_ms[n]), _member(events[rows[n]], costs[n])) for n in places.tolist()]
        calls.sort(key=lambda call: (call[0], call[1].encode()))
        tenant = events[rows[places[0]]].event.tenant or DEFAULT_TENANT
        found.append((tenant, calls[-RECENT_MAX:]))
    return found


def _by_tenant(tenants: Int64s) -> list[Int64s]:
    """The places of each tenant's rows."""
    if not len(tenants):
        return []
    order = np.argsort(tenants, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(tenants[order])) + 1)


def _member(decoded: Decoded, cost_nano_usd: int) -> str:
    event = decoded.event
    return pack_recent(
        Recent(
            event.id,
            event.source,
            decoded.at_ms,
            event.provider or "",
            event.model or "",
            event.agent_id or "",
            event.user_id or event.user_email or "",
            event.call_id or "",
            event.chat_id or "",
            event.input_tokens,
            event.output_tokens,
            event.cache_read_tokens,
            event.cache_write_tokens,
            event.reasoning_tokens,
            None if cost_nano_usd < 0 else cost_nano_usd,
            event.latency_ms,
            event.error or "",
        )
    )
