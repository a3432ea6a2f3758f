"""`odometer send`: send the events of a file over HTTP or to Kafka, so that each counts once."""
# ruff: noqa: PLC0415, FBT002 - a command imports what it runs; its options are given by name

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from deploy.cli.explain import ContextOption, FileArgument, FormatOption, NameOption
from deploy.cli.options import (
    ApiKey,
    ApiUrl,
    AsJson,
    BackfillDelay,
    Kafka,
    Redis,
    Topic,
    read_api_key,
)
from deploy.cli.terminal import say_json, say_line, say_on
from deploy.settings import Settings, read_settings
from schemas.terminal import escaped

if TYPE_CHECKING:
    from deploy.send.sending import RefusedObject, Tally
    from streams.meter.transport import Target

REFUSED_EXIT = 3
"""Not 1, which says that sending the file again may help."""
REFUSALS_SHOWN = 100
REFUSALS_KEPT = 10_000
"""The JSON output lists so many. All are counted."""
STATE_SUFFIX = ".sent"


def send(
    file: FileArgument,
    format: FormatOption = None,  # noqa: A002
    context: ContextOption = None,
    name: NameOption = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    to_kafka: Annotated[
        bool,
        typer.Option(
            "--to-kafka",
            help="Send straight to Kafka instead of over HTTP. `--kafka`, `--topic`, `--redis`,"
            " `--unpaced` and `--backfill-delay-ms` apply only then.",
        ),
    ] = False,
    kafka: Kafka = None,
    topic: Topic = None,
    redis: Redis = None,
    unpaced: Annotated[
        bool,
        typer.Option(
            "--unpaced",
            help="With --to-kafka: send as fast as Kafka accepts. Live events then wait behind the"
            " file.",
        ),
    ] = False,
    backfill_delay_ms: BackfillDelay = None,
    state: Annotated[
        Path | None,
        typer.Option(
            help="File that stores how far FILE was sent. [default: FILE.sent]", dir_okay=False
        ),
    ] = None,
    no_state: Annotated[
        bool,
        typer.Option("--no-state", help="Store no progress, and send the file from its start."),
    ] = False,
    give_up_s: Annotated[
        float,
        typer.Option(
            min=0, help="Give up after the server has been unreachable for this many seconds."
        ),
    ] = 300.0,
    as_json: AsJson = False,
) -> None:
    """Send the events of a file. If you send the file again, nothing counts twice.

    Progress is stored in FILE.sent: the next run resumes there, also if the file has grown. An event
    without an id gets one from the file's name and content up to it. So even a run without FILE.sent
    counts nothing twice within 24 h.

    Events are sent no faster than they are counted, so that live events do not wait. Over HTTP the
    API ensures this. With `--to-kafka` this command does, and reads the progress of counting from
    Redis.

    Objects are parsed here and their texts are not sent. Exit code: 0 if everything arrived, 3 if
    some events were refused, 1 if the command ended early; then run it again.
    """
    from deploy.send.reading import STDIN, context_of, file_name, opened
    from deploy.send.sending import Job, send_file
    from streams.meter.transport import open_target

    settings = read_settings(
        api_url=api_url,
        api_key=api_key,
        kafka=kafka,
        topic=topic,
        redis=redis,
        backfill_delay_ms=backfill_delay_ms,
    )
    url = f"kafka://{settings.kafka}/{settings.topic}" if to_kafka else settings.api_url
    if to_kafka:
        target = _kafka_target(settings, is_paced=not unpaced)
    else:
        target = open_target(url, read_api_key(settings), is_history=True)
    beside = None if file == STDIN else Path(f"{file}{STATE_SUFFIX}")
    console = Console(stderr=True)
    refusals: list[RefusedObject] = []
    with opened(file) as source, _bar(console, source.size_bytes) as bar:
        task = bar.task_ids[0]

        def refused(one: "RefusedObject") -> None:
            if len(refusals) < REFUSALS_SHOWN:
                say_on(console, escaped(_sentence(one)))
            if len(refusals) < REFUSALS_KEPT:
                refusals.append(one)

        def step(tally: "Tally") -> None:
            _show(bar, task, tally, source.at_byte())

        def away(why: str) -> None:
            if bar.tasks[0].description != why:
                say_on(console, f"waiting: {why}")
            bar.update(task, description=why)

        job = Job(
            target_name=url,
            name=file_name(file, name),
            format=format,
            context=context_of(context or [], time.time_ns() // 1_000_000),
            state=None if no_state else state or beside,
            give_up_s=give_up_s,
            is_judged_here=to_kafka,
            reads_ahead=file != STDIN,
            on_refused=refused,
            on_step=step,
            on_away=away,
        )
        try:
            tally = send_file(job, source.plain, target)
        finally:
            target.close()
    _tell(tally, refusals, as_json=as_json)
    if tally.refused:
        sys.exit(REFUSED_EXIT)


def _kafka_target(settings: Settings, *, is_paced: bool) -> "Target":
    from deploy.send.pacing import CountedPositions, PacedTarget
    from streams.meter.transport import KafkaTarget

    target = KafkaTarget(settings.kafka, settings.topic)
    if not is_paced or not settings.backfill_delay_ms:
        return target
    return PacedTarget(target, CountedPositions(settings.redis), settings.backfill_delay_ms)


def _bar(console: Console, size_bytes: int | None) -> Progress:
    bar = Progress(
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%") if size_bytes else TextColumn(""),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    bar.add_task("", total=size_bytes, said="")
    return bar


def _show(bar: Progress, task: TaskID, tally: "Tally", at_byte: int) -> None:
    said = f"{tally.sent} sent" + (f", {tally.refused} refused" if tally.refused else "")
    bar.update(task, completed=at_byte, description="", said=said)


def _sentence(one: "RefusedObject") -> str:
    place = f"line {one.line}" + (f", object {one.place}" if one.place else "")
    return f"{place}: {f'{one.field}: ' if one.field else ''}{one.detail} ({one.reason})"


def _tell(tally: "Tally", refusals: "list[RefusedObject]", *, as_json: bool) -> None:
    if as_json:
        data: dict[str, Any] = asdict(tally) | {"refusals": [one._asdict() for one in refusals]}
        say_json(data)
        return
    said = f"{tally.sent} sent, {tally.skipped} skipped, {tally.refused} refused"
    if tally.before:
        said += f"; an earlier run sent {tally.before} lines or documents"
    say_line(said)
    if tally.made_ids:
        say_line(f"{tally.made_ids} events had no id and got one from their position in the file.")
    if tally.refused > REFUSALS_SHOWN:
        say_line(f"These are the first {REFUSALS_SHOWN} refusals. --json lists more.")
