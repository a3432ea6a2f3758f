"""The Kafka key of an event's record. Pure."""

from __future__ import annotations


def partition_key(tenant: str, source: str, event_id: str, call_id: str | None) -> bytes:
    """The key that producers give a record.

    All events of one call get the same key, so they keep their order. An event that is sent again
    gets the key of its original, so it reaches the same partition.
    """
    text = f"{tenant}|{call_id}" if call_id else f"{tenant}|{source}|{event_id}"
    return text.encode()
