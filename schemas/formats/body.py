"""A body: bytes to JSON, with limits, and typed reads of its fields. Pure.

Numbers never become binary floats: a fraction is a Decimal of its own text. A read that refuses a
value names its path (`usage.prompt_tokens`) and its limit.
"""

from __future__ import annotations

import codecs
import json
import re
import sys
from collections.abc import Callable, Iterator
from decimal import ROUND_HALF_EVEN, Decimal
from functools import partial
from typing import Any, Final, NamedTuple, NoReturn

from schemas.errors import InvalidEvent, Reason
from schemas.limits import COUNT_MAX, DURATION_MS_MAX, ID_CHARS_MAX, SECOND_MS
from schemas.units import seconds_to_ms

Json = dict[str, Any]
Poll = Callable[[], None]
"""Called between the parts of a large body; raises an error that ends the work."""

BODY_BYTES_MAX: Final = 16 * 1024 * 1024
"""After decompression. 10,000 events of 1 kB are 10 MB."""
DEPTH_MAX: Final = 64
"""Levels of arrays and objects. The deepest real body (OTLP, tool schemas inside) has about 30; the
decoder recurses, so this keeps it far from the end of its stack."""
CONTAINERS_MAX: Final = 700_000
"""Arrays and objects of a body, 232 B each where they hold something: 160 MB. OTLP's JSON, the
densest real one, has an object every 25 bytes at most: 670,000 in the largest body."""
ITEMS_MAX: Final = 10_000
"""Objects of one body. Limits the answer, and the time until Kafka has the first event."""
COMMAS_MAX: Final = 700_000
"""Commas of a body outside its texts: n of them are at most n entries more than there are arrays and
objects. 10,000 full events have 430,000; an entry with a name weighs up to 330 B."""
MEMBERS_MAX: Final = 10_000
"""Members of one object. The largest real ones (price lists, schemas of tools) have hundreds."""
LINES_MAX: Final = 20_000
"""Of a body of one value a line, blank ones included: twice as many as it may have objects."""
TEXT_CHARS_MAX: Final = 4096
"""Of a text that is read into an event: twice the longest one of the contract. A longer text that
many events share, such as the name of a service, would be copied and checked for each of them."""
NUMBER_CHARS_MAX: Final = 64
"""Of a number: a double written out exactly needs 17 digits, the largest integer of OTLP 20."""
AT_MS_MAX: Final = 253_402_300_799_999
"""The last ms of the year 9999, where RFC 3339 ends."""
_USD: Final = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,20})?(?:[eE][-+]?[0-9]{1,2})?")
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_NO_STRUCTURE: Final = bytes(byte for byte in range(256) if byte not in b'[]{},"')
_PIECE_BYTES: Final = 64 * 1024
"""Of a body that is counted at once. Its copies, and the parts between its quotes, take 4 MB at most,
and other threads run between two pieces."""
_ONLY_DIGITS: Final = bytes(ord("0") if chr(byte) in "0123456789" else 0 for byte in range(256))
_TOO_MANY_DIGITS: Final = b"0" * (NUMBER_CHARS_MAX + 1)
_FEW: Final = 2000
"""So few commas need no exact count."""
_FEW_A_LINE: Final = COMMAS_MAX // LINES_MAX


def never() -> None:
    """A poll that never ends the work."""


