"""The commands that the documents show are run, as they are written, against one real system.

The language of a fenced block says how it is run:
- `sh`: each line is a command. A backslash at its end continues it, `#` begins a comment.
- `console`: a line that begins with `$ ` is a command; the other lines show its output, and are not
  compared.
- `python`: the block is one program.
- `toml`: the block is a prices file or a catalog file, and is parsed.

Any other language, or none, is not run. A command must end with exit code 0. It runs in a folder
that has the files of FILES, with KEY, ADMIN_KEY, SUPER_ADMIN_KEY and TOKEN in the environment. Addresses of
the bundled servers become those of the test, and ID and ORIGIN become a key's id and the origin of a
dead letter. What is not run is listed in NOT_RUN with the reason.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import httpx
import pytest
import redis

from deploy.local.servers import Server, plain_environment
from deploy.local.valkey import url_of
from deploy.sample.traffic import history
from deploy.settings import CHECKOUT
from schemas.catalog.catalog_file import parse_catalog
from schemas.limits import DAY_MS
from schemas.prices.price_list import parse_prices
from schemas.units import iso
from streams.kafka.producer import open_producer
from streams.worker.settings import WorkerSettings
from tests.oracles.event_logs import event
from tests.real.harness.api_process import api_of
from tests.real.harness.topics import now_ms
from tests.real.harness.workers import start_worker

PAGES: Final = (
    "README.md",
    "api/README.md",
    "api/app/README.md",
    "api/auth/README.md",
    "api/ingest/README.md",
    "schemas/README.md",
    "streams/README.md",
    "streams/meter/README.md",
    "deploy/README.md",
    "deploy/RUNBOOK.md",
    "tests/README.md",
)
NOT_RUN: Final = {
    "deploy/up": "tests/deploy/local/test_up.py runs it",
    "deploy/test": "it runs this test",
    "odometer up": "tests/deploy/local/test_up.py runs it",
    "odometer worker": "runs until it is stopped; the system of this test has one",
    "odometer api": "runs until it is stopped; the system of this test has one",
    "odometer directory": "runs until it is stopped; tests/real/test_directory.py runs it",
    "odometer simulate": "runs until it is stopped; tests/deploy/local/test_up.py runs it",
    "odometer --install-completion": "writes to the home directory of the user",
    "curl -sN ": "a stream does not end; tests/api/stream reads it",
    "docker ": "there may be no container engine",
    "export KEY=$(cat .odometer/api-key)": "the system of this test has keys of its own",
    "git ": "needs the network",
    "pip ": "needs the network",
    "python -m deploy.client": "tests/deploy/client/test_build.py builds and installs the wheel",
    "python -m tests.bench": "takes minutes; tests/bench/test_benches.py runs short forms",
    "python -m tests.chaos": "takes minutes; tests/chaos/test_seeds.py runs some seeds",
    "python -m tests.simulation": "takes minutes",
    "ODOMETER_": "a variable for a long form of the checks",
    "from openai import": "needs a library that is not installed",
    "from agentlensai import": "tests/api/app/test_serve.py runs this client",
    "from owui_client import": "tests/real/test_openwebui.py runs this client",
    "import litellm": "needs a library that is not installed",
    "from livekit": "needs a library that is not installed",
    "async for ": "needs a socket of the vendor",
}
"""Beginnings of commands and programs, each with the reason."""
KEYS: Final = ("ADMIN_KEY=$(odometer ", "SUPER_ADMIN_KEY=$(odometer ", "TOKEN=$(curl ")
RUN: Final = ("odometer ", "curl ", "python ", "jq ", "echo ", *KEYS)

EVENTS_PER_DAY: Final = 400
DAYS: Final = 2
COMMAND_S: Final = 120.0
WAIT_S: Final = 120.0

PRICES: Final = """
[[price]]
provider = "openai"
model = "gpt-4o*"
usd_per_million_input_tokens = 2.0
usd_per_million_output_tokens = 8.0
"""
CATALOG: Final = """
[dimensions.team]
label = "team"

[views.by_team]
dimensions = ["team", "model"]
"""


def files() -> Mapping[str, bytes]:
    """What documents name as the reader's own files."""
    at = iso(now_ms())
    one = event(id="shown", time=at)
    lines = b"".join(json.dumps(event(id=f"line-{n}", time=at)).encode() + b"\n" for n in range(3))
    return {
        "event.json": json.dumps(one).encode(),
        "events.json": json.dumps([one, event(id="shown-2", time=at)]).encode(),
        "events.ndjson": lines,
        "usage.ndjson": lines,
        "usage.ndjson.gz": gzip.compress(lines),
        "prices.toml": PRICES.encode(),
        "catalog.toml": CATALOG.encode(),
        "client-keys.txt": b"lvk_0123456789abcdef\nsk-0123456789abcdef\n",
        "keys-that-clients-have": b"lvk_abcdef0123456789\nsk-abcdef0123456789\n",
    }


