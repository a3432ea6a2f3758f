"""`odometer dead`: list, show, fix and replay dead letters, the records that could not be counted."""
# ruff: noqa: PLC0415, FBT002 - a command imports what it runs; its options are given by name

import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import aclosing
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from deploy.cli.completion import reasons
from deploy.cli.help import PlainCommand, PlainGroup
from deploy.cli.options import AsJson, DeadLetterTopic, Kafka, Topic, Yes, parse_time
from deploy.cli.report import age
from deploy.cli.terminal import say, say_json, say_line, shown
from deploy.errors import NothingChosen
from deploy.settings import Settings, read_settings
from schemas.errors import InvalidConfig, Reason
from schemas.units import iso

if TYPE_CHECKING:
    from streams.core.dead_letters import Change, DeadLetter
    from streams.operations.replay import ReplayResult

dead = typer.Typer(
    cls=PlainGroup,
    help="List, show, fix and replay dead letters: records that could not be counted.\n\n"
    "The name of a dead letter is its origin, TOPIC:PARTITION:OFFSET. Fix the cause, or the event"
    " itself with `--set`, and replay it. It counts once, even if you replay it several times.",
    no_args_is_help=True,
)

LISTED_MAX = 1000
"""Dead letters that `list` shows by default: as many as a person reads."""

WithReason = Annotated[
    str | None,
    typer.Option(
        "--reason",
        autocompletion=reasons,
        help=f"Only dead letters with this reason: {', '.join(Reason)}.",
    ),
]
WithField = Annotated[
    str | None, typer.Option("--field", help="Only dead letters about this field.")
]
WithTenant = Annotated[
    str | None, typer.Option("--tenant", help="Only dead letters whose record names this tenant.")
]
Since = Annotated[
    str | None,
    typer.Option(
        help="Only records appended at or after this time: `now-2h`, `2026-02-08` or RFC 3339 (UTC)."
    ),
]
Until = Annotated[
    str | None, typer.Option(help="Only records appended before this time; the same formats.")
]
Wanted = Callable[["DeadLetter"], bool]


@dead.command("list", cls=PlainCommand)
def list_dead_letters(
    kafka: Kafka = None,
    dead_letter_topic: DeadLetterTopic = None,
    reason: WithReason = None,
    field: WithField = None,
    since: Since = None,
    until: Until = None,
    tenant: WithTenant = None,
    limit: Annotated[int, typer.Option(min=1, help="Show so many of the newest.")] = LISTED_MAX,
    as_json: AsJson = False,
) -> None:
    """List dead letters, oldest first, and the number for each reason.

    Next, `odometer dead show ORIGIN` shows one in full.
    """
    settings = read_settings(kafka=kafka, dead_letter_topic=dead_letter_topic)
    wanted = _filter(reason, field, since, until, tenant=tenant)
    reason_counts: Counter[str] = Counter()
    newest: deque[DeadLetter] = deque(maxlen=limit)

    async def read() -> None:
        async for letter in _read(settings, wanted):
            reason_counts[letter.reason] += 1
            newest.append(letter)

    asyncio.run(read())
    if as_json:
        say_json([_as_data(letter) for letter in newest])
        return
    Console().print(_table(newest, _now_ms()))
    counts = ", ".join(f"{name} {count}" for name, count in reason_counts.most_common())
    say_line(f"{reason_counts.total()} dead letters{f': {counts}' if counts else ''}")
    if reason_counts.total() > len(newest):
        say_line(f"These are the newest {len(newest)}. --limit shows more.")


