"""Listens to a session of LiveKit Agents, for `Meter.livekit`. LiveKit is the app's; it is not imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

EVENTS: Final = ("metrics_collected", "session_usage_updated")
"""The metrics of each request, with its latency, and the totals of the session, which count what no metrics
told. Versions of LiveKit Agents before the totals send the first alone."""
LISTENED: Final = "_odometer"
"""The attribute of a session that a meter listens to."""


class Listened:
    """What the events of one session are recorded with. It also names the session."""

    def __init__(self, record: Callable[[object, Listened], None]) -> None:
        self.record = record
        self.context: Mapping[str, str | int] = {}

    def __call__(self, event: object, *_: object) -> None:
        self.record(event, self)


def listen(
    session: Any,  # noqa: ANN401  the session is the app's
    record: Callable[[object, Listened], None],
    context: Mapping[str, str | int],
) -> bool:
    """False for an object that sends no events. A session is listened to once; the last context counts."""
    listened = getattr(session, LISTENED, None)
    if isinstance(listened, Listened):
        listened.record, listened.context = record, context
        return True
    if not callable(getattr(session, "on", None)):
        return False
    listened = Listened(record)
    listened.context = context
    for name in EVENTS:
        _on(session)(name, listened)
    setattr(session, LISTENED, listened)
    return True


def _on(session: Any) -> Callable[[str, Callable[..., None]], object]:  # noqa: ANN401
    """The `on` of LiveKit's event emitter: that of the session logs a warning about the older event,
    which is the app's own choice and not the meter's."""
    for kind in type(session).__mro__:
        if kind.__name__ == "EventEmitter" and "on" in vars(kind):
            plain: Any = kind
            return lambda name, listened: plain.on(session, name, listened)
    on: Callable[[str, Callable[..., None]], object] = session.on
    return on
