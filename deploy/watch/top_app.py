"""The screens of `odometer top`, with textual. They show snapshots and change nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.widgets import DataTable, Footer, Input, Static

from deploy.cli.report import age
from deploy.cli.terminal import shown, shown_lines
from deploy.settings import Settings
from deploy.watch.asking import Api
from deploy.watch.frames import UNITS, freshness_lines, total_lines, verdict_line
from deploy.watch.snapshot import (
    COLUMNS,
    DIMENSIONS,
    TopLetter,
    TopQuestion,
    TopSnapshot,
    now_ms,
    read_latest_letters,
    read_snapshot,
)
from deploy.watch.usage import cell_of, number
from schemas.errors import OdometerError
from schemas.responses.keys import KeyShown
from schemas.responses.keys import shown as shown_key
from schemas.responses.status import State

EVERY_S: Final = 2.0
COLORS: Final = {State.COUNTING: "green", State.BEHIND: "yellow", State.NOT_COUNTING: "red"}
PAGES: Final = ("usage", "partitions", "dead letters", "keys")

Cells = Sequence[tuple[str, float | str]]
"""The cells of a row: what is shown, and what it is sorted by."""


class TopApp(App[None]):
    """`question`: what the first page asks. `settings` and `api`: where it reads."""

    TITLE = "odometer top"
    CSS = """
    #verdict { height: auto; padding: 0 1; text-style: bold; }
    #state { height: auto; padding: 0 1; }
    #totals { height: auto; padding: 0 1; }
    #where { height: 1; padding: 0 1; text-style: reverse; }
    #filter { display: none; }
    #filter.open { display: block; }
    DataTable { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        ("1", "by('model')", "Model"),
        ("2", "by('agent')", "Agent"),
        ("3", "by('user')", "User"),
        ("4", "by('provider')", "Provider"),
        ("p", "page('partitions')", "Partitions"),
        ("d", "page('dead letters')", "Dead letters"),
        ("k", "page('keys')", "Keys"),
        ("s", "sort", "Sort"),
        ("r", "reverse", "Reverse"),
        ("slash", "filter", "Filter"),
        ("escape", "back", "Back"),
        ("q", "quit", "Quit"),
    ]

    def __init__(self, settings: Settings, api: Api, question: TopQuestion) -> None:
        super().__init__()
        self.settings, self.api, self.question = settings, api, question
        self.snapshot: TopSnapshot | None = None
        self.letters: Sequence[TopLetter] = ()
        self.listed_keys: Sequence[KeyShown] = ()
        self.page = "usage"
        self.page_away = ""
        self.sort_column = 1
        self.descending = True
        self.wanted = ""
        self.drilled: list[tuple[str, str]] = []
        self.is_reading = self.reads_again = False
        self.is_waiting = False  # for the rows of a table or page that was chosen

    def compose(self) -> ComposeResult:
        yield Static("reading ...", id="verdict", markup=False)
        yield Static("", id="state", markup=False)
        yield Static("", id="totals", markup=False)
        yield Static("", id="where", markup=False)
        yield Input(placeholder="show only rows with this text", id="filter")
        yield DataTable[Text](id="table", cursor_type="row")
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(DataTable).focus()
        self.set_interval(EVERY_S, self.refresh_data)
        self.refresh_data()

    # -- reading, in a thread, one at a time -------------------------------------------------------

    def refresh_data(self) -> None:
        if self.is_reading:  # a slow server: the next read begins when this one is over
            self.reads_again = True
            return
        self.is_reading, self.reads_again = True, False
        self.run_worker(self._read, thread=True, exit_on_error=False)

    def _read(self) -> None:
        question, page = self.question, self.page
        found = asyncio.run(read_snapshot(self.settings, self.api, question))
        letters, keys, away = self.letters, self.listed_keys, ""
        try:
            if page == "dead letters":
                letters = asyncio.run(read_latest_letters(self.settings))
            elif page == "keys":
                keys = asyncio.run(_keys(self.settings))
        except OdometerError as error:
            away = str(error)
        self.call_from_thread(self._found, question, page, found, letters, keys, away)

    def _found(
        self,
        question: TopQuestion,
        page: str,
        found: TopSnapshot,
        letters: Sequence[TopLetter],
        keys: Sequence[KeyShown],
        away: str,
    ) -> None:
        self.is_reading = False
        if question == self.question:  # else another table was chosen meanwhile
            self.is_waiting = self.is_waiting and page != self.page
            self.snapshot = found
            self.letters, self.listed_keys, self.page_away = letters, keys, away
            self.draw()
        if self.reads_again:
            self.refresh_data()

    # -- drawing -----------------------------------------------------------------------------------

    def draw(self) -> None:
        found = self.snapshot
        if found is None:
            return
        verdict = self.query_one("#verdict", Static)
        verdict.update(shown(verdict_line(found)))
        verdict.styles.color = COLORS[found.verdict.state]
        self.query_one("#state", Static).update(shown_lines(list(freshness_lines(found))))
        usage = [f"usage: {found.usage_away}"] if found.usage is None else total_lines(found.usage)
        self.query_one("#totals", Static).update(shown_lines(list(usage)))
        columns, rows = self._page(found)
        rows = [
            row for row in rows if self.wanted.casefold() in " ".join(c[0] for c in row).casefold()
        ]
        at = min(self.sort_column, len(columns) - 1)
        rows = sorted(rows, key=lambda row: _order(row[at][1]), reverse=self.descending)
        self.query_one("#where", Static).update(shown(self._where(columns[at], len(rows))))
        self._fill(columns, rows)

    def _where(self, column: str, count: int) -> str:
        path = " > ".join(f"{name} {value}" for name, value in self.drilled)
        table = f"by {self.question.by}" if self.page == "usage" else self.page
        if self.is_waiting:  # those below are of the table before, or none
            return " | ".join(part for part in (table, path, "reading ...") if part)
        parts = [table, path, f"sorted by {column}", f"{count} rows", self.page_away]
        parts += [f"with {self.wanted!r}"] if self.wanted else []
        return " | ".join(part for part in parts if part)

    def _fill(self, columns: Sequence[str], rows: Sequence[Cells]) -> None:
        table: DataTable[Text] = self.query_one(DataTable)
        cursor, scroll = table.cursor_row, table.scroll_y
        table.clear(columns=True)
        table.add_columns(*columns)
        for row in rows:
            table.add_row(*(shown(text) for text, _ in row), key=row[0][0])
        if rows:
            table.move_cursor(row=min(cursor, len(rows) - 1))
        table.scroll_y = scroll

    def _page(self, found: TopSnapshot) -> tuple[Sequence[str], Sequence[Cells]]:
        make: Mapping[str, Callable[[TopSnapshot], tuple[Sequence[str], Sequence[Cells]]]] = {
            "usage": _usage_page,
            "partitions": _partitions_page,
            "dead letters": lambda _: _letters_page(self.letters),
            "keys": lambda _: _keys_page(self.listed_keys),
        }
        return make[self.page](found)

    # -- actions -----------------------------------------------------------------------------------

    def action_by(self, by: str) -> None:
        self._ask(by)

    def action_page(self, page: str) -> None:
        self.page, self.sort_column, self.descending, self.wanted = page, 0, False, ""
        self.is_waiting, self.page_away = page != "partitions", ""
        self.draw()
        self.refresh_data()

    def action_sort(self) -> None:
        columns = len(self.query_one(DataTable).columns)
        self.sort_column = (self.sort_column + 1) % max(1, columns)
        self.draw()

    def action_reverse(self) -> None:
        self.descending = not self.descending
        self.draw()

    def action_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.add_class("open")
        field.focus()

    async def action_back(self) -> None:
        """Closes the filter, else leaves the page, else goes up."""
        field = self.query_one("#filter", Input)
        if field.has_class("open") or self.wanted:
            field.remove_class("open")
            field.value = self.wanted = ""
            self.query_one(DataTable).focus()
            self.draw()
        elif self.page != "usage":
            self._ask(self.question.by)
        elif self.drilled:
            by, _ = self.drilled.pop()
            self._ask(by)

    def on_input_changed(self, event: Input.Changed) -> None:
        self.wanted = event.value
        self.draw()

    def on_input_submitted(self, _event: Input.Submitted) -> None:
        self.query_one("#filter", Input).remove_class("open")
        self.query_one(DataTable).focus()

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        self.descending = not self.descending if event.column_index == self.sort_column else True
        self.sort_column = event.column_index
        self.draw()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Drills down: what this model, agent, user or provider was used by."""
        by, value = self.question.by, event.row_key.value
        if self.page != "usage" or value is None or value in {"(other)", "-"}:
            return
        left = [one for one in DIMENSIONS if one not in {by, *(name for name, _ in self.drilled)}]
        if left:
            self.drilled.append((by, value))
            self._ask(left[0])

    def _ask(self, by: str) -> None:
        before = self.question
        self.question = TopQuestion(before.from_, by, dict(self.drilled), before.tenant)
        self.page, self.sort_column, self.descending, self.wanted = "usage", 1, True, ""
        self.query_one("#filter", Input).value = ""
        self.is_waiting, self.page_away = True, ""
        self.query_one("#where", Static).update(shown(self._where("", 0)))
        self.refresh_data()


def _usage_page(found: TopSnapshot) -> tuple[Sequence[str], Sequence[Cells]]:
    if found.usage is None:
        return ("usage",), ()
    by = found.usage.by
    rows: list[Cells] = [
        [
            (cell_of(row, by), cell_of(row, by)),
            *((number(row[name], UNITS.get(name, "")), _known(row[name])) for name in COLUMNS),
        ]
        for row in found.usage.rows
    ]
    return (by, *COLUMNS), rows


def _partitions_page(found: TopSnapshot) -> tuple[Sequence[str], Sequence[Cells]]:
    columns = ("partition", "position", "end", "lag", "last commit", "complete through", "refused")
    rows: list[Cells] = []
    no_time = "unknown" if found.status.redis_away else "never"
    for one in found.status.partitions:
        numbers = (one.partition, one.position, one.end, one.lag)
        times = (one.last_commit_ms, one.complete_through_ms)
        rows.append(
            [
                *(("unknown" if n is None else str(n), _known(n)) for n in numbers),
                *((age(at, found.at_ms) if at else no_time, _known(at)) for at in times),
                (one.refused or "", one.refused or ""),
            ]
        )
    return columns, rows


def _letters_page(letters: Sequence[TopLetter]) -> tuple[Sequence[str], Sequence[Cells]]:
    at_ms = now_ms()
    rows: list[Cells] = [
        [
            (one.origin, one.origin),
            (age(one.append_ms, at_ms), -one.append_ms),
            *((text, text) for text in (one.reason, one.field, one.detail)),
        ]
        for one in letters
    ]
    return ("origin", "appended", "reason", "field", "detail"), rows


def _keys_page(keys: Sequence[KeyShown]) -> tuple[Sequence[str], Sequence[Cells]]:
    rows: list[Cells] = []
    for one in keys:
        tenants = one.tenants if isinstance(one.tenants, str) else ", ".join(one.tenants)
        texts = (one.name, one.id, tenants, one.role, one.state, one.last_used or "never")
        cells: Cells = [(text, text) for text in texts]
        rows.append(cells)
    return ("name", "id", "tenants", "role", "state", "last used"), rows


async def _keys(settings: Settings) -> Sequence[KeyShown]:
    from api.auth.audit import operator  # noqa: PLC0415  the other pages need none of it
    from api.auth.keys import list_keys, opened  # noqa: PLC0415

    async with opened(settings.redis) as store:
        found = await list_keys(store, operator())
    return [shown_key(one.record, one.last_used_ms, now_ms()) for one in found]


def _known(value: float | None) -> float:
    """For sorting: what is unknown comes last of all."""
    return -1.0 if value is None else float(value)


def _order(value: Any) -> tuple[bool, Any]:  # noqa: ANN401  numbers before texts
    return isinstance(value, str), value
