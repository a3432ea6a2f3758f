"""Creates, imports, rotates and revokes keys: decisions over all records, and the step that writes them.

A change and its audit lines are written in one step, and only if the records are still those that the
decision was made from. If not, the decision is made again. An audit line says who changed which key
and when, and never contains a key. Lines also go to the log `odometer.audit`.
"""

from __future__ import annotations

import secrets  # noqa: TID251  keys need the system's randomness; no caller may choose another
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from api.auth.audit import AUDIT_KEY, AUDIT_MAX, Actor, audit_log, line_of
from api.auth.authenticate import KEY_CHARS_MAX, digest_of
from api.auth.key_cache import KEYS_KEY, KEYS_MAX, USES_KEY, record_of
from api.errors import InvalidKey, NoSuchKey, TooManyKeys
from api.query.time_range import iso_to_ms
from api.store.reader import Store
from schemas.errors import StoreUnavailable
from schemas.limits import DAY_MS
from schemas.store.keys import Key

KEY_PREFIX: Final = "als_"
KEY_RANDOM_BYTES: Final = 32
"""43 URL-safe characters: nobody can try 2^256 keys."""
ENDED_KEPT_MS: Final = 90 * DAY_MS
"""How long a revoked or expired key is still listed."""
GRACE_MS_MAX: Final = 30 * DAY_MS
IMPORT_MAX: Final = 1000
"""Keys in one import: writing them blocks Redis for about 5 ms."""
IMPORT_CHARS_MIN: Final = 16
"""A shorter key can be guessed: 16 hex characters are 2^64."""
CHANGES_MAX: Final = 8
"""Tries of one change. Each retry means that another change came within the same milliseconds."""

_CHANGE: Final = (Path(__file__).parent / "key_change.lua").read_text()

Records = Mapping[str, Key]
"""Hex SHA-256 -> record."""


@dataclass(frozen=True)
class KeySpec:
    """A key to create, or to import with the `secret` that its client already has."""

    name: str
    tenants: tuple[str, ...] | str
    role: str
    expires_ms: int | None = None
    requests_per_s: float | None = None
    burst: int | None = None
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class NewKey:
    """A record and its secret, which can be seen only now."""

    record: Key
    secret: str = field(repr=False)


@dataclass(frozen=True)
class ListedKey:
    """A record, and the minute of its last use; None: never used."""

    record: Key
    last_used_ms: int | None


@dataclass(frozen=True)
class _Change:
    """The new record of each digest, and the audit lines."""

    records: Mapping[str, Key]
    lines: Sequence[str]


# -- what can be done ------------------------------------------------------------------------------


async def create_keys(
    store: Store, wanted: Sequence[KeySpec], actor: Actor, now_ms: int
) -> list[NewKey]:
    """Create keys, or import those that have a secret already: all of them, or none.

    Raises InvalidKey, TooManyKeys, StoreError.
    """
    if len(wanted) > IMPORT_MAX:
        raise InvalidKey(
            "keys", f"{len(wanted)} keys in one request; at most {IMPORT_MAX} (IMPORT_MAX)"
        )
    made = [_made(one, actor, now_ms) for one in wanted]
    digests = [digest_of(one.secret) for one in made]

    def decide(kept: Records) -> _Change:
        for place, digest in enumerate(digests):
            if digest in kept or digest in digests[:place]:
                at = f" (entry {place + 1})" if len(digests) > 1 else ""
                raise InvalidKey("key", f"this key exists already{at}")
        action = [("import" if one.secret else "create") for one in wanted]
        lines = [
            line_of(verb, one.record, actor, now_ms) for verb, one in zip(action, made, strict=True)
        ]
        return _Change({d: one.record for d, one in zip(digests, made, strict=True)}, lines)

    await _change(store, decide, now_ms)
    return made


async def rotate_key(store: Store, key_id: str, grace_ms: int, actor: Actor, now_ms: int) -> NewKey:
    """Replace the secret; the old one stays valid for `grace_ms`. Raises NoSuchKey, InvalidKey."""
    if not 0 <= grace_ms <= GRACE_MS_MAX:
        most = GRACE_MS_MAX // DAY_MS
        raise InvalidKey("grace_s", f"must be 0 to {most} days (GRACE_MS_MAX)")
    secret = _new_secret()
    found: list[Key] = []

    def decide(kept: Records) -> _Change:
        mine = _of_id(kept, key_id, actor)
        latest = max(mine.values(), key=lambda record: record.serial)
        if latest.state(now_ms) != "active":
            raise InvalidKey("id", f"the key is {latest.state(now_ms)}: create another one")
        record = latest.model_copy(update={"serial": latest.serial + 1, "created_ms": now_ms})
        found[:] = [record]
        ended = {d: _ended(old, now_ms + grace_ms) for d, old in mine.items()}
        line = line_of("rotate", record, actor, now_ms, grace_ms=grace_ms)
        return _Change({**ended, digest_of(secret): record}, [line])

    await _change(store, decide, now_ms)
    return NewKey(found[0], secret)


async def revoke_key(store: Store, key_id: str, actor: Actor, now_ms: int) -> Key:
    """Revoke a key and all its secrets. To repeat it is no error. Raises NoSuchKey."""
    found: list[Key] = []

    def decide(kept: Records) -> _Change:
        mine = _of_id(kept, key_id, actor)
        revoked = {
            digest: record.model_copy(update={"revoked_ms": now_ms})
            for digest, record in mine.items()
            if record.revoked_ms is None
        }
        latest = max(mine.values(), key=lambda record: record.serial)
        found[:] = [latest.model_copy(update={"revoked_ms": latest.revoked_ms or now_ms})]
        return _Change(revoked, [line_of("revoke", latest, actor, now_ms)] if revoked else [])

    await _change(store, decide, now_ms)
    return found[0]


