"""Creates, imports, rotates and revokes keys: decisions over all records, which key_records writes.

An audit line says who changed which key and when, and never contains a key. Lines also go to the log
`odometer.audit`.
"""

from __future__ import annotations

import asyncio
import secrets  # noqa: TID251  keys need the system's randomness; no caller may choose another
from collections.abc import AsyncIterator, Container, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any, Final

from pydantic import ValidationError

from api.auth.audit import AUDIT_WRITES_MAX, Actor, line_of
from api.auth.authenticate import KEY_CHARS_MAX, digest_of
from api.auth.key_cache import KEYS_KEY, USES_KEY, record_of
from api.auth.key_records import (
    KeyChange,
    StoredKeys,
    change_keys,
    dropped_before_ms,
    read_contents,
    read_in_parts,
    stored_keys,
    turn_of,
)
from api.auth.key_shares import (
    SECRETS_MAX,
    Records,
    check_passed_on,
    check_room,
    long_ended,
    tenants_of,
)
from api.auth.tokens import check_bound
from api.errors import InvalidKey, KeyExists, NoSuchKey
from api.query.time_range import iso_to_ms
from api.store.reader import Store
from schemas.catalog.views import DEFAULT, Catalog
from schemas.limits import DAY_MS
from schemas.store.keys import ALL, REQUESTS_PER_S_MIN, Bound, Key

KEY_PREFIX: Final = "als_"
KEY_RANDOM_BYTES: Final = 32
"""43 URL-safe characters: nobody can try 2^256 keys."""
GRACE_MS_MAX: Final = 30 * DAY_MS
IMPORT_MAX: Final = 1000
"""Keys in one import: writing them blocks Redis for about 5 ms."""
IMPORT_CHARS_MIN: Final = 16
"""A shorter key can be guessed: 16 hex characters are 2^64."""


@dataclass(frozen=True)
class KeySpec:
    """A key to create, or to import with the `secret` that its client already has."""

    name: str
    tenants: tuple[str, ...] | str
    role: str
    expires_ms: int | None = None
    requests_per_s: float | None = None
    burst: int | None = None
    only: Bound = ()
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


# -- what can be done ------------------------------------------------------------------------------


async def create_keys(
    store: Store, wanted: Sequence[KeySpec], actor: Actor, now_ms: int
) -> list[NewKey]:
    """Create keys, or import those that have a secret already: all of them, or none.

    Only a key of all tenants and the operator learn which key exists already: for all others it may be
    another tenant's, and an import would tell of 1,000 guesses which one is right.

    Raises InvalidKey, KeyExists, TooManyKeys, StoreError.
    """
    if len(wanted) > IMPORT_MAX:
        raise InvalidKey(
            "keys", f"{len(wanted)} keys in one request; at most {IMPORT_MAX} (IMPORT_MAX)"
        )
    for one in wanted:
        if one.only:
            if one.role != "viewer":
                raise InvalidKey("only", "only a viewer's key can be bound to filters")
            check_bound(one.only, store.catalog)
    made = [_made(one, actor, now_ms) for one in wanted]
    digests = [digest_of(one.secret) for one in made]
    known: set[str] = set()
    for place, digest in enumerate(digests):
        if digest in known:
            raise KeyExists(
                "key", f"this key exists already (entry {place + 1}): it is in the request twice"
            )
        known.add(digest)

    def decide(stored: StoredKeys) -> KeyChange:
        kept = stored.summaries
        if not known.isdisjoint(kept):
            raise _exists(digests, kept, actor)
        created = [one.record for one in made]
        check_room(kept, created, actor, now_ms)
        action = [("import" if one.secret else "create") for one in wanted]
        lines = [
            (one, line_of(verb, one, actor, now_ms))
            for verb, one in zip(action, created, strict=True)
        ]
        return KeyChange(dict(zip(digests, created, strict=True)), lines, created)

    await change_keys(store, decide, actor, now_ms)
    return made


async def rotate_key(store: Store, key_id: str, grace_ms: int, actor: Actor, now_ms: int) -> NewKey:
    """Replace the secret; the old one stays valid for `grace_ms`. Raises NoSuchKey, InvalidKey.

    No limit of keys stops a rotation. Of the old secrets, the latest `SECRETS_MAX` - 1 stay valid.
    """
    if not 0 <= grace_ms <= GRACE_MS_MAX:
        most = GRACE_MS_MAX // DAY_MS
        raise InvalidKey("grace_s", f"must be 0 to {most} days (GRACE_MS_MAX)")
    secret = _new_secret()
    found: list[Key] = []

    def decide(stored: StoredKeys) -> KeyChange:
        mine = _of_id(stored, key_id, actor)
        latest = max(mine.values(), key=lambda record: record.serial)
        if latest.state(now_ms) != "active":
            raise InvalidKey("id", f"the key is {latest.state(now_ms)}: create another one")
        check_passed_on(latest, actor, "id")
        record = latest.model_copy(update={"serial": latest.serial + 1, "created_ms": now_ms})
        found[:] = [record]
        still_valid_from = record.serial - SECRETS_MAX + 1
        ended = {
            d: _ended(old, now_ms + (grace_ms if old.serial >= still_valid_from else 0))
            for d, old in mine.items()
        }
        line = line_of("rotate", record, actor, now_ms, grace_ms=grace_ms)
        return KeyChange({**ended, digest_of(secret): record}, [(record, line)], is_limited=False)

    await change_keys(store, decide, actor, now_ms)
    return NewKey(found[0], secret)


