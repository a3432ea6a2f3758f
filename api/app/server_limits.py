"""The bounds of a connection that the server keeps. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

KIB: Final = 1024


@dataclass(frozen=True)
class ServerLimits:
    """Bounds of a connection. Tests shorten them."""

    head_bytes_max: int = 64 * KIB
    """Request line and headers. Ours need 1 KiB; a browser's cookies may need 16."""
    headers_max: int = 128
    """A browser behind two proxies sends 40."""
    url_bytes_max: int = 8 * KIB
    """Most proxies allow no more. A longer question is sent with POST."""
    framing_bytes_max: int = 8 * KIB
    """Chunk extensions and trailers of one body. Nothing reads them."""
    chunks_max: int = 65_536
    """Of one body of at most 16 MiB: 256 B each."""
    pipelined_max: int = 16
    """Requests that wait for the answer to the one before."""
    discarded_bytes_max: int = 32 * KIB * KIB
    """Of a body that arrives after its answer: twice the largest body, so that a client which writes
    all before it reads gets its 401 or 413."""
    linger_bytes_max: int = 1 * KIB * KIB
    head_s: float = 10
    body_idle_s: float = 20
    body_s: float = 60
    """Twice what the paths that take events allow for a large body."""
    idle_s: float = 75
    """Longer than the 60 s of most proxies. Else we could close a connection that the proxy just used."""
    write_s: float = 30
    linger_s: float = 2
