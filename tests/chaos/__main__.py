"""`python -m tests.chaos --seeds N [--seed K]`: seeds, miscounts, and the time to recover by fault.

`--seed K` alone repeats one seed: the same events and the same faults. When exactly each happens
depends on the machine. Exit code 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from tests.chaos.faults import KINDS
from tests.chaos.planted import PLANTED
from tests.chaos.seeds import Outcome, faults_of, run_seed

SAID_CHARS: Final = 200
"""Of what was wrong, at its beginning and at its end."""
PLANTED_SEEDS_MAX: Final = 3
"""What needs more to be found would be missed in the longer run."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--fault", action="append", choices=[*KINDS], help="these instead")
    parser.add_argument("--planted", action="store_true", help="plant bugs: each must be found")
    asked = parser.parse_args(arguments)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # that Kafka is away is the point
    if asked.planted:
        missed = [name for name in PLANTED if not found(name)]
        return 1 if missed else 0
    outcomes = []
    for seed in range(asked.seed, asked.seed + asked.seeds):
        outcome = asyncio.run(run_seed(seed, asked.fault or faults_of(seed)))
        outcomes.append(outcome)
        print(line_of(outcome), flush=True)
        if outcome.wrong:
            print(f"again: python -m tests.chaos --seed {seed}\n{outcome.wrong}", flush=True)
    print(table_of(outcomes))
    return 1 if any(outcome.wrong for outcome in outcomes) else 0


def found(name: str) -> bool:
    """Whether a seed was wrong; says which, and what was."""
    bug = PLANTED[name]
    for seed in range(PLANTED_SEEDS_MAX):
        outcome = asyncio.run(run_seed(seed, bug.faults, bug.plant))
        if outcome.wrong:
            said = outcome.wrong.partition("\n")[0]
            if len(said) > SAID_CHARS:
                said = f"{said[:SAID_CHARS]} ... {said[-SAID_CHARS:]}"
            print(f"{name}: found by seed {seed} in {outcome.took_s:.0f} s: {said}", flush=True)
            return True
    print(f"{name}: NOT FOUND by {PLANTED_SEEDS_MAX} seeds", flush=True)
    return False


def line_of(outcome: Outcome) -> str:
    return (
        f"seed {outcome.seed}: {'WRONG' if outcome.wrong else 'exact'}, {outcome.events} events"
        f" ({outcome.over_http} over HTTP), {outcome.duplicates} duplicates,"
        f" {outcome.letters} dead letters, {outcome.answers} answers checked,"
        f" {outcome.took_s:.0f} s ({', '.join((*outcome.faults, outcome.ending))})"
    )


def table_of(outcomes: Sequence[Outcome]) -> str:
    """By kind: how often, median and longest, and how often beyond the goal."""
    by_kind: defaultdict[str, list[float]] = defaultdict(list)
    for outcome in outcomes:
        for name, took_s in outcome.recovered_s:
            by_kind[name].append(took_s)
    wrong = sum(1 for outcome in outcomes if outcome.wrong)
    events = sum(outcome.events for outcome in outcomes)
    lines = [
        f"{len(outcomes)} seeds, {wrong} of them wrong, {events} events",
        f"{'fault':28}{'times':>6}{'median s':>10}{'most s':>8}{'goal s':>8}{'missed':>8}",
    ]
    for name in KINDS:
        if found := by_kind[name]:
            goal_s = KINDS[name].goal_s
            missed = sum(1 for one in found if one > goal_s)
            lines.append(
                f"{name:28}{len(found):6}{statistics.median(found):10.1f}{max(found):8.1f}"
                f"{goal_s:8.1f}{missed:8}"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
