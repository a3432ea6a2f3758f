"""The files of an export: one for each UTC day, each replaced in one step.

What a file is exact to is in its own metadata, as the API has written it (api/usage/export.py). A
day that was too large for one answer has several reads: `parts` has what each of them is exact to,
and the other members are those of the oldest.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from deploy.errors import AlreadyRunning, NotInstalled
from schemas.errors import InvalidConfig

METADATA: Final = b"odometer"
UNFINISHED: Final = ".new"
"""Ends the name of a file that is being written; a dot begins it, so that readers of a directory skip it."""


def open_arrow() -> Any:  # noqa: ANN401  an optional library without types
    try:
        arrow = import_module("pyarrow")
        import_module("pyarrow.parquet")
    except ImportError as error:
        raise NotInstalled(
            "odometer export needs the package pyarrow: install the extra `export`, such as"
            " pip install '.[export]'."
        ) from error
    return arrow


@dataclass(frozen=True)
class DayTable:
    """What a table says about itself. `columns` and `selection` are equal in all files of one export."""

    columns: tuple[str, ...]
    rows: int
    exact: dict[str, Any]

    @property
    def selection(self) -> tuple[Any, ...]:
        """What was asked for, besides the range."""
        return (
            *(self.exact.get(name) for name in ("tenant", "view", "tier", "only")),
            self.columns,
        )

    @property
    def generation(self) -> int:
        return int(self.exact["generation"])

    @property
    def complete_through_ms(self) -> int:
        """0: not known."""
        return _ms(self.exact["complete_through"]) if self.exact["complete_through"] else 0

    def is_all_of(self, from_ms: int, to_ms: int) -> bool:
        """All that the counters can have: a view that was added counts since some time of the day."""
        is_begun = "counts_from" in self.exact or _ms(self.exact["from"]) <= from_ms
        return is_begun and to_ms <= _ms(self.exact["to"])


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


class Files:
    """The files of one view and tier in a directory. `form`: parquet or arrow."""

    def __init__(self, directory: Path, view: str, tier: str, form: str) -> None:
        self._arrow = open_arrow()
        self.directory = directory
        self._head, self._form = f"{view}-{tier}-", form

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One export at a time writes into a directory. What a killed one left unfinished is removed."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.directory, os.O_RDONLY)
        except OSError as error:
            raise InvalidConfig(f"{self.directory} cannot be used: {error.strerror}.") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in self.directory.glob(f".*{UNFINISHED}"):
                left.unlink(missing_ok=True)
            yield
        except BlockingIOError as error:
            raise AlreadyRunning(f"Another export writes into {self.directory} now.") from error
        finally:
            os.close(handle)

    def path_of(self, day: str) -> Path:
        return self.directory / f"{self._head}{day}.{self._form}"

    def read(self, day: str) -> DayTable | None:
        """What the file of a day holds; None if there is none, or if it is not one of ours."""
        try:
            with self.path_of(day).open("rb") as file:
                return self._described(file)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):  # ValueError: Arrow's errors
            return None

    def described(self, data: bytes) -> DayTable:
        """What a table holds. Raises ValueError if it is cut."""
        return self._described(io.BytesIO(data))

    def _described(self, file: Any) -> DayTable:  # noqa: ANN401  a binary file
        if self._form == "parquet":
            found = self._arrow.parquet.ParquetFile(file)
            schema, rows = found.schema_arrow, found.metadata.num_rows
        else:
            with self._arrow.ipc.open_stream(file) as stream:
                schema, rows = stream.schema, sum(batch.num_rows for batch in stream)
        exact = json.loads(schema.metadata[METADATA])
        table = DayTable(tuple(schema.names), rows, exact)
        table.is_all_of(0, 0)  # the metadata has all members
        return table

    def merged(self, parts: Sequence[bytes]) -> bytes:
        """One table of these, whose ranges follow each other."""
        if len(parts) == 1:
            return parts[0]
        arrow = self._arrow
        told = [self.described(part).exact for part in parts]
        tables = [self._table(part) for part in parts]
        table = arrow.concat_tables(tables).unify_dictionaries().combine_chunks()
        table = table.replace_schema_metadata({METADATA: json.dumps(_oldest(told)).encode()})
        sink = io.BytesIO()
        if self._form == "parquet":
            arrow.parquet.write_table(table, sink, compression="zstd")
        else:
            with arrow.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
        return sink.getvalue()

    def _table(self, data: bytes) -> Any:  # noqa: ANN401  a table of Arrow
        if self._form == "parquet":
            return self._arrow.parquet.read_table(io.BytesIO(data))
        with self._arrow.ipc.open_stream(data) as stream:
            return stream.read_all()

    def replace(self, day: str, data: bytes) -> None:
        """Writes the file of a day. A reader sees the old one or the new one."""
        path = self.path_of(day)
        beside = path.with_name(f".{path.name}{UNFINISHED}")
        try:
            with beside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except OSError as error:
            with suppress(OSError):
                beside.unlink()
            raise InvalidConfig(f"{path} cannot be written: {error.strerror}.") from error


def _oldest(told: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What several reads are exact to together: each of them is exact to that, or to more."""
    positions = [one["positions"] for one in told]
    count = max(map(len, positions))
    padded = [[*one, *[None] * (count - len(one))] for one in positions]
    complete = [one["complete_through"] for one in told]
    return {
        **told[0],
        "to": told[-1]["to"],
        "complete_through": min(complete) if all(complete) else None,
        "history_from": max(one["history_from"] or "" for one in told) or None,
        "refused": sorted({one for each in told for one in each["refused"]}),
        "generation": min(one["generation"] for one in told),
        "positions": [
            None if None in column else min(column) for column in zip(*padded, strict=True)
        ],
        "parts": [
            {name: one[name] for name in ("from", "to", "complete_through", "positions")}
            for one in told
        ],
    }
