"""Where settings come from beside options: variables, and files that hold secrets.

A secret may be in a file, as Docker and Kubernetes mount them: `ODOMETER_REDIS_FILE` names the file with the
value of `ODOMETER_REDIS`. Kubernetes also sets variables for each service of the namespace ("service links").
For a service `odometer-api` that is `ODOMETER_API_PORT=tcp://10.0.0.7:3400`, which is no port of ours.
"""

import os
import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

from schemas.errors import InvalidConfig

ENV_PREFIX: Final = "ODOMETER_"
SECRETS: Final = ("redis", "api_key")
"""The settings that a file may hold."""

_REDIS_SCHEMES: Final = ("redis", "rediss", "unix")
_KAFKA_ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+)(:[0-9]{1,5})?")
_LINK: Final = re.compile(r"(tcp|udp|sctp)://")
_LINK_NAME: Final = re.compile(r"_SERVICE_(HOST|PORT)(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?$")
_OTHER_USES: Final = ("ODOMETER_PYTHON",)
"""Variables of the scripts `deploy/up` and `deploy/test`."""


def variable(name: str) -> str:
    """Return the variable of a setting, such as ODOMETER_API_PORT."""
    return f"{ENV_PREFIX}{name.upper()}"


def file_variable(name: str) -> str:
    """Return the variable that names the file of a secret, such as ODOMETER_REDIS_FILE."""
    return f"{variable(name)}_FILE"


def problem_of(error: ValidationError) -> str:
    """Return what is wrong with the first setting that is invalid. The value of a secret is not shown."""
    problem = error.errors()[0]
    name = str(problem["loc"][0])
    is_what = "cannot be used" if name in SECRETS else f"is {problem['input']!r}"
    option = f"--{name.replace('_', '-')} (or {variable(name)})"
    return f"{option} {is_what}: {problem['msg'].removeprefix('Value error, ')}."


class CheckedAddresses(BaseSettings):
    """Checks the addresses of Kafka and Redis before anything connects."""

    @field_validator("redis", check_fields=False)
    @classmethod
    def _valid_redis(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            named = parts.path if parts.scheme == "unix" else parts.hostname and parts.port != 0
        except ValueError as error:
            raise ValueError(
                "must be a URL, such as redis://HOST:6379/0: its port is wrong"
            ) from error
        if parts.scheme not in _REDIS_SCHEMES or not named:
            raise ValueError(
                "must be redis://HOST:PORT/NUMBER, rediss://... with TLS, or unix://PATH"
            )
        return url

    @field_validator("kafka", check_fields=False)
    @classmethod
    def _valid_kafka(cls, addresses: str) -> str:
        if not all(_KAFKA_ADDRESS.fullmatch(one.strip()) for one in addresses.split(",")):
            raise ValueError("must be HOST:PORT, or several of them with commas between")
        return addresses


class Variables(EnvSettingsSource):
    """The variables of the settings, without Kubernetes' service links."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        value, key, is_complex = super().get_field_value(field, field_name)
        if is_service_link(field_name, value):
            return None, key, is_complex
        return value, key, is_complex


class SecretFiles(PydanticBaseSettingsSource):
    """Secrets from the files that their variables name. InvalidConfig says which cannot be used."""

    def get_field_value(
        self,
        field: FieldInfo,  # noqa: ARG002  of the base class
        field_name: str,
    ) -> tuple[Any, str, bool]:
        return _secret(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        found = {name: _secret(name) for name in SECRETS if name in self.settings_cls.model_fields}
        return {name: value for name, value in found.items() if value is not None}


def is_service_link(name: str, value: object) -> bool:
    """Whether Kubernetes set this value of a setting."""
    return name.endswith("_port") and isinstance(value, str) and _LINK.match(value) is not None


def _secret(name: str) -> str | None:
    path = os.environ.get(file_variable(name))
    if not path:
        return None
    if os.environ.get(variable(name)):
        raise InvalidConfig(
            f"{variable(name)} and {file_variable(name)} are both set; set only one of them."
        )
    try:
        value = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise InvalidConfig(
            f"The file {path} of {file_variable(name)} cannot be read: {why}."
        ) from error
    if not value:
        raise InvalidConfig(f"The file {path} of {file_variable(name)} is empty.")
    return value


def origin(name: str) -> str:
    """Return what sets a setting that was not given as an option: a variable, else `default`."""
    value = os.environ.get(variable(name))
    if value and not is_service_link(name, value):
        return variable(name)
    if name in SECRETS and os.environ.get(file_variable(name)):
        return file_variable(name)
    return "default"


def unknown_variables(settings: type[BaseSettings]) -> list[str]:
    """Return the variables that look like a setting and are none: most are misspelled."""
    names = {variable(name) for name in settings.model_fields}
    names |= {file_variable(name) for name in SECRETS} | set(_OTHER_USES)
    return sorted(
        name
        for name, value in os.environ.items()
        if name.startswith(ENV_PREFIX)
        and value
        and name not in names
        and not (_LINK.match(value) or _LINK_NAME.search(name))
    )