async def restore_keys(store: Store, records: Records, actor: Actor, now_ms: int) -> int:
    """Restore records whose secret Redis does not know; returns how many. Others stay unchanged."""
    missing: dict[str, Key] = {}

    def decide(kept: Records) -> _Change:
        missing.clear()
        gone = kept.keys() | _long_ended(records, now_ms)
        missing.update((digest, one) for digest, one in records.items() if digest not in gone)
        return _Change(
            missing, [line_of("restore", one, actor, now_ms) for one in missing.values()]
        )

    await _change(store, decide, now_ms)
    return len(missing)


async def list_keys(store: Store, actor: Actor) -> list[ListedKey]:
    """The keys that the actor manages: by name, then id, the newest secret first."""
    kept = await read_records(store)
    uses: dict[bytes, bytes] = await store.ask("HGETALL", USES_KEY)
    last_used = {digest.decode(): int(at_ms) for digest, at_ms in uses.items()}
    found = [
        ListedKey(record, last_used.get(digest))
        for digest, record in kept.items()
        if actor.manages(record)
    ]
    return sorted(found, key=lambda one: (one.record.name, one.record.id, -one.record.serial))


async def read_records(store: Store) -> dict[str, Key]:
    return {d: record_of(content) for d, content in (await _contents(store)).items()}


@asynccontextmanager
async def opened(redis_url: str) -> AsyncIterator[Store]:
    """A store that is used for keys only."""
    store = Store(redis_url, b"")
    try:
        yield store
    finally:
        await store.close()


def expiry(text: str, now_ms: int) -> int:
    """The time at which a key expires, in ms. Raises InvalidKey."""
    at_ms = iso_to_ms(text, UTC)
    if at_ms is None or at_ms <= now_ms:
        raise InvalidKey(
            "expires", "must be an ISO 8601 time in the future, such as 2030-12-31T00:00:00Z"
        )
    return at_ms


# -- one change ------------------------------------------------------------------------------------


async def _change(store: Store, decide: Callable[[Records], _Change], now_ms: int) -> None:
    for _attempt in range(CHANGES_MAX):
        contents = await _contents(store)
        kept = {digest: record_of(content) for digest, content in contents.items()}
        change = decide(kept)
        put = {
            digest: record.model_dump_json().encode() for digest, record in change.records.items()
        }
        put |= dict.fromkeys(_long_ended(kept, now_ms) - put.keys(), b"")
        if not put:
            return
        reply = await store.ask(
            *("EVAL", _CHANGE, 3, KEYS_KEY, USES_KEY, AUDIT_KEY, KEYS_MAX, AUDIT_MAX, len(put)),
            *(word for d, new in put.items() for word in (d, contents.get(d, b""), new)),
            *change.lines,
        )
        if reply == b"full":
            raise TooManyKeys(
                f"there are {KEYS_MAX} keys, the limit; revoked keys are removed after 90 days"
            )
        if reply == b"done":
            for line in change.lines:
                audit_log.info("%s", line)
            return
    raise StoreUnavailable(
        f"other changes of keys interrupted each of {CHANGES_MAX} tries; try again"
    )


async def _contents(store: Store) -> dict[str, bytes]:
    found: dict[bytes, bytes] = await store.ask("HGETALL", KEYS_KEY)
    return {digest.decode(): content for digest, content in found.items()}


def _long_ended(kept: Records, now_ms: int) -> set[str]:
    def ended_ms(record: Key) -> int:
        ends = [at for at in (record.revoked_ms, record.expires_ms) if at is not None]
        return min(ends, default=now_ms)

    return {digest for digest, one in kept.items() if now_ms - ended_ms(one) > ENDED_KEPT_MS}


def _of_id(kept: Records, key_id: str, actor: Actor) -> dict[str, Key]:
    """All secrets of a key. Raises NoSuchKey, also if the actor does not manage it."""
    mine = {d: one for d, one in kept.items() if one.id == key_id and actor.manages(one)}
    if not mine:
        raise NoSuchKey("there is no key with this id among the keys that you manage")
    return mine


def _ended(record: Key, at_ms: int) -> Key:
    ends = [at for at in (record.expires_ms, at_ms) if at is not None]
    return record.model_copy(update={"expires_ms": min(ends)})


def _made(wanted: KeySpec, actor: Actor, now_ms: int) -> NewKey:
    given: dict[str, Any] = {
        "id": f"key-{secrets.token_hex(5)}",
        "name": wanted.name,
        "tenants": wanted.tenants,
        "role": wanted.role,
        "created_ms": now_ms,
        "expires_ms": wanted.expires_ms,
        "requests_per_s": wanted.requests_per_s,
        "burst": wanted.burst,
    }
    try:
        record = Key.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "tenants"
        raise InvalidKey(name, first["msg"].removeprefix("Value error, ")) from error
    if not actor.manages(record):
        raise InvalidKey("role", "you can give only your own tenants, and roles up to your own")
    return NewKey(
        record, _new_secret() if wanted.secret is None else _checked_secret(wanted.secret)
    )


def _new_secret() -> str:
    return KEY_PREFIX + secrets.token_urlsafe(KEY_RANDOM_BYTES)


def _checked_secret(secret: str) -> str:
    if not IMPORT_CHARS_MIN <= len(secret) <= KEY_CHARS_MAX:
        raise InvalidKey(
            "key",
            f"must have {IMPORT_CHARS_MIN} to {KEY_CHARS_MAX} characters"
            f" (IMPORT_CHARS_MIN, KEY_CHARS_MAX), this has {len(secret)}",
        )
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        raise InvalidKey(
            "key", "must have only visible ASCII characters, because it is sent in a header"
        )
    return secret
