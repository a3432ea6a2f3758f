"""A worker commits no digest under another secret than that of the generation."""

from __future__ import annotations

from schemas.event.identity import SECRET_BYTES, CallKey, call_key, event_digests, new_secret
from schemas.event.kinds import DEFAULT_TENANT
from schemas.store.layout import NO_POSITION
from tests.simulation.state import Bugs
from tests.simulation.store import FakeStore, no_turn
from tests.streams.worker.scripted import Scene, ScriptedLog, polled_event

OTHER = new_secret(bytes(range(50, 50 + SECRET_BYTES)))


def emptied_and_opened_again(scene: Scene) -> None:
    """By another worker, so at the same positions under another secret."""
    scene.store.state.secret = OTHER
    assert scene.meta.partitions[0].position == NO_POSITION


def ids_in(scene: Scene) -> set[int]:
    return {digest for ids in scene.store.state.ids.values() for digest in ids}


def calls_in(scene: Scene) -> set[CallKey]:
    return {call for calls in scene.store.state.calls.values() for call in calls}


async def test_a_batch_under_an_earlier_secret_is_folded_again_under_the_present_one() -> None:
    scene = Scene(ScriptedLog({0: 1}))
    await scene.turns()
    emptied_and_opened_again(scene)
    record = polled_event(0, call_id="c-1")
    await scene.counts(record)
    assert scene.meta.partitions[0].position == NO_POSITION
    assert not ids_in(scene)
    assert not calls_in(scene)
    await scene.turns()  # takes its partition over again
    await scene.counts(record)
    assert scene.meta.partitions[0].position == 1
    digests = event_digests(OTHER, [DEFAULT_TENANT], ["gateway"], ["evt-0"]).tolist()
    assert ids_in(scene) == {*digests}
    assert calls_in(scene) == {call_key(OTHER, DEFAULT_TENANT, "c-1")}


async def test_without_the_check_the_batch_would_be_stored_under_digests_that_nobody_finds() -> (
    None
):
    store = FakeStore(no_turn, Bugs(any_secret=True))
    scene = Scene(ScriptedLog({0: 1}), store=store)
    await scene.turns()
    emptied_and_opened_again(scene)
    await scene.counts(polled_event(0))
    digests = event_digests(OTHER, [DEFAULT_TENANT], ["gateway"], ["evt-0"]).tolist()
    assert ids_in(scene)
    assert not ids_in(scene) & {*digests}


async def test_a_generation_without_a_secret_is_not_counted_on_and_says_so() -> None:
    scene = Scene(ScriptedLog({0: 1}))
    await scene.turns()
    scene.store.state.secret = None
    turns = iter((False, False, False, True))
    scene.log.assignment += 1
    await scene.worker.run(lambda: next(turns))
    assert "no secret" in scene.worker.health.store_away
    assert scene.meta.commits == 0
