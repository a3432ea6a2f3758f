"""LiveKit's running totals become differences, and what its metrics have told counts once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streams.meter import Meter
from streams.meter.running_totals import RunningTotals
from tests.streams.meter.receiver import receiver_of

RECORDED = Path(__file__).parent / "recorded" / "livekit_session.json"
"""Two turns of a real session: each reports its metrics and then the total."""
SESSION: list[dict[str, Any]] = json.loads(RECORDED.read_text())["events"]
KEPT = ("provider", "model", "input_tokens", "cache_read_tokens", "output_tokens")


def counted(*given: tuple[dict[str, Any], Mapping[str, str]]) -> list[dict[str, Any]]:
    """The events of these objects, with only those fields that say what was used."""
    with receiver_of([]) as receiver, Meter(receiver.url, source="app") as meter:
        for answer, context in given:
            meter.record_from(answer, **context)
        assert meter.flush(30)
        assert meter.counts.refused == 0
    events = [event for body in receiver.bodies for event in body]
    return [{name: one[name] for name in KEPT if name in one} for one in events]


TURN = {"provider": "openai", "model": "gpt-4o", "input_tokens": 900, "cache_read_tokens": 512,
        "output_tokens": 60}  # fmt: skip


def test_totals_alone_count_each_turn_once() -> None:
    totals = [one for one in SESSION if one["type"] == "session_usage_updated"]
    assert counted(*((one, {}) for one in totals)) == [TURN, TURN]
    assert counted(*((one, {}) for one in [totals[0], *totals, totals[1]])) == [TURN, TURN]


def test_metrics_and_totals_of_one_session_count_once() -> None:
    assert counted(*((one, {}) for one in SESSION)) == [TURN, TURN]


def test_a_total_counts_what_came_before_the_first_metrics() -> None:
    """The app began to listen after the first turn."""
    late = SESSION[2:]
    assert counted(*((one, {}) for one in late)) == [TURN, TURN]


def test_sessions_are_told_apart_by_what_the_app_says_of_them() -> None:
    first, second = (one for one in SESSION if one["type"] == "session_usage_updated")
    mixed = [(first, "a"), (first, "b"), (second, "b"), (second, "a")]
    assert counted(*((one, {"call_id": call}) for one, call in mixed)) == [TURN] * 4


def test_a_total_that_falls_is_another_session() -> None:
    first, second = (one for one in SESSION if one["type"] == "session_usage_updated")
    assert counted((second, {}), (first, {}), (second, {})) == [
        {**TURN, "input_tokens": 1800, "cache_read_tokens": 1024, "output_tokens": 120},
        TURN,
        TURN,
    ]


def speech(kind: str, **given: Any) -> dict[str, Any]:
    used = {"type": f"{kind}_usage", "provider": "Cartesia", "model": "sonic-3", **given}
    return {"type": "session_usage_updated", "usage": {"model_usage": [used]}}


def test_speech_and_realtime_keep_their_own_measures() -> None:
    said = speech("tts", characters_count=87, audio_duration=4.25)
    heard = speech("stt", audio_duration=5.0, input_tokens=48, input_audio_tokens=40)
    spoke = speech("llm", input_tokens=200, input_audio_tokens=120, input_text_tokens=80,
                   input_cached_tokens=64, input_cached_audio_tokens=24, output_tokens=100,
                   output_audio_tokens=70, output_text_tokens=30)  # fmt: skip
    with receiver_of([]) as receiver, Meter(receiver.url, source="app") as meter:
        for total in (said, heard, spoke, speech("eot", total_requests=4)):
            meter.record_from(total)
        assert meter.flush(30)
        (skipped,) = meter.skipped
    assert skipped == "eot_usage of a session counts no tokens and no seconds"
    tts, stt, realtime = (event for body in receiver.bodies for event in body)
    assert (tts["kind"], tts["tts_characters"], tts["tts_audio_ms"]) == ("tts", 87, 4250)
    assert (stt["kind"], stt["stt_audio_ms"], stt["input_audio_tokens"]) == ("stt", 5000, 40)
    assert (realtime["operation"], realtime["input_audio_tokens"]) == ("realtime", 120)
    assert (realtime["cache_read_audio_tokens"], realtime["output_audio_tokens"]) == (24, 70)


@given(st.lists(st.tuples(st.integers(0, 500), st.booleans()), min_size=1, max_size=20))
def test_the_differences_sum_to_the_total(turns: list[tuple[int, bool]]) -> None:
    """Whichever turns had told their own metrics."""
    totals, total, made = RunningTotals(), 0, 0
    for tokens, told in turns:
        total += tokens
        if told:
            made += tokens
            metrics = {"type": "llm_metrics", "prompt_tokens": tokens,
                       "metadata": {"model_provider": "Cartesia", "model_name": "sonic-3"}}  # fmt: skip
            totals.see("s", {"type": "metrics_collected", "metrics": metrics})
        found, _ = totals.differences("s", speech("llm", input_tokens=total))
        made += sum(one["prompt_tokens"] for one in found)
        assert made == total


def test_numbers_that_no_session_can_have_used_cost_nothing() -> None:
    wrong = (Decimal("1e999999"), -5, True, "7", None, Decimal("NaN"))
    totals = RunningTotals()
    for value in wrong:
        found, skipped = totals.differences("s", speech("llm", input_tokens=value))
        assert (found, len(skipped)) == ([], 1)
