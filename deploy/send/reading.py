"""Read a file of usage into bodies that `schemas.formats` parses.

A file has one body per line (NDJSON), or is one JSON document. It is plain, gzip or zstd, detected by
its first bytes. The name of a body is a digest of the file's name and of its content up to the body's
end. So the same file gives the same names, also after it has grown or was compressed, and two equal
bodies in it have different names.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Final, cast

import msgspec

from schemas.errors import InvalidConfig, InvalidEvent
from schemas.formats.body import BODY_BYTES_MAX, load
from schemas.formats.context import Context, with_given
from schemas.formats.joining import MARKS, Joiner
from schemas.formats.otel.protobuf import load_traces
from schemas.formats.parse import Event, Parsed, Reports, parse
from schemas.formats.parsed import InvalidObject, LastReports, without
from schemas.formats.values import load_values

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STDIN: Final = "-"
GZIP_MAGIC: Final = b"\x1f\x8b"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
PROTOBUF_START: Final = b"\n"
"""The tag of OTLP's first field. OTLP in JSON usually starts with a bracket."""
BOM: Final = b"\xef\xbb\xbf"
SUFFIXES: Final = frozenset({".gz", ".zst", ".zstd"})
LINES_SUFFIXES: Final = (".ndjson", ".jsonl")
DOCUMENT_BYTES_MAX: Final = 256 << 20
"""A document is read into memory."""
SLICE_ITEMS: Final = 1000
"""A long array is split into slices of so many items: with 16 kB each they make the largest body."""
KEPT_BODIES_MAX: Final = 1000
"""Lines between two reports of one answer, of which the last counts. The lines of one answer of a
transcript lie next to each other, or some ten lines apart where agents work at once."""
KEPT_EVENTS_MAX: Final = 2 * KEPT_BODIES_MAX
NAME_CHARS: Final = 32
"""Hex characters of a body's name: 128 bits."""


@dataclass(frozen=True)
class FileBody:
    """A line or a document. `line` is the number of its first line, from 1.

    `name` is a digest of the file up to the body's end. `is_open`: it is the last line and has no
    newline, so its writer may not be done.
    """

    line: int
    data: bytes
    name: str
    is_open: bool = False


@dataclass(frozen=True)
class OpenFile:
    """`plain` are the decompressed bytes. `at_byte` returns how many bytes of the file are read.

    `size_bytes` is the size of the file, None for standard input.
    """

    plain: IO[bytes]
    at_byte: Callable[[], int]
    size_bytes: int | None


@dataclass
class ParsedBody:
    """A body without its bytes, and what it was parsed to."""

    body: FileBody
    parsed: Parsed


def file_name(file: str, given: str | None) -> str:
    """Return the name of a file in ids: the given one, else its own name without .gz or .zst."""
    if given:
        return given
    path = Path(file)
    return path.stem if path.suffix in SUFFIXES else path.name


@contextmanager
def opened(file: str) -> Iterator[OpenFile]:
    """Open the file, or standard input. Raises InvalidConfig if it cannot be read."""
    try:
        with (
            _raw(file) as raw,
            _decompressed(raw) as plain,
        ):
            size_bytes = None if file == STDIN else Path(file).stat().st_size
            yield OpenFile(plain, lambda: 0 if file == STDIN else raw.tell(), size_bytes)
    except BrokenPipeError:
        raise  # from the reader of this command's output
    except (OSError, EOFError, zstd.ZstdError) as error:
        raise InvalidConfig(f"{file} cannot be read: {error}") from error


def bodies(plain: IO[bytes], name: str, format: str | None) -> Iterator[FileBody]:  # noqa: A002
    """Yield each body in order.

    A file has one body per line if its name ends with .ndjson or .jsonl, or if its first line is
    complete JSON.
    """
    chain = hashlib.sha256(f"{len(name)}:{name}".encode())
    if format == "otel" and cast("BufferedReader", plain).peek(1)[:1] == PROTOBUF_START:
        data = plain.read(BODY_BYTES_MAX + 1)
        yield FileBody(1, data, _named(chain, data))
        return
    first, line = _first_line(plain)
    if not first:
        return
    if not (name.endswith(LINES_SUFFIXES) or _is_json(first)):
        for data in _slices(first + plain.read(DOCUMENT_BYTES_MAX)):
            yield FileBody(line, data, _named(chain, data))
        return
    while first:
        is_open = not first.endswith(b"\n")
        for data in _slices(first.strip()):
            yield FileBody(line, data, _named(chain, data), is_open)
        first = plain.readline(BODY_BYTES_MAX + 1)
        line += 1


def _slices(document: bytes) -> Iterator[bytes]:
    """Yield a document or line, unless it is empty. A long array is split into several parts."""
    if len(document) > DOCUMENT_BYTES_MAX:
        raise InvalidConfig(
            f"The document has more than {DOCUMENT_BYTES_MAX} bytes (DOCUMENT_BYTES_MAX). Write one"
            " object per line instead: such a file may have any size."
        )
    if not document:
        return
    items: list[msgspec.Raw] = []
    if document.lstrip().startswith(b"["):
        with suppress(msgspec.MsgspecError, RecursionError):  # `load` reports the error
            items = msgspec.json.decode(document, type=list[msgspec.Raw])
    if not items or (len(items) <= SLICE_ITEMS and len(document) <= BODY_BYTES_MAX):
        yield document
        return
    for at in range(0, len(items), SLICE_ITEMS):
        yield b"[" + b",".join(bytes(item) for item in items[at : at + SLICE_ITEMS]) + b"]"