class BodyTooLarge(InvalidEvent):
    """The body as a whole has more of something than is ever built."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.TOO_LARGE, f"the body has {detail}")


class Structure(NamedTuple):
    """How many arrays and objects a text of JSON has, and how many commas outside its texts."""

    containers: int
    commas: int


def load(body: bytes, poll: Poll = never) -> object:
    """Plain objects from UTF-8 JSON; InvalidEvent for anything that is not unambiguous JSON. Errors of
    `poll` are passed on."""
    if len(body) > BODY_BYTES_MAX:
        raise BodyTooLarge(f"{len(body)} bytes, the limit is {BODY_BYTES_MAX}")
    check_structure(body, poll=poll)
    return _decoded(body, poll)


def load_lines(body: bytes, poll: Poll = never) -> list[object]:
    """JSON values, one a line. A line that is not JSON becomes its InvalidEvent in the list. Blank
    lines are left out. Errors of `poll` are passed on."""
    if body.count(b"\n") > LINES_MAX:
        raise BodyTooLarge(f"more than {LINES_MAX} lines")
    containers = commas = 0
    found: list[object] = []
    for line in body.split(b"\n"):
        poll()
        if not line.strip():
            continue
        try:
            structure = check_structure(line, _FEW_A_LINE, poll)
            containers, commas = containers + structure.containers, commas + structure.commas
            _check_counts(Structure(containers, commas))
            found.append(_decoded(line, poll))
        except BodyTooLarge:
            raise
        except InvalidEvent as error:
            found.append(bare(error))
    return found


def check_items(count: int, name: str = "objects") -> None:
    """Raises BodyTooLarge. `count`: the objects of the whole body that are to be built."""
    if count > ITEMS_MAX:
        raise BodyTooLarge(f"more than {ITEMS_MAX} {name}")


def bare(error: InvalidEvent) -> InvalidEvent:
    """The same error without its traceback, whose frames hold everything that was being read."""
    return InvalidEvent(error.reason, error.detail, error.field)


def _check_counts(structure: Structure) -> None:
    containers, commas = structure
    if containers > CONTAINERS_MAX:
        raise BodyTooLarge(f"more than {CONTAINERS_MAX} arrays and objects")
    if commas > COMMAS_MAX:
        raise BodyTooLarge(f"more than {COMMAS_MAX} commas outside its texts")


def _decoded(body: bytes, poll: Poll) -> object:
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        return decoder_of(body, poll).decode(body.decode())
    except (ValueError, ArithmeticError, RecursionError) as error:
        what = f"not UTF-8 JSON: {error}" if body.strip() else "empty, not UTF-8 JSON"
        if body.lstrip().startswith((b"data:", b"event:")):
            what = "server-sent events: send the JSON behind each data: alone, one a line"
        raise InvalidEvent(Reason.NOT_JSON, f"the body is {what}") from error


def decoder_of(body: bytes, poll: Poll) -> json.JSONDecoder:
    """The decoder of a body whose structure was checked."""
    make = _object if poll is never else partial(_polled_object, poll)
    if _has_long_number(body):
        return _decoder(make, _integer)
    return _DECODER if poll is never else _decoder(make)


def check_structure(body: bytes, few: int = _FEW, poll: Poll = never) -> Structure:
    """Counts arrays, objects, commas and levels, before any of them is built. Raises InvalidEvent.

    Texts are removed first and the rest is counted in bulk: a loop over all characters takes seven
    times as long as decoding. Where there are at most `few`, the counts include those in texts.
    """
    containers, commas = body.count(b"[") + body.count(b"{"), body.count(b",")
    if containers <= min(few, DEPTH_MAX) and commas <= few:
        return Structure(containers, commas)
    containers = commas = closed = 0
    found: list[bytes] = []
    is_in_text = False
    for piece in _pieces(body):
        poll()
        without_escapes = piece.replace(rb"\\", b"").replace(rb"\"", b"")
        parts = without_escapes.translate(_ONE_KIND, _NO_STRUCTURE).split(b'"')
        outside = b"".join(parts[is_in_text::2])
        is_in_text ^= len(parts) % 2 == 0
        brackets = outside.translate(None, b",")
        opened = brackets.count(b"[")
        containers, closed = containers + opened, closed + len(brackets) - opened
        commas += len(outside) - len(brackets)
        _check_counts(Structure(containers, commas))
        if closed > containers:
            raise InvalidEvent(Reason.NOT_JSON, "the body closes more than it opens")
        found.append(brackets)
    brackets = b"".join(found)
    if not _is_shallow(brackets) and _is_too_deep(brackets):
        raise InvalidEvent(Reason.NOT_JSON, f"the body is nested deeper than {DEPTH_MAX} levels")
    return Structure(containers, commas)


def _pieces(body: bytes) -> Iterator[bytes]:
    """The body in pieces, none of which ends within an escape."""
    at = 0
    while at < len(body):
        end = at + _PIECE_BYTES
        piece = body[at:end]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            piece += body[end : end + 1]
        at += len(piece)
        yield piece


def _has_long_number(body: bytes) -> bool:
    """Whether there are more digits in a row than a number may have, be it in a text.

    The decoder takes 0.2 ms for an integer of 4,300 digits, and reads thousands of them without letting
    other threads run. A function that checks each integer would cost a tenth of all decoding.
    """
    return any(
        _TOO_MANY_DIGITS
        in body[max(0, at - NUMBER_CHARS_MAX) : at + _PIECE_BYTES].translate(_ONLY_DIGITS)
        for at in range(0, len(body), _PIECE_BYTES)
    )


def _is_shallow(brackets: bytes) -> bool:
    """Whether few passes, each of which removes the innermost pairs, leave nothing.

    Real bodies have few levels, and each pass removes at least half: so this takes half as long as
    the exact check. A pass that removes less ends the attempt.
    """
    for _ in range(DEPTH_MAX):
        left = brackets.replace(b"[]", b"")
        if not left:
            return True
        if 2 * len(left) > len(brackets):
            return False
        brackets = left
    return False


def _runs() -> dict[int, tuple[int, int]]:
    """Each run of eight brackets, read as one integer: its rise and its peak, in levels."""
    found: dict[int, tuple[int, int]] = {}
    for number in range(256):
        run = bytes(b"[]"[number >> place & 1] for place in range(8))
        depth = peak = 0
        for bracket in run:
            depth += 1 if bracket == ord("[") else -1
            peak = max(peak, depth)
        found[int.from_bytes(run, sys.byteorder)] = (depth, peak)
    return found


_RUNS: Final = _runs()


def _is_too_deep(brackets: bytes) -> bool:
    depth = 0
    padding = b"]" * (-len(brackets) % 8)
    for run in memoryview(brackets + padding).cast("Q"):
        rise, peak = _RUNS[run]
        if depth + peak > DEPTH_MAX:
            return True
        depth += rise
    return False


def _decimal(text: str) -> Decimal:
    return Decimal(_checked(text))


def _integer(text: str) -> int:
    return int(_checked(text))


def _checked(text: str) -> str:
    if len(text) > NUMBER_CHARS_MAX:
        raise ValueError(f"a number has {len(text)} characters, the limit is {NUMBER_CHARS_MAX}")
    return text


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _object(pairs: list[tuple[str, Any]]) -> Json:
    """Rejects an object that has a key twice: readers differ in which value they take."""
    if len(pairs) > MEMBERS_MAX:
        raise InvalidEvent(
            Reason.TOO_LARGE, f"an object has {len(pairs)} members, the limit is {MEMBERS_MAX}"
        )
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:ID_CHARS_MAX]!r} is in one object twice")
    return made


def _polled_object(poll: Poll, pairs: list[tuple[str, Any]]) -> Json:
    poll()
    return _object(pairs)


def _decoder(
    make: Callable[[list[tuple[str, Any]]], Json], integer: Callable[[str], int] | None = None
) -> json.JSONDecoder:
    return json.JSONDecoder(
        parse_float=_decimal,
        parse_int=integer,
        parse_constant=_refuse_constant,
        object_pairs_hook=make,
    )


_DECODER: Final = _decoder(_object)


# -- typed reads: None if the key is missing or null -----------------------------------------------


def invalid(path: str, detail: str) -> InvalidEvent:
    return InvalidEvent(Reason.INVALID_FIELD, detail, path)


def section(holder: Json, key: str, path: str = "") -> Json:
    """The object under a key; an empty one if the key is missing or null, or PHP's empty array."""
    value = holder.get(key)
    if value is None or value == []:
        return {}
    if not isinstance(value, dict):
        raise invalid(path + key, "must be an object")
    return value