# -- what a document shows -------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """A command or, with `is_program`, a program of Python, and its line in the page."""

    line: int
    text: str
    is_program: bool


def blocks_of(page: str) -> Iterator[tuple[str, int, str]]:
    """Language, first line and content of each fenced block."""
    for block in re.finditer(r"^([ ]*)```(\w*)\n(.*?)^\1```$", page, re.MULTILINE | re.DOTALL):
        indent, language, content = block.groups()
        line = page[: block.start()].count("\n") + 2
        yield language, line, re.sub(f"^{indent}", "", content, flags=re.MULTILINE)


def shown_in(page: str) -> Iterator[Shown]:
    for language, line, content in blocks_of(page):
        if language == "python":
            yield Shown(line, content, is_program=True)
        elif language in {"sh", "console"}:
            yield from commands_of(content, line, is_session=language == "console")


def commands_of(content: str, line: int, *, is_session: bool) -> Iterator[Shown]:
    prompt = "$ " if is_session else ""
    lines = iter(enumerate(content.splitlines(), line))
    for number, text in lines:
        command = text.removeprefix(prompt).strip()
        if not text.startswith(prompt) or not command or command.startswith("#"):
            continue
        while command.endswith("\\") or is_in_quotes(command):
            more = next(lines)[1]
            if command.endswith("\\"):
                command = f"{command[:-1]} {more.strip()}"
            else:
                command = f"{command}\n{more}"
        yield Shown(number, command, is_program=False)


def is_in_quotes(command: str) -> bool:
    try:
        shlex.split(command, comments=True)
    except ValueError as error:
        return "quotation" in str(error)
    return False


def why_not_run(shown: Shown) -> str:
    return next((why for head, why in NOT_RUN.items() if shown.text.startswith(head)), "")


