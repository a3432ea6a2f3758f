"""The command `odometer`: everything that can be run. Each help text says what happens and what next.

Commands import what they run inside themselves, so that `--help` and completion stay fast.
"""
# ruff: noqa: FBT002 - options are given by name

import logging
import sys
from collections.abc import Callable
from typing import Final

import typer
from rich.console import Console

from deploy.cli import operate, run
from deploy.cli.config import config
from deploy.cli.dead import dead
from deploy.cli.explain import explain
from deploy.cli.help import OPERATE, RUN, SEND, WATCH, PlainCommand, PlainGroup, Version
from deploy.cli.keys import keys
from deploy.cli.status import MISCONFIGURED, Judged, status
from deploy.cli.terminal import say_on
from deploy.export.command import export
from deploy.send.command import send
from deploy.sizing.command import size
from deploy.watch.tail import tail
from deploy.watch.top import top
from deploy.watch.usage import usage
from schemas.errors import InvalidConfig, OdometerError

WRONG_SETTING: Final = 2
"""The exit code of a wrong option, which typer uses, and of a wrong setting."""

app = typer.Typer(
    name="odometer",
    cls=PlainGroup,
    help="Live metering for LLM and speech usage.\n\n"
    "Producers send usage events to a Kafka topic. Workers add each event exactly once to counters"
    " in Redis or Valkey. The API answers from the counters. `odometer up` runs all of it on this"
    " machine.\n\n"
    "An option that shows `[env: NAME]` can also be set by that variable; the option wins.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


@app.callback()
def _options(version: Version = False) -> None:
    """Options of the program itself; the help above is the text of `app`."""


COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    RUN: (run.up, run.worker, run.api, run.directory, run.simulate),
    OPERATE: (status, operate.topics, operate.rebuild, operate.accept, export, config, size),
    WATCH: (top, usage, tail),
    SEND: (send, explain),
}
for panel, commands in COMMANDS.items():
    for command in commands:
        app.command(cls=PlainCommand, rich_help_panel=panel)(command)
app.add_typer(keys, name="keys", rich_help_panel=OPERATE)
app.add_typer(dead, name="dead", rich_help_panel=OPERATE)


def main() -> None:
    """Run a command. An error that the user can fix is one sentence on stderr, without a traceback.

    A wrong option or setting is exit code 2. A monitor that runs `odometer status --check` must not take
    that for a state of the counting, so there it is 3."""
    # Its warnings would go to stderr beside our sentence; worker and API configure their own logs.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    is_check = {"status", "--check"} <= set(sys.argv[1:])
    try:
        app()
    except Judged:
        raise
    except SystemExit as leaving:
        sys.exit(MISCONFIGURED if leaving.code and is_check else leaving.code)
    except OdometerError as error:
        say_on(Console(stderr=True), str(error), "red")
        if is_check:
            sys.exit(MISCONFIGURED)
        sys.exit(WRONG_SETTING if isinstance(error, InvalidConfig) else 1)


if __name__ == "__main__":
    main()
