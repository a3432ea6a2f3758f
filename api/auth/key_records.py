"""The records of API keys in Redis: all of them, and the step that changes some.

A change and its audit lines are written in one step, and only if the records are still those that the
decision was made from. If not, the decision is made again.

To find the key of an id, and to count the keys of a tenant, all records are read. So that nobody else
has to wait for that, Redis hands over `RECORDS_AT_ONCE` at a time, a thread decodes their summaries and
decides, and a process reads once at a time, for each tenant in its turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

import msgspec

from api.auth.audit import (
    AUDIT_KEY,
    AUDIT_MAX,
    AUDIT_TENANT_MAX,
    AUDIT_TENANTS,
    AUDIT_WRITES_MAX,
    Actor,
    audit_log,
    streams_of,
)
from api.auth.authenticate import share_of
from api.auth.key_cache import KEYS_KEY, USES_KEY, record_of
from api.auth.key_shares import RECORDS_MAX, Records, dropped, tenants_of
from api.errors import InvalidKey, TooManyKeys
from api.http.tenant_turns import TenantTurns, TurnLimits
from api.store.reader import Store
from schemas.errors import StoreCorrupt, StoreUnavailable
from schemas.store.keys import Key, KeySummary
from schemas.store.layout import HASH_TAG

CHANGES_MAX: Final = 8
"""Tries of one change. Each retry means that another change came within the same milliseconds."""
RECORDS_AT_ONCE: Final = 500
"""Records in one answer of Redis, 150 kB: it takes less than 1 ms, so commits and answers go on."""
TURN_S: Final = 3.0
"""A request that waits longer for its turn gets a 503: published clients time out after 5 s."""
CREATED_KEY: Final = HASH_TAG + "api-key-creations"
"""Per tenant, how many changes created keys of it. So of two admins that use the last of its share at
the same time, one tries again, and nobody waits for changes of another tenant."""
DROPPED_KEY: Final = HASH_TAG + "api-keys-dropped"
"""The latest creation of all ended records that were removed, in ms. A record of a keys file that was
created up to then and that Redis does not have was removed after it ended. It is not restored: an
older file may have it as valid."""

_summaries: Final = msgspec.json.Decoder(KeySummary)
_turns: WeakKeyDictionary[Store, TenantTurns] = WeakKeyDictionary()
"""One for the process: it has one store."""
_CHANGE: Final = (Path(__file__).parent / "key_change.lua").read_text()


@dataclass(frozen=True)
class StoredKeys:
    """All records, as they are stored, and their summaries, both by hex SHA-256. Only the records that
    are needed are validated."""

    contents: Mapping[str, bytes]
    summaries: Mapping[str, KeySummary]

    def records(self, wanted: Callable[[KeySummary], bool]) -> dict[str, Key]:
        """The records whose summary is wanted. Raises StoreCorrupt."""
        found = [digest for digest, one in self.summaries.items() if wanted(one)]
        return {digest: record_of(self.contents[digest]) for digest in found}


@dataclass(frozen=True)
class KeyChange:
    """The new record of each digest, the audit lines with the records that they are about, and which
    of the records are new keys. `is_limited`: whether `RECORDS_MAX` applies."""

    records: Records
    lines: Sequence[tuple[Key, str]]
    created: Sequence[Key] = ()
    is_limited: bool = True


async def change_keys(
    store: Store, decide: Callable[[StoredKeys], KeyChange], actor: Actor, now_ms: int
) -> None:
    """Make the change that `decide` makes of the records, with its audit lines, in one step.

    It also drops ended records (`key_shares.dropped`). `decide` runs in a thread. Raises what it
    raises, InvalidKey, TooManyKeys, StoreError.
    """
    async with turn_of(store, actor):
        await _change(store, decide, now_ms)


@asynccontextmanager
async def turn_of(store: Store, actor: Actor) -> AsyncIterator[None]:
    """Runs the block, which may read all records, when it is the turn of the actor's tenant."""
    turns = _turns.get(store)
    if turns is None:
        turns = _turns[store] = TenantTurns(TurnLimits(timeout_s=TURN_S), _late)
    async with turns.turn(share_of(actor)):
        yield


def _late(_own: int) -> StoreUnavailable:
    return StoreUnavailable("other requests about keys were first")


