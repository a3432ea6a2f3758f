"""`odometer keys`: create, list, rotate, revoke, import and export API keys, and read their audit log.

A key is never an argument, because every user of the machine can see arguments: `import` reads keys
from a file or standard input. Data goes to stdout, messages go to stderr.
"""
# ruff: noqa: PLC0415, FBT002 - options are given by name

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from deploy.cli import terminal
from deploy.cli.completion import key_ids, roles
from deploy.cli.help import PlainCommand, PlainGroup
from deploy.cli.key_lines import (
    chosen_filters,
    chosen_tenants,
    key_in_line,
    key_spec,
    lines_of_file,
)
from deploy.cli.options import AsJson, KeysFile, Redis
from deploy.cli.terminal import say_json, say_json_text, say_line
from deploy.settings import Settings, read_catalog, read_settings

if TYPE_CHECKING:
    from api.auth.keys import NewKey
    from api.store.reader import Store
    from schemas.store.keys import Key

Result = TypeVar("Result")

SECOND_MS = 1000

keys = typer.Typer(
    cls=PlainGroup,
    help="Manage API keys: their tenants, role, expiry and rate limit.\n\n"
    "A key is shown once, when it is created; only its SHA-256 is stored. An admin can do the same"
    " over HTTP, under `/v1/keys`.",
    no_args_is_help=True,
)

Tenants = Annotated[
    list[str] | None,
    typer.Option(
        "--tenant",
        help="Tenant whose usage the key sees. Repeat it for several. [default: default]",
    ),
]
AllTenants = Annotated[
    bool,
    typer.Option(
        "--all-tenants",
        help="Every tenant, now and later. Needs the role super-admin or monitor.",
    ),
]
Role = Annotated[
    str,
    typer.Option(
        autocompletion=roles,
        help="write-only (sends events), viewer (reads), member (reads and sends events), admin (also"
        " manages the keys of its tenants), super-admin (all tenants), monitor (reads only /metrics and"
        " /v1/status, of all tenants).",
    ),
]
Expires = Annotated[
    str | None, typer.Option(metavar="ISO8601", help="When the key expires. [default: never]")
]
RequestsPerS = Annotated[
    float | None, typer.Option("--requests-per-s", help="Rate limit of the key. [default: none]")
]
Burst = Annotated[
    int | None,
    typer.Option(help="Requests that may come at once. [default: those of one second]"),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="Bind a viewer's key to a filter, such as user=u-17. Repeat it for more values or"
        " dimensions. [default: none]",
    ),
]
KeyId = Annotated[
    str,
    typer.Argument(
        metavar="ID", autocompletion=key_ids, help="Id of the key, as `keys list` shows it."
    ),
]


@keys.command("create", cls=PlainCommand)
def create(
    name: Annotated[str, typer.Option(help="What the key is for, such as dashboard.")],
    tenant: Tenants = None,
    all_tenants: AllTenants = False,
    role: Role = "viewer",
    expires: Expires = None,
    requests_per_s: RequestsPerS = None,
    burst: Burst = None,
    only: Only = None,
    redis: Redis = None,
    keys_file: KeysFile = None,
    as_json: AsJson = False,
) -> None:
    """Create an API key and print it. Store it now: it cannot be shown again.

    Send it in the header of each request: `Authorization: Bearer als_...`
    """
    tenants = chosen_tenants(tenant, every_tenant=all_tenants, role=role)
    wanted = key_spec(
        name,
        tenants,
        role,
        expires,
        requests_per_s,
        burst,
        _now_ms(),
        only=chosen_filters(only),
    )

    async def run(store: "Store") -> "NewKey":
        from api.auth.audit import operator
        from api.auth.keys import create_keys

        (made,) = await create_keys(store, [wanted], operator(), _now_ms())
        return made

    _print_made(_change(read_settings(redis=redis, keys_file=keys_file), run), as_json=as_json)


