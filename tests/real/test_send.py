"""`odometer send` and the Meter on real servers: kills lose nothing and double nothing."""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from deploy.local.api_keys import create_key
from deploy.local.servers import Server, plain_environment
from deploy.settings import CHECKOUT
from schemas.units import iso
from streams.meter import Meter
from tests.oracles.event_logs import encode, event
from tests.oracles.fold_oracle import Expected, expected
from tests.oracles.redis_counters import read_counters
from tests.real.harness.api_process import api_of
from tests.real.harness.system import SMALL, System
from tests.real.harness.topics import now_ms, read_log

pytestmark = pytest.mark.servers

REFUSED: Final = 3


@pytest.fixture
def api(system: System, tmp_path: Path) -> Iterator[Server]:
    with api_of(system.settings, tmp_path) as server:
        yield server


@pytest.fixture
async def key(system: System) -> str:
    return await create_key(system.settings.redis, name="send", tenant="default", role="write-only")


def command(api: Server, key: str, file: Path, *words: str) -> list[str]:
    target = ["--api-url", f"http://{api.address}", "--api-key", key, "--json"]
    return [sys.executable, "-m", "deploy.cli.main", "send", str(file), *target, *words]


async def send(api: Server, key: str, file: Path, *words: str, code: int = 0) -> dict[str, Any]:
    done = await asyncio.to_thread(
        subprocess.run,
        command(api, key, file, *words),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=CHECKOUT,
        env=plain_environment(),
    )
    assert done.returncode == code, done.stderr
    return dict(json.loads(done.stdout)) if done.stdout else {"said": done.stderr}


def lines(label: str, count: int) -> list[bytes]:
    at = iso(now_ms())
    return [encode(event(id=f"{label}-{n}", time=at, call_id=f"c{n % 7}")) for n in range(count)]


def write(file: Path, records: Sequence[bytes]) -> Path:
    file.write_bytes(b"".join(one + b"\n" for one in records))
    return file


async def judged(system: System) -> Expected:
    """That what is counted is what the oracle makes of the log."""
    await system.caught_up()
    want = expected(await read_log(system.settings.kafka, system.topic))
    assert read_counters(system.settings.redis) == want.counters
    assert not want.letters
    return want


# -- a file ----------------------------------------------------------------------------------------


async def test_a_file_counts_once_however_often_it_is_sent(
    system: System, api: Server, key: str, tmp_path: Path
) -> None:
    system.worker(policy=SMALL)
    without_id = json.dumps({"usage": {"prompt_tokens": 5, "completion_tokens": 2}}).encode()
    broken = encode(event(id="bad", model=7))
    file = write(tmp_path / "a.ndjson", [*lines("a", 600), without_id, without_id, broken])
    first = await send(api, key, file, "--context", "agent_id=ag", code=REFUSED)
    assert (first["sent"], first["refused"], first["made_ids"]) == (602, 1, 2)
    assert first["refusals"] == [
        {"line": 603, "place": 0, "field": "model", "reason": "invalid_field",
         "detail": "Input should be a valid string"},
    ]  # fmt: skip
    assert (await judged(system)).accepted == 602

    again = await send(api, key, file)
    assert (again["before"], again["sent"], again["refused"]) == (603, 0, 0)
    zipped = tmp_path / "a.ndjson.gz"
    zipped.write_bytes(gzip.compress(file.read_bytes()))
    whole = await send(api, key, zipped, "--no-state", code=REFUSED)
    assert whole["sent"] == 602
    want = await judged(system)
    assert (want.accepted, want.duplicates) == (602, 602)

    with file.open("ab") as log:  # a log goes on
        log.write(b"".join(one + b"\n" for one in lines("b", 3)) + b'{"id":"half')
    grown = await send(api, key, file, code=REFUSED)
    assert (grown["before"], grown["sent"], grown["refusals"][0]["line"]) == (603, 3, 607)
    with file.open("ab") as log:
        log.write(b'-written","source":"s","kind":"llm","time":"%s"}\n' % iso(now_ms()).encode())
    assert (await send(api, key, file))["sent"] == 1
    assert (await judged(system)).accepted == 606


async def test_what_is_killed_under_send_loses_and_doubles_nothing(
    own_system: System, own_kafka: Server, tmp_path: Path
) -> None:
    """First the API, then Kafka, then send itself; in the end the ids are those of the file."""
    system = own_system
    key = await create_key(system.settings.redis, name="send", tenant="default", role="write-only")
    count = 30_000
    file = write(tmp_path / "big.ndjson", lines("big", count))
    state = tmp_path / "big.ndjson.sent"

    def noted() -> int:
        return int(json.loads(state.read_bytes())["bodies"]) if state.exists() else 0

    with api_of(system.settings, tmp_path) as api:
        sending = start(command(api, key, file), tmp_path / "send.log")
        await system.until("some is sent", lambda: noted() > 3000)
        api.kill()
        await asyncio.to_thread(api.restart)
        at = noted()
        await system.until("it goes on", lambda: noted() > at)
        own_kafka.kill()
        await asyncio.to_thread(own_kafka.restart)
        at = noted()
        await system.until("it goes on again", lambda: noted() > at)
        sending.kill()
        sending.wait()
        at = noted()
        assert at < count, "it was over before it was killed"
        rest = await send(api, key, file)
    assert rest["before"] >= at
    assert rest["sent"] == count - rest["before"]
    records = await read_log(system.settings.kafka, system.topic)
    ids = [json.loads(record.value or b"")["id"] for record in records]
    assert set(ids) == {f"big-{n}" for n in range(count)}
    assert len(ids) - count < 10_000  # batches in doubt, not the file from its start


