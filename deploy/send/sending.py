"""Send a file's events to the API or to Kafka: in batches, with retries, without counting twice.

Two things prevent that a second run counts twice:
- An event without an id gets one from the file's name and content up to it (deploy/send/reading.py).
  So events that are sent again within 24 h are duplicates.
- The progress is stored beside the file (FILE.sent). A second run resumes there, also days later and
  after the file has grown, if the sent part is unchanged. Only the batch that was in flight when a
  run was killed (1,000 events) is sent again, with the same ids.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, NamedTuple

import msgspec

from deploy.send.ahead import ahead
from deploy.send.reading import FileParser, ParsedBody, bodies
from schemas.errors import InvalidConfig, InvalidEvent
from schemas.event.envelope import Headers
from schemas.event.kinds import DEFAULT_TENANT
from schemas.formats.context import Context
from schemas.formats.draft import IdSource
from schemas.formats.parse import Event
from streams.core.decode import decode
from streams.meter.transport import (
    BATCH_BYTES_MAX,
    BATCH_EVENTS_MAX,
    NotAllowed,
    NotDelivered,
    Outgoing,
    Target,
)

SEND_S: Final = 15.0
"""Timeout of one request, as in a Meter."""
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.2, 2.0
RETRY_AFTER_S_MAX: Final = 60.0
BATCHES_AHEAD: Final = 2
"""Batches to read while one is in flight. The API holds history back; the next batch must be ready
when it continues."""


class Sent(msgspec.Struct, frozen=True):
    """The content of FILE.sent: the first `bodies` of the file are sent.

    `name` is the name of the last of them, a digest of everything up to its end.
    """

    target: str
    bodies: int
    name: str


class RefusedObject(NamedTuple):
    """An object of the file that was refused. `place` is its index among the objects of its line."""

    line: int
    place: int
    field: str
    reason: str
    detail: str


@dataclass
class Tally:
    """The result of a run so far.

    `before`: bodies that earlier runs sent. `made_ids`: events that got their id from their position
    in the file.
    """

    before: int = 0
    sent: int = 0
    skipped: int = 0
    refused: int = 0
    made_ids: int = 0


@dataclass(frozen=True)
class Job:
    """What to send, and where.

    `state`: the file for the progress, None for none. `give_up_s`: give up after the receiver has
    been unreachable for so long. `is_judged_here`: check events here, because the receiver (Kafka)
    refuses nothing. `reads_ahead`: read the next batches in a thread; not for a pipe, which may block.
    """

    target_name: str
    name: str
    format: str | None
    context: Context
    state: Path | None
    give_up_s: float
    is_judged_here: bool
    reads_ahead: bool
    on_refused: Callable[[RefusedObject], None]
    on_step: Callable[[Tally], None]
    on_away: Callable[[str], None]


@dataclass
class _FileBatch:
    """The events of one request, and the refused and skipped objects before them.

    `done` is the progress once all of it is delivered.
    """

    done: Sent
    outgoing: list[Outgoing] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)  # line and index of each
    size_bytes: int = 0
    refused: list[RefusedObject] = field(default_factory=list)
    skipped: int = 0
    made_ids: int = 0

    def add(self, event: Event, line: int) -> None:
        self.outgoing.append(_outgoing(event))
        self.places.append((line, event.index))
        self.size_bytes += len(event.record)
        self.made_ids += event.id_source is IdSource.SEED

    @property
    def is_full(self) -> bool:
        return len(self.outgoing) == BATCH_EVENTS_MAX or self.size_bytes >= BATCH_BYTES_MAX


def send_file(job: Job, plain: IO[bytes], target: Target) -> Tally:
    """Return when all events have arrived or are refused.

    Raises DeliveryError if it gives up. The progress is stored, and the next run resumes there.
    """
    before = _read_state(job)
    tally = Tally(before.bodies)
    made = _batches(job, plain, before)
    with ahead(made, BATCHES_AHEAD) if job.reads_ahead else nullcontext(made) as batches:
        for batch in batches:
            tally.skipped += batch.skipped
            tally.made_ids += batch.made_ids
            tally.refused += len(batch.refused)
            for refused in batch.refused:
                job.on_refused(refused)
            _deliver(job, target, batch, tally)
            _write_state(job, batch.done)
    return tally


def _batches(job: Job, plain: IO[bytes], before: Sent) -> Iterator[_FileBatch]:
    """Yield the batches after `before`. The last one may be empty."""
    batch = _FileBatch(before)
    for number, one in enumerate(_unsent(job, plain, before), before.bodies + 1):
        body, refusals = one.body, len(batch.refused)
        for event in _events(job, one, batch):
            if batch.is_full:
                yield batch
                batch = _FileBatch(batch.done)
                refusals = 0
            batch.add(event, body.line)
        if body.is_open and len(batch.refused) > refusals:
            break  # the line may be incomplete: the next run reads it again
        batch.done = Sent(job.target_name, number, body.name)
    yield batch


def _unsent(job: Job, plain: IO[bytes], before: Sent) -> Iterator[ParsedBody]:
    parser = FileParser(job.format, job.context)
    for number, body in enumerate(bodies(plain, job.name, job.format), 1):
        if number > before.bodies:
            yield from parser.parse(body)
            continue
        parser.see(body)
        if number == before.bodies and body.name != before.name:
            raise InvalidConfig(
                f"The part of the file that was sent, up to line {body.line}, has changed since"
                f" {job.state} was written. Remove that to send the whole file again. Events with an"
                " id count once if they were sent within 24 h."
            )
    yield from parser.rest()


def _events(job: Job, one: ParsedBody, batch: _FileBatch) -> Iterator[Event]:
    """Yield the body's events. Skipped and refused objects are added to the current batch."""
    parsed, line = one.parsed, one.body.line
    batch.skipped += len(parsed.skipped)
    batch.refused += [_refused(line, each.index, each.error) for each in parsed.refused]
    for event in parsed.events:
        if job.is_judged_here:
            try:
                decode(_EventRecord(0, job.context.received_ms, event.record, ()))
            except InvalidEvent as error:
                batch.refused.append(_refused(line, event.index, error))
                continue
        yield event


