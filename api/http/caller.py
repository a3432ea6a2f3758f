"""Who sends the request that is being answered, as far as it is known yet.

Each request runs in a task of its own, so a context variable carries the caller from the server, which
knows the connection, to authentication, which finds the key, and back to the access log.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from starlette.types import Scope

BELONGS_TO: Final = "odometer.belongs_to"
"""ASGI extension of our server: a function that says which tenants the connection belongs to."""

BelongsTo = Callable[[tuple[str, ...]], None]


@dataclass(slots=True, eq=False)
class Caller:
    """`source` is the address of the peer: of the client, or of the proxy in front of us. `headers` are
    those of the request as they came, repeated ones included. `only`: the filters that the key is bound
    to, which each question must have. `has_token`: a token was sent, not the key itself. `key_digest`: the
    SHA-256 of the key's secret. For metrics: `error` is the class of the error that is answered, and the
    numbers are the events that the request brought."""

    source: str = ""
    headers: Sequence[tuple[bytes, bytes]] = ()
    belongs_to: BelongsTo | None = None
    key_id: str = ""
    tenant: str = ""
    error: str = ""
    accepted: int = 0
    refused: int = 0
    skipped: int = 0
    method: str = ""
    path: str = ""
    only: tuple[Hashable, ...] = ()
    has_token: bool = False
    key_digest: str = field(default="", repr=False)

    def authenticated(self, key_id: str, tenants: tuple[str, ...]) -> None:
        """Note the key. Raises TooManyConnections if its tenants have too many connections."""
        self.key_id = key_id
        if len(tenants) == 1:
            self.tenant = tenants[0]
        if self.belongs_to is not None:
            self.belongs_to(tenants)


CALLER: Final[ContextVar[Caller | None]] = ContextVar("caller", default=None)


def caller_of(scope: Scope) -> Caller:
    client = scope.get("client")
    extensions = scope.get("extensions") or {}
    return Caller(
        client[0] if client else "",
        scope["headers"],
        extensions.get(BELONGS_TO),
        method=scope["method"],
        path=scope["path"],
    )
