"""Records who changed which key, and when: in the log `odometer.audit` and in streams in Redis.

A line has the id and the name of the key, never its secret. Each tenant has a stream of its own, with
a bound of its own, so that nobody can push out the lines of another tenant. A line about a key of
several tenants is in the stream of each. Lines about keys of all tenants, and those of before, are in
`AUDIT_KEY`.
"""

from __future__ import annotations

import getpass
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from api.store.reader import Store
from schemas.store.keys import ALL, ROLES, Key, KeySummary, Role, SharedLimit
from schemas.store.layout import HASH_TAG

AUDIT_KEY: Final = HASH_TAG + "api-key-audit"
AUDIT_OF: Final = HASH_TAG + "api-key-audit-of."
"""Begin of the name of a tenant's stream; the tenant is the rest."""
AUDIT_TENANTS: Final = HASH_TAG + "api-key-audit-tenants"
"""Tenants by the time of their latest line, so that the latest lines of all are found."""
AUDIT_MAX: Final = 10_000
"""Lines of 300 B in `AUDIT_KEY`. The log of the process that changed a key keeps them longer."""
AUDIT_TENANT_MAX: Final = 1_000
"""Lines of one tenant: 300 kB."""
AUDIT_WRITES_MAX: Final = 10_000
"""Lines of one change, counted in each stream: writing them blocks Redis for about 20 ms."""
AUDIT_SHOWN: Final = 100
STREAMS_AT_ONCE: Final = 20
"""Streams that one reader of all tenants reads before it looks whether it has enough lines."""

audit_log = logging.getLogger("odometer.audit")


@dataclass(frozen=True)
class Actor:
    """Who changes keys: a key by its id and name, or an operator at the machine.

    With the expiry and the rate limit of the key, and the limit that the keys which it creates
    share; None: it has none.
    """

    id: str
    name: str
    role: Role = "super-admin"
    tenants: tuple[str, ...] | str = ALL
    expires_ms: int | None = None
    requests_per_s: float | None = None
    burst: int | None = None
    shared_limit: SharedLimit | None = None

    def manages(self, key: Key | KeySummary) -> bool:
        """Whether it may change `key`: a key of its own tenants, with a role up to its own."""
        if ROLES.index(key.role) > ROLES.index(self.role):
            return False
        return self.tenants == ALL or (key.tenants != ALL and set(key.tenants) <= {*self.tenants})


def operator() -> Actor:
    """The user who runs a command. Access to Redis is the permission."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = ""
    return Actor("operator", user)


def line_of(action: str, record: Key, actor: Actor, now_ms: int, **more: int) -> str:
    line = {
        "at_ms": now_ms,
        "action": action,
        "key_id": record.id,
        "key_name": record.name,
        "key_role": record.role,
        "key_tenants": record.tenants,
        "serial": record.serial,
        "by_id": actor.id,
        "by_name": actor.name,
    }
    return json.dumps(line | more, ensure_ascii=True)


def streams_of(record: Key) -> list[str]:
    """The streams that get the lines about a key."""
    if record.tenants == ALL:
        return [AUDIT_KEY]
    return [AUDIT_OF + tenant for tenant in dict.fromkeys(record.tenants)]


async def read_audit(store: Store, actor: Actor, limit: int = AUDIT_SHOWN) -> list[dict[str, Any]]:
    """The latest lines about keys of the actor's tenants, newest first."""
    is_operator = actor.tenants == ALL
    found = _Latest(limit)
    # Lines of before are of all tenants, so those of one are found only by reading all.
    found.add(await _entries(store, AUDIT_KEY, limit if is_operator else AUDIT_MAX), actor)
    if not is_operator:
        for tenant in dict.fromkeys(actor.tenants):
            found.add(await _entries(store, AUDIT_OF + tenant, limit), actor)
        return found.lines()
    begin = 0
    while True:
        upto = begin + STREAMS_AT_ONCE - 1
        tenants = await store.ask("ZREVRANGE", AUDIT_TENANTS, begin, upto, "WITHSCORES")
        for tenant, latest_ms in zip(tenants[::2], tenants[1::2], strict=True):
            if found.is_full_of_newer_than(int(latest_ms)):
                return found.lines()
            found.add(await _entries(store, AUDIT_OF.encode() + tenant, limit), actor)
        if len(tenants) < 2 * STREAMS_AT_ONCE:
            return found.lines()
        begin += STREAMS_AT_ONCE


_Order = tuple[int, int]
"""The id of a stream's entry: ms of Redis' clock, and a number within it."""


class _Latest:
    """The newest lines of several streams, each line once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._found: dict[bytes, _Order] = {}

    def add(self, entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]], actor: Actor) -> None:
        for entry_id, fields in entries:
            line = fields[b"line"]
            if line not in self._found and _may_read(json.loads(line), actor):
                at_ms, number = entry_id.split(b"-")
                self._found[line] = int(at_ms), int(number)
        if len(self._found) > self._limit:
            self._found = dict(self._newest())

    def is_full_of_newer_than(self, at_ms: int) -> bool:
        """Whether no stream whose latest line is of `at_ms` can add one."""
        return len(self._found) == self._limit and at_ms < min(self._found.values())[0]

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line, _order in self._newest()]

    def _newest(self) -> list[tuple[bytes, _Order]]:
        by_order = sorted(self._found.items(), key=lambda each: each[1], reverse=True)
        return by_order[: self._limit]


async def _entries(
    store: Store, stream: str | bytes, limit: int
) -> Sequence[tuple[bytes, Mapping[bytes, bytes]]]:
    found: Sequence[tuple[bytes, Mapping[bytes, bytes]]]
    found = await store.ask("XREVRANGE", stream, "+", "-", "COUNT", limit)
    return found


def _may_read(line: Mapping[str, Any], actor: Actor) -> bool:
    if actor.tenants == ALL:
        return True
    tenants = line["key_tenants"]
    return tenants != ALL and {*tenants} <= {*actor.tenants}
