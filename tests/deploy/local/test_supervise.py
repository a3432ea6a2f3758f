"""Looking after what runs: what ended is named and started again, ever more slowly. No process."""

from dataclasses import dataclass, field
from itertools import pairwise

from deploy.errors import ServerFailed
from deploy.local import supervise
from deploy.local.supervise import Supervised


@dataclass
class Thing:
    """Something that runs or not, as the test says, and that counts its starts."""

    runs: bool = True
    starts_at_s: list[float] = field(default_factory=list)
    broken: bool = False
    now_s: float = 0.0

    def start(self) -> None:
        self.starts_at_s.append(self.now_s)
        if self.broken:
            raise ServerFailed("thing ended while it started: no reason.")
        self.runs = True


def keep(thing: Thing) -> Supervised:
    return Supervised("thing", lambda: thing.runs, lambda: "because", thing.start)


def look_until(supervised: Supervised, thing: Thing, until_s: float) -> list[str]:
    """Look every quarter of a second, as time passes; return what was said."""
    said: list[str | None] = []
    while thing.now_s < until_s:
        said.append(supervise.check(supervised, thing.now_s))
        thing.now_s += 0.25
    return [line for line in said if line is not None]


def test_what_runs_is_left_alone() -> None:
    thing = Thing()
    assert look_until(keep(thing), thing, 100) == []
    assert thing.starts_at_s == []


def test_what_ended_is_named_and_started_again() -> None:
    thing = Thing(runs=False)
    said = look_until(keep(thing), thing, 10)
    assert said == ["thing ended: because; it is started again in 0.5 s."]
    assert thing.starts_at_s == [0.5]
    assert thing.runs


def test_what_keeps_ending_is_started_ever_more_slowly_up_to_a_limit() -> None:
    thing = Thing(runs=False, broken=True)
    supervised = keep(thing)
    said = look_until(supervised, thing, 200)
    waits_s = [later - earlier for earlier, later in pairwise([0, *thing.starts_at_s])]
    assert waits_s[:7] == [0.5, 1, 2, 4, 8, 16, 30]
    assert set(waits_s[7:]) == {supervise.WAIT_S_MAX}
    assert said[1].startswith("thing ended while it started: no reason. Next: it is started again")


def test_what_ran_for_long_is_started_again_at_once() -> None:
    thing = Thing(runs=False, broken=True)
    supervised = keep(thing)
    look_until(supervised, thing, 20)
    thing.broken = False
    look_until(supervised, thing, 60)
    assert thing.runs
    look_until(supervised, thing, 60 + supervise.STEADY_S + supervise.WAIT_S_MAX)
    thing.runs = False
    assert look_until(supervised, thing, thing.now_s + 1)[0].endswith("started again in 0.5 s.")
