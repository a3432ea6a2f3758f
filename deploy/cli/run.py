"""`odometer up`, `worker`, `api`, `directory` and `simulate`: commands that run until they are stopped."""
# ruff: noqa: PLC0415, FBT002 - a command imports what it runs; its options are given by name

import asyncio
import logging.config
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli.options import (
    ApiPort,
    AsJson,
    BackfillDelay,
    ByApiKey,
    BySource,
    ByTeam,
    CatalogFile,
    DeadLetterTopic,
    DirectoryPrefix,
    Group,
    HistoryDays,
    Home,
    JsonLogs,
    Kafka,
    KeysFile,
    LogFormat,
    LogLevel,
    MonitorHost,
    MonitorPort,
    OwnKafka,
    OwnRedis,
    Partitions,
    PricesFile,
    Rate,
    Redis,
    RedisEviction,
    Seed,
    TenantIds,
    TenantSeries,
    Topic,
    UsageMetricsOption,
)
from deploy.cli.terminal import console_of
from deploy.errors import NotInstalled
from deploy.settings import (
    Settings,
    describe,
    directory_settings,
    logs_of,
    monitor_of,
    read_catalog,
    read_id_quota,
    read_prices,
    read_series_quota,
    read_settings,
)

if TYPE_CHECKING:
    from prometheus_client.registry import Collector


def up(
    kafka: OwnKafka = None,
    redis: OwnRedis = None,
    api_port: ApiPort = None,
    kafka_port: Annotated[int | None, typer.Option(help=describe("kafka_port"))] = None,
    redis_port: Annotated[int | None, typer.Option(help=describe("redis_port"))] = None,
    partitions: Partitions = None,
    home: Home = None,
    prices_file: PricesFile = None,
    catalog_file: CatalogFile = None,
    by_source: BySource = None,
    by_team: ByTeam = None,
    by_api_key: ByApiKey = None,
    simulate: Annotated[
        bool,
        typer.Option(
            "--simulate/--no-simulate",
            help="Send sample traffic: history first, then live events.",
        ),
    ] = True,
    seed: Seed = None,
    rate_per_s: Rate = None,
    history_days: HistoryDays = None,
    as_json: AsJson = False,
) -> None:
    """Run everything on this machine until Ctrl-C: Kafka, Valkey, worker, API and sample traffic.

    The first start downloads Kafka's jars (45 MB) and sends a month of sample history. Later starts
    reuse the data and are ready in seconds. When the API is ready, this prints a key and three
    `curl` commands. Everything listens on 127.0.0.1 only.

    Data and logs are in `.odometer/` of the checkout. To start from scratch, stop this command and
    remove that folder.

    With `--kafka` or `--redis` your own server is used, and the bundled one is not started.
    """
    try:
        from deploy.local.up import run_everything
    except ModuleNotFoundError as error:
        raise NotInstalled(
            f"`odometer up` needs the package {error.name}: in a checkout, use"
            " deploy/up, or pip install '.[local]'."
        ) from error

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
            by_source=by_source,
            by_team=by_team,
            by_api_key=by_api_key,
            seed=seed,
            rate_per_s=rate_per_s,
            history_days=history_days,
        ),
        simulate=simulate,
        console=console_of(sys.stdout if as_json else sys.stderr, as_json=as_json),
    )


