"""The keys to create: from the options of `keys create`, or from the lines of a file to import."""
# ruff: noqa: PLC0415 - quick for all other commands

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from schemas.errors import InvalidConfig
from schemas.store.keys import ALL

if TYPE_CHECKING:
    from api.auth.keys import KeySpec

# The file of an import: 1000 keys at once (`api.auth.keys.IMPORT_MAX`), 10,000 keys in all.
IMPORT_BYTES_MAX = 100 * 1024 * 1024


def key_spec(
    name: str,
    tenants: tuple[str, ...] | str,
    role: str,
    expires: str | None,
    requests_per_s: float | None,
    burst: int | None,
    now_ms: int,
    secret: str | None = None,
    only: Mapping[str, str | list[str]] | None = None,
) -> KeySpec:
    from api.auth.keys import KeySpec, expiry
    from schemas.responses.keys import bound_of

    expires_ms = None if expires is None else expiry(expires, now_ms)
    return KeySpec(name, tenants, role, expires_ms, requests_per_s, burst, bound_of(only), secret)


def chosen_filters(named: Sequence[str] | None) -> dict[str, str | list[str]]:
    """The filters of `--only NAME=VALUE`; a name that is repeated has several values."""
    found: dict[str, list[str]] = {}
    for text in named or ():
        name, is_there, value = text.partition("=")
        if not (name and is_there and value):
            raise InvalidConfig(f"--only {text!r} is not NAME=VALUE, such as user=u-17")
        found.setdefault(name, []).append(value)
    return {**found}


def chosen_tenants(
    named: Sequence[str] | None, *, every_tenant: bool, role: str
) -> tuple[str, ...] | str:
    """The tenants of a key. A monitor is of all tenants, so they need not be said."""
    from schemas.event.kinds import DEFAULT_TENANT

    if every_tenant and named:
        raise InvalidConfig("--tenant and --all-tenants exclude each other: give one of them")
    if every_tenant or (role == "monitor" and not named):
        return ALL
    return tuple(named or (DEFAULT_TENANT,))


def lines_of_file(file: BinaryIO) -> list[tuple[int, bytes]]:
    """Return the lines that are not empty, with their numbers from 1."""
    content = file.read(IMPORT_BYTES_MAX + 1)
    if len(content) > IMPORT_BYTES_MAX:
        raise InvalidConfig(f"the file is larger than {IMPORT_BYTES_MAX} bytes (IMPORT_BYTES_MAX)")
    lines = enumerate(content.splitlines(), 1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def key_in_line(line: bytes, number: int, defaults: dict[str, Any], now_ms: int) -> KeySpec:
    """Read a line of an import. InvalidConfig names the wrong line, and never shows its text."""
    from pydantic import ValidationError

    from schemas.responses.keys import KeyHeld

    try:
        given = json.loads(line) if line.startswith(b"{") else {"key": line.decode("ascii")}
        key = KeyHeld.model_validate(defaults | given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise InvalidConfig(f"line {number}: {what}") from None
    except ValueError:
        raise InvalidConfig(f"line {number} is neither a key nor a JSON object") from None
    tenants = key.tenants or defaults["tenants"]
    return key_spec(
        key.name,
        tenants,
        key.role,
        key.expires,
        key.requests_per_s,
        key.burst,
        now_ms,
        key.key,
        key.only,
    )
