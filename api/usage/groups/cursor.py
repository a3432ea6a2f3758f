"""Where the next page of groups begins: a text that a client sends back with the same question.

It names the last group of a page with the values that it was ordered by, not a number of groups. So the next
page begins behind that group, wherever it is by then. It also keeps the range, so that `now` is the same on
all pages, and a digest of the totals on the first page: so an answer can say that counters have changed.

It is not signed: who changes one asks another question that the key may ask anyway.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from xxhash import xxh3_64_hexdigest

from api.errors import BadParameter
from api.http.json_encoding import to_json
from api.query.measures import Number
from api.query.plan import Sum

VERSION: Final = 1
CURSOR_CHARS_MAX: Final = 16_384
"""Six dimensions of 256 characters, each of 4 bytes, have 8,200 in base64. Long ones need a POST."""
LATEST_MS: Final = 4_102_444_800_000
"""2100."""

_Instant = Annotated[int, msgspec.Meta(ge=-LATEST_MS, le=LATEST_MS)]
_Digest = Annotated[str, msgspec.Meta(max_length=16)]


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """A group and the values that it was ordered by; None where it is ordered by a dimension."""

    group: tuple[str | None, ...]
    values: tuple[int | float | None, ...]


class Cursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`question`: a digest of all that must be equal on each page. `compared`: the bounds of the range that
    this one is compared with, or none. `state`: of `state_of_totals`, on the first page."""

    version: int
    question: _Digest
    from_ms: _Instant
    to_ms: _Instant
    compared: tuple[_Instant, _Instant] | None
    after: Mark
    state: _Digest

    def text(self) -> str:
        return base64.urlsafe_b64encode(to_json(self)).decode().rstrip("=")


def parse_cursor(text: str | None) -> Cursor | None:
    """Raises BadParameter if it is not the text of a cursor."""
    if text is None:
        return None
    if len(text) > CURSOR_CHARS_MAX:
        raise BadParameter("cursor", _NOT_OURS)
    try:
        content = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        found = msgspec.json.decode(content, type=Cursor)
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise BadParameter("cursor", _NOT_OURS) from error
    if found.version != VERSION or found.from_ms > found.to_ms:
        raise BadParameter("cursor", _NOT_OURS)
    return found


_NOT_OURS: Final = (
    "This is not the `next_cursor` of an answer. Leave `cursor` out to begin with the first page."
)


def check_question(cursor: Cursor, question: str, dimensions: int, orders: int) -> None:
    """Raise BadParameter if a cursor is of another question. `question`: its digest. `dimensions` and `orders`:
    of how many it groups, and by how many measures and dimensions it orders them."""
    lengths = len(cursor.after.group), len(cursor.after.values)
    if cursor.question != question or lengths != (dimensions, orders):
        raise BadParameter(
            "cursor",
            "This cursor is of another question. Send it with the measures, groups, order, filters and"
            " conditions of the first page, or leave it out to begin again.",
        )


def digest_of(text: str) -> str:
    return xxh3_64_hexdigest(text.encode())


def state_of_totals(totals: Sequence[Sum]) -> str:
    """Changes with every event that counts: the number of events is one of the totals."""
    return digest_of(repr([one for one in totals if isinstance(one, int)]))


def values_of(keys: Sequence[Sequence[Number] | None], place: int) -> tuple[Number, ...]:
    """The values of one group, from the values of all by each order; None: by a dimension."""
    return tuple(None if column is None else column[place] for column in keys)
