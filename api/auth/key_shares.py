"""How many keys each tenant may have, which ended records are dropped, and what an admin may pass on.

A key counts once, however many secrets it has. Revoked and expired keys do not count. The share
limits what admins create. The operator and keys of all tenants are limited by the total only, of
which admins leave a part free. So no tenant's admin can keep anybody else from creating a key. A rotation
adds no key, so none of these limits applies to it. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from math import inf
from typing import Final

from api.auth.audit import Actor
from api.auth.key_cache import KEYS_MAX
from api.errors import InvalidKey, TooManyKeys
from schemas.limits import DAY_MS
from schemas.store.keys import ALL, Key, KeySummary
from schemas.units import iso

TENANT_KEYS_MAX: Final = 1_000
"""Keys that admins may create of one tenant: as many as one import has, a tenth of all."""
OPERATOR_KEYS: Final = 1_000
"""Of `KEYS_MAX`, what only the operator and keys of all tenants may use."""
TENANT_ENDED_MAX: Final = 200
"""Revoked and expired records of one tenant that are kept, 300 B each."""
ENDED_KEPT_MS: Final = 90 * DAY_MS
"""How long a revoked or expired key is still listed."""
SECRETS_MAX: Final = 3
"""Secrets of one key that are valid at the same time. Rotations with a long grace would otherwise
add records without limit; one more rotation ends the oldest secret at once."""
RECORDS_MAX: Final = 4 * KEYS_MAX
"""Records in Redis beyond which no key is created: `SECRETS_MAX` for each key, and ended ones."""

Records = Mapping[str, Key]
"""Hex SHA-256 -> record."""
Summaries = Mapping[str, Key | KeySummary]
"""Hex SHA-256 -> what is needed of a record to count it."""


def tenants_of(record: Key | KeySummary) -> tuple[str, ...]:
    """The tenants that a record counts for, once each; a key of all tenants counts for `all`."""
    return (ALL,) if record.tenants == ALL else tuple(dict.fromkeys(record.tenants))


def check_room(kept: Summaries, added: Collection[Key], actor: Actor, now_ms: int) -> None:
    """Raise TooManyKeys if `added`, which are new keys, do not fit beside the records `kept`."""
    live = {one.id: one for one in kept.values() if one.state(now_ms) == "active"}
    is_operator = actor.tenants == ALL
    most = KEYS_MAX if is_operator else KEYS_MAX - OPERATOR_KEYS
    if len(live) + len(added) > most:
        raise TooManyKeys(f"there are {len(live)} valid keys; the limit is {most}: revoke some")
    if is_operator:
        return
    counts = Counter(tenant for one in live.values() for tenant in tenants_of(one))
    more = Counter(tenant for one in added for tenant in tenants_of(one))
    for tenant, count in more.items():
        if counts[tenant] + count > TENANT_KEYS_MAX:
            raise TooManyKeys(
                f"the tenant has {counts[tenant]} valid keys; admins may create up to"
                f" {TENANT_KEYS_MAX} (TENANT_KEYS_MAX): revoke some"
            )


def dropped(records: Summaries, now_ms: int) -> set[str]:
    """The ended records to remove: long ended ones, and the oldest beyond the bound per tenant.

    A record of several tenants stays while one of them has room for it, so no tenant can make the
    records of another go.
    """
    ended = [
        (-ended_ms(one, now_ms), digest)
        for digest, one in records.items()
        if one.state(now_ms) != "active"
    ]
    gone, counts = long_ended(records, now_ms), Counter[str]()
    for _ended_ms, digest in sorted(ended):
        tenants = tenants_of(records[digest])
        if digest not in gone and all(counts[tenant] >= TENANT_ENDED_MAX for tenant in tenants):
            gone.add(digest)
        counts.update(tenants)
    return gone


def long_ended(records: Summaries, now_ms: int) -> set[str]:
    """Records that were revoked or expired more than `ENDED_KEPT_MS` ago."""
    return {d for d, one in records.items() if now_ms - ended_ms(one, now_ms) > ENDED_KEPT_MS}


def ended_ms(record: Key | KeySummary, now_ms: int) -> int:
    """When the record was revoked or expires; if neither, `now_ms`."""
    ends = [at for at in (record.revoked_ms, record.expires_ms) if at is not None]
    return min(ends, default=now_ms)


def check_passed_on(record: Key, actor: Actor, field: str = "") -> None:
    """Raise InvalidKey if the key outlives the actor's own, or may ask more often.

    `field` names the field of the request; by default the field of the key that is too large.
    """
    if actor.expires_ms is not None and (record.expires_ms or inf) > actor.expires_ms:
        raise InvalidKey(
            field or "expires",
            f"the key must not outlive yours, which expires at {iso(actor.expires_ms)}",
        )
    if actor.requests_per_s is None:
        return
    if (record.requests_per_s or inf) > actor.requests_per_s:
        raise InvalidKey(
            field or "requests_per_s",
            f"the rate limit must be at most that of your key, {actor.requests_per_s:g}",
        )
    if actor.burst is not None and record.limit_burst > actor.burst:
        raise InvalidKey(
            field or "burst", f"the burst must be at most that of your key, {actor.burst}"
        )
