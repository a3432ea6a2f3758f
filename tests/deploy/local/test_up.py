"""`odometer up` as its user meets it: a process of its own, real servers, and its sentences."""

import asyncio
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from deploy.errors import DiskTooFull
from deploy.local import processes, ready, servers, up
from deploy.local.servers import Server
from deploy.local.valkey import url_of
from deploy.settings import Settings, valkey_password
from schemas.store.generation import generation_digest
from streams.redis.store import RedisStore
from tests.oracles.event_logs import SECRET

# Past this a test gives up on an end; the promise itself is checked where it is made.
ENDED_S_MAX = 60.0
# Promises to whoever waits: a second start, and Ctrl-C.
SECOND_START_S_MAX = 15.0
END_S_MAX = 10.0

# One path of each dialect that needs a key.
DIALECTS = (
    "/v1/usage",
    "/v1/keys",
    "/api/analytics/llm",
    "/admin/analytics/dashboard",
    "/api/v1/analytics/summary",
)


@dataclass
class Up:
    """One `odometer up`, and what it has said so far."""

    home: Path
    process: subprocess.Popen[str]
    said: str = ""

    def wait_for(self, words: str) -> str:
        """Read on until it says `words`; the test's own time limit is the deadline."""
        assert self.process.stdout is not None
        while words not in self.said:
            line = self.process.stdout.readline()
            assert line, f"it ended without saying {words!r}: {self.said}"
            self.said += line
        return self.said

    def read_rest(self) -> str:
        assert self.process.stdout is not None
        self.said += self.process.stdout.read()
        return self.said

    def pid_of(self, pidfile: str) -> int:
        return processes.ProcessIdentity.model_validate_json((self.home / pidfile).read_bytes()).pid

    def end(self, number: signal.Signals) -> int:
        assert self.process.stdout is not None
        self.process.send_signal(number)
        code = self.process.wait(ENDED_S_MAX)
        self.process.stdout.close()
        return code


def start_up(home: Path, *options: str) -> Up:
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.cli.main", "up", "--home", str(home), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    return Up(home, process)


