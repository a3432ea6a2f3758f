"""`odometer top` as plain text, for a pipe or a terminal that cannot be drawn on."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table

from deploy.cli.terminal import shown
from deploy.watch.snapshot import COLUMNS, TOTALS, TopSnapshot, TopUsage
from deploy.watch.usage import cell_of, number, sparkline
from schemas.responses.status import State
from schemas.units import duration

WORDS = {State.COUNTING: "OK", State.BEHIND: "BEHIND", State.NOT_COUNTING: "NOT COUNTING"}
LABELS = {
    "requests": "requests",
    "errors": "errors",
    "total_tokens": "tokens",
    "cost_usd": "cost",
    "p95_latency_ms": "p95 latency",
    "p95_first_output_ms": "p95 first output",
}
UNITS = {"cost_usd": "USD", "p95_latency_ms": "ms", "p95_first_output_ms": "ms"}


def frame(found: TopSnapshot) -> RenderableType:
    lines = [verdict_line(found), *freshness_lines(found)]
    parts: list[RenderableType] = [shown(line) for line in lines]
    if found.usage is None:
        parts.append(shown(f"usage: {found.usage_away}"))
    else:
        parts += [shown(line) for line in total_lines(found.usage)]
        parts.append(_table(found.usage))
    return Group(*parts)


def verdict_line(found: TopSnapshot) -> str:
    verdict = found.verdict
    following = f"  Next: {verdict.next}" if verdict.next else ""
    return f"{WORDS[verdict.state]}: {verdict.sentence}{following}"


def freshness_lines(found: TopSnapshot) -> Iterator[str]:
    status = found.status
    through = status.complete_through_ms
    behind = "unknown" if through is None else duration(found.at_ms - through)
    lag = "unknown" if status.lag is None else f"{status.lag} records"
    letters = status.dead_letters_last_hour
    refused, unpriced = (
        "unknown" if status.redis_away else len(some) for some in (status.refusals, status.unpriced)
    )
    yield (
        f"behind {behind} | lag {lag} | refused {refused} | dead letters last hour"
        f" {'unknown' if letters is None else letters} | models without a price {unpriced}"
    )
    yield from (f"note: {note}" for note in found.verdict.notes)


def total_lines(usage: TopUsage) -> Iterator[str]:
    """Each total with its line of the last minutes."""
    for name in TOTALS:
        total = number(usage.totals[name], UNITS.get(name, ""))
        unit = {"USD": " USD", "ms": " ms"}.get(UNITS.get(name, ""), "")
        yield f"{LABELS[name]:16} {total + unit:>16}  {sparkline(usage.lines[name])}"


def _table(usage: TopUsage) -> Table:
    table = Table()
    table.add_column(usage.by, overflow="fold")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for row in usage.rows:
        table.add_row(
            shown(cell_of(row, usage.by)),
            *(shown(number(row[name], UNITS.get(name, ""))) for name in COLUMNS),
        )
    return table
