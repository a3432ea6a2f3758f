"""Records who changed which key, and when: in the log `odometer.audit` and in a stream in Redis.

A line has the id and the name of the key, never its secret.
"""

from __future__ import annotations

import getpass
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from api.store.reader import Store
from schemas.store.keys import ALL, ROLES, Key, Role
from schemas.store.layout import HASH_TAG

AUDIT_KEY: Final = HASH_TAG + "api-key-audit"
AUDIT_MAX: Final = 10_000
"""Lines of 300 B in Redis. The log of the process that changed a key keeps them longer."""
AUDIT_SHOWN: Final = 100

audit_log = logging.getLogger("odometer.audit")


@dataclass(frozen=True)
class Actor:
    """Who changes keys: a key by its id and name, or an operator at the machine."""

    id: str
    name: str
    role: Role = "super-admin"
    tenants: tuple[str, ...] | str = ALL

    def manages(self, key: Key) -> bool:
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


async def read_audit(store: Store, actor: Actor, limit: int = AUDIT_SHOWN) -> list[dict[str, Any]]:
    """The latest lines about keys of the actor's tenants, newest first."""
    most = limit if actor.tenants == ALL else AUDIT_MAX
    entries = await store.ask("XREVRANGE", AUDIT_KEY, "+", "-", "COUNT", most)
    lines = (json.loads(fields[b"line"]) for _id, fields in entries)
    return [line for line in lines if _may_read(line, actor)][:limit]


def _may_read(line: Mapping[str, Any], actor: Actor) -> bool:
    if actor.tenants == ALL:
        return True
    tenants = line["key_tenants"]
    return tenants != ALL and {*tenants} <= {*actor.tenants}
