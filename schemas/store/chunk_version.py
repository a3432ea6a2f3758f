"""The version of a chunk's pages: whether what was read of them is still what they are. Pure."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from schemas.errors import StoreCorrupt


class ChunkVersion(NamedTuple):
    """What the pages of a chunk are: unchanged while it is. `commits`: `Meta.commits` after the last
    one that appended to any of them; `compactions`: how often one was compacted. While the
    second is the same they have only grown. There is one as soon as there is a page."""

    commits: int
    compactions: int


_CHUNK_VERSION: Final = struct.Struct("<qq")
CHUNK_VERSION_BYTES: Final = _CHUNK_VERSION.size


def unpack_chunk_version(data: bytes) -> ChunkVersion:
    if len(data) != CHUNK_VERSION_BYTES:
        raise StoreCorrupt("the version of a chunk is not whole")
    return ChunkVersion(*_CHUNK_VERSION.unpack(data))
