"""Show a model on a terminal: its lists as tables, every other field as a line."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel
from rich.console import Group, RenderableType
from rich.table import Table

from deploy.cli.terminal import shown

# A number of milliseconds above this (the year 2001) is an instant: no duration is that long.
_INSTANT_MS_MIN = 1_000_000_000_000
_MINUTE_S = 60
_DAY_S = 24 * 3600


def render(model: BaseModel, now_ms: int, only: Sequence[str] | None = None) -> Group:
    """Return lines for the single values, then a table for each list of models; of the fields `only`.

    An instant is shown with its age; in a table, only its age is shown.
    """
    lines: list[RenderableType] = []
    tables: list[RenderableType] = []
    for name in type(model).model_fields if only is None else only:
        value = getattr(model, name)
        if _is_list_of_models(value):
            tables.append(_table(name, value, now_ms))
        elif _is_instant(name, value):
            at = datetime.fromtimestamp(value / 1000, UTC).isoformat(timespec="milliseconds")
            lines.append(shown(f"{_words(name)}: {at} ({age(value, now_ms)})"))
        else:
            lines.append(shown(f"{_words(name)}: {_text(name, value)}"))
    return Group(*lines, *tables)


def _is_list_of_models(value: object) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) > 0
        and all(isinstance(each, BaseModel) for each in value)
    )


def _table(name: str, rows: Sequence[BaseModel], now_ms: int) -> Table:
    table = Table(title=_words(name), title_justify="left")
    columns = list(type(rows[0]).model_fields)
    for column in columns:
        table.add_column(_words(column), justify="right")
    for row in rows:
        values = [(column, getattr(row, column)) for column in columns]
        table.add_row(
            *(
                shown(age(value, now_ms) if _is_instant(column, value) else _text(column, value))
                for column, value in values
            )
        )
    return table


def _is_instant(name: str, value: object) -> bool:
    return isinstance(value, int) and name.endswith("_ms") and value >= _INSTANT_MS_MIN


def age(at_ms: int, now_ms: int) -> str:
    seconds = (now_ms - at_ms) / 1000
    if seconds < -1:
        return f"in {timedelta(seconds=int(-seconds))}"
    if seconds < _MINUTE_S:
        return f"{seconds:.1f} s ago"
    if seconds < _DAY_S:
        return f"{timedelta(seconds=int(seconds))} ago"
    return f"{seconds / _DAY_S:.1f} days ago"


def _words(name: str) -> str:
    return name.removesuffix("_ms").replace("_", " ")


def _text(name: str, value: object) -> str:
    if value is None or value in ({}, [], ()):
        return "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(name, each)}" for key, each in value.items())
    if isinstance(value, int) and name.endswith("_ms"):
        return f"{value} ms"
    return str(value)
