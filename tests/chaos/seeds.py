"""One seed decides which events are sent and which faults happen; the machine decides when exactly.

The oracle judges by the log that Kafka then holds: counters, sketches, booked calls, tallies, dead
letters, the directory and chats, to the last unit. After that comes one more fault, after which the
workers must refuse to continue.
"""

from __future__ import annotations

import asyncio
import io
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
from aiokafka.errors import KafkaError

from tests.chaos import disks
from tests.chaos.checker import Checker
from tests.chaos.endings import ENDINGS
from tests.chaos.faults import KINDS, NEED_SMALL_DISKS, Scene
from tests.chaos.load import Stream
from tests.chaos.rig import PARTITIONS, RECOVER_S_MAX, Rig, rig_of
from tests.oracles.event_logs import Record
from tests.real.harness.apis import Producers
from tests.real.harness.child import Change
from tests.real.harness.system import System
from tests.real.harness.topics import Ack, Load, ends_of, producer_of, read_log

FAULTS: Final = 4
"""Of a seed: with 40 kinds, every tenth seed begins them anew in another order."""
BEFORE: Final = 200
"""Records counted before the first fault, and between two at least a random part of that."""
HTTP_PAUSE_S: Final = 0.1
"""Between batches of 5 events over HTTP."""
SETTLED_S: Final = 1.0

SAID_CHARS: Final = 20_000
"""Of the API's output, without the answers that were given, in the report of a wrong seed."""


@dataclass
class Outcome:
    """Of one seed; `recovered_s` by kind of fault, `wrong` is empty where all was right."""

    seed: int
    faults: Sequence[str]
    ending: str
    recovered_s: list[tuple[str, float]] = field(default_factory=list)
    events: int = 0
    duplicates: int = 0
    letters: int = 0
    over_http: int = 0
    answers: int = 0
    wrong: str = ""
    took_s: float = 0.0


def faults_of(seed: int) -> list[str]:
    """Ten seeds in a row have each kind once."""
    names = [*KINDS]
    rounds, place = divmod(seed, len(names) // FAULTS)
    random.Random(f"kinds {rounds}").shuffle(names)
    return names[place * FAULTS : (place + 1) * FAULTS]


async def run_seed(seed: int, faults: Sequence[str], change: Change | None = None) -> Outcome:
    """Never raises for what the system did: that is in `wrong`."""
    on_small_disks = bool(NEED_SMALL_DISKS & {*faults})
    if on_small_disks and not disks.are_allowed():
        print("without full disks: this machine lets nobody mount a tmpfs here", file=sys.stderr)
        on_small_disks, faults = False, [one for one in faults if one not in NEED_SMALL_DISKS]
    outcome = Outcome(seed, faults, [*ENDINGS][seed % len(ENDINGS)])
    started_s = time.monotonic()
    temporary = tempfile.TemporaryDirectory(prefix="odometer-chaos-")
    # What the processes said is shown of a seed that was wrong only.
    with temporary as name, redirect_stdout(io.StringIO()):
        async with rig_of(Path(name), change, on_small_disks=on_small_disks) as rig:
            try:
                await _play(rig, outcome)
            except (AssertionError, KafkaError, TimeoutError, ExceptionGroup) as error:
                lines = rig.api.spec.output.read_text(errors="replace").splitlines()
                said = "\n".join(line for line in lines if " 200 OK" not in line)[-SAID_CHARS:]
                outcome.wrong = f"{_said(error)}\n{rig.system.described()}\n--- API\n{said}"
    outcome.took_s = time.monotonic() - started_s
    return outcome


def _said(error: BaseException) -> str:
    """The error in a line, and the line that found it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    found = traceback.extract_tb(error.__traceback__)[-1]
    return f"{error!r} of {found.name}: {found.line}".replace("\n", " ")


async def _play(rig: Rig, outcome: Outcome) -> None:
    checker = Checker(f"http://{rig.api.address}", rig.key)
    checking = asyncio.create_task(checker.run())
    over_http = Producers(rig.api, rig.key, producers=1, batch=5, pause_s=HTTP_PAUSE_S)
    system = rig.system
    try:
        async with producer_of(rig.kafka_of_producers) as producer:
            load = Load(producer, system.topic)
            await _inflict(rig, Stream(load, outcome.seed), over_http, outcome)
            await _settled(system)
            await rig.meta()  # which generation it is
            await system.caught_up()
            await system.complete()
    finally:
        checking.cancel()
        await asyncio.wait([checking])
    want = await system.judge()
    records = await read_log(system.settings.kafka, system.topic)
    lies = checker.judge(records, [*load.acks, *_acks(over_http, records)])
    assert not lies, f"{len(lies)} answers were wrong: {lies[:3]}"
    assert checker.answers, f"no answer in the whole seed: {checker.statuses}"
    outcome.events, outcome.duplicates = want.accepted, want.duplicates
    outcome.letters, outcome.answers = len(want.letters), len(checker.answers)
    outcome.over_http = len(over_http.acknowledged)
    await ENDINGS[outcome.ending](rig)


def _acks(over_http: Producers, records: Sequence[Record]) -> list[Ack]:
    """Where what was answered with 202 stands in the log, which must have all of it: first, as that
    is what counts, though the answer may be about what was sent again."""
    places: dict[str, Record] = {}
    for record in records:
        if (id_ := _id_of(record)) is not None and id_ in over_http.sent:
            places.setdefault(id_, record)
    lost = over_http.acknowledged.keys() - places.keys()
    assert not lost, f"{len(lost)} events were answered with 202 and are not in the log"
    return [
        Ack(places[id_].partition, places[id_].offset, at_ms)
        for id_, at_ms in over_http.acknowledged.items()
    ]


def _id_of(record: Record) -> str | None:
    """None where it is not read as an object with one."""
    try:
        return msgspec.json.decode(record.value or b"", type=_Identified).id
    except msgspec.MsgspecError:
        return None


class _Identified(msgspec.Struct):
    id: str


async def _settled(system: System) -> None:
    """Until nothing comes to the log any more: what was answered with 503 may come after all."""
    before: object = None
    while (ends := await ends_of(system.settings.kafka, system.topic)) != before:
        before = ends
        await asyncio.sleep(SETTLED_S)


async def _inflict(rig: Rig, stream: Stream, over_http: Producers, outcome: Outcome) -> None:
    """Under load, one after the other; the next comes when the last is recovered from."""
    rng = random.Random(f"faults {outcome.seed}")
    scene = Scene(rig, stream, over_http, rng, PARTITIONS)
    over = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(stream.run())
        posting = tasks.create_task(over_http.send(over))
        await rig.moved(BEFORE)
        for name in outcome.faults:
            kind = KINDS[name]
            since_s = await kind.fault(scene)
            outcome.recovered_s.append((name, await kind.recovery(scene, since_s)))
            await rig.moved(rng.randrange(BEFORE))
        stream.stopping = True
        over.set()
        await sending
        await posting
    async with asyncio.timeout(RECOVER_S_MAX):
        await over_http.send_again()
