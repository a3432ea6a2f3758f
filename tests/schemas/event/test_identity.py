"""Identities are of their parts, not of the text that these make together, and under a secret."""

from __future__ import annotations

from itertools import product

import pytest

from schemas.event.identity import (
    SECRET_BYTES,
    CallKey,
    IdSecret,
    call_key,
    call_keys,
    event_digests,
    new_secret,
    unpack_call_key,
    unpack_secret,
)
from schemas.event.partition_key import partition_key
from tests.oracles.event_logs import SECRET

OTHER = new_secret(bytes(range(1, SECRET_BYTES + 1)))


def test_no_two_identities_share_a_digest_because_their_parts_touch() -> None:
    parts = ("a", "ab", "b", "bc", "1", "11", "1:", ":1", "a1:b", "1:a1:b")
    events = list(product(parts, repeat=3))
    digests = event_digests(SECRET, *zip(*events, strict=True)).tolist()
    assert len({*digests}) == len(events)
    alone = [event_digests(SECRET, [tenant], [source], [id_]) for tenant, source, id_ in events]
    assert digests == [int(digest) for (digest,) in alone]  # of one tenant, or of many
    calls = [(tenant, call_id) for tenant, call_id in product(parts, repeat=2)]
    assert len({call_key(SECRET, *one).digest for one in calls}) == len(calls)
    together = call_keys(SECRET, *zip(*[*calls, *calls], strict=True))
    assert together == [call_key(SECRET, *one) for one in calls] * 2
    a_call = call_key(SECRET, "a", "bc").digest
    assert a_call not in event_digests(SECRET, ["a"], ["b"], ["c"]).tolist()


def test_digests_are_what_they_were() -> None:
    """Redis stores them: another digest under the same secret is another layout."""
    assert event_digests(SECRET, ["default"], ["gateway"], ["evt-1"]) == [2602618698067518700]
    assert call_key(SECRET, "acme", "größe") == (5465287815826839215, "acme")


def test_digests_under_two_secrets_are_unrelated() -> None:
    """One secret, or a collision under it, tells nothing of another one: about half of
    all bits differ, and two texts differ in other bits under each."""
    ids = [f"evt-{n}" for n in range(2000)]
    columns = ["acme"] * len(ids), ["gateway"] * len(ids), ids
    one, other = event_digests(SECRET, *columns), event_digests(OTHER, *columns)
    for differences in (one ^ other, one[1:] ^ one[:-1] ^ other[1:] ^ other[:-1]):
        bits = sum(int(pair).bit_count() for pair in differences.tolist()) / len(differences)
        assert 31 < bits < 33
    assert not {*one.tolist()} & {*other.tolist()}


def test_the_name_of_a_secret_says_nothing_about_its_key() -> None:
    renamed = IdSecret("0" * 16, SECRET.key)
    assert event_digests(renamed, ["a"], ["b"], ["c"]) == event_digests(SECRET, ["a"], ["b"], ["c"])
    assert SECRET.name.encode() + SECRET.key == SECRET.packed
    assert bytes.fromhex(SECRET.name) not in SECRET.key


def test_no_text_of_a_secret_contains_its_key() -> None:
    for text in (repr(SECRET), str(SECRET), f"{SECRET}", f"{[SECRET]}"):
        assert SECRET.key.hex() not in text
        assert repr(SECRET.key) not in text
        assert "key" not in text


def test_secrets_and_calls_are_read_as_they_were_packed() -> None:
    assert unpack_secret(SECRET.packed) == SECRET
    for data in (b"", SECRET.packed[:-1], SECRET.packed + b"1"):
        with pytest.raises(ValueError, match="32 bytes of a key"):
            unpack_secret(data)
    for tenant in ("", "acme", "a:b", "größe"):
        call = CallKey(2**64 - 1, tenant)
        assert unpack_call_key(call.packed.encode()) == call


def test_a_calls_events_share_a_key_and_a_resend_has_its_originals() -> None:
    assert partition_key("acme", "s1", "e1", "c") == partition_key("acme", "s2", "e2", "c")
    assert partition_key("acme", "s", "é", None) == "acme|s|é".encode()
    assert partition_key("acme", "s", "é", "") == "acme|s|é".encode()
