"""A body: bytes to JSON, with limits, and typed reads of its fields. Pure.

Numbers never become binary floats: a fraction is a Decimal of its own text. A read that refuses a
value names its path (`usage.prompt_tokens`) and its limit.
"""

from __future__ import annotations

import json
import sys
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final, NoReturn

from schemas.errors import InvalidEvent, Reason
from schemas.limits import COUNT_MAX, DURATION_MS_MAX, ID_CHARS_MAX, SECOND_MS
from schemas.units import iso, seconds_to_ms

Json = dict[str, Any]

BODY_BYTES_MAX: Final = 16 * 1024 * 1024
"""After decompression. 10,000 events of 1 kB are 10 MB."""
DEPTH_MAX: Final = 64
"""Levels of arrays and objects. The deepest real body (OTLP, tool schemas inside) has about 30; the
decoder recurses, so this keeps it far from the end of its stack."""
CONTAINERS_MAX: Final = 700_000
"""Arrays and objects of a body, 232 B each where they hold something: 160 MB. OTLP's JSON, the
densest real one, has an object every 25 bytes at most: 670,000 in the largest body."""
LINES_MAX: Final = 20_000
"""Of a body of one value a line, blank ones included: twice as many as it may have objects."""
NUMBER_CHARS_MAX: Final = 64
"""Of a number with a point: a double written out exactly needs 17 digits. Of an integer the decoder
itself refuses more than 4,300 digits."""
AT_MS_MAX: Final = 253_402_300_799_999
"""The last ms of the year 9999, where RFC 3339 ends."""

_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b'[]{}"')


def load(body: bytes) -> object:
    """Plain objects from UTF-8 JSON; InvalidEvent for anything that is not unambiguous JSON."""
    if len(body) > BODY_BYTES_MAX:
        raise InvalidEvent(
            Reason.TOO_LARGE, f"the body has {len(body)} bytes, the limit is {BODY_BYTES_MAX}"
        )
    _check_brackets(body)
    try:
        return _DECODER.decode(body.decode())
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise InvalidEvent(Reason.NOT_JSON, f"the body is not UTF-8 JSON: {error}") from error


def load_lines(body: bytes) -> list[object]:
    """JSON values, one a line. A line that is not JSON becomes its InvalidEvent in the list. Blank
    lines are left out."""
    if body.count(b"\n") > LINES_MAX:
        raise InvalidEvent(Reason.TOO_LARGE, f"the body has more than {LINES_MAX} lines")
    containers = body.count(b"[") + body.count(b"{")
    if containers > CONTAINERS_MAX:
        raise InvalidEvent(
            Reason.TOO_LARGE,
            f"the body has {containers} opening brackets, the limit is {CONTAINERS_MAX}",
        )
    return [_line(line) for line in body.split(b"\n") if line.strip()]


def _line(line: bytes) -> object:
    try:
        return load(line)
    except InvalidEvent as error:
        return error


def _check_brackets(body: bytes) -> None:
    """Depth and number of arrays and objects, before any of them is built.

    Strings are removed first and the brackets are counted in bulk: a loop over all characters takes
    seven times as long as decoding.
    """
    if body.count(b"[") + body.count(b"{") <= DEPTH_MAX:
        return
    without_escapes = body.replace(rb"\\", b"").replace(rb"\"", b"")
    outside = without_escapes.translate(_ONE_KIND, _NO_BRACKETS).split(b'"')[::2]
    brackets = b"".join(outside)
    containers = brackets.count(b"[")
    if containers > CONTAINERS_MAX:
        raise InvalidEvent(
            Reason.TOO_LARGE,
            f"the body has {containers} arrays and objects, the limit is {CONTAINERS_MAX}",
        )
    if not _is_shallow(brackets) and _is_too_deep(brackets):
        raise InvalidEvent(Reason.NOT_JSON, f"the body is nested deeper than {DEPTH_MAX} levels")


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
    if len(text) > NUMBER_CHARS_MAX:
        raise ValueError(f"a number has {len(text)} characters, the limit is {NUMBER_CHARS_MAX}")
    return Decimal(text)


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


_DECODER: Final = json.JSONDecoder(
    parse_float=_decimal, parse_constant=_refuse_constant, object_pairs_hook=_object
)


# -- typed reads: None if the key is missing or null -----------------------------------------------


def invalid(path: str, detail: str) -> InvalidEvent:
    return InvalidEvent(Reason.INVALID_FIELD, detail, path)


def section(holder: Json, key: str, path: str = "") -> Json:
    """The object under a key; an empty one if the key is missing or null."""
    value = holder.get(key)
    if value is None:
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
    return value or None


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


def instant(holder: Json, key: str, path: str = "") -> str | None:
    """Decimal seconds since 1970 to RFC 3339 text, to the ms, half-even."""
    seconds = number(holder, key, path)
    if seconds is None:
        return None
    if not 0 <= seconds <= AT_MS_MAX // SECOND_MS:
        raise invalid(path + key, "must be seconds since 1970, up to the year 9999")
    return iso(seconds_to_ms(seconds))


def usd(holder: Json, key: str, path: str = "") -> str | None:
    """US dollars, as the decimal text that the body has."""
    value = number(holder, key, path)
    return None if value is None else str(value)


def difference(whole: int | None, part: int | None) -> int | None:
    """A total minus one of its parts; a part that is not reported is 0.

    None if the part is larger than the total: then the difference is unknown.
    """
    if whole is None:
        return None
    left = whole - (part or 0)
    return left if left >= 0 else None
