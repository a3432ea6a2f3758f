"""The store on Redis or Valkey: the only module of streams that imports redis.

Its writes are the functions of commit.lua, after those of schemas/store/directory.lua and
chats.lua; the library's name carries a digest of the text.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, assert_never, cast

import msgspec
import numpy as np
import redis.asyncio as redis
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from schemas.catalog.views import CALL_BUCKETS, ID_BUCKETS, OTHER, SLICE_MS, TENANTS_MAX
from schemas.errors import StoreCorrupt, StoreFull, StoreUnavailable
from schemas.store import directory
from schemas.store.chats import CHAT_MODELS_MAX, CHATS_MAX, Chat, tags_text
from schemas.store.layout import (
    CURRENT_KEY,
    FIRST_GENERATION,
    Meta,
    due_key,
    due_of,
    meta_key,
    page_kept_ms,
    prefix,
    refusals_key,
    tallies_key,
    unpack_chunk_version,
    unpack_meta,
)
from schemas.store.recent_calls import RECENT_MAX
from streams.core.calls import StoredCall
from streams.core.fold import Delta
from streams.core.ports import Commit, Outcome, Refusal, Reply
from streams.directory.records import Title
from streams.redis.compaction import Read, made_compact, starts_of
from streams.redis.series_ids import NO_EPOCH, Ids, other_of, paged

CONNECT_S: Final = 2.0
"""A store on the same network answers a connect in milliseconds."""
ANSWER_S: Final = 5.0
"""The largest commit takes a tenth of a second; an AOF rewrite or a swap-in may add seconds."""
LOOKS_MAX: Final = 4
"""For the generation that answers: one look, two after a rebuild."""
NAMINGS_MAX: Final = 4
"""For the ids of a commit's series: one try, two after the server began anew."""
DUE_AT_ONCE: Final = 64
DUE_BYTES: Final = 2 << 20
"""Pages that are read to be made compact: some 20 kB each, 0.1 to 0.5 ms to read, merge and write.
Those of chats may be megabytes: then fewer."""
DUE_A_PIECE: Final = 512
"""Another DUE_AT_ONCE for each so many that are due: live events wait for few after a commit, and a
backfill, which ends a thousand pages with each, never has more than some thousands waiting."""
ANOTHER_SERVER: Final = -1
"""Of `compact`: not the one that was read."""
GROUP_MAX: Final = 1000
"""Arguments that the Lua side hands to one command: its stack holds 8,000."""

REFUSALS_MAX: Final = 1000
"""Records of the directory's streams whose refusal is kept for `odometer status`."""

_TEXT: Final = directory.LUA + "".join(
    (Path(__file__).parent / "lua" / name).read_text() for name in ("chats.lua", "commit.lua")
)
VERSION: Final = hashlib.sha256(_TEXT.encode()).hexdigest()[:12]
_CODE: Final = f"#!lua name=odometer_{VERSION}\n" + _TEXT.replace("@VERSION@", VERSION)


