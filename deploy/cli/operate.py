"""`odometer topics`, `rebuild` and `accept`: look at the topics and the counters, and fix them."""
# ruff: noqa: PLC0415, FBT002 - a command imports what it runs; its options are given by name

import asyncio
import time
from typing import Annotated

import typer
from rich.console import Console

from deploy.cli.options import (
    AsJson,
    ByApiKey,
    BySource,
    ByTeam,
    CatalogFile,
    DeadLetterTopic,
    DirectoryPrefix,
    Group,
    Kafka,
    Partitions,
    PricesFile,
    Redis,
    RedisEviction,
    TenantSeries,
    Topic,
    Yes,
)
from deploy.cli.terminal import say, say_json, say_json_text
from deploy.settings import (
    describe,
    directory_settings,
    read_settings,
)


def topics(
    kafka: Kafka = None,
    topic: Topic = None,
    dead_letter_topic: DeadLetterTopic = None,
    partitions: Partitions = None,
    group: Group = None,
    directory_prefix: DirectoryPrefix = None,
    as_json: AsJson = False,
) -> None:
    """Create the topics that are missing, and check the configuration of the others.

    These are the topic of the events, the topic of the dead letters, and three topics of the
    directory with a changelog each. No topic is ever deleted or changed.
    """
    from streams.directory.settings import changelogs
    from streams.kafka.topics import ensure_directory_topics, ensure_topics
    from streams.worker.settings import PARTITIONS

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
        say_json(lines)
    else:
        say("\n".join(lines))


def rebuild(
    kafka: Kafka = None,
    redis: Redis = None,
    redis_eviction: RedisEviction = None,
    topic: Topic = None,
    prices_file: PricesFile = None,
    catalog_file: CatalogFile = None,
    by_source: BySource = None,
    by_team: ByTeam = None,
    by_api_key: ByApiKey = None,
    replaced_hours: Annotated[float | None, typer.Option(help=describe("replaced_hours"))] = None,
    tenant_series: TenantSeries = None,
    as_json: AsJson = False,
) -> None:
    """Count the whole topic again under this configuration, then switch the answers to the result.

    Run it after you change a view, a measure, a price or a limit, with the new configuration. The
    workers and the API of the old configuration continue until the switch, which is one atomic step.
    After the switch the old workers end with exit code 3: restart them, and the API, with the new
    configuration.

    Buckets that are older than the topic's first record are copied from the current counters.

    If it is killed, run it again. `odometer status` lists both generations of the counters.
    """
    from deploy.cli.progress import rebuild_with_progress

    settings = read_settings(
        kafka=kafka,
        redis=redis,
        redis_eviction=redis_eviction,
        topic=topic,
        prices_file=prices_file,
        catalog_file=catalog_file,
        by_source=by_source,
        by_team=by_team,
        by_api_key=by_api_key,
        replaced_hours=replaced_hours,
        tenant_series=tenant_series,
    )
    done = asyncio.run(rebuild_with_progress(settings, Console(stderr=True)))
    if as_json:
        say_json_text(done.model_dump_json(indent=2))
    else:
        say(done.sentence())


def accept(
    kafka: Kafka = None,
    redis: Redis = None,
    topic: Topic = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Continue counting after records were lost. See deploy/RUNBOOK.md first.

    `odometer status` shows which partitions are refused and why: records are missing, or the topic
    was recreated. Try first to restore what is missing, the data of Redis or the log of Kafka.

    With `--yes`, counting continues at the first record that the log still holds. What is counted
    stays, and every answer says from when its history is complete. Without `--yes`, this only shows
    what it would do.
    """
    from streams.operations.accept import accept_losses

    settings = read_settings(kafka=kafka, redis=redis, topic=topic)
    found = asyncio.run(
        accept_losses(settings.kafka, settings.redis, settings.topic, _now_ms, dry_run=not yes)
    )
    if as_json:
        say_json([one.model_dump() for one in found])
        return
    for one in found:
        say(one.sentence() if yes else f"would do: {one.sentence()}")
    if not found:
        say("no partition is refused")
    elif not yes:
        say("Nothing was changed. Add --yes to do it.")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
