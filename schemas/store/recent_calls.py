"""The latest model calls of a tenant, without their content. Pure.

The key `N:r:TENANT` of a generation is a sorted set of records. A record has the calls of one commit
in one minute of event time. Its score is the time of its latest call in ms, its member

    calls     COLUMNS_CALLS_MIN calls or more: zstd of a JSON array of columns, one a field of `Recent`;
              fewer calls: a JSON array of calls, because to compress them takes more than it saves
    u16       how many calls they are
    i64       the number of the commit (`Meta.commits`), so that no two members are equal

One more member is empty. Its score is minus the number of calls in all records, so its rank is 0. A
commit adds its records. If the tenant then has more than RECENT_HELD calls, the commit evicts the
record with the lowest score, as long as the others have RECENT_MAX calls. So a tenant has all its
calls, or at least RECENT_MAX and fewer than twice as many.

Readers show the latest RECENT_MAX of them, each once. **That list is exact except in its oldest
minute.** A record is evicted as a whole, and those that stay end later. So a call may be missing only
in the minute of the oldest call that is shown, or before. In that minute an older call may be shown.

In layouts 3 to 5 a member is one call as a JSON array, the score its time. None is empty.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from types import GenericAlias
from typing import Any, Final, NamedTuple

import msgspec

from schemas.errors import StoreCorrupt
from schemas.limits import MINUTE_MS
from schemas.store.layout import prefix

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

RECENT_MAX: Final = 1000
"""Calls shown per tenant. Twice as many as one request to AgentLens's API may ask for. They take some
20 to 45 B each in Redis, 150 B where a commit has few of them: 20 to 250 kB a tenant. Reading 1,999 of
them, the most, takes 4 ms."""
RECENT_HELD: Final = RECENT_MAX + RECENT_MAX // 4
"""With fewer, no commit looks for records to evict: of 1,000 tenants with a call in each, that would
take four commands more for each call."""
COLUMNS_CALLS_MIN: Final = 8
"""10 calls take 2 us and 37 B each as columns, 1 us and 146 B each as they are; 660 calls take 0.7 us
and 19 B each as columns. (Compressed as rows, 24 B.)"""
CALL_BYTES_MAX: Final = 24 * 1024
"""JSON of one call: texts of 3,392 characters (eight of 256, one of 320, one of 1,024) with up to 6 B each,
because control characters are escaped, and 300 B of numbers. A record has at most RECENT_MAX calls, and
a reader decompresses no record that says it is longer than its calls can be."""
ZSTD_LEVEL: Final = 1
"""Level 3 saves no byte here and takes longer."""
WINDOW_LOG_MAX: Final = 23
"""8 MiB, as in requests. Level 1 uses 2^19."""


class Recent(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One call to a model. An empty text or None: not reported."""

    id: str
    source: str
    at_ms: int
    provider: str
    model: str
    agent: str
    user: str
    call_id: str
    chat_id: str
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    cost_nano_usd: int | None
    latency_ms: int | None
    error: str
    finish_reason: str = ""


Row = tuple[Any, ...]
"""The fields of a `Recent`: a commit makes thousands, and none is looked at."""


class RecentRecord(NamedTuple):
    """The calls of a commit and tenant in one minute, at most RECENT_MAX. `at_ms`: of the latest."""

    at_ms: int
    calls: int
    data: bytes

    def member(self, commits: int) -> bytes:
        """As it lies in the sorted set once commit number `commits` has added it."""
        return self.data + _TRAILER.pack(self.calls, commits)


_TRAILER: Final = struct.Struct("<Hq")
_AT_MS: Final = Recent.__struct_fields__.index("at_ms")
_OLD_CALL, _ROWS = b'["', b"[["
_CALL: Final = msgspec.json.Decoder(Recent)
_CALLS: Final = msgspec.json.Decoder(list[Recent])
_COLUMN_TYPES: Final = [GenericAlias(list, one.type) for one in msgspec.structs.fields(Recent)]
_COLUMNS: Final = msgspec.json.Decoder(GenericAlias(tuple, (*_COLUMN_TYPES,)))
_ZSTD: Final = zstd.ZstdCompressor(ZSTD_LEVEL)
"""It has no state between records: a new one for each would take 25 us."""


