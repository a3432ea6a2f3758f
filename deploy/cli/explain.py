"""`odometer explain`: show how events would be counted, or why they would be rejected."""
# ruff: noqa: PLC0415, FBT002 - a command imports what it runs; its options are given by name

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table

from deploy.cli.options import ByApiKey, BySource, ByTeam, CatalogFile, PricesFile, parse_time
from deploy.cli.terminal import say_json_text, shown
from deploy.settings import read_catalog, read_prices, read_settings

if TYPE_CHECKING:
    from deploy.send.reading import ParsedBody
    from schemas.formats.parse import Event
    from schemas.formats.parsed import InvalidObject, SkippedObject
    from streams.core.explain import AddedRow, CountedEvent, EventCost, Explainer, RejectedEvent

SHOWN_MAX = 20
"""Events that a terminal shows in full by default. JSON shows all."""

FileArgument = Annotated[
    str,
    typer.Argument(
        metavar="FILE|-",
        help="File in any supported format, or - for standard input: a JSON object or array, or one"
        " per line; plain, gzip or zstd.",
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="Name of a format, such as openai, anthropic, gemini, litellm or otel (schemas/README.md lists"
        " all). [default: detected for each object]",
    ),
]
ContextOption = Annotated[
    list[str] | None,
    typer.Option(
        "--context",
        metavar="NAME=TEXT",
        help="Field that the objects lack: agent_id, user_id, call_id, tenant, time ... Repeat it for"
        " several.",
    ),
]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        help="Name of the file in the ids of events that have none. [default: the file's name]",
    ),
]


@dataclass(frozen=True)
class Explained:
    """One object of the file: its event as it would be counted, or the reason why not.

    `event` is a text where the object is skipped.
    """

    line: int
    index: int
    outcome: str  # counted, duplicate, refused or skipped
    format: str
    identity: str
    event: "CountedEvent | RejectedEvent | str"


def explain(
    file: FileArgument,
    format: FormatOption = None,  # noqa: A002
    context: ContextOption = None,
    name: NameOption = None,
    at: Annotated[
        str | None,
        typer.Option(
            help="Time at which the events are appended: `now-3d`, `2026-02-08` or RFC 3339."
            " [default: now]"
        ),
    ] = None,
    prices_file: PricesFile = None,
    catalog_file: CatalogFile = None,
    by_source: BySource = None,
    by_team: ByTeam = None,
    by_api_key: ByApiKey = None,
    limit: Annotated[int, typer.Option(min=0, help="Show so many events in full.")] = SHOWN_MAX,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line, for all events.")
    ] = False,
) -> None:
    """Show how the events of a file would be counted. Nothing is sent.

    For each event: its identity, partition key, measures and cost, the bucket of its call, and the
    rows of the views that it adds to; or the field, the problem and the limit for which it would be
    rejected. The result comes from the worker's own code, as if nothing was counted before the file.
    Exit code 1 if anything would be rejected.
    """
    from streams.core.explain import Explainer

    settings = read_settings(
        prices_file=prices_file,
        catalog_file=catalog_file,
        by_source=by_source,
        by_team=by_team,
        by_api_key=by_api_key,
    )
    now_ms = time.time_ns() // 1_000_000
    append_ms = now_ms if at is None else parse_time("--at", at, now_ms)
    explainer = Explainer(append_ms, read_prices(settings), read_catalog(settings))
    outcomes: Counter[str] = Counter()
    console = Console()
    for explained in _explained(file, format, context or [], name, explainer):
        outcomes[explained.outcome] += 1
        if as_json:
            say_json_text(msgspec.json.encode(explained).decode())
        elif outcomes.total() <= limit:
            console.print(_shown(explained))
    if not as_json:
        console.print(_summary(outcomes, limit))
    if outcomes["refused"]:
        raise typer.Exit(1)


def _explained(
    file: str,
    format: str | None,  # noqa: A002
    context: list[str],
    name: str | None,
    explainer: "Explainer",
) -> Iterator[Explained]:
    from deploy.send.reading import FileParser, bodies, context_of, file_name, opened

    parser = FileParser(format, context_of(context, explainer.append_ms))
    with opened(file) as source:
        for body in bodies(source.plain, file_name(file, name), format):
            for one in parser.parse(body):
                yield from _explain_body(one, explainer)
        for one in parser.rest():
            yield from _explain_body(one, explainer)


