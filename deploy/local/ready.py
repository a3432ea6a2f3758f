"""From started to ready: the history that is sent and folded, the API that answers, a key, a hello.

`become_ready` is a generator that gives way between its questions, so that whoever drives it can
look after the processes meanwhile.
"""

import asyncio
import http.client
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from api.auth.keys import create_key, key_is_known
from deploy.local import servers
from deploy.sample.process import read_progress
from deploy.settings import Settings
from schemas.errors import OdometerError
from schemas.event.kinds import DEFAULT_TENANT
from streams.operations.status import Status, read_status

# /readyz reads one key; what takes longer is asked again.
ANSWER_TIMEOUT_S = 1.0
# Before it is said why the API is not ready: a start takes a second or two of this.
PATIENCE_S = 5.0
# Where nobody watches, a line at each such step of a bar.
STEP_PERCENT = 25

# What the sample traffic has for sure.
SAMPLE_AGENT = "my-agent"
SAMPLE_PROVIDER = "openai"

Show = Callable[[int, int], None]


def is_history_due(settings: Settings, progress_file: Path) -> bool:
    """Whether sample history will be sent: into an empty topic, or the rest of a broken off one."""
    progress = read_progress(progress_file)
    if progress is not None:
        return not progress.is_whole
    return settings.history_days > 0 and sum(_ends(_status(settings)).values()) == 0


def become_ready(
    settings: Settings, home: Path, history_progress: Path | None, console: Console
) -> Iterator[None]:
    """Wait until questions are answered from all history, then say how one asks."""
    if history_progress is not None:
        with bar(console, "Sending a month of history") as show:
            yield from _wait_for_history(history_progress, show)
        with bar(console, "Counting it") as show:
            yield from _wait_for_fold(settings, show)
    said, since_s = "", time.monotonic()
    while reason := _why_not_ready(settings.api_port):
        if reason != said and time.monotonic() - since_s > PATIENCE_S:
            console.print(f"Not ready yet: {reason}", style="yellow", markup=False, soft_wrap=True)
            said = reason
        yield
    key = _key(settings.redis, home / "api-key")
    print(welcome(settings.api_port, key, datetime.now(UTC)), flush=True)


@contextmanager
def bar(console: Console, label: str) -> Iterator[Show]:
    """Show a progress bar on a terminal, else a line now and then. Nothing at all until it is told."""
    if not console.is_terminal:
        yield _steps(console, label)
        return
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(label, total=None, visible=False)
        yield lambda done, total: progress.update(task, completed=done, total=total, visible=True)


def welcome(api_port: int, key: str, now: datetime) -> str:
    """Return the last words of a start: where the API is, a key, and three questions to paste."""
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
    lines = [f"Odometer is ready: {url}  (Ctrl-C ends all of it)", f"Key: {key}"]
    for meaning, query in questions:
        ask = f"curl -s -H 'Authorization: Bearer {key}' '{url}/api/analytics/llm{query}'"
        lines += ["", f"# {meaning}", ask]
    return "\n".join(lines)


def _steps(console: Console, label: str) -> Show:
    said = -STEP_PERCENT

    def show(done: int, total: int) -> None:
        nonlocal said
        percent = 100 * done // max(1, total)
        if percent >= said + STEP_PERCENT:
            said = percent - percent % STEP_PERCENT
            console.print(f"{label}: {percent}%", highlight=False)

    return show


def _wait_for_history(progress_file: Path, show: Show) -> Iterator[None]:
    progress = None
    while progress is None or not progress.is_whole:
        progress = read_progress(progress_file)
        if progress is not None:
            show(progress.done, progress.total)
        yield


def _wait_for_fold(settings: Settings, show: Show) -> Iterator[None]:
    """Until the counters hold all that the topic held when this began."""
    target: dict[int, int] = {}
    while True:
        with suppress(OdometerError):  # a server that is being started again is asked again
            status = _status(settings)
            target = target or _ends(status)
            reached = {each.partition: max(0, each.position or 0) for each in status.partitions}
            done = sum(min(reached.get(which, 0), end) for which, end in target.items())
            show(done, sum(target.values()))
            if done >= sum(target.values()):
                return
        yield


def _status(settings: Settings) -> Status:
    return asyncio.run(read_status(settings.kafka, settings.redis, settings.topic))


def _ends(status: Status) -> dict[int, int]:
    return {each.partition: each.end or 0 for each in status.partitions}


def _why_not_ready(port: int) -> str:
    """The API's own sentence, or that it does not answer; "" where it is ready."""
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
    """Return the key of this home, a new one where the store does not know it (any more)."""
    with suppress(FileNotFoundError):
        key = file.read_text(encoding="utf-8").strip()
        if asyncio.run(key_is_known(redis_url, key)):
            return key
    key = asyncio.run(
        create_key(redis_url, name="odometer up", tenant=DEFAULT_TENANT, role="member")
    )
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(key)
    new.replace(file)
    return key