def text(holder: Json, key: str, path: str = "") -> str | None:
    """The text under a key; None if it is empty."""
    value = holder.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        raise invalid(path + key, "must be a text")
    return short(value, path + key) or None


def short(value: str, path: str) -> str:
    """The same text. Raises InvalidEvent if it is longer than any text of an event."""
    if len(value) > TEXT_CHARS_MAX:
        raise invalid(path, f"has {len(value)} characters, the limit is {TEXT_CHARS_MAX}")
    return value


def number(holder: Json, key: str, path: str = "") -> Decimal | None:
    value = holder.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise invalid(path + key, "must be a number")
    exact = Decimal(value)
    if not exact.is_finite():
        raise invalid(path + key, "must be a finite number")
    return exact


def count(holder: Json, key: str, path: str = "") -> int | None:
    """A count from 0 to COUNT_MAX. A fraction is accepted if its value is whole (`12.0`)."""
    value = number(holder, key, path)
    if value is None:
        return None
    if not 0 <= value <= COUNT_MAX or value != value.to_integral_value():
        raise invalid(path + key, f"must be a whole number from 0 to {COUNT_MAX}")
    return int(value)


def duration_ms(holder: Json, key: str, path: str = "") -> int | None:
    """Decimal seconds to ms, half-even."""
    seconds = number(holder, key, path)
    return None if seconds is None else checked_ms(seconds, path + key)


def checked_ms(seconds: Decimal, path: str) -> int:
    if not 0 <= seconds <= DURATION_MS_MAX // SECOND_MS:
        raise invalid(path, f"must be from 0 to {DURATION_MS_MAX // SECOND_MS} seconds")
    return seconds_to_ms(seconds)


def milliseconds(holder: Json, key: str, path: str = "") -> int | None:
    """Decimal milliseconds to whole ones, half-even."""
    value = number(holder, key, path)
    if value is None:
        return None
    if not 0 <= value <= DURATION_MS_MAX:
        raise invalid(path + key, f"must be from 0 to {DURATION_MS_MAX} ms")
    return int(value.to_integral_value(ROUND_HALF_EVEN))


def usd(holder: Json, key: str, path: str = "") -> str | None:
    """US dollars, as the decimal text that the body has: gateways send a text where others send a number."""
    said = holder.get(key)
    if isinstance(said, str) and _USD.fullmatch(said):
        return said
    found = number(holder, key, path)
    return None if found is None else str(found)


def difference(whole: int | None, part: int | None) -> int | None:
    """A total minus one of its parts; a part that is not reported is 0.

    None if the part is larger than the total: then the difference is unknown.
    """
    if whole is None:
        return None
    left = whole - (part or 0)
    return left if left >= 0 else None