@dead.command("show", cls=PlainCommand)
def show(
    origin: Annotated[
        str,
        typer.Argument(metavar="ORIGIN", help="TOPIC:PARTITION:OFFSET, as `dead list` shows it."),
    ],
    kafka: Kafka = None,
    dead_letter_topic: DeadLetterTopic = None,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter in full: its reason, the record, and what a replay would do."""
    from streams.core.dead_letters import NO_CHANGE, prospect

    settings = read_settings(kafka=kafka, dead_letter_topic=dead_letter_topic)
    (letter,) = asyncio.run(_named(settings, [origin]))
    data = _as_data(letter) | {
        "headers": {name: text.decode(errors="backslashreplace") for name, text in letter.headers},
        "value": None if letter.value is None else letter.value.decode(errors="backslashreplace"),
        "replay_would": prospect(letter, NO_CHANGE, _now_ms()),
    }
    if as_json:
        say_json(data)
        return
    for name, value in data.items():
        if name != "value":
            say_line(f"{name.replace('_', ' ')}: {value if value not in (None, {}) else 'none'}")
    say(f"value:\n{_pretty(letter.value)}")


@dead.command("replay", cls=PlainCommand)
def replay(
    origins: Annotated[
        list[str] | None,
        typer.Argument(metavar="ORIGIN", help="Dead letters to replay, as `dead list` shows them."),
    ] = None,
    kafka: Kafka = None,
    topic: Topic = None,
    dead_letter_topic: DeadLetterTopic = None,
    reason: WithReason = None,
    field: WithField = None,
    since: Since = None,
    until: Until = None,
    tenant: WithTenant = None,
    everything: Annotated[bool, typer.Option("--all", help="Replay all dead letters.")] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=TEXT",
            help="Change a field before sending: FIELD=TEXT, or FIELD:=JSON for a number, null or an"
            " object.",
        ),
    ] = None,
    edit: Annotated[
        bool, typer.Option("--edit", help="Change the value of one dead letter in your $EDITOR.")
    ] = False,
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help="Also replay dead letters whose earlier replay was interrupted more than 23 hours"
            " ago. Check first whether they were counted: their ids are no longer remembered, so"
            " they could count twice.",
        ),
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Send dead letters to the topic of the events again. Each counts once.

    Choose them by origin, by filter, or with `--all`. An event keeps its id; an event without an id
    gets its origin as id. So an event counts once even if it is replayed twice, or if its producer
    also sends it again. A dead letter that was replayed is marked and not sent again.

    A dead letter that would be rejected again is not sent; fix it with `--set` or `--edit`. Its age
    is checked now, so an event that is too old needs a new `time`.
    """
    settings = read_settings(kafka=kafka, topic=topic, dead_letter_topic=dead_letter_topic)
    given = [origins, reason, field, since, until, tenant]
    if not any(given) and not everything:
        raise NothingChosen(
            "No dead letters are selected: name their origins, give a filter, or use --all."
        )
    change = _change(settings, origins or [], changes or [], edit=edit)
    wanted = _filter(reason, field, since, until, set(origins or ()), tenant)
    results = asyncio.run(_replay(settings, wanted, change, again=again, dry_run=not yes))
    missing = set(origins or ()) - {result.origin for result in results}
    if missing:
        raise NothingChosen(f"There is no dead letter {', '.join(sorted(missing))}.")
    if as_json:
        say_json([_result_data(result) for result in results])
    else:
        _tell(results, done=yes)
    if any(result.outcome == "refused" for result in results):
        raise typer.Exit(1)


# -- reading ---------------------------------------------------------------------------------------


def _filter(
    reason: str | None,
    field: str | None,
    since: str | None,
    until: str | None,
    origins: set[str] | None = None,
    tenant: str | None = None,
) -> Wanted:
    if reason is not None and reason not in set(Reason):
        raise InvalidConfig(f"--reason is {reason!r}; it must be one of {', '.join(Reason)}")
    now_ms = _now_ms()
    from_ms = None if since is None else parse_time("--since", since, now_ms)
    to_ms = None if until is None else parse_time("--until", until, now_ms)

    from streams.core.dead_letters import tenant_of

    def wanted(letter: "DeadLetter") -> bool:
        return (
            (reason is None or letter.reason == reason)
            and (field is None or letter.field == field)
            and (from_ms is None or letter.append_ms >= from_ms)
            and (to_ms is None or letter.append_ms < to_ms)
            and (not origins or letter.origin in origins)
            and (tenant is None or tenant_of(letter) == tenant)
        )

    return wanted


async def _read(settings: Settings, wanted: Wanted) -> AsyncIterator["DeadLetter"]:
    from streams.operations.replay import read_letters

    letters = read_letters(settings.kafka, settings.dead_letter_topic, wanted)
    async with aclosing(letters):  # type: ignore[type-var]  # a generator, typed as what it gives
        async for letter in letters:
            yield letter


async def _named(settings: Settings, origins: Sequence[str]) -> list["DeadLetter"]:
    found = {one.origin: one async for one in _read(settings, lambda one: one.origin in origins)}
    for origin in origins:
        if origin not in found:
            raise NothingChosen(
                f"There is no dead letter {origin} in the topic {settings.dead_letter_topic}."
            )
    return list(found.values())


# -- replaying -------------------------------------------------------------------------------------


async def _replay(
    settings: Settings, wanted: Wanted, change: "Change", *, again: bool, dry_run: bool
) -> list["ReplayResult"]:
    from streams.operations.replay import replay as send

    results = send(
        settings.kafka,
        settings.topic,
        settings.dead_letter_topic,
        _read(settings, wanted),
        change,
        _now_ms,
        again=again,
        dry_run=dry_run,
    )
    return [result async for result in results]


def _change(
    settings: Settings, origins: Sequence[str], changes: Sequence[str], *, edit: bool
) -> "Change":
    from streams.core.dead_letters import Change

    value = None
    if edit:
        if len(origins) != 1:
            raise InvalidConfig("--edit changes one dead letter: name exactly one origin.")
        (letter,) = asyncio.run(_named(settings, origins))
        edited = click.edit(_pretty(letter.value), extension=".json", require_save=True)
        if edited is None:
            raise NothingChosen("The editor was closed without saving. Nothing was sent.")
        value = edited.encode()
    return Change(value, dict(_assignment(one) for one in changes))


def _assignment(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.rstrip(":"):
        raise InvalidConfig(f"--set is {text!r}; it must be FIELD=TEXT or FIELD:=JSON")
    if not name.endswith(":"):
        return name, value
    try:
        return name.removesuffix(":"), json.loads(value)
    except ValueError as error:
        raise InvalidConfig(f"--set is {text!r}: the text after := is not JSON: {error}") from error


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


# -- output ----------------------------------------------------------------------------------------


def _table(letters: Collection["DeadLetter"], now_ms: int) -> Table:
    """Fits into 80 columns. `dead show` and `--json` have the instants."""
    from streams.core.dead_letters import tenant_of

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for column in ("origin", "written", "tenant", "reason", "problem"):
        # A person copies the origin into `show` and `replay`, and the reason into `--reason`.
        table.add_column(column, overflow="fold", no_wrap=column not in {"tenant", "problem"})
    for one in letters:
        problem = f"{one.field}: {one.detail}" if one.field else one.detail
        if one.replay:
            problem = f"(replay: {one.replay.state}) {problem}"
        cells = (one.origin, age(one.append_ms, now_ms), tenant_of(one), one.reason, problem)
        table.add_row(*(shown(cell) for cell in cells))
    return table


def _as_data(letter: "DeadLetter") -> dict[str, Any]:
    from streams.core.dead_letters import tenant_of

    mark = letter.replay
    return {
        "origin": letter.origin,
        "tenant": tenant_of(letter) or None,
        "appended": iso(letter.append_ms),
        "reason": letter.reason,
        "field": letter.field,
        "detail": letter.detail,
        "replayed": None
        if mark is None
        else {"state": str(mark.state), "at": iso(mark.at_ms), "as": mark.identity._asdict()},
    }


def _pretty(value: bytes | None) -> str:
    """Return JSON indented, and any other text unchanged."""
    text = (value or b"").decode(errors="backslashreplace")
    try:
        return json.dumps(json.loads(text), indent=1, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _result_data(result: "ReplayResult") -> dict[str, Any]:
    return {
        "origin": result.origin,
        "outcome": str(result.outcome),
        "identity": result.identity._asdict() if result.identity else None,
        "detail": result.detail,
    }


def _tell(results: Sequence["ReplayResult"], *, done: bool) -> None:
    for result in islice((r for r in results if r.detail), LISTED_MAX):
        say_line(f"{result.origin}: {result.outcome}: {result.detail}")
    outcomes = Counter(str(result.outcome) for result in results)
    words = {"sendable": "would be sent", "refused": "would be rejected again", "kept": "not sent"}
    said = ", ".join(f"{count} {words.get(name, name)}" for name, count in outcomes.items())
    say_line(said or "no dead letter matches")
    if not done and outcomes["sendable"]:
        say_line("Nothing was sent. Add --yes to do it.")
