"""The directory in Redis, as the directory's process writes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, assert_never

import msgspec

from schemas.store import directory
from streams.directory.records import ChatTitle
from streams.redis.client import RedisOwner, ask, call_function

REFUSALS_MAX: Final = 1000
"""Rejected records of the directory's topics that are kept for `odometer status`."""


class RedisDirectory(RedisOwner):
    """Writes the directory (schemas/store/directory.py). Use as `async with`. Every method raises
    StoreError."""

    async def write(
        self, tenant: str, update: directory.UserUpdate | directory.GroupUpdate | ChatTitle
    ) -> str:
        """Writes the update unless a later one was written. Returns "", or the limit that is
        reached."""
        match update:
            case directory.UserUpdate():
                keys = [directory.users_key(tenant), directory.addresses_key(tenant)]
                arguments = [msgspec.json.encode([update]), directory.USERS_MAX, 0]
                _, turned_away = await self._call("users", keys, arguments)
                outcome = b"users" if turned_away else b"done"
            case directory.GroupUpdate():
                keys = directory.group_keys(tenant, update.id)
                outcome = await self._call("group", keys, [msgspec.json.encode(update)])
            case ChatTitle():
                arguments = [update.chat_id, update.mark, update.title, directory.CHATS_MAX]
                outcome = await self._call("chat", [directory.chats_key(tenant)], arguments)
            case _:
                assert_never(update)
        limit = _LIMITS.get(outcome)
        return "" if limit is None else f"the tenant's directory is full: it holds {limit}"

    async def note_refusal(self, place: str, why: str) -> None:
        """Stores why the record at `place` (topic:partition:offset) was rejected. Beyond
        REFUSALS_MAX records, only the log has it."""
        key = directory.REFUSALS_KEY
        if await ask(self._redis.hlen(key)) < REFUSALS_MAX:
            await ask(self._redis.hset(key, place, why))

    async def refusals(self) -> dict[str, str]:
        found = await ask(self._redis.hgetall(directory.REFUSALS_KEY))
        return {place.decode(): why.decode() for place, why in found.items()}

    async def history(self, proposed: str) -> str:
        """Changes when written data may be gone: another Redis process answers, or the same one was
        emptied. `proposed`: a random word, stored if Redis has none."""
        epoch = directory.EPOCH_KEY
        await ask(self._redis.set(epoch, proposed, nx=True))
        found = await ask(self._redis.info("server"))
        return f"{found['run_id']} {await ask(self._redis.get(epoch))}"

    async def _call(self, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:  # noqa: ANN401
        function = directory.function_name(name)
        return await call_function(self._redis, function, directory.LIBRARY, keys, arguments)


_LIMITS: Final = {
    b"users": f"{directory.USERS_MAX} users",
    b"groups": f"{directory.GROUPS_MAX} groups",
    b"members": f"{directory.MEMBERS_MAX} members of this group",
    b"tenant_members": f"{directory.TENANT_MEMBERS_MAX} members of groups",
    b"chats": f"{directory.CHATS_MAX} chats",
}