def run_up(home: Path, *options: str) -> tuple[int, str]:
    up = start_up(home, *options)
    said = up.read_rest()
    return up.end(signal.SIGTERM), said


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home directory, of which nothing runs any more after the test, however that went."""
    yield tmp_path / "home"
    up.end_everything(tmp_path / "home")


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", servers.free_port())) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def three_ports() -> tuple[str, ...]:
    names = ("--api-port", "--kafka-port", "--redis-port")
    return tuple(word for name in names for word in (name, str(servers.free_port())))


@pytest.mark.servers
def test_up_answers_survives_kills_and_ends_within_its_promises(
    home: Path, three_ports: tuple[str, ...]
) -> None:
    options = (*three_ports, "--history-days", "1")
    first = start_up(home, *options)
    try:
        said = first.wait_for("provider=")
        first_answer = ask(said)
        assert first_answer["summary"]["totalCalls"] > 0
        assert_every_dialect_answers(home, said)
        assert_no_secret_is_seen(home, said)
        key = key_of(home)
        code, refusal = run_up(home, *options)
        assert code == 1
        assert f"already runs in {home} as process {first.process.pid}" in refusal
        kafka_pid = first.pid_of("kafka/kafka.pid")
    finally:
        first.end(signal.SIGKILL)

    started_s = time.monotonic()
    second = start_up(home, *options)
    try:
        said_again = second.wait_for("provider=")
        assert time.monotonic() - started_s < SECOND_START_S_MAX
        assert second.pid_of("kafka/kafka.pid") == kafka_pid
        assert ask(said_again)["summary"]["totalCalls"] >= first_answer["summary"]["totalCalls"]
        assert key_of(home) == key
        os.kill(second.pid_of("parts/api.pid"), signal.SIGKILL)
        second.wait_for("api ended: killed by SIGKILL")
        os.kill(second.pid_of("valkey/valkey.pid"), signal.SIGKILL)
        second.wait_for("valkey ended")
    finally:
        ending_s = time.monotonic()
        code = second.end(signal.SIGINT)
    assert time.monotonic() - ending_s < END_S_MAX
    assert code == 0
    assert processes_in(home) == []
    assert_only_the_owner_reads(home)


def ask(said: str) -> dict[str, dict[str, int]]:
    """Run the first of the printed questions, as a shell would read it."""
    line = next(line for line in said.splitlines() if line.startswith("curl "))
    words = line.replace("curl -s", "printf '%s\\n'", 1)
    option, header, url = subprocess.check_output(["/bin/sh", "-c", words], text=True).splitlines()
    assert option == "-H"
    found: dict[str, dict[str, int]] = get(url, header)
    return found


def get(url: str, header: str) -> Any:
    name, _colon, value = header.partition(": ")
    request = urllib.request.Request(url, headers={name: value})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return json.load(answer)


def key_of(home: Path) -> str:
    return (home / "api-key").read_text()


def assert_every_dialect_answers(home: Path, said: str) -> None:
    """With the key alone: no parameter and no header names a tenant."""
    (url,) = re.findall(r"^Odometer is ready: (\S+)", said, re.MULTILINE)
    for path in DIALECTS:
        assert get(f"{url}{path}", f"Authorization: Bearer {key_of(home)}"), path


def assert_no_secret_is_seen(home: Path, said: str) -> None:
    """Neither in the output, nor in a log, nor in a command line, which every user can read."""
    secrets = {key_of(home), valkey_password(home)}
    assert all(len(secret) > 40 for secret in secrets)
    lines = {" ".join(words) for words in command_lines()}
    assert any("deploy.cli.main worker" in line for line in lines)
    logs = [*home.rglob("*.out"), *home.rglob("*.log")]
    assert {"up.log", "worker.log", "api.log", "valkey.out"} <= {log.name for log in logs}
    seen = [said, *lines, *(log.read_text(errors="replace") for log in logs)]
    assert not [text for text in seen for secret in secrets if secret in text]


def command_lines() -> Iterator[list[str]]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            yield process.cmdline()


def assert_only_the_owner_reads(home: Path) -> None:
    found = [home, *home.rglob("*")]
    assert len(found) > 20
    assert not [path for path in found if path.lstat().st_mode & 0o077 and not path.is_symlink()]


def processes_in(directory: Path) -> list[int]:
    """Whoever works in `directory`."""
    return [
        process.pid
        for process in psutil.process_iter()
        if process.pid != os.getpid() and is_in(process, directory)
    ]


def is_in(process: psutil.Process, directory: Path) -> bool:
    try:
        return Path(process.cwd()).is_relative_to(directory)
    except psutil.Error:
        return False


@pytest.mark.parametrize("option", ["--api-port", "--kafka-port"])
def test_a_busy_port_is_one_sentence(
    tmp_path: Path, taken_port: int, three_ports: tuple[str, ...], option: str
) -> None:
    code, said = run_up(tmp_path, *three_ports, option, str(taken_port))
    assert code == 1
    (sentence,) = (line for line in said.splitlines() if "Fetching" not in line)
    assert sentence.startswith(f"Port {taken_port}, where ")
    assert f"is taken by process {os.getpid()} " in sentence


def test_a_kafka_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    nowhere = f"127.0.0.1:{servers.free_port()}"
    port = str(servers.free_port())
    code, said = run_up(tmp_path, "--kafka", nowhere, "--api-port", port)
    assert (code, said) == (1, f"No Kafka answers at {nowhere}: Connection refused.\n")


@pytest.mark.servers
def test_a_redis_that_is_not_there_is_one_sentence(kafka: Server, tmp_path: Path) -> None:
    nowhere = f"redis://127.0.0.1:{servers.free_port()}"
    port = str(servers.free_port())
    code, said = run_up(tmp_path, "--kafka", kafka.address, "--redis", nowhere, "--api-port", port)
    assert code == 1
    assert f"No Redis or Valkey answers at {nowhere}" in said.splitlines()[-1]


@pytest.mark.servers
def test_own_servers_are_used_and_left_running(
    own_kafka: Server, own_valkey: Server, tmp_path: Path
) -> None:
    up = start_up(
        tmp_path,
        *("--kafka", own_kafka.address, "--redis", url_of(own_valkey), "--no-simulate"),
        *("--api-port", str(servers.free_port())),
    )
    try:
        up.wait_for("Odometer is ready")
        assert not (tmp_path / "kafka").exists()
        assert not (tmp_path / "valkey").exists()
    finally:
        code = up.end(signal.SIGTERM)
    assert code == 0
    assert own_kafka.is_running()
    assert own_valkey.is_running()


@pytest.mark.servers
def test_counters_of_another_catalog_are_told_with_what_to_do(
    kafka: Server,
    redis_url: str,
    topic: str,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def made_without_a_file() -> None:
        async with RedisStore(redis_url) as store:
            await store.open(generation_digest(topic), 1, time.time_ns() // 1_000_000, SECRET)

    asyncio.run(made_without_a_file())
    file = tmp_path / "catalog.toml"
    file.write_text("[views.all]\ndistincts = ['chats']\n")
    for name, value in (
        ("TOPIC", topic), ("DEAD_LETTER_TOPIC", f"{topic}.dead"), ("DIRECTORY_PREFIX", topic),
        ("GROUP", topic), ("KAFKA", kafka.address), ("REDIS", redis_url),
        ("CATALOG_FILE", str(file)),
    ):  # fmt: skip
        monkeypatch.setenv(f"ODOMETER_{name}", value)
    up = start_up(home, "--no-simulate", "--api-port", str(servers.free_port()))
    try:
        up.wait_for("count again from the log with odometer rebuild")
        assert "Not ready yet: " in up.said
        done = subprocess.run(
            [sys.executable, "-m", "deploy.cli.main", "rebuild"],
            capture_output=True,
            text=True,
            check=True,
            timeout=ENDED_S_MAX,
        )
        assert "Generation 2 answers now" in done.stdout
        up.wait_for("Odometer is ready")
    finally:
        assert up.end(signal.SIGINT) == 0


def test_a_setting_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    code, said = run_up(tmp_path, "--api-port", "70000")
    assert code == 2
    assert said.startswith("--api-port (or ODOMETER_API_PORT) is 70000: ")
    assert said.count("\n") == 1


def test_a_home_that_is_held_is_refused_with_the_pid(tmp_path: Path) -> None:
    with (tmp_path / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4711")
        lock.flush()
        code, said = run_up(tmp_path)
    assert code == 1
    assert "as process 4711" in said


def test_a_disk_without_room_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "FREE_BYTES_MIN", 10**18)
    with pytest.raises(DiskTooFull, match=r"has \d+ MB left, and Odometer needs 1000000000000 MB"):
        up.run_everything(Settings(home=tmp_path), simulate=False, console=Console())


def test_the_last_words_hold_three_questions_that_can_be_pasted() -> None:
    said = ready.welcome(3400, Path("/a home/k"), None, datetime(2026, 3, 31, 12, tzinfo=UTC))
    asked = [line for line in said.splitlines() if line.startswith("curl ")]
    assert len(asked) == 3
    assert asked[1].endswith("/api/analytics/llm?granularity=day&from=2026-03-01T00:00:00Z'")
    assert all("\"Authorization: Bearer $(cat '/a home/k')\" 'http" in line for line in asked)
