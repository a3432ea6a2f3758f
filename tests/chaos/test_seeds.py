"""The short form of the chaos: after each seed the counters must be those of the oracle."""

from __future__ import annotations

import pytest

from tests.chaos.faults import KINDS
from tests.chaos.seeds import FAULTS, faults_of, run_seed

pytestmark = pytest.mark.servers


@pytest.mark.parametrize(
    ("seed", "faults"),
    [
        (101, ("worker killed", "worker-kafka cut", "API killed")),
        (102, ("Valkey's file cut", "worker-valkey half-open", "Kafka killed")),
    ],
)
async def test_what_happens_to_the_processes_changes_no_counter(
    seed: int, faults: tuple[str, ...]
) -> None:
    outcome = await run_seed(seed, faults)
    assert not outcome.wrong, outcome.wrong
    assert outcome.duplicates
    assert outcome.letters
    assert [name for name, _ in outcome.recovered_s] == [*faults]


def test_seeds_in_a_row_have_every_fault() -> None:
    in_a_row = len(KINDS) // FAULTS
    assert in_a_row * FAULTS == len(KINDS)
    for first in (0, in_a_row):
        faults = [name for n in range(in_a_row) for name in faults_of(first + n)]
        assert sorted(faults) == sorted(KINDS)
    assert faults_of(3) == faults_of(3)
