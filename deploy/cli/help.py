"""How the help of every command looks: flags without a type, the version, and panels of commands."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

RUN: Final = "Run"
OPERATE: Final = "Operate"
WATCH: Final = "Watch"
SEND: Final = "Send and inspect events"
"""Panels of `odometer --help`."""


def _without_type(params: list[Any]) -> list[Any]:
    """Typer shows `<bool>` beside a flag, which takes no value."""
    for one in params:
        if isinstance(one, TyperOption) and one.is_flag and one.metavar is None:
            one.metavar = ""
    return params


class PlainCommand(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401  typer's own types are private
        return _without_type(super().get_params(ctx))


class PlainGroup(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401
        return _without_type(super().get_params(ctx))


def print_version(wanted: bool) -> None:  # noqa: FBT001  a callback of typer
    if wanted:
        typer.echo(f"odometer {version('odometer')}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", callback=print_version, is_eager=True, help="Show the version and exit."
    ),
]