def start(words: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            words,
            cwd=CHECKOUT,
            env=plain_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


@pytest.mark.parametrize("pace", ["--redis", "--unpaced"])
async def test_straight_to_kafka_refuses_here_what_would_be_a_dead_letter(
    system: System, tmp_path: Path, pace: str
) -> None:
    old = encode(event(id="old", time="2019-01-01T00:00:00Z"))
    file = write(tmp_path / "a.ndjson", [*lines("k", 3), old])
    settings = system.settings
    words = ["--to-kafka", "--kafka", settings.kafka, "--topic", settings.topic, "--json", pace]
    words += [settings.redis] if pace == "--redis" else []
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "deploy.cli.main", "send", str(file), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=CHECKOUT,
        env=plain_environment(),
    )
    assert done.returncode == REFUSED, done.stderr
    assert json.loads(done.stdout)["refusals"][0]["reason"] == "too_old"
    assert "line 4: time: lies " in done.stderr
    records = await read_log(settings.kafka, settings.topic)
    assert {record.key for record in records} == {b"default|c0", b"default|c1", b"default|c2"}


async def test_what_cannot_work_is_a_sentence_at_once(
    system: System, api: Server, key: str, tmp_path: Path
) -> None:
    file = write(tmp_path / "a.ndjson", lines("a", 3))
    said = await send(api, "als_wrong", file, code=1)
    assert "answered 401: " in said["said"]
    assert not (tmp_path / "a.ndjson.sent").exists()
    await send(api, key, file)
    write(file, lines("other", 3))
    said = await send(api, key, file, code=2)
    assert "was sent, up to line 3, has changed since" in said["said"]
    said = await send(api, key, file, "--api-url", "http://localhost:1", code=2)
    assert "use another --state" in said["said"]
    away = ("--api-url", "http://127.0.0.1:1", "--no-state", "--give-up-s", "0.1")
    said = await send(api, key, file, *away, code=1)
    assert "waiting: http://127.0.0.1:1 did not answer" in said["said"]
    assert system.topic


# -- an app ----------------------------------------------------------------------------------------


async def test_an_app_s_events_are_counted_whatever_is_killed_meanwhile(
    own_system: System, own_kafka: Server, tmp_path: Path
) -> None:
    system = own_system
    system.worker(policy=SMALL)
    key = await create_key(system.settings.redis, name="app", tenant="default", role="write-only")
    made: list[str] = []
    ending = threading.Event()
    with api_of(system.settings, tmp_path) as api:
        meter = Meter(
            f"http://{api.address}", key=key, source="app", common={"agent_id": "a"},
            linger_s=0.01, close_s=60,
        )  # fmt: skip

        def app() -> None:
            while not ending.wait(0.01):
                made.append(meter.record("llm", model="m", input_tokens=1))

        thread = threading.Thread(target=app)
        thread.start()
        try:
            for server in (api, own_kafka, api):
                await system.until("events go through", sends_on(meter))
                server.kill()
                await system.until("events wait", lambda: meter.counts.queued > 30)
                await asyncio.to_thread(server.restart)
            await system.until("events go through", sends_on(meter))
        finally:
            ending.set()
            thread.join()
            await asyncio.to_thread(meter.close)
    assert meter.counts == (len(made), 0, 0, 0)
    want = await judged(system)
    assert want.accepted == len(made) > 250
    assert want.total("input_tokens") == len(made)


def sends_on(meter: Meter) -> Any:
    before = meter.counts.sent
    return lambda: meter.counts.sent > before + 50


def test_ctrl_c_notes_how_far_it_came(tmp_path: Path) -> None:
    """On a receiver that is away: nothing is noted, nothing is said to have been sent."""
    file = write(tmp_path / "a.ndjson", lines("a", 3))
    words = [
        sys.executable,
        "-m",
        "deploy.cli.main",
        "send",
        str(file),
        "--api-url",
        "http://127.0.0.1:1",
    ]
    # A shell starts what runs in the background with Ctrl-C ignored, and a child inherits that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sending = start(words, tmp_path / "log")
    finally:
        signal.signal(signal.SIGINT, before)
    give_up_s = time.monotonic() + 30
    while "waiting" not in (tmp_path / "log").read_text():
        assert time.monotonic() < give_up_s
        time.sleep(0.05)
    sending.send_signal(signal.SIGINT)
    assert sending.wait(10) != 0
    assert not (tmp_path / "a.ndjson.sent").exists()
