"""Every setting of the commands. An option wins over its variable, the variable over the default.

The variable of a setting is `ODOMETER_` and its name in capitals. `odometer up` passes its settings to
the processes that it starts by the same variables.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import PydanticBaseSettingsSource as Source

from api.app.origins import parse_origins
from deploy.setting_sources import (
    ENV_PREFIX,
    SECRETS,
    CheckedAddresses,
    SecretFiles,
    Variables,
    file_variable,
    problem_of,
    variable,
)
from schemas.catalog.catalog_file import parse_catalog
from schemas.catalog.optional_views import OPTIONAL, with_optional
from schemas.catalog.views import DEFAULT, Catalog
from schemas.errors import InvalidConfig
from schemas.prices.price_list import BUNDLED, Prices, parse_prices
from schemas.quotas import Quota, parse_quota

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prometheus_client.registry import Collector

    from deploy.monitor.process import MonitorSettings
    from streams.directory.settings import DirectorySettings

CHECKOUT = Path(__file__).resolve().parent.parent
# The bundled servers do not use 9092 and 6379: the machine may have its own servers there.
KAFKA_PORT = 19_092
REDIS_PORT = 16_379
# In the home directory. Both can be read by their owner only.
VALKEY_PASSWORD_FILE = "valkey/password"  # noqa: S105  a path
API_KEY_FILE = "api-key"

# Next to the port of the API. Workers come last: there may be several on one machine.
MONITOR_PORTS = {"api": 3401, "directory": 3402, "worker": 3410}

QUOTA_RANGES = {"tenant_series": (1_000, 100_000_000), "tenant_ids": (0, 10_000_000_000)}

Port = Annotated[int, Field(ge=1, le=65_535)]


def _default_redis(validated: dict[str, Any]) -> str:
    """Return the URL of the bundled Valkey. It takes the fields that come before `redis`."""
    return valkey_url(validated["home"], validated["redis_port"])


class Settings(CheckedAddresses):
    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_ignore_empty=True, extra="ignore", frozen=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: Source,
        env_settings: Source,  # noqa: ARG003  `Variables` instead
        dotenv_settings: Source,  # noqa: ARG003
        file_secret_settings: Source,  # noqa: ARG003  a directory; `SecretFiles` instead
    ) -> tuple[Source, ...]:
        """Options win over variables. A secret may be in a file."""
        return init_settings, Variables(settings_cls), SecretFiles(settings_cls)

    kafka: str = Field(
        default=f"127.0.0.1:{KAFKA_PORT}",
        description="Address of Kafka, HOST:PORT. Separate several by commas.",
    )
    topic: str = Field(default="usage.events", description="Topic of the usage events.")
    dead_letter_topic: str = Field(
        default="usage.dead-letter",
        description="Topic of the dead letters: records that cannot be counted.",
    )
    partitions: int = Field(
        default=12,
        ge=1,
        le=1_000,
        description="Partitions of the topic of the usage events, when it is created. So many"
        " workers can share the load at most.",
    )
    group: str = Field(
        default="odometer",
        description="Consumer group. The workers of one group share the partitions.",
    )
    directory_prefix: str = Field(
        default="directory",
        pattern=r"^[A-Za-z0-9._-]{1,200}$",
        description="Prefix of the directory's topics: PREFIX.users, PREFIX.groups and"
        " PREFIX.chats.",
    )
    replaced_hours: float = Field(
        default=24,
        ge=0,
        le=24 * 366,
        description="Keep the counters that a rebuild has replaced for so many hours.",
    )
    monitor_host: str = Field(
        default="127.0.0.1",
        description="Address on which each process serves its metrics and probes, without a key.",
    )
    monitor_port: int | None = Field(
        default=None,
        ge=1,
        le=65_535,
        description="Port of the metrics and probes. By default 3401 for the API, 3402 for the"
        " directory and 3410 for a worker. If a port is taken, the next free one.",
    )
    usage_metrics: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="Serve usage as metrics of the API, by tenant, kind, provider and model, with so many"
        " series; further ones count as `(other)`. 0: none. Use the same for all API processes.",
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="Format of the logs: text or json, a line each."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is logged: debug, info, warning or error."
    )
    prices_file: Path | None = Field(
        default=None,
        description="TOML file with your own prices. They win over the bundled prices, and apply"
        " to events without a cost. Use the same file for workers, `rebuild` and `status`.",
    )
    catalog_file: Path | None = Field(
        default=None,
        description="TOML file with your own measures, dimensions and views. Use the same file for"
        " workers, API, `rebuild` and `status`.",
    )
    by_source: bool = Field(
        default=False,
        description="Keep a view by source and model, for workers, API, `rebuild` and `status`.",
    )
    by_team: bool = Field(
        default=False, description="The same by the label `team` of events, and model."
    )
    by_api_key: bool = Field(
        default=False, description="The same by the label `api_key` of events, and model."
    )
    tenant_series: str = Field(
        default="1000000",
        description="Quota of each tenant's series, in all views and kinds, such as"
        " 1000000,acme=5000000. Events of further series count as `(other)`. Use the same for"
        " workers, `rebuild` and `status`.",
    )
    tenant_ids: str = Field(
        default="200000000",
        description="Quota of each tenant's event ids, which Redis stores for 24 to 36 hours, 12 B"
        " each, such as 200000000,acme=1000000000. Beyond it, the API answers 429 to events of the"
        " tenant. 0: no quota. Use the same for the API and `status`.",
    )
    store_previews: bool = Field(
        default=False,
        description="Store the first 200 characters of a chat's first message, if events carry"
        " them. This is content of your users; admins of the tenant can read it.",
    )
    api_host: str = Field(default="127.0.0.1", description="Address on which the API listens.")
    api_port: Port = Field(default=3400, description="Port on which the API listens.")
    connections_max: int = Field(
        default=4096,
        ge=16,
        le=65_536,
        description="Open connections of one API process. One tenant may have half of them.",
    )
    access_log: bool = Field(
        default=False,
        description="Log a line for each request: source, route, status, key id and tenant.",
    )
    cors_origins: str = Field(
        default="",
        description="Origins whose pages may ask the API from a browser (CORS), separated by commas, such as"
        " https://dash.example.com. `*`: any.",
    )
    backfill_delay_ms: int = Field(
        default=200,
        ge=0,
        le=60_000,
        description="Send history only while counting is at most so many ms behind. Live events"
        " wait for history no longer than that. 0: never hold history back.",
    )
    metrics_sources: str = Field(
        default="",
        description="Names of services (service.name), separated by commas, whose OTLP metrics count."
        " Their logs then do not count. By default the logs of a service that sends both count.",
    )
    api_url: str = Field(
        default="http://127.0.0.1:3400",
        description="URL of the API to which `send` sends, and from which `export` reads.",
    )
    api_key: str = Field(
        default="",
        repr=False,
        description="API key of `send` and `export`. If it is empty, they use the key that `up` stored in"
        " ODOMETER_HOME.",
    )
    keys_file: Path | None = Field(
        default=None,
        description="Backup file of the hashed API keys. The `keys` commands update it, and the API"
        " restores from it the keys that Redis has lost.",
    )
    home: Path = Field(
        default=CHECKOUT / ".odometer",
        description="Directory in which `up` stores data, logs and its API key.",
    )
    kafka_port: Port = Field(
        default=KAFKA_PORT,
        description="Port of the bundled Kafka. Its controller uses the next port.",
    )
    redis_port: Port = Field(default=REDIS_PORT, description="Port of the bundled Valkey.")
    redis: str = Field(
        default_factory=_default_redis,
        repr=False,
        description="URL of Redis 7 or newer, or Valkey. If it is not set, commands use the bundled"
        " Valkey, with the password that `up` stored in ODOMETER_HOME.",
    )
    redis_eviction: Literal["", "noeviction"] = Field(
        default="",
        description="`noeviction` states that Redis evicts no keys. Only for a Redis that forbids"
        " INFO; else the worker reads it there.",
    )
    seed: int = Field(default=1, description="Seed of the sample traffic.")
    rate_per_s: float = Field(
        default=0.5, gt=0, le=100_000, description="Live sample events per second."
    )
    history_days: int = Field(
        default=30,
        ge=0,
        le=90,
        description="Days of sample history to send before the live events.",
    )

    @field_validator("prices_file", "catalog_file")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        """The processes that `up` starts have another working directory."""
        return path and path.absolute()

    @field_validator("tenant_series", "tenant_ids")
    @classmethod
    def _valid_quota(cls, text: str, info: ValidationInfo) -> str:
        parse_quota(text, *QUOTA_RANGES[str(info.field_name)])
        return text

    @field_validator("cors_origins")
    @classmethod
    def _valid_origins(cls, text: str) -> str:
        parse_origins(text)
        return text

    @property
    def own_kafka(self) -> bool:
        """Whether the user named a Kafka: then the bundled one is not started."""
        return "kafka" in self.model_fields_set

    @property
    def own_redis(self) -> bool:
        return "redis" in self.model_fields_set


def read_settings(**options: object) -> Settings:
    """Return the settings; an option that was not given is None. InvalidConfig names the wrong one."""
    given = {name: value for name, value in options.items() if value is not None}
    try:
        # Values come as init arguments, which pydantic-settings puts before the environment.
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        raise InvalidConfig(problem_of(error)) from error


def logs_of(settings: Settings, process: str) -> dict[str, Any]:
    """Return the configuration of the logs of a process: worker, directory or api."""
    from importlib.metadata import version  # noqa: PLC0415  as below

    from deploy.logs import log_config  # noqa: PLC0415  keeps the other commands fast

    return log_config(process, version("odometer"), settings.log_format, settings.log_level)


def monitor_of(
    settings: Settings, process: str, more: "Sequence[Collector]" = ()
) -> "MonitorSettings":
    """Return the monitor of a process: worker, directory or api. It says where it listens on stderr."""
    from importlib.metadata import version  # noqa: PLC0415  as below

    from deploy.monitor.process import MonitorSettings  # noqa: PLC0415  keeps the other commands fast

    return MonitorSettings(
        process=process,
        host=settings.monitor_host,
        port=settings.monitor_port or MONITOR_PORTS[process],
        version=version("odometer"),
        say=logging.getLogger("odometer.monitor").info,
        more=more,
    )


def describe(name: str) -> str:
    """Return the help text of a setting, with its variable, for an option of the same name."""
    field = Settings.model_fields[name]
    default = "none" if field.default in {None, ""} else str(field.default)
    if field.default_factory is not None:  # only `redis`; a help text shows no password
        default = f"redis://127.0.0.1:{REDIS_PORT}/0"
    default = {"True": "on", "False": "off"}.get(default, default)
    return f"{field.description} [env: {variable(name)}] [default: {default}]"


def as_environment(settings: Settings) -> dict[str, str]:
    """Return the variables with which a child process reads the same settings."""
    given = {name: getattr(settings, name) for name in Settings.model_fields}
    return {
        **{file_variable(name): "" for name in SECRETS},
        **{variable(name): "" if value is None else str(value) for name, value in given.items()},
    }


def directory_settings(settings: Settings) -> "DirectorySettings":
    """Return the settings of the directory's process."""
    from streams.directory.settings import DirectorySettings  # noqa: PLC0415  keeps the other commands fast

    return DirectorySettings(
        kafka=settings.kafka,
        redis=settings.redis,
        prefix=settings.directory_prefix,
        group=f"{settings.group}-directory",
    )


