"""What the shell offers after Tab: roles, reasons, formats and key ids. It never prints an error."""
# ruff: noqa: PLC0415 - only completion needs these imports

import asyncio
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import typer

from deploy.settings import read_settings
from schemas.errors import OdometerError, Reason
from schemas.terminal import escaped

if TYPE_CHECKING:
    from schemas.store.keys import Key

KEYS_WAIT_S = 1.0
"""A person who presses Tab waits no longer than this for Redis."""


def roles(incomplete: str) -> list[str]:
    from schemas.store.keys import ROLES

    return [role for role in ROLES if role.startswith(incomplete)]


def reasons(incomplete: str) -> list[str]:
    return [reason for reason in Reason if reason.startswith(incomplete)]


def key_ids(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return ids with the names of their keys, without revoked keys.

    They come from the keys file and from Redis. A source that is not set, not readable or not
    reachable adds nothing.
    """
    given = {name: context.params.get(name) for name in ("redis", "keys_file")}
    names = {
        key.id: escaped(key.name)
        for key in _known_keys(given)
        if key.revoked_ms is None and key.id.startswith(incomplete)
    }
    return sorted(names.items())


def _known_keys(given: dict[str, object]) -> Iterator["Key"]:
    from api.auth.keys_file import load_keys_file

    try:
        settings = read_settings(**given)
        if settings.keys_file is not None:
            yield from load_keys_file(settings.keys_file).values()
    except OdometerError:
        return
    try:
        yield from asyncio.run(_keys_in_redis(settings.redis))
    except (OdometerError, TimeoutError):
        return


async def _keys_in_redis(url: str) -> Iterable["Key"]:
    from api.auth.keys import opened, read_records

    async with asyncio.timeout(KEYS_WAIT_S), opened(url) as store:
        return (await read_records(store)).values()
