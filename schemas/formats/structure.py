"""What a text of JSON would build, counted before anything is built: arrays, objects, members, levels. Pure."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from schemas.errors import InvalidEvent, Reason

Poll = Callable[[], None]
"""Called between the parts of a large body; raises an error that ends the work."""

DEPTH_MAX: Final = 64
"""Levels of arrays and objects. The deepest real body (OTLP, tool schemas inside) has about 30; the
decoder recurses, so this keeps it far from the end of its stack."""
CONTAINERS_MAX: Final = 700_000
"""Arrays and objects of a body, 232 B each where they hold something: 160 MB. OTLP's JSON, the
densest real one, has an object every 25 bytes at most: 670,000 in the largest body."""
COMMAS_MAX: Final = 700_000
"""Commas of a body outside its texts: n of them are at most n entries more than there are arrays and
objects. 10,000 full events have 430,000; an entry with a name weighs up to 330 B."""
MEMBERS_MAX: Final = 10_000
"""Members of one object. The largest real ones (price lists, schemas of tools) have hundreds."""
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_NO_STRUCTURE: Final = bytes(byte for byte in range(256) if byte not in b'[]{},"')
_OPENING, _CLOSING = (b"{", b"["), (b"}", b"]")
_SMALL: Final = tuple(
    a + b"," * n + b for n in range(5) for a, b in zip(_OPENING, _CLOSING, strict=True)
)
_SMALL_LEVELS: Final = 3
"""Most objects are small and hold few levels. They are removed in bulk."""
_PARTS: Final = re.compile(rb",+|[\[\]{}]")
_NEVER_TOO_MANY: Final = -COMMAS_MAX - 1
PIECE_BYTES: Final = 64 * 1024
"""Of a body that is counted at once. Its copies, and the parts between its quotes, take 4 MB at most,
and other threads run between two pieces."""
_FEW: Final = 2000
"""So few commas need no exact count."""


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


def check_counts(structure: Structure) -> None:
    """Raises BodyTooLarge."""
    containers, commas = structure
    if containers > CONTAINERS_MAX:
        raise BodyTooLarge(f"more than {CONTAINERS_MAX} arrays and objects")
    if commas > COMMAS_MAX:
        raise BodyTooLarge(f"more than {COMMAS_MAX} commas outside its texts")


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
        parts = without_escapes.translate(None, _NO_STRUCTURE).split(b'"')
        outside = b"".join(parts[is_in_text::2])
        is_in_text ^= len(parts) % 2 == 0
        brackets = outside.translate(_ONE_KIND, b",")
        opened = brackets.count(b"[")
        containers, closed = containers + opened, closed + len(brackets) - opened
        commas += len(outside) - len(brackets)
        check_counts(Structure(containers, commas))
        if closed > containers:
            raise InvalidEvent(Reason.NOT_JSON, "the body closes more than it opens")
        found.append(outside)
    structure = b"".join(found)
    brackets = structure.translate(_ONE_KIND, b",")
    if not _is_shallow(brackets) and _is_too_deep(brackets):
        raise InvalidEvent(Reason.NOT_JSON, f"the body is nested deeper than {DEPTH_MAX} levels")
    if commas >= MEMBERS_MAX:
        _check_members(structure, poll)
    return Structure(containers, commas)


def _check_members(structure: bytes, poll: Poll) -> None:
    """Rejects an object of too many members. `structure`: brackets and commas, at most `DEPTH_MAX` levels.

    The decoder would build all of its members, and let no other thread run meanwhile.
    """
    for small in _SMALL * _SMALL_LEVELS:
        structure = structure.replace(small, b"")
    commas = [_NEVER_TOO_MANY]  # of each array and object that is open
    for found in _PARTS.finditer(structure):
        part = found.group()
        if part in _CLOSING:
            if len(commas) > 1:
                commas.pop()
        elif part in _OPENING:
            poll()
            commas.append(0 if part == b"{" else _NEVER_TOO_MANY)
        else:
            commas[-1] += len(part)
            if commas[-1] >= MEMBERS_MAX:
                raise InvalidEvent(
                    Reason.TOO_LARGE, f"an object has too many members, the limit is {MEMBERS_MAX}"
                )


def _pieces(body: bytes) -> Iterator[bytes]:
    """The body in pieces, none of which ends within an escape."""
    at = 0
    while at < len(body):
        end = at + PIECE_BYTES
        piece = body[at:end]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            piece += body[end : end + 1]
        at += len(piece)
        yield piece


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