@keys.command("list", cls=PlainCommand)
def list_all(redis: Redis = None, as_json: AsJson = False) -> None:
    """List all keys, without their secrets. A key that was rotated has one line per secret."""
    from api.auth.audit import operator
    from api.auth.keys import list_keys, opened
    from schemas.responses.keys import KeysAnswer, shown

    async def run() -> KeysAnswer:
        async with opened(read_settings(redis=redis).redis) as store:
            found = await list_keys(store, operator())
        now_ms = _now_ms()
        return KeysAnswer(keys=[shown(each.record, each.last_used_ms, now_ms) for each in found])

    answer = asyncio.run(run())
    if as_json:
        say_json_text(answer.model_dump_json(indent=2))
        return
    columns = ("id", "name", "tenants", "role", "state", "last_used", "expires")
    rows = [each.model_dump() | {"tenants": _joined(each.tenants)} for each in answer.keys]
    _print_table(columns, rows)


@keys.command("rotate", cls=PlainCommand)
def rotate(
    key_id: KeyId,
    grace_s: Annotated[
        int,
        typer.Option(
            help="Accept the old secret for so many seconds, up to 30 days. 0: it ends at once."
        ),
    ] = 24 * 3600,
    redis: Redis = None,
    keys_file: KeysFile = None,
    as_json: AsJson = False,
) -> None:
    """Create a new secret for a key and print it. Store it now: it cannot be shown again.

    The old secret stays valid for 24 h (change with `--grace-s`).
    """

    async def run(store: "Store") -> "NewKey":
        from api.auth.audit import operator
        from api.auth.keys import rotate_key

        return await rotate_key(store, key_id, grace_s * SECOND_MS, operator(), _now_ms())

    _print_made(_change(read_settings(redis=redis, keys_file=keys_file), run), as_json=as_json)


@keys.command("revoke", cls=PlainCommand)
def revoke(
    key_id: KeyId, redis: Redis = None, keys_file: KeysFile = None, as_json: AsJson = False
) -> None:
    """Revoke a key with all its secrets. Every API process rejects it within a second.

    This cannot be undone: create a new key instead.
    """
    from schemas.responses.keys import shown

    async def run(store: "Store") -> "Key":
        from api.auth.audit import operator
        from api.auth.keys import revoke_key

        return await revoke_key(store, key_id, operator(), _now_ms())

    record = _change(read_settings(redis=redis, keys_file=keys_file), run)
    if as_json:
        say_json(shown(record, None, _now_ms()).model_dump(mode="json"))
    else:
        say_line(f"{key_id} ({record.name}) is revoked", err=True)


@keys.command("import", cls=PlainCommand)
def import_keys(
    file: Annotated[
        typer.FileBinaryRead,
        typer.Argument(
            metavar="FILE|-",
            help="A file, or - for standard input. Each line is a key; or a JSON object with `key`"
            " and any of `name`, `tenants`, `role`, `expires`, `requests_per_s` and `burst`; or a"
            " line of `keys export`.",
        ),
    ],
    name: Annotated[str, typer.Option(help="Name of the keys whose line has no name.")] = (
        "imported"
    ),
    tenant: Tenants = None,
    all_tenants: AllTenants = False,
    role: Role = "viewer",
    redis: Redis = None,
    keys_file: KeysFile = None,
    as_json: AsJson = False,
) -> None:
    """Import keys that clients already use, such as `als_...`, `lvk_...` or `sk-...`.

    A key has 16 to 512 visible characters. A file has at most 1000 keys; either all of them are
    imported, or none. Lines of `keys export` are restored if Redis does not know their key.
    """
    from api.auth.keys_file import kept_key

    lines = lines_of_file(file)
    hashed = dict(kept_key(line, f"line {at}") for at, line in lines if b'"sha256"' in line)
    tenants = chosen_tenants(tenant, every_tenant=all_tenants, role=role)
    defaults = {"name": name, "tenants": tenants, "role": role}
    now_ms = _now_ms()
    plain = [
        key_in_line(line, at, defaults, now_ms) for at, line in lines if b'"sha256"' not in line
    ]

    async def run(store: "Store") -> tuple[int, int]:
        from api.auth.audit import operator
        from api.auth.keys import create_keys, restore_keys

        made = await create_keys(store, plain, operator(), _now_ms())
        now_ms = _now_ms()
        return len(made), await restore_keys(store, hashed, operator(), now_ms, even_dropped=True)

    made, restored = _change(read_settings(redis=redis, keys_file=keys_file), run)
    if as_json:
        say_json({"imported": made, "restored": restored, "records": len(hashed)})
    else:
        say_line(f"{made} keys imported, {restored} of {len(hashed)} records restored", err=True)


