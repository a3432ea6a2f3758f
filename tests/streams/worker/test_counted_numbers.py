"""A duplicate with other numbers than the event that was counted is counted as such."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streams.core.ports import LastRecord
from streams.worker.counted_numbers import CountedNumbers
from tests.oracles.event_logs import NOW_MS
from tests.streams.core.test_tallies import rows
from tests.streams.worker.scripted import ScriptedLog, polled_event
from tests.streams.worker.test_loop import begun


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({}, 0),
        ({"latency_ms": 4711}, 0),  # measured twice
        ({"agent_id": "another"}, 0),
        ({"output_tokens": 301}, 1),
        ({"input_tokens": 1}, 1),
        ({"cost_usd": "0.004501"}, 1),
        ({"web_searches": 1}, 1),
    ],
)
async def test_a_later_report_with_other_numbers_differs(
    change: dict[str, Any], differs: int
) -> None:
    scene = await begun(ScriptedLog({0: 4}))
    await scene.counts(polled_event(0, id="a"), polled_event(1, id="b"))
    counters = scene.store.counters()
    later = polled_event(2, id="a", **change)
    await scene.counts(later, polled_event(3, id="b"))
    tallies = scene.store.state.tallies
    assert (tallies["duplicate"], tallies.get("differs", 0)) == (2, differs)
    assert scene.store.counters() == counters  # the first one counts


async def test_within_a_batch_too() -> None:
    scene = await begun(ScriptedLog({0: 3}))
    again = [polled_event(n, id="a", output_tokens=300 + n // 2) for n in range(3)]
    await scene.counts(*again)
    assert scene.store.state.tallies == {"duplicate": 2, "differs": 1}


async def test_a_worker_that_started_later_does_not_know() -> None:
    first = await begun(ScriptedLog({0: 1}))
    await first.counts(polled_event(0, id="a"))
    log = ScriptedLog({0: 2}, last_records={0: LastRecord(0, NOW_MS)})
    second = await begun(log, store=first.store, clock=first.clock)
    await second.counts(polled_event(1, id="a", output_tokens=1))
    assert second.store.state.tallies == {"duplicate": 1}


def test_the_memory_is_bounded_and_holds_the_last() -> None:
    counted = CountedNumbers(slots=64)
    assert sum(part.nbytes for part in (counted._digests, counted._sums)) == 64 * 12
    many = rows(*({"id": f"e{n}"} for n in range(1000)))
    counted.note(many)
    others = rows(*({"id": f"e{n}", "output_tokens": 1} for n in range(1000)))
    assert 0 < counted.differing(others, others.digests) <= 64
    assert counted.differing(many, many.digests) == 0
    assert counted.differing(others, np.array([], np.uint64)) == 0
