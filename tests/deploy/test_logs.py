"""All processes log in one format, a line each; a healthy start logs no error."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging
import logging.config
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from aiokafka.errors import KafkaConnectionError

from deploy.logs import FIELDS, QUIET, log_config
from streams.worker.health import Minute, WorkerHealth


@contextmanager
def logs_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level, {one: logging.getLogger(one).level for one in QUIET}
    try:
        yield
    finally:
        root.handlers[:], root.level = before[0], before[1]
        for name, of in before[2].items():
            logging.getLogger(name).setLevel(of)


def logged(form: str, level: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    with logs_as_before():
        logging.config.dictConfig(log_config("worker", "1.2", form, level))
        log = logging.getLogger("odometer.worker")
        log.info("counting\nfast", extra={FIELDS: {"lag": 3}})
        try:
            int("why")
        except ValueError:
            log.exception("a bug")
        logging.getLogger("aiokafka.cluster").info("a step")
        logging.getLogger("aiokafka.consumer").error("Group Coordinator Request failed: %s", "x")
        logging.getLogger("aiokafka.consumer").error("something else")
    return out.getvalue().splitlines()


def test_text_has_a_line_for_each_record(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = logged("text", "info", monkeypatch)
    assert lines[0].endswith("Z INFO worker odometer.worker: counting fast")
    assert lines[1].endswith("ERROR worker odometer.worker: a bug")
    assert lines[-2].startswith("ValueError: invalid literal")
    assert lines[-1].endswith("ERROR worker aiokafka.consumer: something else")


def test_json_has_an_object_for_each_record(monkeypatch: pytest.MonkeyPatch) -> None:
    first, bug, other = [json.loads(line) for line in logged("json", "info", monkeypatch)]
    del first["time"]
    assert first == {
        "level": "info",
        "logger": "odometer.worker",
        "process": "worker",
        "version": "1.2",
        "message": "counting\nfast",
        "lag": 3,
    }
    assert "ValueError: invalid literal" in bug["traceback"]
    assert other["message"] == "something else"


def test_a_request_that_was_abandoned_is_one_line_and_a_bug_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(error: Exception) -> None:
        raise error

    async def nobody_waits() -> None:
        for error in (
            KafkaConnectionError("Connection at 127.0.0.1:1 closed"),
            ValueError("a bug"),
        ):
            await asyncio.wait([asyncio.create_task(fail(error))])
        gc.collect()

    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    with logs_as_before():
        logging.config.dictConfig(log_config("worker", "1.2", "text", "info"))
        asyncio.run(nobody_waits())
    lines = out.getvalue().splitlines()
    assert "WARNING worker asyncio: a request was abandoned: KafkaConnectionError" in lines[0]
    assert "ERROR worker asyncio: Task exception was never retrieved" in lines[1]
    assert lines[-1] == "ValueError: a bug"


def test_the_level_leaves_out_what_is_less(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = logged("json", "error", monkeypatch)
    assert [json.loads(line)["level"] for line in lines] == ["error", "error"]


def test_a_worker_logs_a_line_for_each_minute_in_which_it_counts() -> None:
    health = WorkerHealth(complete_ms={0: 60_500, 1: 59_000})
    minute = Minute(0)
    assert minute.report(health, 0, 1_000) is None
    health.events = 120
    assert minute.report(health, 7, 60_999) is None
    report = minute.report(health, 7, 61_000)
    assert report is not None
    line, fields = report
    assert line[0] % line[1:] == "counting: 2.0 events/s, lag 7 records, 2.0 s behind"
    assert fields == {"events_per_s": 2.0, "lag": 7, "behind_s": 2.0}
    assert minute.report(health, 7, 121_001) is None  # nothing was counted in this minute
