"""The command `odometer`: everything that can be run, each with a help text that teaches.

Commands import what they run inside themselves, so that `--help` and completion stay quick.
"""
# ruff: noqa: PLC0415, FBT002 - options are given by name

import asyncio
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.cli.dead import dead
from deploy.cli.explain import explain
from deploy.cli.keys import keys
from deploy.cli.options import (
    ApiPort,
    AsJson,
    BackfillDelay,
    CatalogFile,
    DeadLetterTopic,
    Group,
    HistoryDays,
    Home,
    Kafka,
    KeysFile,
    Partitions,
    PricesFile,
    Rate,
    Redis,
    Seed,
    Topic,
)
from deploy.send.command import send
from deploy.settings import (
    describe,
    directory_settings,
    read_catalog,
    read_prices,
    read_settings,
)
from schemas.errors import OdometerError

app = typer.Typer(
    name="odometer",
    help="Live metering for LLM and speech usage.\n\n"
    "Producers put usage events on a Kafka topic; a worker folds them into counters in Redis or"
    " Valkey, exactly once; the API answers from the counters alone. `odometer up` runs all of it"
    " on this machine.\n\n"
    "Every option can also be given as an environment variable, named in its help.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.add_typer(keys, name="keys")
app.add_typer(dead, name="dead")
app.command()(send)
app.command()(explain)

# What goes wrong is said here; data goes to stdout, so that it can be piped.
console = Console(stderr=True)


def main() -> None:
    """Run a command; what the user can mend is one sentence on stderr, everything else a traceback."""
    try:
        app()
    except OdometerError as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)


@app.command()
def up(
    kafka: Kafka = None,
    redis: Redis = None,
    api_port: ApiPort = None,
    kafka_port: Annotated[int | None, typer.Option(help=describe("kafka_port"))] = None,
    redis_port: Annotated[int | None, typer.Option(help=describe("redis_port"))] = None,
    partitions: Partitions = None,
    home: Home = None,
    prices_file: PricesFile = None,
    catalog_file: CatalogFile = None,
    simulate: Annotated[
        bool, typer.Option(help="Send sample traffic: a month of history, then live events.")
    ] = True,
    seed: Seed = None,
    rate_per_s: Rate = None,
    history_days: HistoryDays = None,
) -> None:
    """Run everything on this machine until Ctrl-C: Kafka, Valkey, worker, API and sample traffic.

    The first start fetches Kafka's jars (45 MB) and sends a month of sample history; later ones find
    their data and are ready in seconds. Nothing listens beyond 127.0.0.1. Data and logs are in
    `.odometer/` of the checkout: end it and remove that folder to begin anew.

    With `--kafka` or `--redis` your own server is used in place of the bundled one.
    """
    from deploy.local.up import run_everything

    run_everything(
        read_settings(
            kafka=kafka,
            redis=redis,
            api_port=api_port,
            kafka_port=kafka_port,
            redis_port=redis_port,
            partitions=partitions,
            home=home,
            prices_file=prices_file,
            catalog_file=catalog_file,
            seed=seed,
            rate_per_s=rate_per_s,
            history_days=history_days,
        ),
        simulate=simulate,
        console=console,
    )


@app.command()
def worker(
    kafka: Kafka = None,
    redis: Redis = None,
    topic: Topic = None,
    dead_letter_topic: DeadLetterTopic = None,
    group: Group = None,
    prices_file: PricesFile = None,
    catalog_file: CatalogFile = None,
    health_port: Annotated[int | None, typer.Option(help=describe("health_port"))] = None,
    store_previews: Annotated[bool | None, typer.Option(help=describe("store_previews"))] = None,
) -> None:
    """Fold events into counters, until SIGTERM. Start as many as there is load, up to one a partition.

    Where a worker is in the topic is kept beside the counters, so any of them may be killed at any
    time: the next one goes on exactly there. One that must not go on (the topic was recreated, the
    counters are gone) says what to do and ends.
    """
    from streams.worker.process import run_worker
    from streams.worker.settings import WorkerSettings

    settings = read_settings(
        kafka=kafka,
        redis=redis,
        topic=topic,
        dead_letter_topic=dead_letter_topic,
        group=group,
        prices_file=prices_file,
        catalog_file=catalog_file,
        health_port=health_port,
        store_previews=store_previews,
    )
    sys.exit(
        run_worker(
            WorkerSettings(
                kafka=settings.kafka,
                redis=settings.redis,
                topic=settings.topic,
                dead_letter_topic=settings.dead_letter_topic,
                group=settings.group,
                health_port=settings.health_port,
                store_previews=settings.store_previews,
            ),
            read_prices(settings),
            read_catalog(settings),
        )
    )