async def _change(store: Store, decide: Callable[[StoredKeys], KeyChange], now_ms: int) -> None:
    for _attempt in range(CHANGES_MAX):
        creations = await store.ask("HGETALL", CREATED_KEY)
        contents = await read_contents(store)
        decided = await asyncio.to_thread(_decided, contents, decide, now_ms)
        change, put, dropped_ms = decided
        if not put:
            return
        script = _arguments(change, put, contents, creations, dropped_ms)
        reply = await store.ask("EVAL", _CHANGE, *script)
        if reply == b"full":
            raise TooManyKeys(
                f"there are {RECORDS_MAX} records of keys, the limit (RECORDS_MAX); revoked keys are"
                " removed after 90 days"
            )
        if reply == b"done":
            for _record, line in change.lines:
                audit_log.info("%s", line)
            return
    raise StoreUnavailable(
        f"other changes of keys interrupted each of {CHANGES_MAX} tries; try again"
    )


def _decided(
    contents: Mapping[str, bytes], decide: Callable[[StoredKeys], KeyChange], now_ms: int
) -> tuple[KeyChange, dict[str, bytes], int]:
    """The change; what to write for each digest, b"" to remove it; and the latest creation of the
    records that it removes, in ms, -1 for none."""
    stored = stored_keys(contents)
    kept = stored.summaries
    change = decide(stored)
    put = {digest: record.model_dump_json().encode() for digest, record in change.records.items()}
    gone = dropped({**kept, **change.records}, now_ms) & kept.keys()
    put |= dict.fromkeys(gone, b"")
    return change, put, max((kept[digest].created_ms for digest in gone), default=-1)


def _arguments(
    change: KeyChange,
    put: Mapping[str, bytes],
    contents: Mapping[str, bytes],
    creations: Mapping[bytes, bytes],
    dropped_ms: int,
) -> list[str | bytes | int]:
    """KEYS and ARGV of key_change.lua. Raises InvalidKey if there are too many audit lines."""
    names = [KEYS_KEY, USES_KEY, CREATED_KEY, DROPPED_KEY, AUDIT_TENANTS, AUDIT_KEY]
    streams = {stream for record, _line in change.lines for stream in streams_of(record)}
    names += sorted(streams - {AUDIT_KEY})
    place_of = {name: place for place, name in enumerate(names, 1)}
    lines: list[str] = []
    writes = 0
    for record, line in change.lines:
        places = [place_of[stream] for stream in streams_of(record)]
        writes += len(places)
        lines += (",".join(map(str, places)), line)
    if writes > AUDIT_WRITES_MAX:
        raise InvalidKey(
            "keys",
            f"the keys have {writes} tenants in all; at most {AUDIT_WRITES_MAX} in one request"
            " (AUDIT_WRITES_MAX)",
        )
    tenants = sorted({tenant for record in change.created for tenant in tenants_of(record)})
    return [
        len(names),
        *names,
        *(RECORDS_MAX if change.is_limited else 0, dropped_ms, AUDIT_MAX, AUDIT_TENANT_MAX),
        *(len(put), len(tenants)),
        *(word for d, new in put.items() for word in (d, contents.get(d, b""), new)),
        *(word for name in tenants for word in (name, creations.get(name.encode(), b""))),
        *lines,
    ]


async def read_contents(store: Store) -> dict[str, bytes]:
    """Hex SHA-256 -> record, as it is stored. A record that another process adds meanwhile may be
    missing: `key_change.lua` notices it if it matters."""
    found = await read_in_parts(store, KEYS_KEY)
    return {digest.decode(): content for digest, content in found.items()}


def stored_keys(contents: Mapping[str, bytes]) -> StoredKeys:
    """Raises StoreCorrupt if the summary of a record is invalid."""
    try:
        summaries = {digest: _summaries.decode(content) for digest, content in contents.items()}
    except msgspec.DecodeError as error:
        raise StoreCorrupt("the record of an API key is not one") from error
    return StoredKeys(contents, summaries)


async def read_in_parts(store: Store, key: str) -> dict[bytes, bytes]:
    """A hash of Redis, some fields at a time."""
    found: dict[bytes, bytes] = {}
    cursor = 0
    while True:
        cursor, part = await store.ask("HSCAN", key, cursor, "COUNT", RECORDS_AT_ONCE)
        found |= part
        if not cursor:
            return found


async def dropped_before_ms(store: Store) -> int:
    """The latest creation of all records that were dropped after they had ended; -1: none were."""
    kept = await store.ask("GET", DROPPED_KEY)
    return -1 if kept is None else int(kept)
