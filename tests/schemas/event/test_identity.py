"""Identities are of their parts, not of the text that these make together."""

from __future__ import annotations

from itertools import product

from schemas.event.identity import call_digest, event_digests
from schemas.event.partition_key import partition_key


def test_no_two_identities_share_a_digest_because_their_parts_touch() -> None:
    parts = ("a", "ab", "b", "bc", "1", "11", "1:", ":1", "a1:b", "1:a1:b")
    events = list(product(parts, repeat=3))
    digests = event_digests(*zip(*events, strict=True))
    assert len({*digests}) == len(events)
    alone = [event_digests([tenant], [source], [id_]) for tenant, source, id_ in events]
    assert digests == [digest for (digest,) in alone]  # of one tenant, or of many
    calls = list(product(parts, repeat=2))
    assert len({call_digest(*one) for one in calls}) == len(calls)
    assert not {*event_digests(["a"], ["b"], ["c"])} & {call_digest("a", "bc")}


def test_digests_are_what_they_were() -> None:
    """They stand in Redis: another digest is another layout."""
    assert event_digests(["default"], ["gateway"], ["evt-1"]) == [788_888_013_393_397_738]
    assert call_digest("acme", "größe") == 3_318_841_341_947_962_833


def test_a_calls_events_share_a_key_and_a_resend_has_its_originals() -> None:
    assert partition_key("acme", "s1", "e1", "c") == partition_key("acme", "s2", "e2", "c")
    assert partition_key("acme", "s", "é", None) == "acme|s|é".encode()
    assert partition_key("acme", "s", "é", "") == "acme|s|é".encode()