class RedisStore:
    """`streams.core.ports.Store` on a Redis 7 or newer, or Valkey. Use as `async with`.

    Where no `generation` is given it is that which answered when `meta` was last read. `about` is
    what a generation that it opens is said to be (schemas/store/generation.py).
    """

    def __init__(self, url: str, generation: int | None = None, about: str = "") -> None:
        self._redis = _client(url)
        self._is_pinned = generation is not None
        self.generation = generation or FIRST_GENERATION
        self._about = about
        self._ids = Ids()
        self._digest = b""
        self._due = 0  # pages, as the last commit said
        self._due_at_once = DUE_AT_ONCE

    @property
    def _meta_key(self) -> str:
        return meta_key(self.generation)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self._redis.aclose()

    async def open(self, digest: bytes, count: int, now_ms: int) -> None:
        arguments = [digest, self.generation, count, now_ms, self._about]
        await self._call("open", [self._meta_key, CURRENT_KEY], arguments)

    async def meta(self) -> Meta | None:
        for _attempt in range(LOOKS_MAX):
            current, data = await ask(self._redis.mget(CURRENT_KEY, self._meta_key))
            answering = generation_of(current)
            if self._is_pinned or answering == self.generation:
                return None if data is None else unpack_meta(data)
            self.generation = answering
            self._ids.forget()
        raise StoreUnavailable(f"the generation that answers changed under {LOOKS_MAX} looks")

    async def bookings(self, calls: Sequence[tuple[int, int]]) -> Mapping[int, StoredCall | None]:
        asked = [(str(digest), digest % CALL_BUCKETS, slice_) for digest, slice_ in calls]
        flat = await self._call("bookings", [self._meta_key], [msgspec.json.encode(asked)])
        held = zip(flat[::2], flat[1::2], strict=True)
        return {
            digest: None if slice_ < 0 else StoredCall(slice_, data)
            for (digest, _), (slice_, data) in zip(calls, held, strict=True)
        }

    async def commit(self, commit: Commit) -> Reply:
        for _attempt in range(NAMINGS_MAX):
            outcome, *subjects = await self._named(commit) or await self._call(
                "commit", [self._meta_key], encode_commit(commit, self._ids)
            )
            if outcome != b"unnamed":
                break
            self._ids.forget()
        else:
            raise StoreUnavailable(f"the server began anew under {NAMINGS_MAX} commits")
        if outcome == b"committed":
            self._digest, self._due = commit.generation_digest, int(subjects[0])
            return Reply(Outcome.COMMITTED)
        if outcome in {b"stale", b"missing", b"retired", b"digest"}:
            self._ids.forget()  # the store may be another one: it costs one more exchange
        numbers = [int(subject) for subject in subjects]
        if outcome == b"remembered":
            numbers = [number % (1 << 64) for number in numbers]
        return Reply(Outcome(outcome.decode()), numbers)

    async def tidy(self) -> None:
        for _piece in range(1 + self._due // DUE_A_PIECE):
            if not self._due or self._ids.epoch == NO_EPOCH:
                return
            self._due = await self._replace(await self._read_due())

    async def _read_due(self) -> Sequence[Read]:
        """Some of the pages that are due, and how often those of their chunks had been made compact
        at that instant."""
        entries = await ask(self._redis.lrange(due_key(self.generation), 0, self._due_at_once - 1))
        due = {entry: due_of(entry) for entry in entries}
        chunk_versions = list(dict.fromkeys(one.chunk_version_key for one in due.values()))
        keys = [*(one.page for one in due.values()), *chunk_versions]
        head = prefix(self.generation)
        found = await ask(self._redis.mget([head + key for key in keys])) if keys else []
        found_versions = dict(zip(chunk_versions, found[len(due) :], strict=True))
        read, size_bytes = [], 0
        for (entry, one), page in zip(due.items(), found, strict=False):
            if size_bytes >= DUE_BYTES:
                break
            chunk_version = found_versions[one.chunk_version_key]
            seen = 0 if chunk_version is None else unpack_chunk_version(chunk_version).compactions
            read.append(Read(entry, one, page or b"", seen))
            size_bytes += len(page or b"")
        if read:
            fitting = DUE_BYTES * len(read) // max(1, size_bytes)
            self._due_at_once = min(DUE_AT_ONCE, max(1, fitting))
        return read

    async def _replace(self, read: Sequence[Read]) -> int:
        """Writes what was read as it is compact; how many are due after that."""
        if not read:
            return 0
        arguments: list[bytes | str | int] = [self._digest, self._ids.epoch]
        for one, rows in zip(read, made_compact(read), strict=True):
            is_shorter = len(rows) < len(one.page)
            page = (len(one.page), rows) if is_shorter else (0, b"")
            arguments += [one.entry, one.compactions, *page]
        left = int(await self._call("compact", [self._meta_key], arguments))
        if left == ANOTHER_SERVER:
            self._ids.forget()
        return max(left, 0)

    async def _named(self, commit: Commit) -> list[Any]:
        """Asks for the ids that are not known: [], or why the commit cannot be."""
        delta = commit.delta
        if not (asked := self._ids.missing(delta)):
            return []
        control = {
            "partitions": commit.partitions,
            "at_commits": commit.at_commits,
            "epoch": commit.id.hex(),
            "tenants": delta.tenants,
            "tenants_max": TENANTS_MAX,
            "other": OTHER,
            "series": [
                (
                    one.table.id,
                    one.tenant,
                    one.table.view.series_max,
                    other_of(one.table),
                    one.names,
                )
                for one in asked
            ],
        }
        arguments = [commit.generation_digest, commit.id, msgspec.json.encode(control)]
        outcome, *said = await self._call("names", [self._meta_key], arguments)
        if outcome != b"named":
            return [outcome, *said]
        epoch, names, *ids = said
        if epoch.decode() != self._ids.epoch and self._ids.epoch != NO_EPOCH:
            self._ids.forget()  # what else is known is of before
            return await self._named(commit)
        self._ids.learn(epoch.decode(), names, delta, asked, ids)
        return []

    async def refuse(self, partition: int, position: int, why: Refusal, detail: str) -> None:
        field = "generation" if partition < 0 else partition
        said = json.dumps({"reason": why.name.lower(), "detail": detail})
        await self._call("refuse", [self._meta_key], [field, int(why), said, position])

    async def accept(
        self, partition: int, position: int, new_position: int, history_from_ms: int
    ) -> bool:
        """An operator's word that counting goes on elsewhere; False where it has moved already."""
        arguments = [partition, position, new_position, history_from_ms]
        return bool(await self._call("accept", [self._meta_key], arguments))

    async def tallies(self) -> dict[str, int]:
        """Of the generation that `meta` found: counts of dead letters (`dead:reason`), duplicates, unknown fields (`unknown:name`), and
        of users for whom the directory had no room (`directory_full`)."""
        found = await ask(self._redis.hgetall(tallies_key(self.generation)))
        return {name.decode(): int(count) for name, count in found.items()}

    async def refusals(self) -> dict[str, dict[str, str]]:
        """Partition, or "generation", to {"reason", "detail"}."""
        found = await ask(self._redis.hgetall(refusals_key(self.generation)))
        return {name.decode(): json.loads(said) for name, said in found.items()}

    async def _call(self, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:  # noqa: ANN401  as RESP has it
        call = self._redis.fcall_ro if name == "bookings" else self._redis.fcall
        function = f"odometer_{name}_{VERSION}"
        return await _function(call, self._redis, function, _CODE, keys, arguments)


class RedisDirectory:
    """The directory beside the counters (schemas/store/directory.py), for what streams say. Use as
    `async with`; every method raises StoreError."""

    def __init__(self, url: str) -> None:
        self._redis = _client(url)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self._redis.aclose()

    async def say(
        self, tenant: str, said: directory.UserUpdate | directory.GroupSaid | Title
    ) -> str:
        """Writes what is said where it is the latest word; "", or the limit that leaves no room."""
        match said:
            case directory.UserUpdate():
                keys = [directory.users_key(tenant), directory.addresses_key(tenant)]
                arguments = [msgspec.json.encode([said]), directory.USERS_MAX, 0]
                _, turned_away = await self._call("users", keys, arguments)
                outcome = b"users" if turned_away else b"done"
            case directory.GroupSaid():
                keys = [directory.groups_key(tenant), directory.members_key(tenant, said.id)]
                outcome = await self._call("group", keys, [msgspec.json.encode(said)])
            case Title():
                arguments = [said.chat_id, said.mark, said.title, directory.CHATS_MAX]
                outcome = await self._call("chat", [directory.chats_key(tenant)], arguments)
            case _:
                assert_never(said)
        limit = _LIMITS.get(outcome)
        return "" if limit is None else f"the tenant's directory has {limit} {outcome.decode()}"

    async def note_refusal(self, place: str, why: str) -> None:
        """Says of a record, by its topic, partition and offset, why it was not taken. Those beyond
        REFUSALS_MAX are in the log only."""
        key = directory.REFUSALS_KEY
        if await ask(self._redis.hlen(key)) < REFUSALS_MAX:
            await ask(self._redis.hset(key, place, why))

    async def refusals(self) -> dict[str, str]:
        found = await ask(self._redis.hgetall(directory.REFUSALS_KEY))
        return {place.decode(): why.decode() for place, why in found.items()}

    async def history(self) -> str:
        """Differs where what was written may be gone: another Redis process answers than before, or
        the same was emptied meanwhile."""
        epoch = directory.EPOCH_KEY
        await ask(self._redis.set(epoch, secrets.token_hex(8), nx=True))
        found = await ask(self._redis.info("server"))
        return f"{found['run_id']} {await ask(self._redis.get(epoch))}"

    async def _call(self, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:  # noqa: ANN401
        return await _function(
            self._redis.fcall, self._redis, directory.function_name(name), directory.LIBRARY,
            keys, arguments,
        )  # fmt: skip


_LIMITS: Final = {
    b"users": directory.USERS_MAX,
    b"groups": directory.GROUPS_MAX,
    b"chats": directory.CHATS_MAX,
}


# -- one exchange ----------------------------------------------------------------------------------


def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=CONNECT_S,
        socket_timeout=ANSWER_S,
        # A commit is tried again by the worker, with the same commit id, never by the client.
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        decode_responses=False,
    )


async def _function(
    call: Callable[..., object],
    client: redis.Redis,
    function: str,
    library: str,
    keys: Sequence[str],
    arguments: Sequence[Any],
) -> Any:  # noqa: ANN401  as RESP has it
    """One function; its library is loaded where the server does not know it yet."""
    for attempt in range(2):
        try:
            return await ask(call(function, len(keys), *keys, *arguments))
        except _FunctionMissing:
            if attempt:
                raise
            await _load(client, library)
    raise AssertionError("unreachable")


async def _load(client: redis.Redis, library: str) -> None:
    try:
        await ask(client.function_load(library))
    except StoreCorrupt as error:
        if "already exists" not in str(error):  # another process was first
            raise


async def ask(command: object) -> Any:  # noqa: ANN401
    """Awaits one command; foreign errors become ours."""
    try:
        return await cast("Awaitable[Any]", command)
    except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
        raise StoreUnavailable(f"Redis does not answer: {error}") from error
    except exceptions.ResponseError as error:
        raise _translated(error) from error


def generation_of(current: bytes | None) -> int:
    """What stands under `current`: the first generation where nothing was counted yet."""
    if current is None:
        return FIRST_GENERATION
    if not current.isdigit():
        raise StoreCorrupt(f"{CURRENT_KEY} holds {current!r}, which is no generation")
    return int(current)


class _FunctionMissing(StoreCorrupt):
    """The server does not have our library: it is new, or was emptied."""


_NOT_READY: Final = (
    exceptions.ReadOnlyError,  # a replica: a failover is under way
    exceptions.ClusterDownError,  # and a replica that has lost its master
    exceptions.TryAgainError,
)
"""The client cuts the code off the text of the errors that it has classes for."""


def _translated(error: exceptions.ResponseError) -> Exception:
    text = str(error)
    if "unction not found" in text:
        return _FunctionMissing(text)
    if isinstance(error, exceptions.OutOfMemoryError) or text.startswith(("OOM", "MISCONF")):
        return StoreFull(f"Redis takes no writes: {text}")
    if isinstance(error, _NOT_READY) or text.startswith(("BUSY", "NOREPLICAS")):
        return StoreUnavailable(f"Redis is not ready: {text}")
    return StoreCorrupt(f"Redis refused the call: {text}")


def encode_commit(commit: Commit, ids: Ids) -> list[bytes]:
    """The arguments of `commit` in commit.lua. Nothing of the delta is missing in `ids`."""
    delta = commit.delta
    resolved = ids.resolved(delta)
    parts = [paged(part, resolved) for part in delta.parts]
    recent, members = _recent_of(delta)
    control = {
        "now_ms": commit.now_ms,
        "count": commit.count,
        "absent_ms": list(commit.absent_ms.items()),
        "partitions": commit.partitions,
        "ids": _ids_of(commit),
        "calls": [
            (
                str(call.digest),
                call.digest % CALL_BUCKETS,
                -1 if call.old is None else call.old.slice,
                "" if call.old is None else call.old.data.decode(),
                call.new.slice,
                call.new.data.decode(),
            )
            for call in delta.calls
        ],
        "epoch": ids.epoch,
        "names": ids.names,
        "tallies": [*commit.tallies.items(), *resolved.over.items()],
        "parts": [
            (
                part.page_kind.head,
                part.tier.id,
                part.page_kind.room_bytes,
                part.tier.chunk_ms,
                page_kept_ms(part.tier),
                *part.page_kind.form,
            )
            for part in delta.parts
        ],
        "people": delta.users,
        "users_max": directory.USERS_MAX,
        "recent": recent,
        "recent_max": RECENT_MAX,
        "slice_ms": SLICE_MS,
        "id_buckets": ID_BUCKETS,
        "call_buckets": CALL_BUCKETS,
        "chats": [
            (tenant, len(tenant), [_chat_note(chat) for chat in chats])
            for tenant, chats in delta.chats
        ],
        "chats_max": CHATS_MAX,
        "chat_models_max": CHAT_MODELS_MAX,
        "at_commits": commit.at_commits,
    }
    return [
        commit.generation_digest,
        commit.id,
        msgspec.json.encode(control),
        members,
        *(array.tobytes() for pages_and_rows in parts for array in pages_and_rows),
    ]


def _recent_of(delta: Delta) -> tuple[list[tuple[str, list[int]]], bytes]:
    """Of each tenant [ms, bytes, ...] of its latest calls, and those side by side."""
    members: list[bytes] = []
    recent = []
    for tenant, calls in delta.recent:
        sizes: list[int] = []
        for at_ms, call in calls:
            members.append(call.encode())
            sizes += at_ms, len(members[-1])
        recent.append((tenant, sizes))
    return recent, b"".join(members)


def _chat_note(chat: Chat) -> list[Any]:
    """As `heard_chat` in chats.lua takes it: short where there is no title, no tags, no preview."""
    said = [chat.id, chat.first_ms, chat.last_ms, chat.user_ms, chat.user, chat.models]
    if chat.title_ms or chat.tags_ms or chat.preview_ms:
        said += [chat.title_ms, chat.title, chat.tags_ms, tags_text(chat.tags)]
        said += [chat.preview_ms, chat.preview]
    return said


def _ids_of(commit: Commit) -> list[tuple[int, list[str], list[list[str]]]]:
    """By slice: [bucket, id, ...] of the sets that get one id, and [bucket, id, id, ...] of each of
    the others. Ids are the signed decimals that a set of integers holds."""
    if not len(commit.digests):
        return []
    place = commit.slices * ID_BUCKETS + (commit.digests % np.uint64(ID_BUCKETS)).astype(np.int64)
    order = np.argsort(place, kind="stable")
    ids = [str(one) for one in commit.digests[order].view(np.int64).tolist()]
    place = place[order]
    starts = starts_of(place)
    found: dict[int, tuple[list[str], list[list[str]]]] = {}
    for one, (start, end) in zip(
        place[starts].tolist(), pairwise([*starts.tolist(), len(ids)]), strict=True
    ):
        slice_, at = divmod(one, ID_BUCKETS)
        singles, groups = found.setdefault(slice_, ([], []))
        if end == start + 1:
            singles += (_BUCKETS[at], ids[start])
        else:
            groups.extend(
                [_BUCKETS[at], *ids[some : min(some + GROUP_MAX, end)]]
                for some in range(start, end, GROUP_MAX)
            )
    return [(slice_, *of_slice) for slice_, of_slice in found.items()]


_BUCKETS: Final = [str(bucket) for bucket in range(ID_BUCKETS)]
