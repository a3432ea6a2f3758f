"""What an answer can fail on, besides the store itself (`schemas.errors.StoreError`). Pure.

OdometerError
|- Unauthenticated        who asks is not known
|  |- NoCredentials       no key was sent
|  |- UnknownKey          the key was never made, or is revoked
|  '- ExpiredKey          the key's time is over
|- RoleTooLow             the key is known and may not do this
|- TenantNotNamed         the key has several tenants and the request names none
|- NoSuchTenant           the key has no tenant of that name, whether there is one or not
|- RateLimited            the key asks more often than it may
|- InvalidKey             a key that is to be made, imported or changed cannot be so
|- NoSuchKey              nobody's key, or none that the one who asks manages
|- TooManyKeys            no more keys are kept
|- BadParameter           a parameter of the request is unknown, or its value is not allowed
|- InvalidBody            what was sent is not what the path takes
|- RefusedEvents          what was sent was read, and no event of it is taken
|- TooBusy                this process holds as many bodies as it may
|- CountingBehind         history is not taken until the workers have counted more
|- NotAcceptable          the answer has none of the forms that are accepted
|- UnanswerableQuestion   no counters are kept for this, or they would be too many to read at once
'- StoreUnavailable
   '- CountersMissing     Redis answers, but what it holds is not the counters of this log
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.errors import OdometerError, StoreUnavailable


class Unauthenticated(OdometerError):
    """Who asks is not known."""


class NoCredentials(Unauthenticated):
    """No key was sent."""


class UnknownKey(Unauthenticated):
    """The key was never made, or is revoked."""


class ExpiredKey(Unauthenticated):
    """The key's time is over."""


class RoleTooLow(OdometerError):
    """The key is known, and its role may not do this."""

    def __init__(self, required: str, current: str) -> None:
        super().__init__(f"needs the role {required}, the key has {current}")
        self.required = required
        self.current = current


class TenantNotNamed(OdometerError):
    """The key has several tenants, and the request does not say which of them is meant."""


class NoSuchTenant(OdometerError):
    """The key has no tenant of that name; whether anybody has one is not said."""


class RateLimited(OdometerError):
    """The key asks more often than it may; `retry_after_s` is when it may again."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many requests with this key: try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class InvalidKey(OdometerError):
    """A key that is to be made, imported or changed cannot be so; `field` says what of it."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field} of a key: {detail}")
        self.field = field


class NoSuchKey(OdometerError):
    """Nobody's key, or none that the one who asks manages."""


class TooManyKeys(OdometerError):
    """No more keys are kept."""


class BadParameter(OdometerError):
    """A parameter of the request is unknown, or its value is not allowed.

    `allowed` lists what may be sent instead, `nearest` is the one that was probably meant.
    """

    def __init__(
        self, parameter: str, detail: str, allowed: Sequence[str] = (), nearest: str = ""
    ) -> None:
        super().__init__(detail)
        self.parameter = parameter
        self.allowed = tuple(allowed)
        self.nearest = nearest


class InvalidBody(OdometerError):
    """What was sent is not what the path takes; `status` and `kind` of the problem."""

    def __init__(self, status: int, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind


class RefusedEvents(OdometerError):
    """What was sent was read, and no event of it is taken; each refusal in the dialect's words."""

    def __init__(self, refusals: Sequence[Mapping[str, Any]], *, is_atomic: bool) -> None:
        super().__init__(f"{len(refusals)} events are refused")
        self.refusals = refusals
        self.is_atomic = is_atomic


class TooBusy(OdometerError):
    """The process holds as many bodies as it may: the next moment it will not."""


class CountingBehind(OdometerError):
    """History is not taken until more of what was sent is counted; nothing of it was sent."""

    def __init__(self, why: str) -> None:
        super().__init__(
            "none of these is taken yet, as live events would wait behind them (they are more than an"
            f" hour old, or said to be history), and {why}: send them again"
        )


class NotAcceptable(OdometerError):
    """The Accept header takes none of the `allowed` media types."""

    def __init__(self, detail: str, allowed: Sequence[str]) -> None:
        super().__init__(detail)
        self.allowed = tuple(allowed)


class UnanswerableQuestion(OdometerError):
    """No view holds what is asked for, or the answer would take too many pages."""


class CountersMissing(StoreUnavailable):
    """Redis answers, but the counters of this log are not (yet, or not any more) in it."""
