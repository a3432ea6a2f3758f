"""What a command prints. Texts of producers and tenants cannot command the terminal.

Every command prints through this module; a test checks that. `schemas.terminal` says why.
"""

import json
from collections.abc import Sequence

import typer
from rich.console import Console
from rich.text import Text

from schemas.terminal import escaped, escaped_json, escaped_lines


def say(text: str, *, err: bool = False) -> None:
    """Print a text, one line or several."""
    typer.echo(escaped_lines(text), err=err)


def say_line(text: str, *, err: bool = False) -> None:
    """Print a text that has parts of others: a line break in them is escaped too."""
    typer.echo(escaped(text), err=err)


def say_json(data: object) -> None:
    """Print data as JSON."""
    say_json_text(json.dumps(data, indent=2, ensure_ascii=False))


def say_json_text(text: str) -> None:
    """Print a JSON document, or one per line."""
    typer.echo(escaped_json(text))


def shown(text: str, style: str = "") -> Text:
    """A text for a cell or line of a table."""
    return Text(escaped(text), style=style)


def shown_lines(lines: Sequence[str]) -> Text:
    """Texts as the lines of one."""
    return Text("\n").join(shown(line) for line in lines)


def say_on(console: Console, text: str, style: str = "") -> None:
    """Print a text, one line or several, on a console, which may have a progress bar."""
    console.print(Text(escaped_lines(text), style=style), highlight=False, soft_wrap=True)
