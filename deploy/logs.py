"""One format for the logs of all processes: text for people, or JSON, a line each.

A record has time, level, logger, process, version and message. Fields that a line carries besides, such
as the events per second, are members of their own in JSON; in text the message has them.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, Final

from schemas.terminal import escaped

FIELDS: Final = "fields"
"""`log.info("...", extra={FIELDS: {...}})`."""
QUIET: Final = ("aiokafka", "faust", "mode", "uvicorn.access")
"""Libraries whose steps are of no use to an operator: only their warnings are logged."""
CLIENTS: Final = {"aiokafka", "redis"}
"""The clients of the servers. This module imports neither."""


class LineFormatter(logging.Formatter):
    """A line of text: `2026-11-30T17:08:11.123Z INFO worker odometer.worker: ...`, and a traceback below."""

    def __init__(self, process: str, version: str) -> None:
        super().__init__()
        self._process = process
        self._version = version

    def format(self, record: logging.LogRecord) -> str:
        said = " ".join(record.getMessage().split())
        line = f"{_time(record)} {record.levelname} {self._process} {record.name}: {escaped(said)}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(LineFormatter):
    """The same as a JSON object in one line."""

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": self._process,
            "version": self._version,
            "message": record.getMessage(),
        }
        said |= getattr(record, FIELDS, {})
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=True, default=str)


class HealthyStart(logging.Filter):
    """Drops what a healthy start logs as an error: the coordinator of a group that is new is not there for
    some hundred milliseconds, and the client asks again. If it stays away, the worker says so itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Group Coordinator Request failed")


class AbandonedRequest(logging.Filter):
    """Makes one sentence of the traceback of a request that nobody waits for any more: a client gave up, and
    the server closed the connection later. The process has said itself that the server does not answer."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if record.name == "asyncio" and error is not None and _is_of_a_connection(error):
            record.levelno, record.levelname = logging.WARNING, "WARNING"
            record.msg, record.args = "a request was abandoned: %r", (error,)
            record.exc_info = record.exc_text = None
        return True


def _is_of_a_connection(error: BaseException) -> bool:
    return isinstance(error, OSError) or type(error).__module__.split(".")[0] in CLIENTS


def log_config(process: str, version: str, form: str, level: str) -> dict[str, Any]:
    """What `logging.config.dictConfig` takes, as do Faust and uvicorn."""
    formatter = JsonFormatter if form == "json" else LineFormatter
    name = level.upper()
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter, "process": process, "version": version}},
        "filters": {"healthy_start": {"()": HealthyStart}, "abandoned": {"()": AbandonedRequest}},
        "handlers": {
            "default": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stderr",
                "formatter": "line",
                "filters": ["healthy_start", "abandoned"],
            }
        },
        "root": {"level": name, "handlers": ["default"]},
        "loggers": {
            one: {"level": "DEBUG" if name == "DEBUG" else max(name, "WARNING", key=_rank)}
            for one in QUIET
        },
    }


def _rank(name: str) -> int:
    return logging.getLevelNamesMapping()[name]


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
