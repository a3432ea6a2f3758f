"""Records of the directory's streams: what they say, or which field says nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.store.directory import MEMBERS_MAX, ON_PURPOSE, GroupUpdate, UserUpdate
from streams.directory.records import ChatTitle, InvalidRecord, Stream, Upsert, read_record

AT_MS = 1_770_552_123_456
MARK = ON_PURPOSE + AT_MS


def read(stream: Stream, key: bytes | None, value: bytes | None) -> Upsert:
    return read_record(stream, key, value, AT_MS)


def test_a_user_is_named_in_part_taken_back_and_deleted() -> None:
    def word(value: bytes | None) -> UserUpdate:
        tenant, said = read(Stream.USERS, b"acme|u|1", value)
        assert tenant == "acme"
        assert isinstance(said, UserUpdate)
        assert (said.key, said.first_ms, said.last_ms) == ("u|1", AT_MS, AT_MS)
        return said

    both = word(b'{"email":"a@x","name":"Ann","team":"sales"}')
    assert (both.email_mark, both.email, both.name_mark, both.name) == (MARK, "a@x", MARK, "Ann")
    part = word(b'{"name":"Ann"}')
    assert (part.email_mark, part.name_mark) == (0, MARK)
    back = word(b'{"email":null}')
    assert (back.email_mark, back.email, back.name_mark) == (MARK, "", 0)
    gone = word(None)
    assert (gone.email_mark, gone.email, gone.name_mark, gone.name) == (MARK, "", MARK, "")


def test_a_group_has_its_members_once_or_keeps_those_it_has() -> None:
    value = b'{"name":"G","description":"d","members":["a","b","a"]}'
    whole = GroupUpdate("g", MARK, AT_MS, is_new=True, text='["G","d"]', members=["a", "b"])
    assert read(Stream.GROUPS, b"|g", value) == ("default", whole)
    kept = GroupUpdate("g", MARK, AT_MS, is_new=True, text='["G",""]')
    assert read(Stream.GROUPS, b"t|g", b'{"name":"G"}') == ("t", kept)
    deleted = GroupUpdate("g", MARK, AT_MS, is_deleted=True)
    assert read(Stream.GROUPS, b"t|g", None) == ("t", deleted)


def test_a_chat_has_a_title() -> None:
    assert read(Stream.CHATS, b"t|c", b'{"title":"T"}') == ("t", ChatTitle("c", MARK, "T"))
    assert read(Stream.CHATS, b"t|c", None) == ("t", ChatTitle("c", MARK, ""))


@pytest.mark.parametrize(
    ("stream", "key", "value", "words"),
    [
        (Stream.USERS, None, b"{}", "the key must be TENANT|ID"),
        (Stream.USERS, b"no bar", b"{}", "the key must be TENANT|ID"),
        (Stream.USERS, b"t|", b"{}", "an id that is not empty"),
        (Stream.USERS, b"t|\xff", b"{}", "not UTF-8"),
        (Stream.USERS, b"t" * 65 + b"|u", b"{}", "tenant has 65 characters, the limit is 64"),
        (Stream.USERS, b"t|" + b"u" * 321, b"{}", "id has 321 characters, the limit is 320"),
        (Stream.GROUPS, b"t|" + b"u" * 257, b"{}", "id has 257 characters, the limit is 256"),
        (Stream.USERS, b"t|u", b"", "the value is invalid"),
        (Stream.USERS, b"t|u", b"[]", "Expected `object`"),
        (Stream.USERS, b"t|u", b'{"name":5}', "$.name"),
        (Stream.USERS, b"t|u", b'{"email":"' + b"e" * 321 + b'"}', "length <= 320 - at `$.email`"),
        (Stream.GROUPS, b"t|g", b"{}", "missing required field `name`"),
        (Stream.GROUPS, b"t|g", b'{"name":""}', "length >= 1 - at `$.name`"),
        (Stream.GROUPS, b"t|g", b'{"name":"G","members":[""]}', "$.members[0]"),
        (
            Stream.GROUPS,
            b"t|g",
            b'{"name":"G","members":[' + b",".join([b'"u"'] * (MEMBERS_MAX + 1)) + b"]}",
            "length <= 10000 - at `$.members`",
        ),
        (Stream.CHATS, b"t|c", b'{"title":""}', "$.title"),
        (Stream.CHATS, b"t|c", b'{"title":null}', "$.title"),
    ],
)
def test_an_invalid_record_is_rejected_by_field(
    stream: Stream, key: bytes | None, value: bytes, words: str
) -> None:
    with pytest.raises(InvalidRecord) as refused:
        read(stream, key, value)
    assert words in str(refused.value)


@given(
    st.sampled_from(Stream),
    st.none() | st.binary(max_size=20),
    st.none() | st.binary(max_size=40) | st.sampled_from([b'{"name":"n"}', b'{"title":"t"}']),
)
def test_any_bytes_are_a_record_or_rejected(
    stream: Stream, key: bytes | None, value: bytes | None
) -> None:
    try:
        read(stream, key, value)
    except InvalidRecord:
        return
