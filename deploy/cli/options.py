"""Options that several commands share. Most are settings, each with its variable."""

from datetime import UTC
from pathlib import Path
from typing import Annotated

import typer

from deploy.settings import API_KEY_FILE, Settings, describe
from schemas.errors import InvalidConfig

Kafka = Annotated[str | None, typer.Option(metavar="HOST:PORT", help=describe("kafka"))]
Redis = Annotated[str | None, typer.Option(metavar="URL", help=describe("redis"))]
OwnKafka = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Use this Kafka, and do not start the bundled one. " + describe("kafka"),
    ),
]
OwnRedis = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Use this Redis or Valkey, and do not start the bundled Valkey. It must not lose data:"
        " appendonly yes, maxmemory-policy noeviction. " + describe("redis"),
    ),
]
RedisEviction = Annotated[
    str | None, typer.Option(metavar="POLICY", help=describe("redis_eviction"))
]
Topic = Annotated[str | None, typer.Option(help=describe("topic"))]
DeadLetterTopic = Annotated[str | None, typer.Option(help=describe("dead_letter_topic"))]
DirectoryPrefix = Annotated[str | None, typer.Option(help=describe("directory_prefix"))]
Partitions = Annotated[int | None, typer.Option(help=describe("partitions"))]
TenantSeries = Annotated[
    str | None, typer.Option(metavar="NUMBER,TENANT=NUMBER", help=describe("tenant_series"))
]
TenantIds = Annotated[
    str | None, typer.Option(metavar="NUMBER,TENANT=NUMBER", help=describe("tenant_ids"))
]
Group = Annotated[str | None, typer.Option(help=describe("group"))]
ApiPort = Annotated[int | None, typer.Option(help=describe("api_port"))]
BackfillDelay = Annotated[int | None, typer.Option(help=describe("backfill_delay_ms"))]
LogFormat = Annotated[str | None, typer.Option(metavar="text|json", help=describe("log_format"))]
LogLevel = Annotated[str | None, typer.Option(metavar="LEVEL", help=describe("log_level"))]
MonitorHost = Annotated[str | None, typer.Option(help=describe("monitor_host"))]
MonitorPort = Annotated[int | None, typer.Option(help=describe("monitor_port"))]
UsageMetricsOption = Annotated[
    int | None, typer.Option(metavar="SERIES", help=describe("usage_metrics"))
]
Home = Annotated[Path | None, typer.Option(help=describe("home"), file_okay=False)]
KeysFile = Annotated[Path | None, typer.Option(help=describe("keys_file"), dir_okay=False)]
CatalogFile = Annotated[Path | None, typer.Option(help=describe("catalog_file"), dir_okay=False)]
BySource = Annotated[
    bool | None, typer.Option("--by-source/--no-by-source", help=describe("by_source"))
]
ByTeam = Annotated[bool | None, typer.Option("--by-team/--no-by-team", help=describe("by_team"))]
ByApiKey = Annotated[
    bool | None, typer.Option("--by-api-key/--no-by-api-key", help=describe("by_api_key"))
]
PricesFile = Annotated[Path | None, typer.Option(help=describe("prices_file"), dir_okay=False)]
Seed = Annotated[int | None, typer.Option(help=describe("seed"))]
Rate = Annotated[float | None, typer.Option(help=describe("rate_per_s"))]
HistoryDays = Annotated[int | None, typer.Option(help=describe("history_days"))]
ApiUrl = Annotated[str | None, typer.Option(metavar="URL", help=describe("api_url"))]
ApiKey = Annotated[str | None, typer.Option(metavar="KEY", help=describe("api_key"))]
OfTenant = Annotated[str | None, typer.Option(help="The tenant, if the key has several.")]
Watch = Annotated[bool, typer.Option("--watch", help="Show it again every 2 s, until Ctrl-C.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
JsonLogs = Annotated[
    bool, typer.Option("--json", help="Log as JSON: the same as `--log-format json`.")
]
Yes = Annotated[
    bool, typer.Option("--yes", help="Do it. Without this option, only show what would be done.")
]


def read_api_key(settings: Settings) -> str:
    """Return the key of the settings, else the key that `odometer up` stored, else ""."""
    if settings.api_key:
        return settings.api_key
    try:
        return (settings.home / API_KEY_FILE).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def parse_time(option: str, text: str, now_ms: int) -> int:
    """Return the instant of an option such as `--since now-2h`, in ms. Raises InvalidConfig."""
    from api.query.time_range import ALLOWED, InvalidTime, parse_range  # noqa: PLC0415  for --help

    try:
        return parse_range(text, None, now_ms, UTC)[0]
    except InvalidTime as error:
        raise InvalidConfig(f"{option} is {text!r}; it must be {'; '.join(ALLOWED)}") from error
