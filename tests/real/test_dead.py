"""`odometer dead` on real servers: a dead letter is listed, corrected, replayed, and counted once."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from deploy.cli.main import app
from schemas.errors import LogUnavailable
from schemas.limits import HOUR_MS
from schemas.units import iso
from streams.core.dead_letters import EventIdentity, ReplayState, dead_letter_record, marked
from streams.kafka.producer import open_producer
from streams.operations.replay import read_letters, recent_dead_letters
from tests.oracles.event_logs import encode, event
from tests.oracles.fold_oracle import expected
from tests.oracles.redis_counters import read_counters
from tests.real.harness.system import SMALL, System
from tests.real.harness.topics import now_ms, read_log, sent

pytestmark = pytest.mark.servers


async def dead(system: System, *words: str, fails: bool = False) -> Any:
    """A command's JSON."""
    result = await invoke(system, *words, "--json")
    assert result.exit_code == int(fails), (result.output, result.exception)
    return json.loads(result.stdout)


async def invoke(system: System, command: str, *words: str) -> Result:
    settings = system.settings
    topics = ["--dead-letter-topic", settings.dead_letter_topic]
    if command == "replay":
        topics += ["--topic", settings.topic]
    options = ["--kafka", settings.kafka, *topics]
    return await asyncio.to_thread(
        CliRunner().invoke, app, ["dead", command, *words, *options], catch_exceptions=True
    )


async def write_dead_letters(system: System) -> dict[str, str]:
    """Four records that cannot count and one that does; name to origin."""
    at = iso(now_ms())
    no_id = {name: value for name, value in event(time=at, source=7).items() if name != "id"}
    named = {
        "model": sent(event(id="model", time=at, model=7)),
        "no id": (b"k", encode(no_id), ()),
        "no json": (b"k", b"{", ()),
        "old": sent(event(id="old", time="2019-01-01T00:00:00Z")),
    }
    system.worker(policy=SMALL)
    async with system.load() as load:
        origins = {}
        for name, record in named.items():
            await load.send([record])
            origins[name] = f"{system.topic}:{load.acks[-1].partition}:{load.acks[-1].offset}"
        await load.send([sent(event(id="sound", time=at))])
    await system.caught_up()
    return origins


async def judge(system: System, requests: int) -> None:
    await system.caught_up()
    want = expected(await read_log(system.settings.kafka, system.topic))
    assert read_counters(system.settings.redis) == want.counters
    assert want.total("events") == requests


async def test_letters_are_listed_mended_and_replayed_and_count_once(system: System) -> None:
    origins = await write_dead_letters(system)
    listed = await dead(system, "list")
    assert {one["origin"] for one in listed} == set(origins.values())
    assert {one["reason"] for one in listed} == {"invalid_field", "not_json", "too_old"}
    (one,) = await dead(system, "list", "--field", "model", "--since", "now-1h")
    assert one["origin"] == origins["model"]
    assert await dead(system, "list", "--until", "now-1h") == []

    # Nothing would count as it is, and nothing was sent.
    first = await dead(system, "replay", "--all", "--yes", fails=True)
    assert {one["outcome"] for one in first} == {"refused"}
    mend = ("--set", "model=gpt-4o", "--set", "source=mended")
    would = await dead(system, "replay", "--reason", "invalid_field", *mend)
    assert [one["outcome"] for one in would] == ["sendable", "sendable"]
    await judge(system, 1)

    done = await dead(system, "replay", "--reason", "invalid_field", *mend, "--yes")
    assert {(one["outcome"], one["identity"]["id"]) for one in done} == {
        ("sent", "model"),
        ("sent", origins["no id"]),
    }
    await judge(system, 3)
    for again in (("--yes",), ("--yes", "--again")):
        kept = await dead(system, "replay", "--reason", "invalid_field", *mend, *again)
        assert {one["outcome"] for one in kept} == {"kept"}
    await judge(system, 3)
    shown = await dead(system, "show", origins["no id"])
    assert shown["replayed"]["state"] == "sent"
    assert shown["replayed"]["as"]["source"] == "mended"
    assert "was replayed at" in shown["replay_would"]
    # Marks are no letters, and a reader that keeps one a key still sees what each was.
    assert len(await dead(system, "list")) == 4
    kafka, topic = system.settings.kafka, system.settings.dead_letter_topic
    assert await recent_dead_letters(kafka, topic, now_ms() - HOUR_MS) == 4
    assert await recent_dead_letters(kafka, topic, now_ms() + HOUR_MS) == 0


