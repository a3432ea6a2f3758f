"""Records who replayed which dead letters: in the log `odometer.audit` and in streams in Redis.

A line is written before anything is sent, so no replay lacks one. It is in the stream of each tenant whose
events it sends, and in the stream of all. Each has a bound of its own, so that no tenant can push out the
lines of another.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Final

from api.auth.audit import audit_log
from api.store.reader import Store
from schemas.responses.dead_letters import ReplayAuditLine, ReplayLine, ReplayWish
from schemas.store.keys import ALL, Key
from schemas.store.layout import HASH_TAG
from schemas.units import iso

REPLAYS_KEY: Final = HASH_TAG + "replay-audit"
"""The stream of all lines, for keys of all tenants."""
REPLAYS_OF: Final = HASH_TAG + "replay-audit-of."
"""Begin of the name of a tenant's stream; the tenant is the rest."""
REPLAYS_MAX: Final = 2_000
"""Lines in `REPLAYS_KEY`: each has at most 50 origins, some 3 kB."""
REPLAYS_TENANT_MAX: Final = 200
SHOWN: Final = 100


async def record_replay(
    store: Store, key: Key, wish: ReplayWish, lines: Sequence[ReplayLine], now_ms: int
) -> None:
    """Record that these dead letters are about to be sent. Raises StoreError: then they must not be."""
    tenants = sorted({name for line in lines for name in _tenants_of(line)})
    text = json.dumps(
        {
            "at": iso(now_ms),
            "by_id": key.id,
            "by_name": key.name,
            "tenants": tenants,
            "origins": [line.origin for line in lines],
            "corrected": [*(["value"] if wish.value is not None else []), *sorted(wish.set)],
            "again": wish.again,
        }
    )
    audit_log.info("replay of dead letters: %s", text)
    await store.ask_all(
        [
            ("XADD", REPLAYS_KEY, "MAXLEN", REPLAYS_MAX, "*", "line", text),
            *(
                ("XADD", REPLAYS_OF + name, "MAXLEN", REPLAYS_TENANT_MAX, "*", "line", text)
                for name in tenants
            ),
        ]
    )


async def read_replays(store: Store, key: Key) -> list[ReplayAuditLine]:
    """The latest lines whose tenants are all of the key, newest first."""
    streams = [REPLAYS_KEY] if key.tenants == ALL else [REPLAYS_OF + name for name in key.tenants]
    found: dict[bytes, bytes] = {}
    for entries in await store.ask_all(
        [("XREVRANGE", stream, "+", "-", "COUNT", SHOWN) for stream in streams]
    ):
        found |= {fields[b"line"]: entry_id for entry_id, fields in entries}
    texts = sorted(found, key=lambda text: _order(found[text]), reverse=True)
    lines = [ReplayAuditLine(**json.loads(text)) for text in texts]
    return [one for one in lines if all(key.sees(name) for name in one.tenants)][:SHOWN]


def _tenants_of(line: ReplayLine) -> Iterable[str]:
    """The tenant that the record named, and the one that its event belongs to after a correction."""
    if line.tenant is not None:
        yield line.tenant
    if line.counts_as is not None:
        yield line.counts_as.tenant


def _order(entry_id: bytes) -> tuple[int, ...]:
    return tuple(int(part) for part in entry_id.split(b"-"))