# -- the system ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Documented:
    """A system with two days of usage, and a folder in which a reader works."""

    folder: Path
    environment: Mapping[str, str]
    replaced: Mapping[str, str]

    def run(self, shown: Shown) -> str:
        """Empty if it went well, else what it was and what it said."""
        text = shown.text
        for pattern, replacement in self.replaced.items():
            text = re.sub(pattern, replacement, text)
        if shown.is_program:
            command = [sys.executable, "-c", text]
        else:
            text = re.sub(r"\bcurl ", "curl --fail-with-body --max-time 60 ", text)
            command = ["bash", "-e", "-o", "pipefail", "-c", text]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_S,
        )
        if done.returncode == 0:
            return ""
        said = (done.stdout[-1500:] + done.stderr[-1500:]).strip()
        return f"line {shown.line}: {shown.text.strip()}\n  exit code {done.returncode}: {said}"

    def with_new_key(self) -> Documented:
        """ID is a key that no other page has rotated or revoked."""
        self.odometer("keys", "create", "--name", "of a page")
        (newest, *_) = [
            one["id"]
            for one in json.loads(self.odometer("keys", "list", "--json"))["keys"]
            if one["name"] == "of a page" and one["state"] == "active"
        ]
        return replace(self, replaced={**self.replaced, r"\bID\b": newest})

    def odometer(self, *words: str, check: bool = True) -> str:
        return subprocess.run(
            [sys.executable, "-m", "deploy.cli.main", *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=check,
            timeout=COMMAND_S,
        ).stdout.strip()


@pytest.fixture(scope="module")
def documented(
    kafka: Server, valkey: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Documented]:
    directory = tmp_path_factory.mktemp("documents")
    redis_url = url_of(valkey)
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        client.function_flush()
    settings = WorkerSettings(
        kafka=kafka.address,
        redis=redis_url,
        topic="documents",
        dead_letter_topic="documents.dead",
        group="documents",
    )
    folder = directory / "reader"
    for name, content in files().items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    environment = {
        **plain_environment(),
        "HOME": str(folder),
        "COLUMNS": "120",
        "ODOMETER_HOME": str(directory / "home"),
        "ODOMETER_KAFKA": settings.kafka,
        "ODOMETER_REDIS": settings.redis,
        "ODOMETER_TOPIC": settings.topic,
        "ODOMETER_DEAD_LETTER_TOPIC": settings.dead_letter_topic,
        "ODOMETER_GROUP": settings.group,
        "ODOMETER_DIRECTORY_PREFIX": "documents",
    }
    environment["PATH"] = f"{programs(directory / 'bin')}:{environment['PATH']}"
    reader = Documented(folder, environment, {})
    reader.odometer("topics", "--partitions", "4")
    with ExitStack() as running:
        worker = start_worker(settings, directory, 0)
        running.callback(worker.discard)
        api = running.enter_context(api_of(settings, directory))
        environment["ODOMETER_API_URL"] = f"http://{api.address}"
        environment |= keys_for(reader)
        environment["TOKEN"] = token_for(environment["KEY"], f"http://{api.address}")
        fill(reader, settings)
        yield Documented(
            folder,
            environment,
            {
                r"http://(127\.0\.0\.1|localhost):3400": f"http://{api.address}",
                r"kafka://127\.0\.0\.1:19092/usage\.events": f"kafka://{kafka.address}/{settings.topic}",
                r"127\.0\.0\.1:19092": kafka.address,
                r"redis://127\.0\.0\.1:16379/0": redis_url,
                r"als_\.\.\.": environment["KEY"],
                r"from odometer import": "from streams.meter import",
                r"\bORIGIN\b": json.loads(reader.odometer("dead", "list", "--json"))[0]["origin"],
            },
        )


def programs(folder: Path) -> Path:
    """`odometer` and `python` as they are in .venv/bin of a checkout."""
    folder.mkdir()
    module = ("odometer", (sys.executable, "-m", "deploy.cli.main"))
    for name, command in (module, ("python", (sys.executable,))):
        file = folder / name
        file.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        file.chmod(0o755)
    return folder


def keys_for(reader: Documented) -> dict[str, str]:
    made = ("keys", "create", "--name")
    key = reader.odometer(*made, "reader", "--role", "member")
    return {
        "KEY": key,
        "ODOMETER_API_KEY": key,
        "ADMIN_KEY": reader.odometer(*made, "admin", "--role", "admin"),
        "SUPER_ADMIN_KEY": reader.odometer(*made, "super", "--role", "super-admin"),
    }


def token_for(key: str, api: str) -> str:
    headers = {"Authorization": f"Bearer {key}"}
    answer = httpx.post(f"{api}/v1/tokens", json={"only": {"user": "u-17"}}, headers=headers)
    token: str = answer.raise_for_status().json()["token"]
    return token


def fill(reader: Documented, settings: WorkerSettings) -> None:
    """Two days of sample traffic and a dead letter, counted when this returns."""
    end_ms = now_ms()
    sample = history(1, end_ms - DAYS * DAY_MS, end_ms, EVENTS_PER_DAY)
    file = reader.folder / "sample.ndjson"
    file.write_text("".join(json.dumps(one) + "\n" for one in sample))
    reader.odometer("send", str(file), "--to-kafka", "--unpaced", "--no-state")
    broken = json.dumps(event(id="broken", time=iso(end_ms), model=7)).encode()

    async def send() -> None:
        async with open_producer(settings.kafka) as producer:
            await producer.send(settings.topic, [(b"default|broken", broken)])

    asyncio.run(send())
    give_up_s = time.monotonic() + WAIT_S
    while True:
        status = json.loads(reader.odometer("status", "--json", check=False))
        if status["lag"] == 0 and status["dead_letters"]:
            return
        assert time.monotonic() < give_up_s, status
        time.sleep(0.2)


# -- the tests -------------------------------------------------------------------------------------


@pytest.mark.servers
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", PAGES)
def test_the_commands_of_a_page_work(name: str, documented: Documented) -> None:
    page = CHECKOUT / name
    commands = [one for one in shown_in(page.read_text()) if not why_not_run(one)]
    reader = documented.with_new_key()
    failed = [said for one in commands if (said := reader.run(one))]
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("name", PAGES)
def test_every_command_is_run_or_listed(name: str) -> None:
    page = CHECKOUT / name
    shown = list(shown_in(page.read_text())) if page.exists() else []
    unknown = [
        f"line {one.line}: {one.text}"
        for one in shown
        if not (why_not_run(one) or one.is_program or one.text.startswith(RUN))
    ]
    assert not unknown


@pytest.mark.parametrize("name", PAGES)
def test_no_command_is_outside_of_a_block(name: str) -> None:
    page = CHECKOUT / name
    text = page.read_text() if page.exists() else ""
    assert not re.findall(
        r"^(?: {4}|\t)(?:odometer|curl|deploy/|python -m) ?.*$", text, re.MULTILINE
    )


@pytest.mark.parametrize("name", PAGES)
def test_the_configuration_that_a_page_shows_is_valid(name: str) -> None:
    page = CHECKOUT / name
    shown = list(blocks_of(page.read_text())) if page.exists() else []
    for language, line, content in shown:
        if language == "toml":
            parse = parse_prices if "[[price]]" in content else parse_catalog
            parse(content.encode(), f"{name}, line {line}")


def test_blocks_are_read_as_a_reader_reads_them() -> None:
    page = """
```sh
odometer status   # the system's state
curl -s \\
  http://127.0.0.1:3400/healthz
curl -d '{"a": 1,
"b": 2}' http://127.0.0.1:3400/
```

1. In a list:

   ```console
   $ odometer topics
   usage.events: 8 partitions
   ```

```json
{"odometer": 1}
```

```python
import json
```
"""
    assert [(one.line, one.text) for one in shown_in(page)] == [
        (3, "odometer status   # the system's state"),
        (4, "curl -s  http://127.0.0.1:3400/healthz"),
        (6, 'curl -d \'{"a": 1,\n"b": 2}\' http://127.0.0.1:3400/'),
        (13, "odometer topics"),
        (22, "import json\n"),
    ]
