"""What a command prints. Texts of producers and tenants cannot command the terminal.

Every command prints through this module; a test checks that. `schemas.terminal` says why.
"""

import io
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

import typer
from rich.console import Console
from rich.text import Text

from schemas.terminal import escaped, escaped_json, escaped_lines
from schemas.units import iso

# Without a terminal, a bar prints a line at each such step of progress.
STEP_PERCENT = 25
Show = Callable[[int, int], None]


def say(text: str, *, err: bool = False) -> None:
    """Print a text, one line or several."""
    typer.echo(escaped_lines(text), err=err)


def say_line(text: str, *, err: bool = False) -> None:
    """Print a text that has parts of others: a line break in them is escaped too."""
    typer.echo(escaped(text), err=err)


def say_json(data: object) -> None:
    """Print data as JSON."""
    say_json_text(json.dumps(data, indent=2, ensure_ascii=False))


def say_line_of_json(data: object) -> None:
    """Print data as JSON in one line."""
    say_json_text(json.dumps(data, ensure_ascii=False))


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


class JsonLines(io.TextIOBase):
    """A file for a console: each line that is printed becomes a JSON object with `time` and `message`."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._begun = ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            if line.strip():
                self.say(line.strip())
        return len(text)

    def say(self, message: str, **fields: object) -> None:
        said = {"time": iso(time.time_ns() // 1_000_000), "message": message, **fields}
        self._file.write(escaped_json(json.dumps(said, ensure_ascii=False)) + "\n")
        self._file.flush()

    def flush(self) -> None:
        self._file.flush()


def console_of(file: TextIO, *, as_json: bool = False) -> Console:
    """A console for a command that runs until it is stopped. With `as_json`, each line is an object."""
    if not as_json:
        return Console(file=file)
    return Console(file=JsonLines(file), force_terminal=False, no_color=True)  # type: ignore[arg-type]  # a TextIO


@contextmanager
def bar(console: Console, label: str) -> Iterator[Show]:
    """Show a progress bar on a terminal, otherwise some lines. Show nothing before the first call."""
    from rich.progress import Progress  # noqa: PLC0415  so that --help stays fast

    if not console.is_terminal:
        yield _steps(console, label)
        return
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(label, total=None, visible=False)
        yield lambda done, total: progress.update(task, completed=done, total=total, visible=True)


def _steps(console: Console, label: str) -> Show:
    said = -STEP_PERCENT

    def show(done: int, total: int) -> None:
        nonlocal said
        percent = 100 * done // max(1, total)
        if percent >= said + STEP_PERCENT:
            said = percent - percent % STEP_PERCENT
            say_on(console, f"{label}: {percent}%")

    return show
