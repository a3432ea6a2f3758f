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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Final, cast

import msgspec

from schemas.errors import InvalidConfig, InvalidEvent
from schemas.formats.body import BODY_BYTES_MAX, load
from schemas.formats.context import Context, with_given
from schemas.formats.objects import InvalidObject
from schemas.formats.otel.protobuf import load_protobuf
from schemas.formats.parse import Parsed, parse

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
        for data in _slices(first + plain.read(DOCUMENT_BYTES_MAX), format):
            yield FileBody(line, data, _named(chain, data))
        return
    while first:
        is_open = not first.endswith(b"\n")
        for data in _slices(first.strip(), format):
            yield FileBody(line, data, _named(chain, data), is_open)
        first = plain.readline(BODY_BYTES_MAX + 1)
        line += 1


def _slices(document: bytes, format: str | None) -> Iterator[bytes]:  # noqa: A002
    """Yield a document or line, unless it is empty. A long array is split into several parts.

    Arrays of Anthropic's streams are not split, because their items belong together.
    """
    if len(document) > DOCUMENT_BYTES_MAX:
        raise InvalidConfig(
            f"The document has more than {DOCUMENT_BYTES_MAX} bytes (DOCUMENT_BYTES_MAX). Write one"
            " object per line instead: such a file may have any size."
        )
    if not document:
        return
    items: list[msgspec.Raw] = []
    if format != "anthropic" and document.lstrip().startswith(b"["):
        with suppress(msgspec.MsgspecError, RecursionError):  # `load` reports the error
            items = msgspec.json.decode(document, type=list[msgspec.Raw])
    if not items or (len(items) <= SLICE_ITEMS and len(document) <= BODY_BYTES_MAX):
        yield document
        return
    for at in range(0, len(items), SLICE_ITEMS):
        yield b"[" + b",".join(bytes(item) for item in items[at : at + SLICE_ITEMS]) + b"]"


def read_body(body: FileBody, format: str | None, context: Context) -> Parsed:  # noqa: A002
    """Parse the events of a body. A body that cannot be parsed at all is one refusal."""
    try:
        return parse(_content(body.data, format), format, context)
    except InvalidEvent as error:
        return Parsed((), (), (InvalidObject(0, error),))


def _content(data: bytes, format: str | None) -> object:  # noqa: A002
    if format == "otel" and data.startswith(PROTOBUF_START):
        with suppress(InvalidEvent):  # it may be JSON after an empty line
            return load_protobuf(data)
    return load(data)


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
