"""A meter, its receiver and a provider, for the real client libraries."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from streams.meter import Meter
from tests.streams.meter.clients.provider import SECRET, Provider, provider_of
from tests.streams.meter.receiver import Receiver, receiver_of


class Rig(NamedTuple):
    meter: Meter
    receiver: Receiver
    provider: Provider
    log: pytest.LogCaptureFixture

    def events(self) -> list[dict[str, Any]]:
        """What was recorded so far, without ids, sources and times; none of it is a text of the app."""
        assert self.meter.flush(30)
        assert self.meter.counts[1:] == (0, 0, 0)
        bodies = str(self.receiver.bodies)
        assert SECRET not in bodies
        assert "aGk=" not in bodies
        events = [event for body in self.receiver.bodies for event in body]
        assert len({one["id"] for one in events}) == len(events)
        return events

    def event(self) -> dict[str, Any]:
        (one,) = self.events()
        return one

    def warnings(self) -> list[str]:
        return [one.getMessage() for one in self.log.records if one.levelno >= logging.WARNING]


@pytest.fixture
def rig(caplog: pytest.LogCaptureFixture) -> Iterator[Rig]:
    caplog.set_level(logging.INFO, "odometer.meter")
    with (
        provider_of() as provider,
        receiver_of([]) as receiver,
        Meter(receiver.url, source="app", linger_s=0.01) as meter,
    ):
        yield Rig(meter, receiver, provider, caplog)
