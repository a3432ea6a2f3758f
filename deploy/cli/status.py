"""`odometer status`: a verdict and the next command first, then what an operator looks at."""
# ruff: noqa: PLC0415, FBT002 - a command imports what it runs; its options are given by name

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live

from deploy.cli.options import (
    AsJson,
    ByApiKey,
    BySource,
    ByTeam,
    CatalogFile,
    DeadLetterTopic,
    Kafka,
    PricesFile,
    Redis,
    RedisEviction,
    TenantIds,
    TenantSeries,
    Topic,
    Watch,
)
from deploy.cli.terminal import say_json, say_line, say_line_of_json, shown
from deploy.settings import (
    Settings,
    read_settings,
)
from schemas.errors import InvalidConfig
from schemas.limits import HOUR_MS, MINUTE_MS

if TYPE_CHECKING:
    from schemas.responses.status import Status, Verdict
    from streams.operations.verdict import Limits

WATCH_EVERY_S: Final = 2.0
UNPRICED_SHOWN: Final = 5
MISCONFIGURED: Final = 3
"""The exit code of `--check` if the command itself is wrong: a monitor must not take that for a state."""
_COLORS: Final = ("green", "yellow", "red")
_WORDS: Final = ("OK", "BEHIND", "NOT COUNTING")
_UNITS_MS: Final = {"ms": 1, "s": 1000, "m": MINUTE_MS, "h": HOUR_MS}


class Judged(SystemExit):
    """The end of `odometer status`, with the state as exit code."""


def status(
    kafka: Kafka = None,
    redis: Redis = None,
    redis_eviction: RedisEviction = None,
    topic: Topic = None,
    dead_letter_topic: DeadLetterTopic = None,
    prices_file: PricesFile = None,
    catalog_file: CatalogFile = None,
    by_source: BySource = None,
    by_team: ByTeam = None,
    by_api_key: ByApiKey = None,
    tenant_series: TenantSeries = None,
    tenant_ids: TenantIds = None,
    everything: Annotated[bool, typer.Option("--all", help="Show every line.")] = False,
    watch: Watch = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Print one line, for a monitor. Exit codes: 0 counting, 1 behind a limit, 2 not"
            " counting, 3 this command is misconfigured.",
        ),
    ] = False,
    max_behind: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Behind from this age of `complete through` on, such as 500ms, 30s, 5m or 1h."
            " [default: 30s with --check]",
        ),
    ] = None,
    max_lag: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Behind from more than N records on.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show whether events are counted, and what to do next if not.

    The first line is the verdict, the second the next command to run. Then: freshness, lag, each reason
    why partitions are refused, dead letters, models without a price, partitions and generations.
    `--all` shows every line. deploy/RUNBOOK.md has a section for each line and each refusal.

    Exit codes: 0 counting, 1 behind `--max-behind` or `--max-lag`, 2 not counting, or Kafka or Redis
    does not answer. Give this command the prices and catalog files of the workers, so that it can
    compare them with the counters.
    """
    from deploy.monitor.installation import as_document
    from streams.operations.verdict import Limits, judge

    settings = read_settings(
        kafka=kafka,
        redis=redis,
        redis_eviction=redis_eviction,
        topic=topic,
        dead_letter_topic=dead_letter_topic,
        prices_file=prices_file,
        catalog_file=catalog_file,
        by_source=by_source,
        by_team=by_team,
        by_api_key=by_api_key,
        tenant_series=tenant_series,
        tenant_ids=tenant_ids,
    )
    limits = Limits(parse_duration(max_behind or "30s") if check or max_behind else None, max_lag)
    if watch:
        _watch(settings, limits, everything=everything, as_json=as_json)
        return
    found, now_ms = _read(settings)
    verdict = judge(found, now_ms, limits)
    if as_json:
        say_json(as_document(found, verdict))
    elif check:
        say_line(f"{_WORDS[verdict.state]}: {verdict.sentence}")
    else:
        Console().print(render_status(found, verdict, now_ms, everything=everything))
    raise Judged(int(verdict.state))


def parse_duration(text: str) -> int:
    """Return milliseconds of a duration such as `30s`. Raises InvalidConfig."""
    found = re.fullmatch(r"(\d{1,9})(ms|s|m|h)", text.strip())
    if found is None:
        raise InvalidConfig(
            f"--max-behind is {text!r}; it must be a whole number and a unit: 500ms, 30s, 5m or 1h."
        )
    return int(found[1]) * _UNITS_MS[found[2]]


def render_status(
    found: Status, verdict: Verdict, now_ms: int, *, everything: bool = False
) -> RenderableType:
    from deploy.cli.report import render
    from schemas.responses.status import WITHOUT_REDIS

    lines: list[RenderableType] = [
        shown(f"{_WORDS[verdict.state]}: {verdict.sentence}", f"bold {_COLORS[verdict.state]}")
    ]
    if verdict.next:
        lines.append(shown(f"next: {verdict.next}", "bold"))
    lines += [shown(f"note: {note}", "yellow") for note in verdict.notes]
    lines.append(shown(""))
    if everything:
        only = [name for name in type(found).model_fields if name in WITHOUT_REDIS]
        return Group(*lines, render(found, now_ms, only if found.redis_away else None))
    lines += [shown(line) for line in _lines(found, now_ms)]
    if found.redis_away:
        return Group(*lines)
    return Group(*lines, render(found, now_ms, only=("partitions", "generations")))


def _lines(found: Status, now_ms: int) -> Iterator[str]:
    from deploy.cli.report import age

    complete_ms = found.complete_through_ms
    nothing = "unknown" if found.redis_away else "none"
    yield f"complete through: {age(complete_ms, now_ms) if complete_ms else nothing}"
    yield f"lag: {'unknown' if found.lag is None else f'{found.lag} records'}"
    for one in found.refusals:
        where = "all" if one.partitions is None else ", ".join(map(str, one.partitions))
        yield f"refused: partitions {where}: {one.reason}: {one.detail}"
    if not found.refusals:
        yield f"refused: {nothing}"
    recent = found.dead_letters_last_hour
    counted = sum(found.dead_letters.values())
    # Those of before Redis was emptied, or of partitions that are not counted, are not in the counters.
    total = "unknown" if found.redis_away or (recent or 0) > counted else counted
    yield f"dead letters: {'unknown' if recent is None else recent} in the last hour, {total} in all"
    for model, count in Counter(found.unpriced).most_common(UNPRICED_SHOWN):
        yield f"unpriced: {model} {count}"
    if not found.unpriced:
        yield f"unpriced: {nothing}"


def _watch(settings: Settings, limits: Limits, *, everything: bool, as_json: bool) -> None:
    """Until Ctrl-C. As JSON, each status is a line."""
    from deploy.monitor.installation import as_document
    from streams.operations.verdict import judge

    # Ctrl-C comes while it sleeps, or while it reads: Kafka may take seconds.
    live = Live(console=Console(), auto_refresh=False)
    with suppress(KeyboardInterrupt), nullcontext() if as_json else live:
        while True:
            found, now_ms = _read(settings)
            verdict = judge(found, now_ms, limits)
            if as_json:
                say_line_of_json(as_document(found, verdict))
                time.sleep(WATCH_EVERY_S)
                continue
            live.update(render_status(found, verdict, now_ms, everything=everything), refresh=True)
            time.sleep(WATCH_EVERY_S)


def _read(settings: Settings) -> tuple[Status, int]:
    from deploy.monitor.installation import read_installation

    return asyncio.run(read_installation(settings))
