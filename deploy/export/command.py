"""`odometer export`: the rows of one view as a file for each day."""
# ruff: noqa: PLC0415, FBT002 - a command imports what it runs; its options are given by name

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from deploy.cli.options import ApiKey, ApiUrl, AsJson, OfTenant, parse_time, read_api_key
from deploy.cli.terminal import say_json, say_line, say_on
from deploy.settings import read_settings
from schemas.errors import InvalidConfig
from schemas.limits import HOUR_MS
from schemas.tiers import DAY, TIERS, Tier
from schemas.units import iso

if TYPE_CHECKING:
    from deploy.export.days import Day
    from deploy.export.files import DayTable, Files

INCOMPLETE_EXIT = 3
"""Not 1, which says that running it again may help."""
FORMATS = ("parquet", "arrow")
DEFAULT_DAYS = 30


def export(
    view: Annotated[str, typer.Argument(metavar="VIEW", help="The view: GET /v1/views lists all.")],
    directory: Annotated[
        Path,
        typer.Argument(help="Where the files go. It is made if it is missing.", file_okay=False),
    ],
    tier: Annotated[
        str, typer.Option(help=f"Length of the buckets: {', '.join(t.name for t in TIERS)}.")
    ] = DAY.name,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TIME",
            help="Begin with the UTC day of this time, such as 2026-02-08 or now-90d. [default: now-30d,"
            " or now-1d for minutes]",
        ),
    ] = None,
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="TIME", help="End with the UTC day before this time, or with its own."
        ),
    ] = "now",
    dimensions: Annotated[
        str | None,
        typer.Option(
            help="Columns, separated by commas; rows with equal values are summed. [default: all]"
        ),
    ] = None,
    measures: Annotated[
        str | None,
        typer.Option(help="Columns, separated by commas. [default: all sums of the view]"),
    ] = None,
    tenant: OfTenant = None,
    format: Annotated[str, typer.Option(help="parquet or arrow.")] = "parquet",  # noqa: A002
    late_hours: Annotated[
        float,
        typer.Option(
            min=0,
            help="Write a day again until everything is counted that was sent so long after its end.",
        ),
    ] = 24.0,
    force: Annotated[
        bool, typer.Option("--force", help="Write all days again, also those that are final.")
    ] = False,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    give_up_s: Annotated[
        float,
        typer.Option(
            min=0, help="Give up after the API has been unreachable for this many seconds."
        ),
    ] = 300.0,
    as_json: AsJson = False,
) -> None:
    """Write the rows of a view into a directory, as one Parquet or Arrow file for each UTC day.

    Run it again to continue: days that are final are skipped, all others are written again. So a run
    each day keeps a warehouse up to date. A file is replaced in one step, also if the command is
    killed. The metadata `odometer` of each file says what it is exact to: the range, the generation,
    `complete_through`, and the next offset of each partition.

    Exit code: 0 if every day of the range has a file, 3 if the counters do not have some days, 1 if
    the command ended early; then run it again.
    """
    from deploy.export.days import Export, days_of
    from deploy.export.fetching import Source
    from deploy.export.files import Files

    settings = read_settings(api_url=api_url, api_key=api_key)
    now_ms = time.time_ns() // 1_000_000
    length = _tier(tier)
    if format not in FORMATS:
        raise InvalidConfig(f"--format is {format!r}; it must be {' or '.join(FORMATS)}.")
    default_days = 1 if length is TIERS[0] else DEFAULT_DAYS
    from_ms = parse_time("--from", from_ or f"now-{default_days}d", now_ms)
    to_ms = min(parse_time("--to", to, now_ms), now_ms)
    if from_ms >= to_ms:
        raise InvalidConfig(f"--from ({iso(from_ms)}) must be before --to ({iso(to_ms)}).")
    starts = days_of(from_ms, to_ms)
    asked = {"dimensions": dimensions, "measures": measures, "tenant": tenant}
    parameters = {"view": view, "tier": length.name, "format": format}
    parameters |= {name: value for name, value in asked.items() if value is not None}
    console = Console(stderr=True)
    done: list[Day] = []
    with _bar(console, len(starts)) as bar:
        task = bar.task_ids[0]

        def away(why: str) -> None:
            if bar.tasks[0].description != why:
                say_on(console, f"waiting: {why}")
            bar.update(task, description=why)

        def on_day(day: "Day") -> None:
            done.append(day)
            bar.update(task, completed=len(done), description=day.day)

        source = Source(settings.api_url, read_api_key(settings), parameters, give_up_s, away)
        files = Files(directory, view, length.name, format)
        run = Export(
            source, files, length, from_ms, to_ms, int(late_hours * HOUR_MS), is_forced=force
        )
        nothing = files.described(source.fetch(iso(now_ms), iso(now_ms)))
        with files.locked():
            run.run(nothing, on_day)
    _tell(files, nothing, done, as_json=as_json)
    if any(day.state == "missing" for day in done):
        sys.exit(INCOMPLETE_EXIT)


def _tier(name: str) -> Tier:
    for tier in TIERS:
        if tier.name == name:
            return tier
    raise InvalidConfig(
        f"--tier is {name!r}; it must be one of {', '.join(t.name for t in TIERS)}."
    )


def _bar(console: Console, days: int) -> Progress:
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("days"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    bar.add_task("", total=days)
    return bar


def _tell(files: "Files", now: "DayTable", done: "list[Day]", *, as_json: bool) -> None:
    if as_json:
        data: dict[str, Any] = {
            "directory": str(files.directory),
            **{name: now.exact.get(name) for name in ("tenant", "view", "tier")},
            "generation": now.generation,
            "complete_through": now.exact["complete_through"],
            "days": [
                {
                    "day": day.day,
                    "file": None if day.state == "missing" else files.path_of(day.day).name,
                    "state": str(day.state),
                    "rows": day.rows,
                    "final": day.is_final,
                    "why": day.why or None,
                }
                for day in done
            ],
        }
        say_json(data)
        return
    written, kept, missing = (
        [day for day in done if day.state == state] for state in ("written", "kept", "missing")
    )
    open_ = [day.day for day in written if not day.is_final]
    said = (
        f"{len(written)} days written ({sum(day.rows for day in written)} rows), {len(kept)} kept"
    )
    say_line(f"{said} in {files.directory}")
    if open_:
        say_line(f"Not final yet, so the next run writes them again: {_few(open_)}.")
    if missing:
        say_line(f"Not exported: {_few([day.day for day in missing])}. {missing[-1].why}", err=True)


def _few(days: list[str]) -> str:
    return ", ".join(days) if len(days) <= 4 else f"{len(days)} days, {days[0]} to {days[-1]}"
