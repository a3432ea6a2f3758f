"""The one hierarchy of errors, named for what happened in the caller's world.

OdometerError
|- InvalidEvent          a record cannot be counted: it becomes a dead letter with its reason
|- InvalidConfig         a setting is wrong: the process does not start
|- OtherGeneration       the counters in Redis were made under another configuration
|- RebuildRefused        a rebuild would be wrong, or another one is running
|- StoreError            Redis
|  |- StoreUnavailable   no answer: whether Redis carried out the request is unknown
|  |- StoreFull          Redis is at `maxmemory`: it wrote nothing
|  '- StoreCorrupt       the data under our keys is damaged, or not ours
'- LogError              Kafka
   |- LogUnavailable     no answer in time
   '- ConsumerBroken     the consumer cannot recover: create a new one
"""

from __future__ import annotations

from enum import StrEnum


class OdometerError(Exception):
    """Everything that this project raises."""


class Reason(StrEnum):
    """Why a record is a dead letter. Each word is also the name of a counter, so it never changes."""

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
        field: the field that is wrong, or "" where the record as a whole is.
        detail: one sentence with the problem of the value and the limit.
    """

    def __init__(self, reason: Reason, detail: str, field: str = "") -> None:
        super().__init__(f"{field}: {detail}" if field else detail)
        self.reason = reason
        self.field = field
        self.detail = detail


class InvalidConfig(OdometerError):
    """A setting is wrong. The process does not start."""


class OtherGeneration(OdometerError):
    """The counters in Redis were made under another layout, limits or views than ours.

    Attributes:
        was_ours: whether they matched ours before, and a rebuild has replaced them since.
    """

    def __init__(self, detail: str, *, was_ours: bool = False) -> None:
        super().__init__(detail)
        self.was_ours = was_ours


class RebuildRefused(OdometerError):
    """A rebuild would be wrong, or another one is running. Nothing was changed."""


class StoreError(OdometerError):
    """Redis."""


class StoreUnavailable(StoreError):
    """No answer came. Whether Redis carried out the request is unknown."""


class StoreFull(StoreError):
    """Redis is at its `maxmemory` and rejected the whole request."""


class StoreCorrupt(StoreError):
    """The data under our keys is damaged, or was not written by us."""


class LogError(OdometerError):
    """Kafka."""


class LogUnavailable(LogError):
    """No answer came in time."""


class ConsumerBroken(LogError):
    """The consumer raised an error that it never recovers from. Create a new one."""