@app.command()
def directory(
    kafka: Kafka = None,
    redis: Redis = None,
    group: Group = None,
    directory_prefix: Annotated[str | None, typer.Option(help=describe("directory_prefix"))] = None,
) -> None:
    """Read names, groups and chat titles from their topics into the directory, until SIGTERM.

    Three compacted topics, made where they are missing: `directory.users`, `directory.groups` and
    `directory.chats`. A record's key is `TENANT|ID`, its value a JSON object; without a value the
    thing is deleted. Names that events carry need none of this. One process is enough.
    """
    from streams.directory.process import run_directory

    settings = read_settings(
        kafka=kafka, redis=redis, group=group, directory_prefix=directory_prefix
    )
    sys.exit(run_directory(directory_settings(settings)))


@app.command()
def api(
    kafka: Kafka = None,
    redis: Redis = None,
    topic: Topic = None,
    api_host: Annotated[str | None, typer.Option(help=describe("api_host"))] = None,
    api_port: ApiPort = None,
    keys_file: KeysFile = None,
    catalog_file: CatalogFile = None,
    backfill_delay_ms: BackfillDelay = None,
) -> None:
    """Answer questions over HTTP from the counters, and take events to Kafka, until SIGTERM.

    Answers need Redis only: while Kafka is away, events are refused with a 503 and the rest goes on.
    Start as many as you like behind a load balancer: they keep nothing that matters.
    """
    from api.app.main import serve

    settings = read_settings(
        kafka=kafka,
        redis=redis,
        topic=topic,
        api_host=api_host,
        api_port=api_port,
        keys_file=keys_file,
        catalog_file=catalog_file,
        backfill_delay_ms=backfill_delay_ms,
    )
    serve(
        settings.redis,
        settings.api_host,
        settings.api_port,
        settings.topic,
        kafka=settings.kafka,
        keys_file=settings.keys_file,
        catalog=read_catalog(settings),
        backfill_delay_ms=settings.backfill_delay_ms,
    )


@app.command()
def topics(
    kafka: Kafka = None,
    topic: Topic = None,
    dead_letter_topic: DeadLetterTopic = None,
    partitions: Partitions = None,
    group: Group = None,
    directory_prefix: Annotated[str | None, typer.Option(help=describe("directory_prefix"))] = None,
    as_json: AsJson = False,
) -> None:
    """Create the topics, or check that those that are there will do. Nothing is ever deleted.

    Two for events and dead letters, three for the directory and a changelog beside each of these.
    """
    from streams.kafka.topics import ensure_directory_topics, ensure_topics
    from streams.worker.settings import PARTITIONS, changelogs

    settings = read_settings(
        kafka=kafka,
        topic=topic,
        dead_letter_topic=dead_letter_topic,
        partitions=partitions,
        group=group,
        directory_prefix=directory_prefix,
    )
    lines = asyncio.run(
        ensure_topics(
            settings.kafka,
            events=settings.topic,
            dead_letter=settings.dead_letter_topic,
            partitions=settings.partitions,
        )
    )
    logs = changelogs(directory_settings(settings))
    found = asyncio.run(ensure_directory_topics(settings.kafka, logs, PARTITIONS))
    for name, count in found.items():
        lines.append(f"{name}: {count} partitions, with {logs[name]}")
    if as_json:
        print_json(lines)
    else:
        typer.echo("\n".join(lines))