async def test_a_replay_that_was_cut_off_is_repeated_as_the_same_event(system: System) -> None:
    """Dead between its mark and the end: whether the record was sent, nobody knows."""
    origins = await write_dead_letters(system)
    settings = system.settings
    (letter,) = [
        one
        async for one in read_letters(
            settings.kafka, settings.dead_letter_topic, lambda one: one.origin == origins["no id"]
        )
    ]
    identity = EventIdentity("default", "mended", origins["no id"])
    async with open_producer(settings.kafka) as producer:
        mark = dead_letter_record(marked(letter, ReplayState.SENDING, identity, now_ms()))
        await producer.send_records(settings.dead_letter_topic, [mark])
    command = ("replay", origins["no id"], "--yes", "--set")
    (kept,) = await dead(system, *command, "source=other")
    assert kept["outcome"] == "kept"
    assert "as default|mended|" in kept["detail"]
    (done,) = await dead(system, *command, "source=mended")
    assert done["outcome"] == "sent"
    await judge(system, 2)


async def test_what_a_person_reads(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    origins = await write_dead_letters(system)
    monkeypatch.setenv("COLUMNS", "160")
    said = (await invoke(system, "list")).stdout
    assert "4 dead letters: invalid_field 2, " in said
    assert origins["no json"] in said
    said = (await invoke(system, "show", origins["model"])).stdout
    assert "replay would: be rejected: model: " in said
    assert ' "model": 7,\n' in said
    said = (await invoke(system, "replay", origins["model"], "--set", "model=m")).stdout
    assert said == "1 would be sent\nNothing was sent. Add --yes to do it.\n"
    said = (await invoke(system, "replay", origins["old"])).stdout
    assert f"{origins['old']}: refused: time: lies " in said
    monkeypatch.setenv("EDITOR", "sed -i s/7/9/")
    said = (await invoke(system, "replay", origins["model"], "--edit", "--yes")).stdout
    assert "refused: model: Input should be a valid string" in said
    fixed = system.directory / "fixed.json"
    fixed.write_bytes(encode(event(id="model", time=iso(now_ms()), model="by hand")))
    monkeypatch.setenv("EDITOR", f"cp {fixed}")
    said = (await invoke(system, "replay", origins["model"], "--edit", "--yes")).stdout
    assert said == "1 sent\n"
    await judge(system, 2)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["replay", "--yes"], "No dead letters are selected"),
        (["replay", "--all", "--set", "modle=x"], "'modle' is not a field of an event"),
        (["replay", "--all", "--set", "model"], "FIELD=TEXT or FIELD:=JSON"),
        (["replay", "--all", "--set", "model:=x"], "is not JSON"),
        (["replay", "--all", "--edit"], "name exactly one origin"),
        (["replay", "t:0:5"], "There is no dead letter t:0:5"),
        (["show", "t:0:5"], "There is no dead letter t:0:5"),
        (["list", "--reason", "bad"], "must be one of empty, too_large"),
        (["list", "--since", "soon"], "--since is 'soon'; it must be an RFC 3339 time"),
    ],
)
async def test_what_was_said_wrongly_is_a_sentence(
    system: System, words: list[str], sentence: str
) -> None:
    result = await invoke(system, *words)
    assert result.exit_code == 1
    assert sentence in str(result.exception)


async def test_a_topic_that_is_not_there_and_a_broker_that_is_away(system: System) -> None:
    missing = system.settings.model_copy(update={"dead_letter_topic": "no.such"})
    result = await invoke(System(missing, system.directory), "list")
    assert "topic 'no.such' does not exist" in str(result.exception)
    away = system.settings.model_copy(update={"kafka": "127.0.0.1:9"})
    result = await invoke(System(away, system.directory), "list")
    assert isinstance(result.exception, LogUnavailable)
