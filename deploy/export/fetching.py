"""`GET /v1/export` over HTTP, with retries. One connection at a time.

ExportError         no table, and a retry will not help
'- RangeRefused     the counters do not have this range
'- TooLarge         the range has more rows than one answer may have
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urlsplit

from deploy.errors import DeployError
from schemas.errors import InvalidConfig

EXPORT_PATH: Final = "/v1/export"
ANSWER_S: Final = 60.0
"""Without a byte. A large answer takes some seconds until it begins."""
TABLE_BYTES_MAX: Final = 1 << 30
"""300,000 rows of 80 columns are 192 MB before they are compressed."""
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.2, 5.0
RETRY_AFTER_S_MAX: Final = 60.0
SAID_CHARS_MAX: Final = 1000
TEMPORARY: Final = frozenset({408, 429, 500, 502, 503, 504})


class ExportError(DeployError):
    """No table, and a retry will not help."""


class RangeRefused(ExportError):
    """The counters do not have this range: it has expired, or its view counts from later on."""


class TooLarge(ExportError):
    """The answer would be too large. A shorter range may not be."""


@dataclass
class Source:
    """The API that tables come from. `parameters`: of all requests. `on_away` hears why it waits."""

    url: str
    key: str
    parameters: Mapping[str, str]
    give_up_s: float
    on_away: Callable[[str], None]

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InvalidConfig(
                f"nothing can be exported from {self.url!r}: --api-url must be http://HOST:PORT or"
                " https://HOST"
            )

    def fetch(self, from_text: str, to_text: str) -> bytes:
        """The table of this range. Raises ExportError."""
        backoff_s, away_since_s = FIRST_BACKOFF_S, time.monotonic()
        while True:
            try:
                status, retry_after_s, body = self._exchange({"from": from_text, "to": to_text})
                why = f"{self.url} answered {status}: {_said(body)}"
            except (OSError, http.client.HTTPException) as error:
                status, retry_after_s, body = 503, 0.0, b""
                why = f"{self.url} did not answer: {error!r}"
            if status == 200:
                return body
            if status not in TEMPORARY:
                raise _error_of(status, body, why)
            if time.monotonic() - away_since_s > self.give_up_s:
                raise ExportError(why)
            self.on_away(why)
            time.sleep(max(backoff_s, min(retry_after_s, RETRY_AFTER_S_MAX)))
            backoff_s = min(2 * backoff_s, LAST_BACKOFF_S)

    def _exchange(self, bounds: Mapping[str, str]) -> tuple[int, float, bytes]:
        """Status, Retry-After in s, body."""
        parts = urlsplit(self.url)
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        path = f"{parts.path.rstrip('/')}{EXPORT_PATH}?{urlencode({**self.parameters, **bounds})}"
        with closing(_connected(parts.scheme, parts.hostname or "", parts.port)) as connection:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            body = answer.read(TABLE_BYTES_MAX)
            if not answer.isclosed() and answer.read(1):
                raise ExportError(f"{self.url} sent a table of more than {TABLE_BYTES_MAX} bytes.")
            wait = answer.headers.get("retry-after") or ""
            return answer.status, float(wait) if wait.isdecimal() else 0.0, body


def _connected(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=ANSWER_S, context=context)
    return http.client.HTTPConnection(host, port, timeout=ANSWER_S)


def _error_of(status: int, body: bytes, why: str) -> ExportError:
    if status != 400:
        return ExportError(why)
    parameter = _problem(body).get("parameter")
    if parameter == "from":
        return RangeRefused(_said(body))
    return TooLarge(_said(body)) if parameter is None else ExportError(why)


def _said(body: bytes) -> str:
    found = _problem(body)
    return str(found.get("detail") or found.get("title") or body.decode(errors="replace"))[
        :SAID_CHARS_MAX
    ]


def _problem(body: bytes) -> Mapping[str, object]:
    with suppress(ValueError):
        found = json.loads(body)
        if isinstance(found, dict):
            return found
    return {}
