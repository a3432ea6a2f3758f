"""Polls the API during a seed, and says afterwards whether any answer was wrong.

An answer must hold every event of its range that was acknowledged before its `complete_through`, and
no event that was not yet sent. Its rows must add up to its totals. No answer, or a 503, is allowed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

import httpx

from schemas.units import instant_to_ms
from tests.oracles.event_logs import Record
from tests.oracles.fold_oracle import Oracle
from tests.real.harness.topics import Ack, now_ms

PATH: Final = "/v1/usage"
QUESTION: Final = {"measures": "events", "group_by": "kind", "from": "now-36h"}
"""Within the 48 h of the finest tier, whatever the age of an event in it."""
ANSWER_S: Final = 5.0
POLL_PAUSE_S: Final = 0.1
TENANT: Final = "default"


class Answer(NamedTuple):
    received_ms: int
    complete_ms: int | None
    from_ms: int
    to_ms: int
    events: int


@dataclass
class Checker:
    """`statuses`: how often each was seen, 0 where nobody answered."""

    url: str
    key: str
    answers: list[Answer] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    lies: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """Until cancelled."""
        headers = {"authorization": f"Bearer {self.key}"}
        async with httpx.AsyncClient(base_url=self.url, headers=headers, timeout=ANSWER_S) as api:
            while True:
                try:
                    self._note(await api.get(PATH, params=QUESTION))
                except httpx.TransportError:
                    self.statuses[0] += 1
                await asyncio.sleep(POLL_PAUSE_S)

    def _note(self, answer: httpx.Response) -> None:
        self.statuses[answer.status_code] += 1
        if answer.status_code == 503:
            return
        if answer.status_code != 200:
            self.lies.append(f"status {answer.status_code}: {answer.text[:300]}")
            return
        body: dict[str, Any] = answer.json()
        total, rows = body["totals"]["events"] or 0, body["rows"]
        if sum(row["events"] for row in rows) != total:
            self.lies.append(f"rows do not add up to the total: {body}")
        through = body["complete_through"]
        bounds = body["range"]
        self.answers.append(
            Answer(
                now_ms(),
                None if through is None else _ms(through),
                _ms(bounds["from"]),
                _ms(bounds["to"]),
                total,
            )
        )

    def judge(self, records: Sequence[Record], acks: Sequence[Ack]) -> list[str]:
        """What was wrong, by the whole log and the producers' acknowledgements."""
        acked_ms = {(ack.partition, ack.offset): ack.at_ms for ack in acks}
        oracle = Oracle()
        counted: list[tuple[int, int, int | None]] = []
        for record in records:
            before = len(oracle.kept)
            oracle.add(record)
            if len(oracle.kept) > before and oracle.kept[-1].tenant == TENANT:
                acked = acked_ms.get((record.partition, record.offset))
                counted.append((oracle.kept[-1].at_ms, record.append_ms, acked))
        return self.lies + [lie for answer in self.answers if (lie := _lie(answer, counted))]


def _ms(text: str) -> int:
    return instant_to_ms(datetime.fromisoformat(text))


def _lie(answer: Answer, counted: Sequence[tuple[int, int, int | None]]) -> str:
    """`counted`: of each event its time, its append time and when it was acknowledged."""
    through_ms = answer.complete_ms or 0
    inside = [one for one in counted if answer.from_ms <= one[0] < answer.to_ms]
    least = sum(1 for _, _, acked_ms in inside if acked_ms is not None and acked_ms < through_ms)
    most = sum(1 for _, append_ms, _ in inside if append_ms <= answer.received_ms)
    if least <= answer.events <= most:
        return ""
    return f"{answer} lies: {least} were acknowledged before, {most} were sent at all"
