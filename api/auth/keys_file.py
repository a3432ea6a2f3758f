"""A copy of the keys outside Redis: a file of hashed records, from which lost keys are restored.

Keys are stored in Redis only, so an empty Redis has none. A line of the file is JSON: a record and the
SHA-256 of its secret. `odometer keys export` writes the file. The other `odometer keys` commands
rewrite it after each change if they are given it. When Redis does not know a key, an API process that
is given the file reads it, and restores all missing keys. Keys that Redis has stay unchanged. So only
a key that was revoked after the file was written, and was then lost with all of Redis, would be valid
again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from api.auth.audit import Actor
from api.auth.key_shares import RECORDS_MAX
from api.auth.keys import restore_keys, was_dropped
from api.store.reader import Store
from schemas.errors import InvalidConfig
from schemas.store.keys import KeptKey, Key

FILE_BYTES_MAX: Final = 100 * 1024 * 1024
"""10,000 records of 100 tenants of 64 characters are 70 MB; `RECORDS_MAX` of one tenant are 12 MB."""
log = logging.getLogger("odometer.api")
RESTORER: Final = Actor("keys-file", "")


def load_keys_file(path: Path) -> dict[str, Key]:
    """Hex SHA-256 -> record. Raises InvalidConfig, which names the line."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidConfig(f"the keys file {path} cannot be read: {error.strerror}") from error
    if len(content) > FILE_BYTES_MAX:
        raise InvalidConfig(f"the keys file {path} is larger than {FILE_BYTES_MAX} bytes")
    found: dict[str, Key] = {}
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            digest, record = kept_key(line, f"line {number} of the keys file {path}")
            found[digest] = record
    if len(found) > RECORDS_MAX:
        raise InvalidConfig(
            f"the keys file {path} holds more than {RECORDS_MAX} records (RECORDS_MAX)"
        )
    return found


def kept_key(line: bytes, place: str) -> tuple[str, Key]:
    """SHA-256 and record of a line. Raises InvalidConfig, which names the field but not its value."""
    try:
        kept = KeptKey.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        name = ".".join(map(str, first["loc"])) or "the record"
        raise InvalidConfig(f"{place}: {name}: {first['msg']}") from None
    return kept.sha256, Key.model_validate(kept.model_dump(exclude={"sha256"}))


def lines_of(records: Mapping[str, Key]) -> Iterable[str]:
    """The lines of the file, in a stable order."""
    ordered = sorted(records.items(), key=lambda each: (each[1].id, each[1].serial))
    for digest, record in ordered:
        yield KeptKey(**record.model_dump(), sha256=digest).model_dump_json()


def write_keys_file(path: Path, records: Mapping[str, Key]) -> None:
    """Replace the file in one step, readable by its owner only. Raises InvalidConfig."""
    try:
        number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
        new = Path(name)
        try:
            with os.fdopen(number, "w", encoding="utf-8") as out:
                out.writelines(line + "\n" for line in lines_of(records))
                out.flush()
                os.fsync(out.fileno())
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        raise InvalidConfig(f"the keys file {path} cannot be written: {error.strerror}") from error


class KeysFile:
    """The records of a file, read again when it has changed. A missing file is empty."""

    def __init__(self, path: Path) -> None:
        """Raises InvalidConfig if the file exists but is invalid."""
        self._path = path
        self._stamp = self._stamp_now()
        self._records = load_keys_file(path) if self._stamp else {}
        if not self._stamp:
            log.warning(
                "The keys file %s does not exist yet. The API looks for it again when a key is unknown.",
                path,
            )

    def records(self) -> Mapping[str, Key]:
        """The records of the file as it is now; if it cannot be read, those of the last good read."""
        stamp = self._stamp_now()
        if stamp and stamp != self._stamp:
            self._stamp = stamp
            try:
                self._records = load_keys_file(self._path)
            except InvalidConfig as error:
                # A damaged copy must not turn an unknown key into an error of the server.
                log.error("%s. The API continues with the records that it read before.", error)  # noqa: TRY400
        return self._records

    async def put_back(self, digest: str, store: Store, clock: Callable[[], int]) -> bool:
        """If the file has `digest`, which Redis does not know, restore all missing keys. Returns
        whether Redis knows it now."""
        records = await asyncio.to_thread(self.records)
        now_ms = clock()
        # Who repeats an ended key must not make each request read all records.
        if digest not in records or await was_dropped(store, records[digest], now_ms):
            return False
        return await restore_keys(store, records, RESTORER, now_ms) > 0

    def _stamp_now(self) -> tuple[int, int, int] | None:
        try:
            about = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InvalidConfig(
                f"the keys file {self._path} cannot be read: {error.strerror}"
            ) from error
        return about.st_mtime_ns, about.st_size, about.st_ino
