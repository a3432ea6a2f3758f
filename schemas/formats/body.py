"""A body: bytes to JSON, with limits, and typed reads of its fields. Pure.

Numbers never become binary floats: a fraction is a Decimal of its own text. A read that refuses a
value names its path (`usage.prompt_tokens`) and its limit.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Decimal
from functools import partial
from typing import Any, Final, NoReturn

from schemas.errors import InvalidEvent, Reason
from schemas.formats.structure import (
    COMMAS_MAX,
    PIECE_BYTES,
    BodyTooLarge,
    Poll,
    Structure,
    check_counts,
    check_structure,
    never,
)
from schemas.limits import COUNT_MAX, DURATION_MS_MAX, ID_CHARS_MAX, SECOND_MS
from schemas.units import seconds_to_ms

Json = dict[str, Any]

BODY_BYTES_MAX: Final = 16 * 1024 * 1024
"""After decompression. 10,000 events of 1 kB are 10 MB."""
ITEMS_MAX: Final = 10_000
"""Objects of one body. Limits the answer, and the time until Kafka has the first event."""
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
_ONLY_DIGITS: Final = bytes(ord("0") if chr(byte) in "0123456789" else 0 for byte in range(256))
_TOO_MANY_DIGITS: Final = b"0" * (NUMBER_CHARS_MAX + 1)
_FEW_A_LINE: Final = COMMAS_MAX // LINES_MAX


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
            check_counts(Structure(containers, commas))
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


def _has_long_number(body: bytes) -> bool:
    """Whether there are more digits in a row than a number may have, be it in a text.

    The decoder takes 0.2 ms for an integer of 4,300 digits, and reads thousands of them without letting
    other threads run. A function that checks each integer would cost a tenth of all decoding.
    """
    return any(
        _TOO_MANY_DIGITS
        in body[max(0, at - NUMBER_CHARS_MAX) : at + PIECE_BYTES].translate(_ONLY_DIGITS)
        for at in range(0, len(body), PIECE_BYTES)
    )


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