@keys.command("export", cls=PlainCommand)
def export(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="Target file. [default: standard output]", dir_okay=False
        ),
    ] = None,
    redis: Redis = None,
    as_json: AsJson = False,
) -> None:
    """Write a backup of all keys: one JSON object per line, with digests instead of keys.

    `odometer keys import` restores the records. An API that has this file as ODOMETER_KEYS_FILE
    restores them when a client sends a key that Redis does not know. Export again after each change:
    a key that was revoked later is valid in an older backup.
    """
    from api.auth.keys import opened, read_records
    from api.auth.keys_file import lines_of, write_keys_file

    async def run() -> dict[str, Any]:
        async with opened(read_settings(redis=redis).redis) as store:
            return dict(await read_records(store))

    records = asyncio.run(run())
    if file is None:
        say_json_text("\n".join(lines_of(records)))
        return
    write_keys_file(file, records)
    if as_json:
        say_json({"records": len(records), "file": str(file)})
    else:
        say_line(f"{len(records)} records in {file}", err=True)


@keys.command("audit", cls=PlainCommand)
def audit(
    limit: Annotated[
        int, typer.Option(min=1, max=10_000, help="Show so many of the newest entries.")
    ] = 100,
    redis: Redis = None,
    as_json: AsJson = False,
) -> None:
    """Show who changed which key, newest first. The newest 1,000 entries of each tenant are stored.

    Changes over HTTP are also in the log `odometer.audit` of the API.
    """
    from api.auth.audit import operator, read_audit
    from api.auth.keys import opened
    from schemas.units import iso

    async def run() -> list[dict[str, Any]]:
        async with opened(read_settings(redis=redis).redis) as store:
            return await read_audit(store, operator(), limit)

    lines = [{"at": iso(line.pop("at_ms")), **line} for line in asyncio.run(run())]
    if as_json:
        say_json(lines)
        return
    for line in lines:
        line["by"] = " ".join(text for text in (line["by_name"], f"({line['by_id']})") if text)
        line["tenants"] = _joined(line["key_tenants"])
    _print_table(("at", "action", "key_id", "key_name", "tenants", "by"), lines)


# -- Redis and the keys file -----------------------------------------------------------------------


def _change(settings: Settings, change: Callable[["Store"], Awaitable[Result]]) -> Result:
    """Change keys. If there is a keys file, first restore from it, and write it after the change."""
    return asyncio.run(_change_and_save(settings, change))


async def _change_and_save(
    settings: Settings, change: Callable[["Store"], Awaitable[Result]]
) -> Result:
    from api.auth.audit import operator
    from api.auth.keys import opened, read_records, restore_keys
    from api.auth.keys_file import load_keys_file, write_keys_file

    path = settings.keys_file
    async with opened(settings.redis, read_catalog(settings)) as store:
        if path is not None and path.exists():
            await restore_keys(store, load_keys_file(path), operator(), _now_ms())
        result = await change(store)
        if path is not None:
            write_keys_file(path, await read_records(store))
    return result


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


# -- output ----------------------------------------------------------------------------------------


def _print_made(made: "NewKey", *, as_json: bool) -> None:
    from schemas.responses.keys import shown

    if as_json:
        about = shown(made.record, None, _now_ms()).model_dump(mode="json")
        say_json(about | {"key": made.secret})
        return
    say_line(made.secret)
    say_line(f"{made.record.id} ({made.record.name})", err=True)


def _joined(tenants: str | Sequence[str]) -> str:
    return tenants if isinstance(tenants, str) else ", ".join(tenants)


def _print_table(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    table = Table()
    for column in columns:
        is_whole = column in {"id", "key_id"}  # a person copies it
        table.add_column(column.replace("_", " "), overflow="fold", no_wrap=is_whole)
    for row in rows:
        table.add_row(*(terminal.shown(_cell(column, row[column])) for column in columns))
    Console().print(table)


def _cell(column: str, value: object) -> str:
    """Return the text of a cell; a time without its seconds."""
    if column in {"at", "created", "last_used", "expires"} and value:
        return str(value)[:16].replace("T", " ")
    return str(value or "-")
