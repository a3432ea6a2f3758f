"""Every setting of the commands, in one place: an option wins over its variable, that over a default.

A variable is the field's name in capitals after `ODOMETER_`. `odometer up` hands what it was told to
its children the same way.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.catalog.catalog_file import parse_catalog
from schemas.catalog.views import DEFAULT, Catalog
from schemas.errors import InvalidConfig
from schemas.prices.price_list import BUNDLED, Prices, parse_prices

if TYPE_CHECKING:
    from streams.worker.settings import DirectorySettings

ENV_PREFIX = "ODOMETER_"

CHECKOUT = Path(__file__).resolve().parent.parent
# Of the bundled servers: not the usual 9092 and 6379, where a machine may have its own.
KAFKA_PORT = 19_092
REDIS_PORT = 16_379

Port = Annotated[int, Field(ge=1, le=65_535)]


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_ignore_empty=True, extra="ignore", frozen=True
    )

    kafka: str = Field(
        default=f"127.0.0.1:{KAFKA_PORT}",
        description="Kafka's address, HOST:PORT, several separated by commas. Given to `up`, the"
        " bundled Kafka is not started.",
    )
    redis: str = Field(
        default=f"redis://127.0.0.1:{REDIS_PORT}/0",
        description="The URL of a Redis 7 or Valkey. Given to `up`, the bundled Valkey is not"
        " started. It must keep what it is told (AOF on, maxmemory-policy noeviction).",
    )
    topic: str = Field(default="usage.events", description="The topic of the usage events.")
    dead_letter_topic: str = Field(
        default="usage.dead-letter", description="The topic for what cannot be counted."
    )
    partitions: int = Field(
        default=8,
        ge=1,
        le=1_000,
        description="Partitions of the events' topic when it is created: the most workers that can"
        " share the load.",
    )
    group: str = Field(
        default="odometer",
        description="The consumer group through which workers share the partitions.",
    )
    directory_prefix: str = Field(
        default="directory",
        pattern=r"^[A-Za-z0-9._-]{1,200}$",
        description="The topics of names, groups and titles begin with this: PREFIX.users,"
        " PREFIX.groups, PREFIX.chats.",
    )
    replaced_hours: float = Field(
        default=24,
        ge=0,
        le=24 * 366,
        description="How long the counters that a rebuild has replaced are kept, in hours.",
    )
    health_port: int = Field(
        default=0,
        ge=0,
        le=65_535,
        description="The port of a worker's health page (/health/, on loopback); 0: none.",
    )
    prices_file: Path | None = Field(
        default=None,
        description="A TOML file of your own prices, for events that come without a cost; before"
        " the bundled ones.",
    )
    catalog_file: Path | None = Field(
        default=None,
        description="A TOML file of your own measures, dimensions and views; the same for workers,"
        " API and `rebuild`.",
    )
    store_previews: bool = Field(
        default=False,
        description="Whether workers keep the first 200 characters of a chat's first message, where"
        " events carry them: content of your users, shown to admins of the tenant.",
    )
    api_host: str = Field(default="127.0.0.1", description="The address on which the API listens.")
    api_port: Port = Field(default=3400, description="The port on which the API listens.")
    backfill_delay_ms: int = Field(
        default=200,
        ge=0,
        le=60_000,
        description="How far counting may be behind while history is sent, in ms: live events wait so"
        " long for it at most; 0: history is never held back.",
    )
    api_url: str = Field(
        default="http://127.0.0.1:3400", description="Where `send` finds the API: http(s)://..."
    )
    api_key: str = Field(
        default="",
        description="The key with which `send` writes; empty: the one that `up` made, in its home.",
    )
    keys_file: Path | None = Field(
        default=None,
        description="A file of hashed keys: the API puts back from it what Redis has lost, and the"
        " `keys` commands keep it up to date.",
    )
    home: Path = Field(
        default=CHECKOUT / ".odometer",
        description="Where `up` keeps the data and logs of what it runs.",
    )
    kafka_port: Port = Field(
        default=KAFKA_PORT,
        description="The port of the bundled Kafka; the next one is taken by its controller.",
    )
    redis_port: Port = Field(default=REDIS_PORT, description="The port of the bundled Valkey.")
    seed: int = Field(default=1, description="The seed of the sample traffic.")
    rate_per_s: float = Field(
        default=5.0, gt=0, le=100_000, description="Live sample events a second."
    )
    history_days: int = Field(
        default=30, ge=0, le=90, description="Days of history before the sample traffic goes live."
    )

    @field_validator("prices_file", "catalog_file")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        """What `up` starts works in a directory of its own."""
        return path and path.absolute()

    @property
    def own_kafka(self) -> bool:
        """Whether the user named a Kafka, so that the bundled one stays away."""
        return "kafka" in self.model_fields_set

    @property
    def own_redis(self) -> bool:
        return "redis" in self.model_fields_set


def read_settings(**options: object) -> Settings:
    """Return the settings; an option that was not given is None. InvalidConfig names what is wrong."""
    given = {name: value for name, value in options.items() if value is not None}
    try:
        # Values come as init arguments, which pydantic-settings puts before the environment.
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0])
        option, variable = f"--{name.replace('_', '-')}", f"{ENV_PREFIX}{name.upper()}"
        raise InvalidConfig(
            f"{option} (or {variable}) is {problem['input']!r}: {problem['msg']}."
        ) from error


def describe(name: str) -> str:
    """Return the help text of a setting, with its variable, for an option of the same name."""
    field = Settings.model_fields[name]
    return f"{field.description} [env: {ENV_PREFIX}{name.upper()}] [default: {field.default}]"


def as_environment(settings: Settings) -> dict[str, str]:
    """Return the variables that make a child process read these very settings."""
    given = {name: getattr(settings, name) for name in Settings.model_fields}
    return {
        f"{ENV_PREFIX}{name.upper()}": "" if value is None else str(value)
        for name, value in given.items()
    }


def directory_settings(settings: Settings) -> "DirectorySettings":
    """Return what the directory's process is told."""
    from streams.worker.settings import DirectorySettings  # noqa: PLC0415  quick for all other commands

    return DirectorySettings(
        kafka=settings.kafka,
        redis=settings.redis,
        prefix=settings.directory_prefix,
        group=f"{settings.group}-directory",
    )


def read_prices(settings: Settings) -> Prices:
    """Return the prices of the settings; InvalidConfig says what is wrong with their file."""
    if settings.prices_file is None:
        return BUNDLED
    return parse_prices(_read("prices", settings.prices_file), str(settings.prices_file))


def read_catalog(settings: Settings) -> Catalog:
    """Return what is counted under the settings; InvalidConfig says what is wrong with their file."""
    if settings.catalog_file is None:
        return DEFAULT
    return parse_catalog(_read("catalog", settings.catalog_file), str(settings.catalog_file))


def _read(what: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidConfig(
            f"The {what} file {error.filename} cannot be read: {error.strerror}."
        ) from error
