"""The open connections of the process: how many there may be, and how many of one tenant. No I/O.

Beyond the limit a new connection replaces the oldest one that has not authenticated a request yet,
else the connection of a tenant that has been idle for longest. So connections without a key never keep
out those with one. If every connection is answering a request with a key, the new one is refused.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, Protocol

from api.errors import TooManyConnections

CONNECTIONS_MAX: Final = 4096
"""A connection that waits takes about 10 kB here and in the kernel: 40 MB."""
SHARE: Final = 2
"""One tenant may have half of the connections."""
RETRY_AFTER_S: Final = 1


class Droppable(Protocol):
    """A connection of the server, or of a test."""

    def drop(self) -> None:
        """Close the connection at once."""


class Connections:
    """`received_bytes`: of all connections; `parsed_bytes`: those that the parser was given; `refused`:
    status of the answers that the server gave by itself, and how many."""

    def __init__(self, connections_max: int = CONNECTIONS_MAX) -> None:
        self.connections_max = connections_max
        self.tenant_max = max(1, connections_max // SHARE)
        self.received_bytes = 0
        self.parsed_bytes = 0
        self.refused: Counter[int] = Counter()
        self.dropped = 0
        self._open: set[Droppable] = set()
        self._anonymous: dict[Droppable, None] = {}
        self._idle: dict[Droppable, None] = {}
        self._tenants: dict[Droppable, tuple[str, ...]] = {}
        self._of_tenant: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def of_tenant(self, tenant: str) -> int:
        return self._of_tenant[tenant]

    def admit(self, connection: Droppable) -> bool:
        """Whether the new connection may stay. It may take the place of another."""
        if len(self._open) >= self.connections_max:
            oldest = next(iter(self._anonymous), None) or next(iter(self._idle), None)
            if oldest is None:
                return False
            self.remove(oldest)
            self.dropped += 1
            oldest.drop()
        self._open.add(connection)
        self._anonymous[connection] = None
        return True

    def remove(self, connection: Droppable) -> None:
        """The connection has ended. Nothing happens if it was removed before."""
        self._open.discard(connection)
        self._anonymous.pop(connection, None)
        self._idle.pop(connection, None)
        self._release(connection)

    def idle(self, connection: Droppable) -> None:
        """The connection waits for its next request."""
        if connection in self._tenants:
            self._idle[connection] = None

    def busy(self, connection: Droppable) -> None:
        self._idle.pop(connection, None)

    def belongs_to(self, connection: Droppable, tenants: tuple[str, ...]) -> None:
        """A request of this connection has a key of `tenants`. Raises TooManyConnections if one of
        them has its share; then the connection belongs to whom it did before."""
        if connection not in self._open or self._tenants.get(connection) == tenants:
            return
        before = {*self._tenants.get(connection, ())}
        if any(self._of_tenant[one] >= self.tenant_max for one in tenants if one not in before):
            raise TooManyConnections(RETRY_AFTER_S)
        self._release(connection)
        self._anonymous.pop(connection, None)
        self._tenants[connection] = tenants
        self._of_tenant.update(tenants)

    def _release(self, connection: Droppable) -> None:
        for tenant in self._tenants.pop(connection, ()):
            self._of_tenant[tenant] -= 1
            if not self._of_tenant[tenant]:
                del self._of_tenant[tenant]
