"""A body of JSON that has several values: one a line, or one after another. Pure.

LiteLLM and others send lines under `application/json`.
"""

from __future__ import annotations

import re
from typing import Final

from schemas.errors import InvalidEvent
from schemas.formats.body import check_items, decoder_of, load, load_lines
from schemas.formats.structure import BodyTooLarge, Poll, check_structure, never

_BLANKS: Final = re.compile(r"[ \t\n\r]*")


def load_values(body: bytes, poll: Poll = never) -> object:
    """The one value of a body, or the list of its values. Where they are lines and one is broken, it
    becomes an InvalidEvent in the list. InvalidEvent for anything else. Errors of `poll` are passed
    on."""
    try:
        return load(body, poll)
    except BodyTooLarge:
        raise
    except InvalidEvent:
        values = _concatenated(body, poll)
        if values is not None:
            return values
        first, newline, rest = body.lstrip().partition(b"\n")
        if newline and rest.strip() and _is_value(first, poll):
            return load_lines(body, poll)
        raise


def _is_value(line: bytes, poll: Poll) -> bool:
    try:
        load(line, poll)
    except InvalidEvent:
        return False
    return True


def _concatenated(body: bytes, poll: Poll) -> list[object] | None:
    """The values of a text that is nothing but JSON values; None for any other text."""
    values: list[object] = []
    try:
        check_structure(body, poll=poll)
        decoder, left = decoder_of(body, poll), body.decode()
        at = _after_blanks(left, 0)
        while at < len(left):
            value, end = decoder.raw_decode(left, at)
            values.append(value)
            check_items(len(values))
            at = _after_blanks(left, end)
    except BodyTooLarge:
        raise
    except (InvalidEvent, ValueError, ArithmeticError, RecursionError):
        return None
    return values or None


def _after_blanks(left: str, at: int) -> int:
    blanks = _BLANKS.match(left, at)
    return at if blanks is None else blanks.end()
