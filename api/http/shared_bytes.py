"""Limits the bytes that requests hold at the same time, so that no tenant can use them all.

There are two rooms: one for all requests, and a small one for small requests only. Of each room, one
tenant may use a part. So large or stalled requests of one tenant leave room for all others, and live
events pass beside large uploads.
"""

from __future__ import annotations

from typing import Final

SMALL_BYTES_MAX: Final = 64 * 1024
"""The largest request that may use the room for small ones."""
SMALL_PART: Final = 1 / 8
"""Part of the bytes that is the room for small requests."""


class Room:
    """Bytes that requests may hold: all together, and those of one tenant."""

    def __init__(self, bytes_max: int, tenant_part: float) -> None:
        self._free_bytes = bytes_max
        self._tenant_bytes_max = int(bytes_max * tenant_part)
        self._held: dict[str, int] = {}

    @property
    def held_bytes(self) -> int:
        return sum(list(self._held.values()))

    def take(self, tenant: str, size_bytes: int) -> bool:
        """Take bytes for a tenant; a negative size gives some back. False: there is no room."""
        held_bytes = self._held.get(tenant, 0) + size_bytes
        if size_bytes > 0 and (
            size_bytes > self._free_bytes or held_bytes > self._tenant_bytes_max
        ):
            return False
        self._add(tenant, size_bytes)
        return True

    def take_whole(self, tenant: str, size_bytes: int) -> bool:
        """Take the bytes of a whole request. One that is larger than the tenant's part is taken while
        the tenant holds nothing else, and one larger than the room while nobody does."""
        held_bytes = self._held.get(tenant, 0)
        if self._held and size_bytes > self._free_bytes:
            return False
        if held_bytes and held_bytes + size_bytes > self._tenant_bytes_max:
            return False
        self._add(tenant, size_bytes)
        return True

    def _add(self, tenant: str, size_bytes: int) -> None:
        self._free_bytes -= size_bytes
        held_bytes = self._held.get(tenant, 0) + size_bytes
        if held_bytes:
            self._held[tenant] = held_bytes
        else:
            self._held.pop(tenant, None)


class SharedBytes:
    """The two rooms of `bytes_max`. `tenant_part`: what one tenant may use of each."""

    def __init__(self, bytes_max: int, tenant_part: float) -> None:
        small_bytes = int(bytes_max * SMALL_PART)
        self.for_any = Room(bytes_max - small_bytes, tenant_part)
        self.for_small = Room(small_bytes, tenant_part)

    @property
    def held_bytes(self) -> int:
        """Of all requests. It may be asked in any thread."""
        return self.for_any.held_bytes + self.for_small.held_bytes

    def rooms_for(self, size_bytes: int) -> tuple[Room, ...]:
        """The rooms that a request of this size may use, in order."""
        if size_bytes > SMALL_BYTES_MAX:
            return (self.for_any,)
        return self.for_any, self.for_small

    def take_whole(self, tenant: str, size_bytes: int) -> Room | None:
        """Take the bytes of a whole request. Returns the room that has them; None: there is no room."""
        for room in self.rooms_for(size_bytes):
            if room.take_whole(tenant, size_bytes):
                return room
        return None


class Holding:
    """The bytes of one request that grows, in one of the two rooms."""

    __slots__ = ("_room", "_shared", "_tenant", "size_bytes")

    def __init__(self, shared: SharedBytes, tenant: str) -> None:
        self._shared = shared
        self._tenant = tenant
        self._room = shared.for_any
        self.size_bytes = 0

    def take(self, more_bytes: int) -> bool:
        """Take so many more bytes. False: there is no room."""
        size_bytes = self.size_bytes + more_bytes
        for room in self._shared.rooms_for(size_bytes):
            missing_bytes = more_bytes if room is self._room else size_bytes
            if room.take(self._tenant, missing_bytes):
                if room is not self._room:
                    self.release()
                self._room, self.size_bytes = room, size_bytes
                return True
        return False

    def release(self) -> None:
        self._room.take(self._tenant, -self.size_bytes)
        self.size_bytes = 0