class FileParser:
    """Parses the bodies of one file in their order.

    Events of a stream complete each other, and of several reports of one answer the last counts, also
    over several lines: so the newest bodies are kept until it is clear that no near line replaces them.
    """

    def __init__(self, format: str | None, context: Context) -> None:  # noqa: A002
        self._format = format
        self._context = context
        self._joiner = Joiner()
        self._reports: Reports = LastReports()
        self._kept: deque[ParsedBody] = deque()
        self._events = 0

    def see(self, body: FileBody) -> None:
        """A body that was sent before: later lines may belong to its answer."""
        if not any(mark in body.data for mark in MARKS):
            return
        with suppress(InvalidEvent):
            items = load(body.data)
            for item in items if isinstance(items, list) else [items]:
                if isinstance(item, dict):
                    self._joiner.join(item)

    def parse(self, body: FileBody) -> Iterator[ParsedBody]:
        """Take the next body, and yield those that are ready."""
        made = ParsedBody(replace(body, data=b""), self._read(body))
        for event in made.parsed.events:
            replaced = self._reports.replaced(event)
            if replaced is not None:
                self._replace(replaced, made)
        self._kept.append(made)
        self._events += len(made.parsed.events)
        while len(self._kept) > KEPT_BODIES_MAX or self._events > KEPT_EVENTS_MAX:
            yield self._release()

    def rest(self) -> Iterator[ParsedBody]:
        """The bodies that are left at the end of the file."""
        while self._kept:
            yield self._release()

    def _read(self, body: FileBody) -> Parsed:
        """The events of a body. A body that cannot be parsed at all is one refusal."""
        context = replace(self._context, id_seed=body.name)
        try:
            content = _content(body.data, self._format)
            return parse(content, self._format, context, joiner=self._joiner)
        except InvalidEvent as error:
            return Parsed((), (), (InvalidObject(0, error),))

    def _replace(self, event: Event, made: ParsedBody) -> None:
        for one in (made, *reversed(self._kept)):
            if any(each is event for each in one.parsed.events):
                one.parsed = without(one.parsed, event)
                self._events -= one is not made
                return

    def _release(self) -> ParsedBody:
        made = self._kept.popleft()
        self._events -= len(made.parsed.events)
        for event in made.parsed.events:
            self._reports.forget(event)
        return made


def _content(data: bytes, format: str | None) -> object:  # noqa: A002
    if format == "otel" and data.startswith(PROTOBUF_START):
        with suppress(InvalidEvent):  # it may be JSON after an empty line
            return load_traces(data)
    return load_values(data)


def context_of(given: list[str], now_ms: int) -> Context:
    """Parse `NAME=TEXT` options, as the query of a request. InvalidConfig names the wrong one."""
    named: dict[str, str] = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not equals:
            raise InvalidConfig(f"--context is {one!r}; it must be NAME=TEXT, such as agent_id=a")
        named[name] = text
    try:
        if "id" in named:
            raise InvalidConfig(
                "--context id would give all events the same id: use --name to name the file"
            )
        return with_given(Context(received_ms=now_ms, id_seed="file"), named)
    except InvalidEvent as error:
        raise InvalidConfig(f"--context {error}") from error


# -- the bytes -------------------------------------------------------------------------------------


@contextmanager
def _raw(file: str) -> Iterator[BufferedReader]:
    if file == STDIN:
        reader: BufferedReader = BufferedReader(cast("Any", sys.stdin.buffer))
        try:
            yield reader
        finally:
            reader.detach()  # standard input stays open
        return
    with Path(file).open("rb") as raw:
        yield raw


@contextmanager
def _decompressed(raw: BufferedReader) -> Iterator[IO[bytes]]:
    magic = raw.peek(len(ZSTD_MAGIC))
    if magic.startswith(GZIP_MAGIC):
        with gzip.GzipFile(fileobj=raw, mode="rb") as plain:
            yield cast("IO[bytes]", BufferedReader(plain))
    elif magic.startswith(ZSTD_MAGIC):
        with zstd.ZstdFile(raw, "rb") as plain:
            yield cast("IO[bytes]", BufferedReader(plain))
    else:
        yield raw


def _first_line(plain: IO[bytes]) -> tuple[bytes, int]:
    """Return the first line that is not blank and its number; b"" if there is none."""
    line = 0
    while data := plain.readline(BODY_BYTES_MAX + 1):
        line += 1
        data = data.removeprefix(BOM) if line == 1 else data
        if data.strip():
            return data, line
    return b"", line


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True


def _named(chain: hashlib._Hash, data: bytes) -> str:
    """Add the data to the chain and return its digest so far."""
    chain.update(f"{len(data)}:".encode() + data)
    return chain.hexdigest()[:NAME_CHARS]