def _explain_body(one: "ParsedBody", explainer: "Explainer") -> Iterator[Explained]:
    items: list[Event | SkippedObject | InvalidObject]
    items = [*one.parsed.events, *one.parsed.skipped, *one.parsed.refused]
    for item in sorted(items, key=attrgetter("index")):
        yield _explain(one.body.line, item, explainer)


def _explain(
    line: int, item: "Event | SkippedObject | InvalidObject", explainer: "Explainer"
) -> Explained:
    from schemas.formats.parsed import InvalidObject, SkippedObject
    from streams.core.explain import CountedEvent, RejectedEvent

    if isinstance(item, InvalidObject):
        error = item.error
        why = RejectedEvent(error.reason, error.field, error.detail)
        return Explained(line, item.index, "refused", "", "", why)
    if isinstance(item, SkippedObject):
        return Explained(line, item.index, "skipped", item.format, "", item.reason)
    found = explainer.explain(item.record)
    outcome = "refused"
    if isinstance(found, CountedEvent):
        outcome = "duplicate" if found.duplicate else "counted"
    return Explained(line, item.index, outcome, item.format, item.id_source, found)


# -- on a terminal ---------------------------------------------------------------------------------


def _shown(explained: Explained) -> RenderableType:
    from streams.core.explain import CountedEvent, RejectedEvent

    place = f"line {explained.line}" + (f", object {explained.index}" if explained.index else "")
    head = shown(f"{place}: {explained.outcome}", style="bold")
    event = explained.event
    if isinstance(event, RejectedEvent):
        about = f"{event.field}: " if event.field else ""
        return Group(head, shown(f"  {event.reason}: {about}{event.detail}", style="red"))
    if not isinstance(event, CountedEvent):
        return Group(head, shown(f"  {explained.format}: {event}"))
    lines = [
        f"{event.kind} event {event.id} of {event.source}, tenant {event.tenant}, at {event.at}",
        f"format {explained.format}, id from its {explained.identity}, digest {event.digest}",
        f"partition key {event.partition_key}",
        f"measures: {_amounts(event.measures)}",
        f"cost: {_usd(event.cost)}",
    ]
    if event.cost.facts:
        said = ", ".join(f"{name} {value}" for name, value in event.cost.facts.items())
        lines.append(f"facts that decide the cost: {said}")
    if event.call is not None:
        when = "new" if event.call.is_new else "counted before"
        lines.append(f"call {event.call.call_id}: {when}, in the bucket of {event.call.at}")
    if event.unknown_fields:
        lines.append(f"unknown fields, not counted: {', '.join(event.unknown_fields)}")
    if event.misread:
        lines.append(
            f"labels that are no whole numbers and add nothing: {', '.join(event.misread)}"
        )
    if event.duplicate:
        lines.append("duplicate, adds nothing: an earlier event has the same tenant, source and id")
    parts: list[RenderableType] = [shown(f"  {line}") for line in lines]
    return Group(head, *parts, *_tables(event.rows))


def _tables(rows: Sequence["AddedRow"]) -> list[Table]:
    """Return the additions to each series: one table per set of buckets, mostly one."""
    buckets: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        series = ", ".join(f"{name} {value or '-'}" for name, value in row.series.items())
        if row.measures:
            place = row.view, series, _amounts(row.measures)
            buckets.setdefault(place, []).append(f"{row.tier} {row.bucket}")
    tables: dict[str, Table] = {}
    for place, names in buckets.items():
        title = f"added in the buckets {', '.join(names)}"
        if title not in tables:
            tables[title] = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
            for column in ("view", "series", "adds"):
                tables[title].add_column(column, overflow="fold")
        tables[title].add_row(*(shown(cell) for cell in place))
    return list(tables.values())


def _usd(cost: "EventCost") -> str:
    if cost.nano_usd is None:
        return f"none: {cost.by}"
    return f"{Decimal(cost.nano_usd).scaleb(-9):f} USD, {cost.by}"


def _amounts(measures: dict[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in measures.items()) or "none"


def _summary(outcomes: Counter[str], limit: int) -> str:
    said = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    more = f" The first {limit} are shown; --json shows all." if outcomes.total() > limit else ""
    return f"{outcomes.total()} objects: {said or 'none'}.{more}"
