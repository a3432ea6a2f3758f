"""The worker's promises that the simulation cannot see: freshness, refusals, the watchdog."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from schemas.errors import ConsumerBroken, OtherGeneration, StoreFull, StoreUnavailable
from schemas.store.generation import generation_digest
from schemas.store.layout import NO_POSITION, RETIRED
from streams.core.batch import DECODE_SLICE, Policy
from streams.core.decode import Unreadable
from streams.core.ports import Commit, LastRecord, Outcome, PartitionBatch, RefusalReason, Reply
from streams.core.tallies import NAME_CHARS_MAX
from streams.worker.process import FoldService, describe_health
from streams.worker.settings import WorkerSettings
from tests.oracles.event_logs import NOW_MS
from tests.oracles.price_list import OWN
from tests.simulation.store import FakeStore
from tests.streams.worker.scripted import TIMING, Scene, ScriptedLog, polled_event

SKEW_MS = TIMING.clock_skew_ms


async def begun(log: ScriptedLog, **changes: object) -> Scene:
    """A worker that has taken its partitions over."""
    scene = Scene(log, **changes)  # type: ignore[arg-type]
    await scene.turns()
    return scene


# -- complete_through ------------------------------------------------------------------------------


async def test_a_partition_that_reached_the_end_is_complete_through_the_start_of_the_look() -> None:
    scene = await begun(ScriptedLog({0: 1}))
    await scene.looks()
    scene.clock.now += 50
    await scene.counts(polled_event(0, NOW_MS - 9000))
    assert scene.meta.complete_through_ms == NOW_MS - SKEW_MS


async def test_one_that_is_behind_is_complete_through_the_append_of_its_last_counted_record() -> (
    None
):
    scene = await begun(ScriptedLog({0: 9}))
    await scene.looks()
    rotted = Unreadable(3, NOW_MS + 1, "rotted")
    await scene.counts(polled_event(0, NOW_MS - 9000), polled_event(1, NOW_MS - 7000), rotted)
    assert scene.meta.complete_through_ms == NOW_MS - 7000


async def test_no_partition_speaks_past_the_last_look_at_all_of_them() -> None:
    """One may have been added since, with records that are older than what is counted now."""
    scene = await begun(ScriptedLog({0: 0}))
    await scene.looks()
    scene.clock.now += 150
    scene.log.ends[1] = 1  # appended at NOW_MS + 10, and nobody has looked
    await scene.counts(polled_event(0, NOW_MS + 100))
    assert scene.meta.complete_through_ms == NOW_MS - SKEW_MS


async def test_without_any_look_nothing_is_said() -> None:
    scene = await begun(ScriptedLog({0: 1}))
    await scene.counts(polled_event(0, NOW_MS - 9000))
    assert scene.meta.complete_through_ms == 0


async def test_an_idle_system_is_told_to_be_fresh_pass_by_pass() -> None:
    scene = await begun(ScriptedLog({0: 1}))
    await scene.counts(polled_event(0, NOW_MS - 9000))
    for _ in range(3):
        started_ms = scene.clock.now
        await scene.looks()
        await scene.turns()
        assert scene.meta.complete_through_ms == started_ms - SKEW_MS
    commits = scene.meta.commits
    await scene.turns(5)  # nothing new was seen
    assert scene.meta.commits == commits


async def test_a_new_partition_is_complete_through_the_last_look_that_did_not_see_it() -> None:
    scene = await begun(ScriptedLog({0: 0}))
    await scene.looks()
    last_without_ms = scene.clock.now
    await scene.looks()
    scene.log.ends[1] = 5
    await scene.looks()
    await scene.turns()
    assert [p.complete_ms for p in scene.meta.partitions] == [
        last_without_ms + TIMING.poll_ends_ms - SKEW_MS,
        last_without_ms - SKEW_MS,
    ]


async def test_an_end_before_a_read_offset_makes_the_worker_check_all_positions() -> None:
    scene = await begun(ScriptedLog({0: 1}))
    await scene.counts(polled_event(0, NOW_MS - 9000), polled_event(7, NOW_MS - 9000))
    await scene.looks()
    await scene.turns()
    complete_ms = scene.meta.complete_through_ms
    scene.log.ends[0] = 3  # recreated, with three records that nobody has counted
    await scene.looks()
    await scene.turns(3)
    assert scene.meta.complete_through_ms == complete_ms
    assert scene.meta.partitions[0].refused == RefusalReason.POSITION_BEYOND_END


# -- refusals --------------------------------------------------------------------------------------


def starts_later(scene: Scene) -> None:
    scene.store.state.meta = None
    scene.log.starts[0] = 1


def expired(scene: Scene) -> None:
    scene.log.starts[0] = 2
    scene.log.ends[0] = 9


def beyond_end(scene: Scene) -> None:
    scene.log.ends[0] = 0


def other_log(scene: Scene) -> None:
    scene.log.last_records[0] = LastRecord(0, NOW_MS + 1)


def shifted_log(scene: Scene) -> None:
    scene.log.last_records[0] = LastRecord(1, NOW_MS)


@pytest.mark.parametrize(
    ("moves", "why"),
    [
        (starts_later, RefusalReason.LOG_STARTS_LATER),
        (expired, RefusalReason.POSITION_EXPIRED),
        (beyond_end, RefusalReason.POSITION_BEYOND_END),
        (other_log, RefusalReason.OTHER_LOG),
        (shifted_log, RefusalReason.OTHER_LOG),
    ],
)
async def test_a_log_that_is_not_what_was_counted_is_refused_until_told(
    moves: Callable[[Scene], None], why: RefusalReason
) -> None:
    log = ScriptedLog({0: 1, 1: 1}, partitions=frozenset({0, 1}))
    log.last_records = {0: LastRecord(0, NOW_MS)}
    scene = await begun(log)
    await scene.counts(polled_event(0))
    moves(scene)
    log.assignment, log.sought = 2, {}
    await scene.turns()
    assert 0 not in log.sought
    assert 1 in log.sought
    assert "odometer accept" in scene.worker.health.refused[0]
    assert describe_health(scene.worker, "")["state"] == "refused"
    stored = scene.meta.partitions[0]
    assert stored.refused == why
    before = scene.store.counters()
    log.waiting = [PartitionBatch(0, 9, [polled_event(8)])]  # fetched before the pause
    await scene.counts(polled_event(0, id="elsewhere"), partition=1)
    assert scene.meta.partitions[0].position == stored.position
    assert scene.meta.partitions[1].position == 1
    assert sum(v[0] for v in scene.store.counters().values()) > sum(v[0] for v in before.values())

    start = log.starts.get(0, 0)
    assert await scene.store.accept(0, stored.position, start, NOW_MS)
    scene.clock.now += TIMING.recheck_ms
    await scene.turns(2)
    assert log.sought[0] == start
    assert not scene.worker.health.refused
    assert describe_health(scene.worker, "")["ok"]


@pytest.mark.parametrize("what", ["digest", "retired"])
async def test_a_worker_of_another_generation_counts_nothing_and_says_so(what: str) -> None:
    first = await begun(ScriptedLog({0: 1}))
    if what == "retired":
        first.store.state.meta = replace(first.meta, state=RETIRED)
    digest = bytes(16) if what == "digest" else first.digest
    with pytest.raises(OtherGeneration) as told:
        await begun(ScriptedLog({0: 1}), store=first.store, digest=digest)
    assert not told.value.was_ours
    assert first.meta.refused == RefusalReason.OTHER_GENERATION
    assert first.meta.partitions[0].position == NO_POSITION
    assert describe_health(None, "", str(told.value))["state"] == "refused"
    if what == "retired":
        await first.counts(polled_event(0))
        with pytest.raises(OtherGeneration) as told:
            await first.turns()
        assert told.value.was_ours
        assert first.meta.partitions[0].position == NO_POSITION


async def test_a_position_that_another_worker_moves_meanwhile_is_not_beyond_the_end() -> None:
    """The ends are read after the positions: they are then not older."""

    class Moving(FakeStore):
        async def meta(self) -> object:  # type: ignore[override]
            meta = await super().meta()
            log.ends[0] = 5
            return meta

    log = ScriptedLog({0: 1}, last_records={0: LastRecord(4, NOW_MS)})
    scene = await begun(log)
    await scene.counts(polled_event(4))
    log.ends[0] = 1
    store = Moving()
    store.fake_redis.states[1] = scene.store.state
    other = await begun(log, store=store)
    assert not other.worker.health.refused


async def test_what_is_said_of_a_partition_that_left_is_forgotten() -> None:
    log = ScriptedLog({0: 1, 1: 1}, starts={0: 1}, partitions=frozenset({0, 1}))
    scene = await begun(log)
    assert set(scene.worker.health.refused) == {0}
    scene.worker.health.complete_ms = {0: NOW_MS - 60_000, 1: NOW_MS}
    log.assignment, log.partitions = 2, frozenset({1})
    await scene.turns()
    assert describe_health(scene.worker, "")["state"] == "counting"
    assert scene.worker.health.complete_ms == {1: NOW_MS}  # or its log would say: 60 s behind


# -- replies ---------------------------------------------------------------------------------------


@dataclass
class Replies(FakeStore):
    """Answers commits as told, then truly; "lost" is carried out, and its reply is lost."""

    script: list[Outcome | str] = field(default_factory=list)
    sent: list[Commit] = field(default_factory=list)
    refusal_lost: bool = False

    def __post_init__(self) -> None:
        super().__init__()

    async def commit(self, commit: Commit) -> Reply:
        self.sent.append(commit)
        told = self.script.pop(0) if self.script and len(commit.digests) else None
        if told == "full":
            raise StoreFull("Redis accepts no writes")
        if told == "away":
            raise StoreUnavailable("Redis does not answer")
        if told == "lost":
            await super().commit(commit)
            raise StoreUnavailable("Redis does not answer")
        if isinstance(told, Outcome):
            return Reply(told)
        return await super().commit(commit)

    async def refuse(self, partition: int, position: int, why: RefusalReason, detail: str) -> None:
        if self.refusal_lost:
            self.refusal_lost = False
            raise StoreUnavailable("Redis does not answer")
        await super().refuse(partition, position, why, detail)


async def test_a_lost_reply_is_asked_for_again_under_the_same_id() -> None:
    store = Replies(script=["away", "lost"])
    scene = await begun(ScriptedLog({0: 1}), store=store)
    await scene.counts(polled_event(0))
    assert [commit.id for commit in store.sent] == [store.sent[0].id] * 3
    assert scene.worker.health.events == 1
    assert scene.meta.commits == 1
    assert scene.worker.health.store_away == ""


async def test_a_batch_whose_calls_have_moved_is_folded_again_at_once() -> None:
    store = Replies(script=[Outcome.CALLS_CHANGED, Outcome.CALLS_CHANGED])
    scene = await begun(ScriptedLog({0: 1}), store=store)
    await scene.counts(polled_event(0, call_id="c"))
    assert scene.meta.partitions[0].position == 1
    assert len({commit.id for commit in store.sent}) == 3


async def test_a_full_store_is_waited_for_with_the_batch_in_hand() -> None:
    store = Replies(script=["full", "full"])
    scene = await begun(ScriptedLog({0: 1}), store=store)
    await scene.counts(polled_event(0))
    assert scene.worker.health.events == 1
    assert scene.clock.now > NOW_MS


async def test_a_worker_that_is_told_to_stop_does_not_wait_for_a_store_that_is_away() -> None:
    store = Replies(script=["away"] * 1000)
    scene = await begun(ScriptedLog({0: 1}), store=store)
    scene.log.waiting = [PartitionBatch(0, 1, [polled_event(0)])]
    await scene.worker.run(lambda: len(store.sent) > 3)
    assert len(store.sent) == 4


# -- tallies, heartbeats, watchdog -----------------------------------------------------------------


async def test_unknown_fields_are_tallied_by_name_once_an_event() -> None:
    scene = await begun(ScriptedLog({0: 3}))
    long = "x" * (NAME_CHARS_MAX + 1)
    await scene.counts(
        polled_event(0, inptu_tokens=1),
        polled_event(1, inptu_tokens=1, **{long: 2}),
        polled_event(2),
    )
    assert scene.store.state.tallies == {
        "unknown:inptu_tokens": 2,
        f"unknown:{'x' * NAME_CHARS_MAX}": 1,
    }


async def test_the_name_of_a_tally_belongs_to_the_tenant_that_uses_it() -> None:
    scene = await begun(ScriptedLog({0: 4}))
    unpriced: dict[str, Any] = {"model": "gpt-77", "cost_usd": None}
    await scene.counts(
        polled_event(0, tenant="acme", inptu_tokens=1),
        polled_event(1, tenant="beta", inptu_tokens=1, zz=1),
        polled_event(2, tenant="beta", **unpriced),
        polled_event(3, zzz=1),
    )
    tenants = scene.store.state.tally_tenants
    assert sorted(tenants["unknown"]) == ["acme", "beta", "default"]
    assert tenants["unpriced"] == ["beta"]


async def test_costs_are_tallied_once_an_event_and_models_without_a_price_by_name() -> None:
    scene = await begun(ScriptedLog({0: 5}))
    unknown: dict[str, Any] = {"model": "gpt-77", "cost_usd": None}
    await scene.counts(
        polled_event(0, **unknown),
        polled_event(1, cost_usd=None),
        polled_event(2, cost_usd=None, output_tokens=None),
        polled_event(3),
    )
    again = polled_event(0, **unknown)._replace(offset=4)
    await scene.counts(again)
    assert scene.store.state.tallies == {
        "unpriced:openai/gpt-77": 1,
        "cost:bundled_prices": 1,
        "incomplete:openai/gpt-4o: no output_tokens": 1,
        "duplicate": 1,
    }


async def test_a_worker_with_other_prices_counts_nothing_and_says_so() -> None:
    first = await begun(ScriptedLog({0: 1}))
    others = generation_digest("scripted", OWN.version)
    with pytest.raises(OtherGeneration, match="other prices than this worker's"):
        await begun(ScriptedLog({0: 1}), store=first.store, digest=others)


async def test_a_large_batch_lets_heartbeats_run_between_its_slices() -> None:
    scene = await begun(ScriptedLog({0: 1}))
    await scene.counts(*(polled_event(n) for n in range(2 * DECODE_SLICE + 1)))
    assert scene.clock.breaths == 3


async def test_a_consumer_that_hands_over_nothing_is_found_broken_and_its_life_ended() -> None:
    scene = await begun(ScriptedLog({0: 1}))
    await scene.looks()
    assert scene.worker.lag() == 1
    await scene.counts(polled_event(0))
    assert scene.worker.lag() == 0
    scene.clock.now += TIMING.stalled_ms + 1
    assert not scene.worker.is_stalled()  # there is nothing to read
    scene.log.ends[0] = 4
    await scene.looks()
    assert scene.worker.lag() == 3
    assert scene.worker.is_stalled()
    assert not describe_health(scene.worker, "")["ok"]
    guard = FoldService(WorkerSettings(kafka="", redis=""))._guard(scene.worker)
    with pytest.raises(ConsumerBroken, match="3 records wait"):
        await guard


async def test_a_server_that_is_away_is_not_taken_for_a_broken_consumer() -> None:
    scene = await begun(ScriptedLog({0: 1}))
    await scene.looks()
    scene.clock.now += TIMING.stalled_ms + 1
    scene.worker.health.store_away = "Redis does not answer"
    assert not scene.worker.is_stalled()
    scene.worker.health.store_away = ""
    assert scene.worker.is_stalled()


async def test_a_poll_asks_for_no_more_than_the_batch_has_room_for() -> None:
    policy = Policy(records_max=3, age_ms_min=1000)
    scene = await begun(ScriptedLog({0: 3}), policy=policy)
    await scene.counts(polled_event(0), polled_event(1))
    await scene.counts(polled_event(2))
    await scene.turns()
    assert scene.log.asked[-3:] == [3, 1, 3]
    assert scene.meta.commits == 1
