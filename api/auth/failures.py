"""Records failed authentication and failed imports of keys in the log `odometer.audit`, bounded for
each source and in all.

Anyone can fail, as often as the network allows. So a source gets one line a minute, which says how many
failures came before it; and the process writes at most LINES_MAX a minute. These lines are not stored
in Redis: a client without a key must not displace the audit of those who have one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from api.auth.audit import audit_log
from schemas.store.keys import Key

PERIOD_MS: Final = 60_000
LINES_MAX: Final = 60
"""A minute: 86,400 lines of 150 B a day, if someone tries all day long."""
SOURCES_MAX: Final = 1_024
"""Sources that are told apart within a minute."""
IPV6_PREFIX: Final = 64
"""A customer of a network has at least so many addresses: they are one source."""


class _BoundedLines:
    """The failures of the last minute."""

    def __init__(self, action: str) -> None:
        self._action = action
        self._began_ms = 0
        self._lines = 0
        self._unwritten: dict[str, int] = {}
        self._lost = 0
        self._entries = 0

    def _note(
        self, source: str, now_ms: int, about: Mapping[str, str | int], entries: int = 0
    ) -> None:
        """Write a line, or count the failure for the line at the end of the minute."""
        if not 0 <= now_ms - self._began_ms < PERIOD_MS:
            self._end(now_ms)
        if source in self._unwritten or self._lines >= LINES_MAX:
            if source in self._unwritten or len(self._unwritten) < SOURCES_MAX:
                self._unwritten[source] = self._unwritten.get(source, 0) + 1
            else:
                self._lost += 1
            self._entries += entries
            return
        self._unwritten[source] = 0
        self._lines += 1
        self._write(now_ms, about)

    def _end(self, now_ms: int) -> None:
        """Begin another minute, and write how many failures of the last one have no line."""
        unwritten = sum(self._unwritten.values()) + self._lost
        if unwritten:
            sources = sum(count > 0 for count in self._unwritten.values())
            entries = {"entries": self._entries} if self._entries else {}
            self._write(now_ms, {"more_failures": unwritten, "sources": sources} | entries)
        self._began_ms, self._lines, self._lost, self._entries = now_ms, 0, 0, 0
        self._unwritten.clear()

    def _write(self, now_ms: int, about: Mapping[str, str | int]) -> None:
        line = {"at_ms": now_ms, "action": self._action, **about}
        audit_log.info("%s", json.dumps(line, ensure_ascii=True))


class FailedAuthentications(_BoundedLines):
    """A source is a network."""

    def __init__(self) -> None:
        super().__init__("authentication_failed")

    def note(self, reason: str, source: str, now_ms: int, key: Key | None = None) -> None:
        """`key`: the record of an expired or revoked key; what was sent is never written."""
        network = network_of(source)
        about = {} if key is None else {"key_id": key.id, "key_name": key.name}
        self._note(network, now_ms, {"reason": reason, "source": network} | about)


class FailedImports(_BoundedLines):
    """Imports of keys that failed. A source is the admin's key: clients without one cannot use up the
    lines. Who tries many guesses is seen by the number of entries."""

    def __init__(self) -> None:
        super().__init__("import_failed")

    def note(self, reason: str, source: str, now_ms: int, by: Key, entries: int) -> None:
        """`entries`: how many keys the import has, which are never written."""
        about: dict[str, str | int] = {
            "reason": reason,
            "source": network_of(source),
            "entries": entries,
            "by_id": by.id,
            "by_name": by.name,
        }
        self._note(by.id, now_ms, about, entries)


def network_of(source: str) -> str:
    """An IPv4 address as it is, of an IPv6 address its network."""
    try:
        address = ip_address(source)
    except ValueError:
        return ""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ip_network((address.packed, IPV6_PREFIX), strict=False))
    return source
