"""Whether Redis may evict, or has evicted, keys of the counters: what INFO says, and the record. Pure.

Pages expire, so under `volatile-lru`, the default of managed services, Redis evicts them without an
error, and totals become too low. Redis counts evicted keys, but only since its own start. So the
fact is stored beside the generation, as a hash under `N:evictions`:

    run_id, evicted    this Redis process had evicted so many keys before the counters were begun
    seen_ms            an eviction since then was seen, at this time of Redis' clock
    stated             1: INFO was forbidden, and the operator stated that nothing is evicted

The hash never expires. Policies of the kind `allkeys` may evict it, as they may the meta record.
Writing it needs no atomic step. `evicted` of a process is written only as it was before the first
commit, or lower than before, and `seen_ms` is removed only before the first commit.

An eviction is missed if Redis restarts, fails over or resets its statistics before anybody has
looked: within 2 s, or for as long as neither a worker nor an API runs. Under `noeviction`, the only
policy that a worker accepts, there is none to miss.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from schemas.store.layout import prefix

INFO: Final = ("INFO", "server", "memory", "stats")
"""The command. `CONFIG GET` says the policy too, but is often forbidden."""
SAFE_POLICY: Final = "noeviction"
REPAIR: Final = (
    "redis-cli CONFIG SET maxmemory-policy noeviction and the same in its configuration file, or the "
    "parameter maxmemory-policy of your managed service"
)


class ServerMemory(NamedTuple):
    """What INFO says of one Redis process. `at_ms`: its clock."""

    run_id: str
    policy: str
    evicted: int
    at_ms: int


class EvictionRecord(NamedTuple):
    """The stored record of a generation. The defaults are those of a generation without one."""

    run_id: str = ""
    evicted: int = 0
    seen_ms: int = 0
    is_stated: bool = False


def evictions_key(generation: int) -> str:
    return prefix(generation) + "evictions"


def memory_of(report: bytes) -> ServerMemory | None:
    """The reply to INFO; None if a service has left out what is needed."""
    lines = (line.partition(":") for line in report.decode(errors="replace").splitlines())
    fields = {name: value for name, _, value in lines}
    try:
        return ServerMemory(
            fields["run_id"],
            fields["maxmemory_policy"],
            int(fields["evicted_keys"]),
            max(1, int(fields.get("server_time_usec", 0)) // 1000),
        )
    except (KeyError, ValueError):
        return None


def unpack_record(fields: Mapping[bytes, bytes]) -> EvictionRecord:
    """The hash of a generation; that of none if it is damaged."""
    try:
        return EvictionRecord(
            fields.get(b"run_id", b"").decode(),
            int(fields.get(b"evicted", 0)),
            int(fields.get(b"seen_ms", 0)),
            fields.get(b"stated") == b"1",
        )
    except ValueError:
        return EvictionRecord()


def has_evicted(record: EvictionRecord, memory: ServerMemory | None, commits: int) -> bool:
    """Whether counters may have been evicted. Without commits there are none.

    A process that the record does not know began with 0 evicted keys, so all came since. That is a
    restart, a failover, or counters of a version that kept no record. A replica evicts nothing.
    """
    if not commits:
        return False
    if record.seen_ms or memory is None or (record.is_stated and not record.run_id):
        return record.seen_ms > 0
    return memory.evicted > (record.evicted if record.run_id == memory.run_id else 0)


def next_record(
    record: EvictionRecord, memory: ServerMemory | None, commits: int
) -> EvictionRecord:
    """The record to store after `memory`, which was read before `commits`. None: the operator states
    that nothing is evicted.

    The process of the record stays the same after a failover: it may become the primary again.
    """
    if memory is None:
        return record if record.run_id else record._replace(is_stated=True)
    if not commits:
        return EvictionRecord(memory.run_id, memory.evicted)
    if has_evicted(record, memory, commits):
        return record._replace(seen_ms=record.seen_ms or memory.at_ms)
    if record.run_id in {"", memory.run_id}:
        # The same number, or a lower one after CONFIG RESETSTAT.
        return record._replace(run_id=memory.run_id, evicted=memory.evicted)
    return record