async def revoke_key(store: Store, key_id: str, actor: Actor, now_ms: int) -> Key:
    """Revoke a key and all its secrets. To repeat it is no error. Raises NoSuchKey."""
    found: list[Key] = []

    def decide(stored: StoredKeys) -> KeyChange:
        mine = _of_id(stored, key_id, actor)
        revoked = {
            digest: record.model_copy(update={"revoked_ms": now_ms})
            for digest, record in mine.items()
            if record.revoked_ms is None
        }
        latest = max(mine.values(), key=lambda record: record.serial)
        found[:] = [latest.model_copy(update={"revoked_ms": latest.revoked_ms or now_ms})]
        line = line_of("revoke", latest, actor, now_ms)
        return KeyChange(revoked, [(latest, line)] if revoked else [])

    await change_keys(store, decide, actor, now_ms)
    return found[0]


async def restore_keys(
    store: Store, records: Records, actor: Actor, now_ms: int, *, even_dropped: bool = False
) -> int:
    """Restore records whose secret Redis does not know; returns how many. Others stay unchanged.

    Records that Redis dropped after they had ended stay away, unless `even_dropped`.
    """
    dropped_ms = -1 if even_dropped else await dropped_before_ms(store)
    wanted = {d: one for d, one in records.items() if one.created_ms > dropped_ms}
    count = 0
    for part in _in_parts(wanted):
        count += await _restore(store, part, actor, now_ms)
    return count


async def _restore(store: Store, records: Records, actor: Actor, now_ms: int) -> int:
    missing: dict[str, Key] = {}

    def decide(stored: StoredKeys) -> KeyChange:
        missing.clear()
        gone = stored.summaries.keys() | long_ended(records, now_ms)
        missing.update((digest, one) for digest, one in records.items() if digest not in gone)
        lines = [(one, line_of("restore", one, actor, now_ms)) for one in missing.values()]
        return KeyChange(missing, lines)

    await change_keys(store, decide, actor, now_ms)
    return len(missing)


def _in_parts(records: Records) -> Iterator[Records]:
    """The records in parts that one change can write: each has an audit line per tenant."""
    part: dict[str, Key] = {}
    writes = 0
    for digest, record in records.items():
        more = len(tenants_of(record))
        if writes + more > AUDIT_WRITES_MAX:
            yield part
            part, writes = {}, 0
        part[digest] = record
        writes += more
    if part:
        yield part


async def was_dropped(store: Store, record: Key, now_ms: int) -> bool:
    """Whether Redis does not know a record because it ended, and not because it lost all keys."""
    if long_ended({"": record}, now_ms):
        return bool(await store.ask("EXISTS", KEYS_KEY))
    return record.created_ms <= await dropped_before_ms(store)


async def list_keys(store: Store, actor: Actor) -> list[ListedKey]:
    """The keys that the actor manages: by name, then id, the newest secret first."""
    async with turn_of(store, actor):
        contents = await read_contents(store)
        uses = await read_in_parts(store, USES_KEY)
        return await asyncio.to_thread(_listed, contents, uses, actor)


def _listed(
    contents: Mapping[str, bytes], uses: Mapping[bytes, bytes], actor: Actor
) -> list[ListedKey]:
    found = [
        ListedKey(record, int(at_ms) if (at_ms := uses.get(digest.encode())) else None)
        for digest, record in stored_keys(contents).records(actor.manages).items()
    ]
    return sorted(found, key=lambda one: (one.record.name, one.record.id, -one.record.serial))


async def read_records(store: Store) -> dict[str, Key]:
    return {d: record_of(content) for d, content in (await read_contents(store)).items()}


@asynccontextmanager
async def opened(redis_url: str, catalog: Catalog = DEFAULT) -> AsyncIterator[Store]:
    """A store that is used for keys only. `catalog`: of its views, for keys that are bound to filters."""
    store = Store(redis_url, "", catalog)
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


# -- the decisions ----------------------------------------------------------------------------------


def _of_id(stored: StoredKeys, key_id: str, actor: Actor) -> dict[str, Key]:
    """All secrets of a key. Raises NoSuchKey, also if the actor does not manage it."""
    mine = stored.records(lambda one: one.id == key_id and actor.manages(one))
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
        "expires_ms": actor.expires_ms if wanted.expires_ms is None else wanted.expires_ms,
        "requests_per_s": wanted.requests_per_s,
        "burst": wanted.burst,
        "shared_limit": actor.shared_limit,
    }
    if wanted.only:
        given["only"] = wanted.only
    if wanted.requests_per_s is None and wanted.burst is None:
        given |= {"requests_per_s": actor.requests_per_s, "burst": actor.burst}
    try:
        record = Key.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "tenants"
        raise InvalidKey(name, first["msg"].removeprefix("Value error, ")) from error
    if record.limit_per_s != record.requests_per_s:
        raise InvalidKey(
            "requests_per_s", f"must be at least {REQUESTS_PER_S_MIN} (REQUESTS_PER_S_MIN)"
        )
    if not actor.manages(record):
        raise InvalidKey("role", "you can give only your own tenants, and roles up to your own")
    check_passed_on(record, actor)
    return NewKey(
        record, _new_secret() if wanted.secret is None else _checked_secret(wanted.secret)
    )


def _exists(digests: Sequence[str], kept: Container[str], actor: Actor) -> KeyExists:
    if actor.tenants != ALL:
        return KeyExists(
            "key", "the request has a key that cannot be imported, so none was: send other keys"
        )
    place = next(place for place, digest in enumerate(digests) if digest in kept)
    at = f" (entry {place + 1})" if len(digests) > 1 else ""
    return KeyExists("key", f"this key exists already{at}")


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