def recent_key(generation: int, tenant: str) -> str:
    return f"{prefix(generation)}r:{tenant}"


# -- writing ---------------------------------------------------------------------------------------


def record_of(rows: Sequence[Row]) -> RecentRecord:
    """`rows`: at least one, all in the same minute, the latest last."""
    if len(rows) < COLUMNS_CALLS_MIN:
        data = msgspec.json.encode(rows)
    else:
        columns = msgspec.json.encode(list(zip(*rows, strict=True)))
        data = _ZSTD.compress(columns, zstd.ZstdCompressor.FLUSH_FRAME)
    return RecentRecord(rows[-1][_AT_MS], len(rows), data)


def records_of(calls: Iterable[Recent]) -> list[RecentRecord]:
    """The records of these calls, at most RECENT_MAX."""
    ordered = sorted(calls, key=_order)
    return [
        record_of([msgspec.structs.astuple(call) for call in some])
        for _, some in groupby(ordered, key=lambda call: call.at_ms // MINUTE_MS)
    ]


def pack_recent(call: Recent) -> str:
    return msgspec.json.encode(call).decode()


# -- reading ---------------------------------------------------------------------------------------


def latest_of(members: Iterable[bytes]) -> list[Recent]:
    """The latest RECENT_MAX calls in these members of the sorted set. See `calls_of`."""
    return calls_of(members)[-RECENT_MAX:]


def calls_of(members: Iterable[bytes]) -> list[Recent]:
    """The calls in these members, the oldest first. Equal calls are one: an event that is sent again
    after its id was forgotten counts again, but is not shown again. Raises StoreCorrupt."""
    calls: list[Recent] = []
    for member in members:
        if member:
            calls += _calls_in(member)
            if len(calls) > 2 * RECENT_MAX:
                raise StoreCorrupt(
                    f"more than {2 * RECENT_MAX} latest calls of a tenant are stored"
                )
    return sorted(dict.fromkeys(calls), key=_order)


def count_in(member: bytes) -> int:
    """How many calls a record says that it has. Raises StoreCorrupt."""
    if len(member) < _TRAILER.size:
        raise StoreCorrupt("a record of the latest calls is not whole")
    count: int = _TRAILER.unpack_from(member, len(member) - _TRAILER.size)[0]
    return count


def _order(call: Recent) -> tuple[int, str, str]:
    return call.at_ms, call.id, call.source


def _calls_in(member: bytes) -> list[Recent]:
    """The calls of a record, or the one call of a member of layouts 3 to 5."""
    try:
        if member.startswith(_OLD_CALL):
            return [_CALL.decode(member)]
        count, data = count_in(member), member[: -_TRAILER.size]
        if count > RECENT_MAX:
            raise StoreCorrupt(f"a record of the latest calls has {count}, more than {RECENT_MAX}")
        if data.startswith(_ROWS):
            calls = _CALLS.decode(data)
        else:
            columns = _COLUMNS.decode(_decompressed(data, count * CALL_BYTES_MAX))
            calls = list(map(Recent, *columns))
            if {*map(len, columns)} != {count}:
                raise StoreCorrupt("the columns of a record of the latest calls differ in length")
    except (msgspec.MsgspecError, UnicodeDecodeError, zstd.ZstdError) as error:
        raise StoreCorrupt("a record of the latest calls cannot be read") from error
    if len(calls) != count:
        raise StoreCorrupt(f"a record of the latest calls has {len(calls)} calls, not {count}")
    return calls


def _decompressed(data: bytes, bytes_max: int) -> bytes:
    """One zstd frame, which says its length before it is decompressed."""
    length = zstd.get_frame_info(data).decompressed_size
    if length is None or length > bytes_max:
        raise StoreCorrupt(f"a record of the latest calls is longer than {bytes_max} B, its limit")
    frame = zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG_MAX}
    )
    plain = frame.decompress(data, bytes_max)
    if not frame.eof or frame.unused_data:
        raise StoreCorrupt("a record of the latest calls is not one whole frame")
    return plain