def worker(
    kafka: Kafka = None,
    redis: Redis = None,
    redis_eviction: RedisEviction = None,
    topic: Topic = None,
    dead_letter_topic: DeadLetterTopic = None,
    group: Group = None,
    prices_file: PricesFile = None,
    catalog_file: CatalogFile = None,
    by_source: BySource = None,
    by_team: ByTeam = None,
    by_api_key: ByApiKey = None,
    monitor_host: MonitorHost = None,
    monitor_port: MonitorPort = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
    tenant_series: TenantSeries = None,
    store_previews: Annotated[
        bool | None,
        typer.Option("--store-previews/--no-store-previews", help=describe("store_previews")),
    ] = None,
    as_json: JsonLogs = False,
) -> None:
    """Count events until SIGTERM. Start up to one worker per partition of the topic.

    Offsets are stored with the counters, so a worker can be killed at any time; the next one resumes
    where it stopped.

    If it is not safe to continue (the topic was recreated, or the counters are gone), the worker
    pauses the partition, reports why and retries every 2 s. `odometer status` shows the reason, and
    deploy/RUNBOOK.md says what to do.

    After `odometer rebuild` has replaced its counters, a worker of the old configuration ends with
    exit code 3. Let your supervisor restart it with the new configuration.
    """
    from streams.worker.process import run_worker
    from streams.worker.settings import WorkerSettings

    settings = read_settings(
        kafka=kafka,
        redis=redis,
        redis_eviction=redis_eviction,
        topic=topic,
        dead_letter_topic=dead_letter_topic,
        group=group,
        prices_file=prices_file,
        catalog_file=catalog_file,
        by_source=by_source,
        by_team=by_team,
        by_api_key=by_api_key,
        monitor_host=monitor_host,
        monitor_port=monitor_port,
        log_format="json" if as_json else log_format,
        log_level=log_level,
        tenant_series=tenant_series,
        store_previews=store_previews,
    )
    sys.exit(
        run_worker(
            WorkerSettings(
                kafka=settings.kafka,
                redis=settings.redis,
                redis_eviction=settings.redis_eviction,
                topic=settings.topic,
                dead_letter_topic=settings.dead_letter_topic,
                group=settings.group,
                store_previews=settings.store_previews,
                tenant_series=read_series_quota(settings),
            ),
            read_prices(settings),
            read_catalog(settings),
            monitor_of(settings, "worker"),
            _logged(settings, "worker"),
        )
    )


def directory(
    kafka: Kafka = None,
    redis: Redis = None,
    group: Group = None,
    directory_prefix: DirectoryPrefix = None,
    monitor_host: MonitorHost = None,
    monitor_port: MonitorPort = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
    as_json: JsonLogs = False,
) -> None:
    """Copy names, groups and chat titles from their topics into Redis, until SIGTERM.

    It reads three compacted topics and creates those that are missing: `directory.users`,
    `directory.groups` and `directory.chats`. A record's key is `TENANT|ID` and its value a JSON
    object; a record without a value deletes. You need this process only if you write these topics.
    One process is enough.
    """
    from streams.directory.process import run_directory

    settings = read_settings(
        kafka=kafka,
        redis=redis,
        group=group,
        directory_prefix=directory_prefix,
        monitor_host=monitor_host,
        monitor_port=monitor_port,
        log_format="json" if as_json else log_format,
        log_level=log_level,
    )
    logs = _logged(settings, "directory")
    monitor = monitor_of(settings, "directory")
    sys.exit(run_directory(directory_settings(settings), monitor, logs))


