"""A file's events to the ingest or to Kafka: in batches, with patience, and never counted twice.

Two things keep a second run from counting twice:
- An event that nothing names gets an id made of the file's name and of all that the file holds up
  to it (deploy/send/reading.py), so that what is sent again within 24 h is recognised.
- Beside the file stands how far it was sent (FILE.sent): a second run goes on there, also days
  later and when the file has grown, if what was sent still stands in it unchanged. Only the batch
  that was under way when a run was killed (1,000 events) is sent again, under its ids.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Final, NamedTuple

import msgspec

from deploy.send.ahead import ahead
from deploy.send.reading import FileBody, bodies, read_body
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
"""For one request, as a Meter has it."""
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.2, 2.0
RETRY_AFTER_S_MAX: Final = 60.0
BATCHES_AHEAD: Final = 2
"""Read while one is under way: the receiver, which makes history wait for its turn, is answered at
once when that has come."""


class Sent(msgspec.Struct, frozen=True):
    """How far a file was sent, as it is kept beside it: the first `bodies` of it. `name` is that of
    the last of them, which stands for everything up to its end."""

    target: str
    bodies: int
    name: str


class RefusedObject(NamedTuple):
    """An object of the file that is not counted: `place` is its own among those of its line."""

    line: int
    place: int
    field: str
    reason: str
    detail: str


@dataclass
class Tally:
    """What a run has done so far. `before`: bodies that an earlier one had sent. `made_ids`: events
    that were named by their place in the file."""

    before: int = 0
    sent: int = 0
    skipped: int = 0
    refused: int = 0
    made_ids: int = 0


@dataclass(frozen=True)
class Job:
    """What is sent where. `state` is where it is noted how far, if anywhere. `give_up_s`: how long
    the receiver may be away. `is_judged_here`: the receiver does not say what it refuses. `reads_ahead`: reading never waits for
    long, as of a pipe it may."""

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
    """Events for one request, what was found on the way to them, and how far the file is sent when
    all of it is delivered."""

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
    """Returns when all of it has arrived or is refused. Raises DeliveryError where it gives up:
    what has arrived until then is noted, and the next run goes on there."""
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
    """The file from there on; the last one may be empty."""
    batch = _FileBatch(before)
    for number, body in enumerate(_unsent(job, plain, before), before.bodies + 1):
        refusals = len(batch.refused)
        for event in _events(job, body, batch):
            if batch.is_full:
                yield batch
                batch = _FileBatch(batch.done)
                refusals = 0
            batch.add(event, body.line)
        if body.is_open and len(batch.refused) > refusals:
            break  # it may become whole: the next run reads it again
        batch.done = Sent(job.target_name, number, body.name)
    yield batch


def _unsent(job: Job, plain: IO[bytes], before: Sent) -> Iterator[FileBody]:
    for number, body in enumerate(bodies(plain, job.name, job.format), 1):
        if number > before.bodies:
            yield body
        elif number == before.bodies and body.name != before.name:
            raise InvalidConfig(
                f"What {job.state} says was sent no longer stands so in the file, up to line"
                f" {body.line}: remove it to send all of the file. What has an id of its own counts"
                " once if that is within 24 h."
            )


def _events(job: Job, body: FileBody, batch: _FileBatch) -> Iterator[Event]:
    """The body's events; what is skipped or refused is noted in the batch that is begun."""
    parsed = read_body(body, job.format, replace(job.context, id_seed=body.name))
    batch.skipped += len(parsed.skipped)
    batch.refused += [_refused(body.line, one.index, one.error) for one in parsed.refused]
    for event in parsed.events:
        if job.is_judged_here:
            try:
                decode(_EventRecord(0, job.context.received_ms, event.record, ()))
            except InvalidEvent as error:
                batch.refused.append(_refused(body.line, event.index, error))
                continue
        yield event


class _EventRecord(NamedTuple):
    """An event as the fold will see it."""

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
    """Until the receiver has it."""
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


# -- how far ---------------------------------------------------------------------------------------


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
            f"{job.state}, which says how far the file was sent, cannot be read: {error}"
        ) from error
    if sent.target != job.target_name:
        raise InvalidConfig(
            f"{job.state} says that the file was sent to {sent.target}: for {job.target_name} name"
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
            f"{job.state} cannot be written: {error.strerror}; --state names another file,"
            " --no-state goes without"
        ) from error
