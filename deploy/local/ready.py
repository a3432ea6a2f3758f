"""From started to ready: wait for the sample history and the API, then print a key and questions.

`become_ready` is a generator. It yields between its checks, so that the caller can supervise the
processes meanwhile.
"""

import asyncio
import http.client
import json
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console

from deploy.cli.terminal import JsonLines, Show, bar, say_on
from deploy.local import servers
from deploy.local.api_keys import create_key, find_key, sign_in_link
from deploy.local.private_files import write_private
from deploy.sample.process import read_progress
from deploy.settings import API_KEY_FILE, Settings
from schemas.errors import OdometerError
from schemas.event.kinds import DEFAULT_TENANT
from schemas.responses.status import Status
from schemas.store.keys import ALL, Key
from streams.operations.status import read_status

# /readyz reads one key. If it takes longer than this, it is asked again.
ANSWER_TIMEOUT_S = 1.0
# Report why the API is not ready only after this time: a start takes a second or two.
PATIENCE_S = 5.0

# AgentLens's paths need a viewer, Open WebUI's an admin and the LiveKit platform's a super-admin.
LOCAL_ROLE = "super-admin"

# Names that the sample traffic always contains.
SAMPLE_AGENT = "my-agent"
SAMPLE_PROVIDER = "openai"


def is_history_due(settings: Settings, progress_file: Path) -> bool:
    """Return whether sample history will be sent: the topic is empty, or history was interrupted."""
    progress = read_progress(progress_file)
    if progress is not None:
        return not progress.is_whole
    return settings.history_days > 0 and sum(_ends(_status(settings)).values()) == 0


def become_ready(
    settings: Settings, home: Path, history_progress: Path | None, console: Console
) -> Iterator[None]:
    """Wait until all history is counted and the API answers, then print how to ask."""
    if history_progress is not None:
        with bar(console, "Sending sample history") as show:
            yield from _wait_for_history(history_progress, show)
        with bar(console, "Counting it") as show:
            yield from _wait_for_counting(settings, show)
    said, since_s = "", time.monotonic()
    while reason := _why_not_ready(settings.api_port):
        if reason != said and time.monotonic() - since_s > PATIENCE_S:
            say_on(console, f"Not ready yet: {reason}", "yellow")
            said = reason
        yield
    key_file = home / API_KEY_FILE
    key = _key(settings.redis, key_file)
    if isinstance(console.file, JsonLines):
        url = f"http://{servers.HOST}:{settings.api_port}"
        console.file.say("Odometer is ready", api_url=url, api_key_file=str(key_file))
        return
    # What is not a terminal may be a log that others can read.
    is_shown = sys.stdout.isatty()
    link = asyncio.run(sign_in_link(settings.redis, key)) if is_shown else None
    shown = key if is_shown else None
    print(welcome(settings.api_port, key_file, shown, datetime.now(UTC), link), flush=True)


def welcome(
    api_port: int, key_file: Path, key: str | None, now: datetime, link: str | None = None
) -> str:
    """Return the text that a start ends with: the API's URL, the key, and three `curl` commands.

    Without `key` it names only the file. The commands read the key from the file. `link`: the token of
    a sign-in link. It comes after `#`, so no server and no log gets it.
    """
    url = f"http://{servers.HOST}:{api_port}"
    month_ago = (now - timedelta(days=30)).strftime("%Y-%m-%dT00:00:00Z")
    questions = (
        ("the last day, by hour", ""),
        ("the last 30 days, by day", f"?granularity=day&from={month_ago}"),
        (
            "one agent at one provider, by week",
            f"?granularity=week&from={month_ago}&agentId={SAMPLE_AGENT}&provider={SAMPLE_PROVIDER}",
        ),
    )
    lines = [
        f"Odometer is ready: {url}  (Ctrl-C ends all of it)",
        *(
            [f"Open the page (signs in once, within 10 minutes): {url}/#sign-in={link}"]
            if link
            else []
        ),
        f"Key: {key or 'a super-admin of this machine'}, in {key_file}",
    ]
    header = f'"Authorization: Bearer $(cat {shlex.quote(str(key_file))})"'
    for meaning, query in questions:
        ask = f"curl -s -H {header} '{url}/api/analytics/llm{query}'"
        lines += ["", f"# {meaning}", ask]
    return "\n".join(lines)


def _wait_for_history(progress_file: Path, show: Show) -> Iterator[None]:
    progress = None
    while progress is None or not progress.is_whole:
        progress = read_progress(progress_file)
        if progress is not None:
            show(progress.done, progress.total)
        yield


def _wait_for_counting(settings: Settings, show: Show) -> Iterator[None]:
    """Wait until everything is counted that the topic held at the first check."""
    target: dict[int, int] = {}
    while True:
        yield
        with suppress(OdometerError):  # a server is restarting: ask again
            status = _status(settings)
            if status.redis_away or status.kafka_away:
                continue
            target = target or _ends(status)
            reached = {each.partition: max(0, each.position or 0) for each in status.partitions}
            done = sum(min(reached.get(which, 0), end) for which, end in target.items())
            show(done, sum(target.values()))
            if done >= sum(target.values()):
                return


def _status(settings: Settings) -> Status:
    return asyncio.run(read_status(settings.kafka, settings.redis, settings.topic))


def _ends(status: Status) -> dict[int, int]:
    return {each.partition: each.end or 0 for each in status.partitions}


def _why_not_ready(port: int) -> str:
    """Return the API's own reason, or that it does not answer; "" if it is ready."""
    connection = http.client.HTTPConnection(servers.HOST, port, timeout=ANSWER_TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        with connection.getresponse() as response:
            if response.status == http.HTTPStatus.OK:
                return ""
            return str(json.load(response)["reason"])
    except (OSError, ValueError, LookupError, http.client.HTTPException):
        return "the API does not answer."
    finally:
        connection.close()


def _key(redis_url: str, file: Path) -> str:
    """Return the key of this home. Create a new one unless it opens every dialect."""
    with suppress(FileNotFoundError):
        key = file.read_text(encoding="utf-8").strip()
        found = asyncio.run(find_key(redis_url, key))
        if found is not None and _opens_every_dialect(found, time.time_ns() // 1_000_000):
            write_private(file, key)  # an older file may have other rights
            return key
    key = asyncio.run(
        create_key(redis_url, name="odometer up", tenant=DEFAULT_TENANT, role=LOCAL_ROLE)
    )
    write_private(file, key)
    return key


def _opens_every_dialect(key: Key, now_ms: int) -> bool:
    """Return whether each dialect answers this key. With several tenants it would have to name one."""
    has_one_tenant = key.tenants != ALL and len(key.tenants) == 1
    return key.state(now_ms) == "active" and key.role == LOCAL_ROLE and has_one_tenant