def read_series_quota(settings: Settings) -> Quota:
    return parse_quota(settings.tenant_series, *QUOTA_RANGES["tenant_series"])


def read_id_quota(settings: Settings) -> Quota:
    return parse_quota(settings.tenant_ids, *QUOTA_RANGES["tenant_ids"])


def read_prices(settings: Settings) -> Prices:
    """Return the prices of the settings. InvalidConfig says what is wrong with the file."""
    if settings.prices_file is None:
        return BUNDLED
    return parse_prices(_read("prices", settings.prices_file), str(settings.prices_file))


def read_catalog(settings: Settings) -> Catalog:
    """Return the catalog of the settings. InvalidConfig says what is wrong with the file."""
    file, catalog = settings.catalog_file, DEFAULT
    if file is not None:
        catalog = parse_catalog(_read("catalog", file), str(file))
    return with_optional(catalog, [name for name in OPTIONAL if getattr(settings, f"by_{name}")])


def _read(what: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidConfig(
            f"The {what} file {error.filename} cannot be read: {error.strerror}."
        ) from error


def valkey_url(home: Path, port: int) -> str:
    """Return the URL of the bundled Valkey, with the password of this home if there is one."""
    password = valkey_password(home)
    credentials = f":{password}@" if password else ""
    return f"redis://{credentials}127.0.0.1:{port}/0"


def valkey_password(home: Path) -> str:
    """Return the password of the bundled Valkey, "" if there is none that this user can read."""
    try:
        return (home / VALKEY_PASSWORD_FILE).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def hide_password(url: str) -> str:
    """Return the URL without its password, to show or log it."""
    scheme, found, rest = url.partition("://")
    credentials, at, address = rest.rpartition("@")
    if not found or not at:
        return url
    user = credentials.partition(":")[0]
    return f"{scheme}://{user}:***@{address}"
