"""LiteLLM's callback and LiveKit's session, on what their real libraries reported.

The scripts in `make/` made the recordings; the one for LiteLLM ran this very callback on LiteLLM's base.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from streams.meter import InvalidConfig, LiteLLMCallback, Meter
from streams.meter.litellm_callback import _with_base
from tests.streams.meter.receiver import Receiver, receiver_of

RECORDED = Path(__file__).parent / "recorded"
PAYLOADS: list[dict[str, Any]] = json.loads((RECORDED / "litellm_callbacks.json").read_text())[
    "payloads"
]
SESSION: list[dict[str, Any]] = json.loads((RECORDED / "livekit_session.json").read_text())[
    "events"
]


def recorded(receiver: Receiver, meter: Meter) -> list[dict[str, Any]]:
    assert meter.flush(30)
    assert meter.counts[1:] == (0, 0, 0)
    return [event for body in receiver.bodies for event in body]


class CustomLogger:
    """In the place of LiteLLM's, which is too large to install for this."""


@pytest.fixture
def litellm(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("litellm.integrations.custom_logger")
    module.CustomLogger = CustomLogger  # type: ignore[attr-defined]
    for name in ("litellm", "litellm.integrations"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("streams.meter.litellm_callback._with_base", _with_base.__wrapped__)


@pytest.mark.usefixtures("litellm")
def test_each_call_of_litellm_is_recorded_once_though_it_fires_twice() -> None:
    with receiver_of([]) as receiver, Meter(receiver.url, source="app", linger_s=1) as meter:
        callback = LiteLLMCallback(meter, service="chat")
        assert isinstance(callback, CustomLogger)
        assert isinstance(callback, LiteLLMCallback)
        for payload in PAYLOADS:
            given: dict[str, Any] = {"response_obj": None, "start_time": None, "end_time": None}
            said = {"standard_logging_object": {**payload, "response": "a text of the app"}}
            if payload["status"] == "failure":
                callback.log_failure_event(said, None, None, None)
                asyncio.run(callback.async_log_failure_event(kwargs=said, **given))
            else:
                callback.log_success_event(said, None, None, None)
                asyncio.run(callback.async_log_success_event(kwargs=said, **given))
        events = recorded(receiver, meter)
    assert "a text of the app" not in str(receiver.bodies)
    assert [one.get("input_tokens") for one in events] == [10, 12, 10, None]
    assert [one["provider"] for one in events] == ["openai"] * 4
    assert events[0]["cost_usd"] == "0.00022500000000000002"
    assert [one.get("error") for one in events] == [None, None, None, "InternalServerError"]
    assert {one["service"] for one in events} == {"chat"}


@pytest.mark.usefixtures("litellm")
def test_a_callback_without_a_payload_never_raises(caplog: pytest.LogCaptureFixture) -> None:
    with receiver_of([]) as receiver, Meter(receiver.url, source="app") as meter:
        LiteLLMCallback(meter).log_success_event({}, None, None, None)
        assert meter.flush(30)
        assert meter.counts.refused == 1
    assert "it is None" in caplog.text


def test_without_litellm_the_class_can_be_imported_and_names_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "litellm.integrations.custom_logger", None)
    monkeypatch.setitem(sys.modules, "litellm", None)
    monkeypatch.setattr("streams.meter.litellm_callback._with_base", _with_base.__wrapped__)
    with (
        Meter("http://127.0.0.1:9", source="app") as meter,
        pytest.raises(InvalidConfig, match="pip install litellm"),
    ):
        LiteLLMCallback(meter)


class EventEmitter:
    """As LiveKit's: callbacks by the name of their event."""

    def __init__(self) -> None:
        self.listeners: dict[str, list[Callable[..., None]]] = defaultdict(list)

    def on(self, event: str, callback: Callable[..., None]) -> None:
        self.listeners[event].append(callback)

    def emit(self, event: dict[str, Any]) -> None:
        for one in self.listeners[event["type"]]:
            one(event)


class AgentSession(EventEmitter):
    def on(self, event: str, callback: Callable[..., None]) -> None:
        assert event != "metrics_collected", "LiveKit logs that it is deprecated"
        super().on(event, callback)


def test_a_session_counts_each_turn_once_however_often_it_is_listened_to() -> None:
    with receiver_of([]) as receiver, Meter(receiver.url, source="app") as meter:
        session = AgentSession()
        assert meter.livekit(meter.livekit(session), call_id="c-1") is session
        for event in SESSION:
            session.emit(event)
        events = recorded(receiver, meter)
        (skipped,) = meter.skipped.items()
    assert [(one["input_tokens"], one["call_id"]) for one in events] == [(900, "c-1")] * 2
    assert all("latency_ms" in one for one in events)
    assert skipped == ("the total of a session has nothing that was not counted before", 2)


def test_sessions_without_a_name_are_told_apart() -> None:
    with receiver_of([]) as receiver, Meter(receiver.url, source="app") as meter:
        first, second = meter.livekit(AgentSession()), meter.livekit(AgentSession())
        totals = [one for one in SESSION if one["type"] == "session_usage_updated"]
        for session, total in ((first, 0), (second, 0), (first, 1), (second, 1)):
            session.emit(totals[total])
        events = recorded(receiver, meter)
    assert [one["input_tokens"] for one in events] == [900] * 4


def test_what_sends_no_events_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with receiver_of([]) as receiver, Meter(receiver.url, source="app") as meter:
        for _ in range(2):
            meter.livekit({})
    assert caplog.text.count("pass an AgentSession") == 1
