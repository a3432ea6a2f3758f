"""`odometer tail`: what workers say of each event, and nothing of its contents."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.local.servers import Server
from deploy.watch.tail import line_of
from schemas.errors import InvalidConfig, LogUnavailable, StoreUnavailable
from streams.core.columns import columns
from streams.kafka.producer import open_producer
from streams.worker.judged_events import SHOWN_MAX, JudgedEvent, JudgedEvents
from tests.oracles.event_logs import NOW_MS, SECRET, countable, encode, event
from tests.real.harness.system import system_of
from tests.simulation.log import PolledRecord


def noted(*ids: str) -> list[JudgedEvent]:
    records = [PolledRecord(n, NOW_MS, encode(event(id=one)), ()) for n, one in enumerate(ids)]
    judged = JudgedEvents()
    judged.is_wanted = True
    judged.note(columns(countable(records), secret=SECRET))
    return list(judged._waiting)


def test_of_equal_events_the_first_counts() -> None:
    found = [(one.id, one.outcome) for one in noted("a", "a", "b")]
    assert found == [("a", "counted"), ("a", "duplicate"), ("b", "counted")]


def test_of_a_large_commit_only_the_first_are_shown() -> None:
    found = noted(*(f"e{n}" for n in range(SHOWN_MAX + 5)))
    assert len(found) == SHOWN_MAX
    assert [one.more for one in found if one.more] == [5]
    assert "and 5 more" in line_of(found[-1])


def test_a_line_of_an_event() -> None:
    one = JudgedEvent(
        "counted", NOW_MS, "evt-1", "gw", "acme", "llm", "openai", "gpt-4o", None, "u"
    )
    assert line_of(one).endswith("counted   acme llm openai gpt-4o - u -/- evt-1")
    bad = JudgedEvent(
        "refused", NOW_MS, "usage.events:0:7", tenant="acme", reason="too_old", field="time"
    )
    assert line_of(bad).endswith("refused   acme too_old time usage.events:0:7")
    result = CliRunner().invoke(app, ["tail", "--outcome", "lost"])
    assert isinstance(result.exception, InvalidConfig)


def test_a_server_that_does_not_answer_is_one_sentence() -> None:
    away = ["tail", "--kafka", "127.0.0.1:1", "--redis", "redis://127.0.0.1:1/0"]
    result = CliRunner().invoke(app, away)
    assert isinstance(result.exception, StoreUnavailable | LogUnavailable)


@pytest.mark.servers
async def test_a_worker_tells_who_watches(kafka: Server, redis_url: str, tmp_path: Path) -> None:
    async with system_of(kafka.address, redis_url, tmp_path, 1) as system:
        settings = system.settings
        worker = system.worker()

        async def counts() -> bool:
            return (await worker.health()).get("state") == "counting"

        await system.until("the worker counts", counts)
        command = ("-m", "deploy.cli.main", "tail", "--json", "--count", "15")
        options: tuple[str, ...] = ("--kafka", settings.kafka, "--redis", settings.redis)
        options += ("--dead-letter-topic", settings.dead_letter_topic)
        tail = await asyncio.create_subprocess_exec(
            sys.executable, *command, *options, stdout=PIPE, stderr=PIPE
        )
        printed = asyncio.create_task(tail.communicate())
        try:
            async with open_producer(settings.kafka) as producer:
                for n in range(100):  # what is judged before somebody watches is not told
                    sent = [event(id=f"a{n}", chat_title="content")] * 2
                    sent.append(event(id=f"b{n}", model=7))
                    await producer.send(settings.topic, [(b"k", encode(one)) for one in sent])
                    if (await asyncio.wait([printed], timeout=0.5))[0]:
                        break
            out, err = await printed
        finally:
            if tail.returncode is None:
                tail.kill()
            worker.discard()
    found = [json.loads(line) for line in out.decode().splitlines()]
    assert {one["outcome"] for one in found} == {"counted", "duplicate", "refused"}, err.decode()
    assert {one["id"][0] for one in found if one["outcome"] == "counted"} == {"a"}
    assert {one.get("field") for one in found if one["outcome"] == "refused"} == {"model"}
    assert b"content" not in out