@app.command()
def simulate(
    kafka: Kafka = None,
    topic: Topic = None,
    seed: Seed = None,
    rate_per_s: Rate = None,
    history_days: HistoryDays = None,
    progress_file: Annotated[Path | None, typer.Option(hidden=True)] = None,
    bookmark_file: Annotated[
        Path | None,
        typer.Option(
            help="Remembers how much of the history was sent, to go on with after a kill."
        ),
    ] = None,
) -> None:
    """Send believable sample traffic: history once (into an empty topic), then live, until Ctrl-C.

    The same seed gives the same providers, agents, users and event ids, so that sending a piece of
    it again counts nothing twice.
    """
    from deploy.sample.process import send_sample_traffic

    settings = read_settings(
        kafka=kafka, topic=topic, seed=seed, rate_per_s=rate_per_s, history_days=history_days
    )
    asyncio.run(send_sample_traffic(settings, console, progress_file, bookmark_file))


@app.command()
def status(
    kafka: Kafka = None,
    redis: Redis = None,
    topic: Topic = None,
    prices_file: PricesFile = None,
    catalog_file: CatalogFile = None,
    as_json: AsJson = False,
) -> None:
    """Show how far the counters are: per partition, dead letters by reason, and what was refused.

    `position` is the next record that will be counted, `end` the next that will be written, `lag`
    what lies between. Every event that Kafka acknowledged before `complete through` is counted.
    """
    from deploy.cli.report import render
    from streams.operations.status import read_status

    settings = read_settings(
        kafka=kafka,
        redis=redis,
        topic=topic,
        prices_file=prices_file,
        catalog_file=catalog_file,
    )
    prices, catalog = read_prices(settings).version, read_catalog(settings)
    found = asyncio.run(
        read_status(settings.kafka, settings.redis, settings.topic, prices, catalog)
    )
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        Console().print(render(found, time.time_ns() // 1_000_000))


@app.command()
def rebuild(
    kafka: Kafka = None,
    redis: Redis = None,
    topic: Topic = None,
    prices_file: PricesFile = None,
    catalog_file: CatalogFile = None,
    replaced_hours: Annotated[float | None, typer.Option(help=describe("replaced_hours"))] = None,
    as_json: AsJson = False,
) -> None:
    """Count the whole topic anew under this configuration, beside what answers, and then switch.

    For a new view or measure, a corrected price or limit, or a mended error: run it under the new
    configuration. Workers and API of the old one go on meanwhile; at the switch, one atomic step,
    its workers end, and those of the new configuration go on counting. What is older than the topic
    still holds is taken over from the counters that answer. Killed, it is simply run again.
    """
    from deploy.cli.rebuild import rebuild_with_progress

    settings = read_settings(
        kafka=kafka,
        redis=redis,
        topic=topic,
        prices_file=prices_file,
        catalog_file=catalog_file,
        replaced_hours=replaced_hours,
    )
    done = asyncio.run(rebuild_with_progress(settings, console))
    if as_json:
        typer.echo(done.model_dump_json(indent=2))
    else:
        typer.echo(done.sentence())


@app.command()
def accept(
    kafka: Kafka = None,
    redis: Redis = None,
    topic: Topic = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it. Without, only say what would be done.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Let counting go on where a worker refuses to: records are gone, or the topic is another one.

    `odometer status` says which partitions are refused and why. First try to bring back what is
    missing: the store's data, or the log's. Accepting goes on at the log's first record; what is
    counted stays, and every answer says from when its history is whole.
    """
    from streams.operations.accept import accept_losses

    settings = read_settings(kafka=kafka, redis=redis, topic=topic)
    found = asyncio.run(
        accept_losses(
            settings.kafka,
            settings.redis,
            settings.topic,
            lambda: time.time_ns() // 1_000_000,
            dry_run=not yes,
        )
    )
    if as_json:
        print_json([one.model_dump() for one in found])
        return
    for one in found:
        typer.echo(one.sentence() if yes else f"would do: {one.sentence()}")
    if not found:
        typer.echo("no partition is refused")
    elif not yes:
        typer.echo("Nothing was changed: add --yes to do it.")


def print_json(value: object) -> None:
    Console().print_json(data=value)


if __name__ == "__main__":
    main()
