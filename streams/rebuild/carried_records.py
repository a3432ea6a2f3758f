"""Carries over what is not a page: ids, bookings of calls, the latest calls, and tallies.

Ids and bookings come first. From then on both generations treat a resend and a later event of a
call in the same way. They can be carried over only if both generations have the same secret: the
text of an id is not stored, so its digest cannot be made again under another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import msgspec
import numpy as np

from schemas.catalog.views import (
    booking_dimensions,
)
from schemas.event.identity import CallKey, IdSecret, unpack_call_key
from schemas.store.generation import LAYOUT_BYTES
from schemas.store.layout import (
    prefix,
    tallies_key,
)
from schemas.store.quota_counts import id_counts_key
from schemas.store.recent_calls import calls_of, latest_of, recent_key, records_of
from streams.core.calls import Booking, CallUpdate, StoredCall
from streams.core.fold import Delta
from streams.core.ports import Outcome
from streams.rebuild.rebuild_worker import RebuildWorker
from streams.rebuild.shared_history import SharedHistory
from streams.redis.generations import RedisPair

IDS_AT_ONCE: Final = 5000
CALLS_AT_ONCE: Final = 1000
CARRIED_TALLIES: Final = (b"dead:", b"duplicate", b"differs", b"unknown:", b"directory_full")


class CarriedRecords:
    """Each method commits what the new generation lacks; it adds nothing the second time."""

    def __init__(self, pair: RedisPair, shared: SharedHistory, older_ms: int) -> None:
        self._pair = pair
        self._shared = shared
        self._older_ms = older_ms

    async def carry_ids(
        self, worker: RebuildWorker, secret: IdSecret, slice_: int, buckets: Sequence[int]
    ) -> None:
        """Reads while both generations have the same positions. So no id belongs to a record that the new
        generation has still to count."""
        keys = [
            f"{prefix(generation)}i{slice_}.{bucket}"
            for generation in (self._pair.origin, self._pair.generation)
            for bucket in buckets
        ]
        commands = [("SMEMBERS", key) for key in keys]
        state, sets = await worker.level(lambda: self._pair.read_together(commands))
        half = len(buckets)
        lacking = [
            int(id_)
            for old, new in zip(sets[:half], sets[half:], strict=True)
            for id_ in set(old) - set(new)
        ]
        ids = np.array(lacking, np.int64).view(np.uint64)
        while len(ids):
            some = ids[:IDS_AT_ONCE]
            commit = replace(
                worker.correction(state),
                secret=secret.name,
                digests=some,
                slices=np.full(len(some), slice_, np.int64),
            )
            reply = await worker.correct(commit)
            if reply.outcome is Outcome.DUPLICATE_IDS:  # in a neighbouring slice
                ids = ids[~np.isin(ids, np.array(reply.subjects, np.uint64))]
                continue
            if reply.outcome is Outcome.COMMITTED:
                ids = ids[len(some) :]
            state, _ = await worker.level(lambda: self._pair.read(()))

    async def carry_id_counts(self, worker: RebuildWorker, slice_: int) -> None:
        """Keeps the larger number of ids of each tenant: the new generation has counted only the ids that
        it read from the log itself."""
        pair = (self._pair.origin, self._pair.generation)
        commands = [("HGETALL", id_counts_key(one, slice_)) for one in pair]
        while True:
            state, (old, new) = await worker.level(lambda: self._pair.read_together(commands))
            lacking = [
                (slice_, tenant.decode(), int(count) - int(new.get(tenant, 0)))
                for tenant, count in old.items()
                if int(count) > int(new.get(tenant, 0))
            ]
            if not lacking:
                return
            correction = replace(worker.correction(state), id_counts=lacking)
            if (await worker.correct(correction)).outcome is Outcome.COMMITTED:
                return

    async def carry_calls(
        self, worker: RebuildWorker, secret: IdSecret, slice_: int, buckets: Sequence[int]
    ) -> None:
        """Carries over bookings in buckets before B, so that later events of a call go to the bucket
        where the old generation booked it."""
        commands = [("HGETALL", f"{prefix(self._pair.origin)}c{slice_}.{b}") for b in buckets]
        while True:
            state, hashes = await worker.level(lambda: self._pair.read_together(commands))
            booked = {unpack_call_key(call): data for one in hashes for call, data in one.items()}
            updates = await self._updates(worker, secret, slice_, booked)
            if not updates:
                return
            delta = Delta((), (), (), updates[:CALLS_AT_ONCE])
            await worker.correct(replace(worker.correction(state), secret=secret.name, delta=delta))

    async def _updates(
        self,
        worker: RebuildWorker,
        secret: IdSecret,
        slice_: int,
        booked: Mapping[CallKey, bytes],
    ) -> list[CallUpdate]:
        older = {
            call: booking
            for call, data in booked.items()
            if (booking := msgspec.json.decode(data, type=Booking)).booked_ms < self._older_ms
        }
        asked = [(call, slice_) for call in older]
        if not asked:
            return []
        held = await worker.retry(lambda: self._pair.bookings(secret.name, asked))
        updates = []
        for call, booking in older.items():
            now = held.get(call)
            new = StoredCall(slice_, msgspec.json.encode(self._translated(booking, now)))
            if now != new:
                updates.append(CallUpdate(call, now, new))
        return updates

    def _translated(self, booking: Booking, now: StoredCall | None) -> Booking:
        """The booking in the form of the new generation. Dimensions that the old one did not keep have
        the values of the new one."""
        own = msgspec.json.decode(now.data, type=Booking).values if now else ()
        dimensions = booking_dimensions(self._shared.catalog)
        # A booking of before a view was added may have fewer values.
        values = dict(zip(dimensions, own, strict=False)) | dict(
            zip(self._shared.booking_dimensions, booking.values, strict=False)
        )
        names = (values.get(name, "") for name in dimensions)
        return msgspec.structs.replace(booking, values=tuple(names))

    async def carry_recent(self, worker: RebuildWorker, cursor: int = 0) -> None:
        """Carries over the latest calls that the new generation has not read, from any layout. It keeps
        its own version of the others, because their cost may differ."""
        while True:
            cursor, keys = await worker.retry(
                lambda c=cursor: self._pair.some_keys(self._pair.origin, "r:", c)  # type: ignore[misc]
            )
            for key in keys:
                tenant = key.decode().removeprefix(recent_key(self._pair.origin, ""))
                await self._carry_recent_of(worker, tenant)
            if not cursor:
                return

    async def _carry_recent_of(self, worker: RebuildWorker, tenant: str) -> None:
        pair = (self._pair.origin, self._pair.generation)
        commands = [("ZRANGE", recent_key(one, tenant), 0, -1) for one in pair]
        while True:
            state, (old, new) = await worker.level(lambda: self._pair.read_together(commands))
            known = {(one.source, one.id) for one in calls_of(new)}
            lacking = [one for one in latest_of(old) if (one.source, one.id) not in known]
            if not lacking:
                return
            delta = Delta((), (), (), (), (), [(tenant, records_of(lacking))])
            correction = replace(worker.correction(state), delta=delta)
            # Some of them may have been evicted already, so this does not ask again.
            if (await worker.correct(correction)).outcome is Outcome.COMMITTED:
                return

    async def carry_tallies(self, worker: RebuildWorker) -> None:
        """Keeps the larger count of each tally: the old generation has seen more records, and the new one
        may judge them differently. Under other prices, tallies of costs come from the log alone."""
        pair = (tallies_key(self._pair.origin), tallies_key(self._pair.generation))
        commands = [("HGETALL", key) for key in pair]
        while True:
            state, (old, new) = await worker.level(lambda: self._pair.read_together(commands))
            look = await worker.retry(self._pair.look)
            same_prices = look.old.digest[LAYOUT_BYTES:] == look.new.digest[LAYOUT_BYTES:]
            lacking = {
                name.decode(): int(count) - int(new.get(name, 0))
                for name, count in old.items()
                if int(count) > int(new.get(name, 0))
                and (same_prices or name.startswith(CARRIED_TALLIES))
            }
            if not lacking:
                return
            # A name that the new generation has no room for is `other` there, and lacks for ever.
            correction = replace(worker.correction(state), tallies=lacking)
            if (await worker.correct(correction)).outcome is Outcome.COMMITTED:
                return