class _EventRecord(NamedTuple):
    """An event as the worker will read it."""

    offset: int
    timestamp: int
    value: bytes
    headers: Headers


def _outgoing(event: Event) -> Outgoing:
    usage = event.usage
    tenant = usage.tenant or DEFAULT_TENANT
    return Outgoing(tenant, usage.source, usage.id, usage.call_id, event.record)


def _refused(line: int, place: int, error: InvalidEvent) -> RefusedObject:
    return RefusedObject(line, place, error.field, error.reason, error.detail)


def _deliver(job: Job, target: Target, batch: _FileBatch, tally: Tally) -> None:
    """Send the batch, with retries, until the receiver has it."""
    backoff_s = FIRST_BACKOFF_S
    away_since_s = time.monotonic()
    while batch.outgoing:
        try:
            refusals = target.send(batch.outgoing, SEND_S)
        except NotAllowed:
            raise
        except NotDelivered as away:
            if time.monotonic() - away_since_s > job.give_up_s:
                raise
            job.on_away(str(away))
            time.sleep(max(backoff_s, min(away.retry_after_s, RETRY_AFTER_S_MAX)))
            backoff_s = min(2 * backoff_s, LAST_BACKOFF_S)
            continue
        tally.sent += len(batch.outgoing) - len(refusals)
        tally.refused += len(refusals)
        for one in refusals:
            job.on_refused(
                RefusedObject(*batch.places[one.event_index], one.field, one.reason, one.detail)
            )
        break
    job.on_step(tally)


# -- progress --------------------------------------------------------------------------------------


def _read_state(job: Job) -> Sent:
    nothing = Sent(job.target_name, 0, "")
    if job.state is None:
        return nothing
    try:
        sent = msgspec.json.decode(job.state.read_bytes(), type=Sent)
    except FileNotFoundError:
        return nothing
    except (OSError, msgspec.MsgspecError) as error:
        raise InvalidConfig(
            f"{job.state}, the stored progress of the file, cannot be read: {error}"
        ) from error
    if sent.target != job.target_name:
        raise InvalidConfig(
            f"{job.state} says that the file was sent to {sent.target}: for {job.target_name} use"
            " another --state"
        )
    return sent


def _write_state(job: Job, sent: Sent) -> None:
    if job.state is None or not sent.bodies:
        return
    beside = job.state.with_name(job.state.name + ".new")
    try:
        beside.write_bytes(msgspec.json.encode(sent))
        beside.replace(job.state)
    except OSError as error:
        raise InvalidConfig(
            f"{job.state} cannot be written: {error.strerror}. Use --state to name another file, or"
            " --no-state to store no progress"
        ) from error
