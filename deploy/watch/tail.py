"""`odometer tail`: events as they are judged, without their contents."""
# ruff: noqa: PLC0415, FBT002 - a command imports what it runs; its options are given by name

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from deploy.cli.options import AsJson, DeadLetterTopic, Kafka, Redis
from deploy.cli.terminal import say_json_text, say_line, say_on
from deploy.settings import Settings, read_settings
from schemas.errors import InvalidConfig, OdometerError
from schemas.units import iso

if TYPE_CHECKING:
    from streams.worker.judged_events import JudgedEvent

OUTCOMES = ("counted", "duplicate", "refused")
WAITING_MAX = 10_000
"""Events that a slow terminal has not shown yet. Later ones are left out."""


def tail(
    outcome: Annotated[
        str | None, typer.Option(help=f"Only these events: {', '.join(OUTCOMES)}.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Only events of this tenant.")] = None,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="End after so many events.")
    ] = None,
    kafka: Kafka = None,
    redis: Redis = None,
    dead_letter_topic: DeadLetterTopic = None,
    as_json: AsJson = False,
) -> None:
    """Show events as workers judge them, until Ctrl-C: counted, duplicate or refused.

    Each line has the time, the outcome, tenant, kind, provider, model, agent, user, tokens and id of an
    event, never its contents. Of a refused one it has the field and the reason; `odometer dead show` has the
    rest. `--json` prints an object a line. With very many events a second, some are left out, and the
    last line of a commit says how many.
    """
    if outcome is not None and outcome not in OUTCOMES:
        raise InvalidConfig(f"--outcome is {outcome!r}; it must be one of {', '.join(OUTCOMES)}.")
    settings = read_settings(kafka=kafka, redis=redis, dead_letter_topic=dead_letter_topic)
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(_show(settings, outcome, tenant, count, as_json=as_json))
    except* OdometerError as errors:  # of Redis or Kafka, or of both: one is enough
        raise errors.exceptions[0] from None


async def _show(
    settings: Settings, outcome: str | None, tenant: str | None, count: int | None, *, as_json: bool
) -> None:
    import msgspec

    waiting: asyncio.Queue[JudgedEvent] = asyncio.Queue(WAITING_MAX)

    async def put(events: "AsyncIterator[list[JudgedEvent]]") -> None:
        async for found in events:
            for event in found:
                with suppress(asyncio.QueueFull):
                    waiting.put_nowait(event)

    say_on(Console(stderr=True), "Waiting for events. Ctrl-C ends this.")
    async with asyncio.TaskGroup() as tasks:
        reading = [
            tasks.create_task(put(judged_events(settings))),
            tasks.create_task(put(refused_events(settings))),
        ]
        left = count
        while left is None or left > 0:
            event = await waiting.get()
            if (outcome and event.outcome != outcome) or (tenant and event.tenant != tenant):
                continue
            left = None if left is None else left - 1
            if as_json:
                say_json_text(msgspec.json.encode(event).decode())
            else:
                say_line(line_of(event))
        for task in reading:
            task.cancel()


async def judged_events(settings: Settings) -> "AsyncIterator[list[JudgedEvent]]":
    """What the workers say of the events that they have counted, and of duplicates."""
    import msgspec

    from streams.redis.judged_channel import JudgedChannel
    from streams.worker.judged_events import JudgedEvent

    async with JudgedChannel(settings.redis) as channel:
        async for message in channel.messages():
            yield msgspec.json.decode(message, type=list[JudgedEvent])


async def refused_events(settings: Settings) -> "AsyncIterator[list[JudgedEvent]]":
    """New dead letters."""
    from streams.core.dead_letters import read_dead_letter, tenant_of
    from streams.kafka.follow import follow
    from streams.worker.judged_events import JudgedEvent

    records = follow(settings.kafka, settings.dead_letter_topic)
    async with aclosing(records):  # type: ignore[type-var]  # a generator, typed as what it gives
        async for batch in records:
            letters = [read_dead_letter(record.value, record.headers) for record in batch]
            yield [
                JudgedEvent(
                    "refused",
                    letter.append_ms,
                    letter.origin,
                    tenant=tenant_of(letter),
                    reason=letter.reason,
                    field=letter.field,
                )
                for letter in letters
                if letter is not None and letter.replay is None
            ]


def line_of(event: "JudgedEvent") -> str:
    head = f"{iso(event.at_ms)} {event.outcome:9} {event.tenant or '-'}"
    if event.outcome == "refused":
        about = f" {event.field}" if event.field else ""
        return f"{head} {event.reason}{about} {event.id}"
    names = (event.kind, event.provider, event.model, event.agent, event.user)
    tokens = f"{_count(event.input_tokens)}/{_count(event.output_tokens)}"
    more = f" ... and {event.more} more of this commit" if event.more else ""
    return f"{head} {' '.join(name or '-' for name in names)} {tokens} {event.id}{more}"


def _count(value: int | None) -> str:
    return "-" if value is None else str(value)
