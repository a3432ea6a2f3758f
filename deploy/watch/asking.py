"""Asks the API over HTTP, one question at a time.

ApiRefused      the API answers that the question, or the key, is wrong
ApiUnreachable  it does not answer, or cannot answer now
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from deploy.errors import DeployError
from schemas.errors import InvalidConfig

ANSWER_S: Final = 30.0
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
SAID_CHARS_MAX: Final = 2_000


class ApiRefused(DeployError):
    pass


class ApiUnreachable(DeployError):
    pass


@dataclass(frozen=True)
class Api:
    """The API at `url`. Raises InvalidConfig if that is no URL of one."""

    url: str
    key: str

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InvalidConfig(
                f"--api-url (or ODOMETER_API_URL) is {self.url!r}; it must be http://HOST:PORT or"
                " https://HOST."
            )

    def get(self, path: str, parameters: Mapping[str, str]) -> bytes:
        """The body of an answer. Raises ApiRefused, ApiUnreachable."""
        return self._exchange("GET", f"{path}?{urlencode(parameters)}", None)

    def post(self, path: str, content: object) -> Any:  # noqa: ANN401  JSON
        return json.loads(self._exchange("POST", path, json.dumps(content).encode()))

    def _exchange(self, method: str, path: str, body: bytes | None) -> bytes:
        parts = urlsplit(self.url)
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        if body is not None:
            headers["content-type"] = "application/json"
        try:
            with closing(_connected(parts.scheme, parts.hostname or "", parts.port)) as connection:
                connection.request(method, parts.path.rstrip("/") + path, body, headers)
                answer = connection.getresponse()
                content = answer.read(ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            raise ApiUnreachable(f"{self.url} does not answer: {error}") from error
        if answer.status == 200:
            return content
        why = f"{self.url} answered {answer.status}: {_said(content)}"
        raise ApiUnreachable(why) if answer.status >= 500 else ApiRefused(why)


def _connected(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=ANSWER_S, context=context)
    return http.client.HTTPConnection(host, port, timeout=ANSWER_S)


def _said(body: bytes) -> str:
    with suppress(ValueError):
        found = json.loads(body)
        if isinstance(found, dict) and (text := found.get("detail") or found.get("title")):
            return str(text)[:SAID_CHARS_MAX]
    return body.decode(errors="replace")[:SAID_CHARS_MAX]
