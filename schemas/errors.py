"""The one hierarchy of errors, named for what happened in the caller's world.

OdometerError
|- InvalidEvent          a record that cannot be counted: goes to the dead letters with its reason
|- InvalidConfig         a setting that cannot work: the process does not start
|- OtherGeneration       the counters that answer were made under another configuration
|- RebuildRefused        a rebuild that cannot be right, or is under way already
|- StoreError            Redis
|  |- StoreUnavailable   no answer: whether the request was carried out is unknown
|  |- StoreFull          at `maxmemory`: nothing was written
|  '- StoreCorrupt       something under our keys is not ours, or not whole
'- LogError              Kafka
   |- LogUnavailable     no answer in time
   '- ConsumerBroken     the consumer will not recover by itself: build a new one
"""

from __future__ import annotations

from enum import StrEnum


class OdometerError(Exception):
    """Everything that this project raises."""


class Reason(StrEnum):
    """Why a record is a dead letter. The word is the counter's name, so it never changes."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"
    INVALID_FIELD = "invalid_field"
    UNSUPPORTED_CLOUDEVENT = "unsupported_cloudevent"
    TOO_OLD = "too_old"
    TOO_FAR_AHEAD = "too_far_ahead"
    UNREADABLE = "unreadable"


class InvalidEvent(OdometerError):
    """A record that cannot be counted.

    Attributes:
        reason: the class of the problem, which is counted.
        field: the field it is about, or "" where it is the record as a whole.
        detail: one sentence: the problem of the value and the limit.
    """

    def __init__(self, reason: Reason, detail: str, field: str = "") -> None:
        super().__init__(f"{field}: {detail}" if field else detail)
        self.reason = reason
        self.field = field
        self.detail = detail


class InvalidConfig(OdometerError):
    """A setting that cannot work."""


class OtherGeneration(OdometerError):
    """The counters that answer were made under another layout, limits or views than ours.

    Attributes:
        was_ours: whether they were ours before: a rebuild has replaced them since.
    """

    def __init__(self, detail: str, *, was_ours: bool = False) -> None:
        super().__init__(detail)
        self.was_ours = was_ours


class RebuildRefused(OdometerError):
    """A rebuild that cannot be right, or is under way already. Nothing was changed."""


class StoreError(OdometerError):
    """Redis."""


class StoreUnavailable(StoreError):
    """No answer came: whether the request was carried out is unknown."""


class StoreFull(StoreError):
    """Redis is at its `maxmemory` and refused the request whole."""


class StoreCorrupt(StoreError):
    """What stands under our keys is not ours, or not whole."""


class LogError(OdometerError):
    """Kafka."""


class LogUnavailable(LogError):
    """No answer came in time."""


class ConsumerBroken(LogError):
    """The consumer raised what it never recovers from: a new one must be built."""