def api(
    kafka: Kafka = None,
    redis: Redis = None,
    topic: Topic = None,
    dead_letter_topic: DeadLetterTopic = None,
    api_host: Annotated[str | None, typer.Option(help=describe("api_host"))] = None,
    api_port: ApiPort = None,
    keys_file: KeysFile = None,
    catalog_file: CatalogFile = None,
    by_source: BySource = None,
    by_team: ByTeam = None,
    by_api_key: ByApiKey = None,
    backfill_delay_ms: BackfillDelay = None,
    connections_max: Annotated[int | None, typer.Option(help=describe("connections_max"))] = None,
    metrics_sources: Annotated[str | None, typer.Option(help=describe("metrics_sources"))] = None,
    access_log: Annotated[
        bool | None,
        typer.Option("--access-log/--no-access-log", help=describe("access_log")),
    ] = None,
    tenant_ids: TenantIds = None,
    cors_origins: Annotated[str | None, typer.Option(help=describe("cors_origins"))] = None,
    monitor_host: MonitorHost = None,
    monitor_port: MonitorPort = None,
    usage_metrics: UsageMetricsOption = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
    as_json: JsonLogs = False,
) -> None:
    """Serve the HTTP API until SIGTERM: answer from the counters, and send events to Kafka.

    Answers need Redis only. While Kafka does not answer, requests with events get a 503, and
    questions are answered as usual. The process keeps no state of its own: run several behind a load
    balancer. `GET /healthz` says that it runs, `GET /readyz` that it can answer.
    """
    from api.app.main import serve, wall_clock_ms
    from api.app.origins import parse_origins
    from deploy.dead_letters import KafkaDeadLetters
    from deploy.monitor.counting import CountingMetrics
    from deploy.monitor.installation import installation_of
    from deploy.monitor.usage import UsageMetrics

    settings = read_settings(
        kafka=kafka,
        redis=redis,
        topic=topic,
        dead_letter_topic=dead_letter_topic,
        api_host=api_host,
        api_port=api_port,
        keys_file=keys_file,
        catalog_file=catalog_file,
        by_source=by_source,
        by_team=by_team,
        by_api_key=by_api_key,
        backfill_delay_ms=backfill_delay_ms,
        connections_max=connections_max,
        metrics_sources=metrics_sources,
        access_log=access_log,
        tenant_ids=tenant_ids,
        cors_origins=cors_origins,
        monitor_host=monitor_host,
        monitor_port=monitor_port,
        log_format="json" if as_json else log_format,
        log_level=log_level,
        usage_metrics=usage_metrics,
    )
    collectors: list[Collector] = [CountingMetrics(settings)]
    if settings.usage_metrics:
        collectors.append(UsageMetrics(settings))
    serve(
        settings.redis,
        settings.api_host,
        settings.api_port,
        settings.topic,
        kafka=settings.kafka,
        keys_file=settings.keys_file,
        catalog=read_catalog(settings),
        backfill_delay_ms=settings.backfill_delay_ms,
        metrics_sources=[
            name.strip() for name in settings.metrics_sources.split(",") if name.strip()
        ],
        connections_max=settings.connections_max,
        access_log=settings.access_log,
        tenant_ids=read_id_quota(settings),
        cors_origins=parse_origins(settings.cors_origins),
        dead_letters=KafkaDeadLetters(
            settings.kafka, settings.topic, settings.dead_letter_topic, wall_clock_ms
        ),
        monitor=monitor_of(settings, "api", collectors),
        installation=installation_of(settings),
        logs=_logged(settings, "api"),
    )


def _logged(settings: Settings, process: str) -> dict[str, Any]:
    """Begin to log, and return the configuration for the library that configures logs again."""
    config = logs_of(settings, process)
    logging.config.dictConfig(config)
    return config


def simulate(
    kafka: Kafka = None,
    topic: Topic = None,
    group: Group = None,
    directory_prefix: DirectoryPrefix = None,
    seed: Seed = None,
    rate_per_s: Rate = None,
    history_days: HistoryDays = None,
    progress_file: Annotated[Path | None, typer.Option(hidden=True)] = None,
    bookmark_file: Annotated[
        Path | None,
        typer.Option(
            help="Store here how much of the history was sent. A later run resumes from this file."
            " Without it, history that was interrupted stays incomplete.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send realistic sample traffic until Ctrl-C: history first, then live events.

    History is sent only if the topic is empty. The same seed makes the same providers, agents, users
    and event ids, so events that are sent twice count once.
    """
    from deploy.sample.process import send_sample_traffic

    settings = read_settings(
        kafka=kafka,
        topic=topic,
        group=group,
        directory_prefix=directory_prefix,
        seed=seed,
        rate_per_s=rate_per_s,
        history_days=history_days,
    )
    console = console_of(sys.stdout if as_json else sys.stderr, as_json=as_json)
    asyncio.run(send_sample_traffic(settings, console, progress_file, bookmark_file))
