"""The rules about evicted keys: once seen, always known, until other counters are begun."""

from __future__ import annotations

from schemas.store.eviction import (
    EvictionRecord,
    ServerMemory,
    has_evicted,
    memory_of,
    next_record,
    unpack_record,
)

REPORT = (
    b"# Server\r\nrun_id:abc\r\nserver_time_usec:5000000\r\n# Memory\r\n"
    b"maxmemory_policy:volatile-lru\r\n# Stats\r\nevicted_keys:7\r\n"
)


def of(run_id: str, evicted: int) -> ServerMemory:
    return ServerMemory(run_id, "noeviction", evicted, 9)


def test_info_is_read_or_is_not_enough() -> None:
    assert memory_of(REPORT) == ServerMemory("abc", "volatile-lru", 7, 5000)
    for missing in (b"run_id:abc", b"maxmemory_policy", b"evicted_keys:7"):
        assert memory_of(REPORT.replace(missing, b"x")) is None
    assert memory_of(b"") is None
    assert memory_of(REPORT.replace(b"keys:7", b"keys:?")) is None


def test_what_was_evicted_before_the_first_commit_is_no_loss() -> None:
    record = next_record(EvictionRecord(), of("a", 5), 0)
    assert not has_evicted(record, of("a", 5), 1)
    assert next_record(record, of("a", 5), 1) == record
    assert has_evicted(record, of("a", 6), 1)
    assert not has_evicted(record, of("a", 6), 0)  # still nothing counted
    assert next_record(record._replace(seen_ms=1), of("a", 6), 0) == EvictionRecord("a", 6)


def test_an_eviction_once_seen_outlives_every_process_of_redis() -> None:
    record = next_record(EvictionRecord("a", 0), of("a", 1), 3)
    assert record.seen_ms == 9
    for later in (of("a", 1), of("a", 0), of("b", 0), None):
        assert has_evicted(record, later, 3)
        assert later is None or next_record(record, later, 3) == record


def test_another_process_began_with_none() -> None:
    before = EvictionRecord("a", 5)
    assert has_evicted(before, of("b", 1), 3)
    assert not has_evicted(before, of("b", 0), 3)
    after = next_record(before, of("b", 0), 3)
    assert has_evicted(after, of("b", 5), 3)
    # A failback: it evicted nothing as a replica.
    assert not has_evicted(after, of("a", 5), 3)
    assert has_evicted(after, of("a", 6), 3)


def test_a_statement_of_the_operator_covers_what_was_evicted_before() -> None:
    stated = next_record(EvictionRecord(), None, 0)
    assert stated.is_stated
    assert next_record(stated, None, 3) == stated
    assert not has_evicted(stated, of("a", 7), 3)  # the API may be allowed to read INFO
    known = next_record(stated, of("a", 7), 3)
    assert not has_evicted(known, of("a", 7), 3)
    assert has_evicted(known, of("a", 8), 3)
    assert next_record(known, None, 3) == known
    assert has_evicted(stated._replace(seen_ms=1), of("a", 7), 3)


def test_a_reset_of_the_statistics_hides_nothing_later() -> None:
    record = next_record(EvictionRecord("a", 5), of("a", 0), 3)
    assert has_evicted(record, of("a", 1), 3)


def test_counters_without_a_record_are_trusted_only_without_evictions() -> None:
    assert not has_evicted(EvictionRecord(), of("a", 0), 3)
    assert has_evicted(EvictionRecord(), of("a", 1), 3)
    assert not has_evicted(EvictionRecord(), None, 3)


def test_a_damaged_record_is_none() -> None:
    assert unpack_record({b"evicted": b"?", b"run_id": b"a"}) == EvictionRecord()
    assert unpack_record({}) == EvictionRecord()
    fields = {b"run_id": b"a", b"evicted": b"2", b"seen_ms": b"3", b"stated": b"1"}
    assert unpack_record(fields) == EvictionRecord("a", 2, 3, is_stated=True)
