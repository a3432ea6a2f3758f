"""Why an answer can fail, besides errors of the store (`schemas.errors.StoreError`).

OdometerError
|- Unauthenticated        the request has no valid API key
|  |- NoCredentials       the request has no key
|  |- UnknownKey          there is no such key, or it is revoked
|  '- ExpiredKey          the key has expired
|- RoleTooLow             the role of the key does not allow this
|- RepeatedHeader         a header that has the key or the tenant is there with two values
|  '- DifferentKeys       several headers have a key, and not the same one
|- ForgedRequest          a request of a session has no CSRF token
|- TenantNotNamed         the key has several tenants and the request names none
|- NotPermitted             the key does not allow this
|  |- NoSuchTenant        it has no access to a tenant of that name
|  '- FilterNotApplied    it is bound to filters, and the answer would not be
|- RateLimited            the rate limit of the key is exceeded
|  |- TooManyConnections  the tenant has its share of the connections
|  |- TooManyStreams      the key, the tenant or the process has its share of streams
|  |- QuotaUsedUp         the tenant has used up its quota of event ids
|  |- TooManyQuestions    the tenant has many questions under way
|  |  '- TooManyLargeQuestions  or several large ones
|  '- TooManyUnreadAnswers   clients of the tenant do not read their answers
|- InvalidKey             a field of a key to create, import or change is invalid
|  '- KeyExists           a key of an import exists already
|- NoSuchKey              no key with this id among those that the caller manages
|- TooManyKeys            the limit of stored keys is reached
|- NoSuchDeadLetter       no dead letter of this origin among those that the caller may see
|- DeadLettersUnavailable Kafka does not return the dead letters, or takes none again
|- BadParameter           a parameter of the request is unknown, or its value is not allowed
|- InvalidBody            the request body cannot be read
|- RefusedEvents          the body was read, but no event of it is accepted
|- TooBusy                the process holds too many bytes of request bodies
|- CountingBehind         history is not accepted until the workers have caught up
|- NotAcceptable          the client accepts none of the formats of the answer
|- UnanswerableQuestion   no view has these dimensions and measures, or too many pages
'- StoreUnavailable
   |- LargeAnswersBusy    a question did not get its turn, or its counters changed too often
   '- CountersMissing     Redis answers, but it holds no counters of this topic
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.errors import OdometerError, StoreUnavailable


class Unauthenticated(OdometerError):
    """The request has no valid API key."""


class NoCredentials(Unauthenticated):
    """The request has no key."""


class UnknownKey(Unauthenticated):
    """There is no such key, or it is revoked."""


class ExpiredKey(Unauthenticated):
    """The key has expired."""


class RoleTooLow(OdometerError):
    """The role of the key does not allow this."""

    def __init__(self, required: str, current: str) -> None:
        super().__init__(f"this needs the role {required}, but the key has the role {current}")
        self.required = required
        self.current = current


class RepeatedHeader(OdometerError):
    """A header that has the key or names the tenant is in the request with different values."""

    def __init__(self, header: str) -> None:
        super().__init__(f"the header {header} is in the request with different values: send one")
        self.header = header


class DifferentKeys(RepeatedHeader):
    """These headers of the request have different keys. Which of them are valid is not said."""

    def __init__(self, headers: Sequence[str]) -> None:
        OdometerError.__init__(
            self, f"the headers {' and '.join(headers)} have different keys: send one key"
        )
        self.header = headers[-1]


class ForgedRequest(OdometerError):
    """A request of a browser's session has no CSRF token: another page may have sent it."""


class TenantNotNamed(OdometerError):
    """The key has several tenants, and the request names none."""


class NotPermitted(OdometerError):
    """The key does not allow this."""


class FilterNotApplied(NotPermitted):
    """The key or token is bound to filters that this path, or this question, cannot apply."""


class NoSuchTenant(NotPermitted):
    """The key has no access to a tenant of that name. Whether it exists is not said."""


class RateLimited(OdometerError):
    """The rate limit of the key is exceeded; `retry_after_s`: how long to wait."""

    def __init__(self, retry_after_s: int, detail: str = "") -> None:
        super().__init__(
            detail or f"too many requests with this key: try again in {retry_after_s} s"
        )
        self.retry_after_s = retry_after_s


class TooManyConnections(RateLimited):
    """The tenant of the key has its share of this process's connections. This one is closed."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(
            retry_after_s,
            "too many connections with keys of this tenant: close some, or reuse them, and try again"
            f" in {retry_after_s} s",
        )


class TooManyStreams(RateLimited):
    """The key, the tenant or the process has as many streams, or rows in them, as it may."""

    def __init__(self, detail: str, retry_after_s: int) -> None:
        super().__init__(retry_after_s, detail)


class QuotaUsedUp(RateLimited):
    """The tenant has as many event ids in Redis as it may; no event of the request was sent."""

    def __init__(self, tenant: str, ids_max: int, retry_after_s: int) -> None:
        super().__init__(
            retry_after_s,
            f"{quota_detail(tenant, ids_max)}, so no event of the request was accepted",
        )
        self.tenant = tenant


def quota_detail(tenant: str, ids_max: int) -> str:
    return f"tenant {tenant} has used up its quota of {ids_max} event ids, which are stored for 24 to 36 hours"


class TooManyQuestions(RateLimited):
    """The tenant has many questions under way; `own`: how many. Those in the caches do not count."""

    def __init__(self, own: int, retry_after_s: int, detail: str = "") -> None:
        super().__init__(
            retry_after_s,
            detail
            or f"the tenant has {own} other questions under way, which are answered a few at a time: try"
            f" again in {retry_after_s} s, or ask fewer at the same time",
        )


class TooManyLargeQuestions(TooManyQuestions):
    """The tenant has several large questions under way."""

    def __init__(self, own: int, retry_after_s: int) -> None:
        super().__init__(
            own,
            retry_after_s,
            f"the tenant has {own} other questions under way that read many counters: try again in"
            f" {retry_after_s} s, or use a shorter range, longer buckets or more filters",
        )


class TooManyUnreadAnswers(RateLimited):
    """Clients of the tenant have not read answers of so many bytes."""

    def __init__(self, unread_bytes: int, retry_after_s: int) -> None:
        super().__init__(
            retry_after_s,
            f"clients with keys of this tenant have {unread_bytes / 2**20:.1f} MiB of answers that they"
            f" have not read: read them or close these connections, and try again in {retry_after_s} s",
        )


class InvalidKey(OdometerError):
    """A key to create, import or change is invalid; `field` names what is wrong."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"Field `{field}`: {detail}")
        self.field = field


class KeyExists(InvalidKey):
    """A key of an import exists already. Whose it is, is not said."""


class NoSuchKey(OdometerError):
    """No key with this id among those that the caller manages."""


class TooManyKeys(OdometerError):
    """The limit of stored keys is reached."""


class NoSuchDeadLetter(OdometerError):
    """No dead letter of this origin among those that the caller may see."""


class DeadLettersUnavailable(OdometerError):
    """Kafka does not return the dead letters, or takes none again, or others are reading them."""


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
    """The request body cannot be read; `status` and `kind` of the problem."""

    def __init__(self, status: int, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind


class RefusedEvents(OdometerError):
    """The body was read, but no event is accepted. Each refusal has the dialect's form; `more` counts
    those that are not listed."""

    def __init__(
        self, refusals: Sequence[Mapping[str, Any]], *, is_atomic: bool, more: int = 0
    ) -> None:
        super().__init__(f"{len(refusals) + more} events are refused")
        self.refusals = refusals
        self.is_atomic = is_atomic
        self.more = more


class TooBusy(OdometerError):
    """The process holds too many bytes of request bodies. A retry can succeed at once."""


class CountingBehind(OdometerError):
    """History is not accepted until the workers have caught up; no event was sent to Kafka."""

    def __init__(self, why: str) -> None:
        self.why = why
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
    """No view has these dimensions and measures, or the answer would read too many pages."""


class CountersMissing(StoreUnavailable):
    """Redis answers, but it holds no counters of this topic (yet, or not any more)."""


class LargeAnswersBusy(StoreUnavailable):
    """A question did not get its turn, or its counters changed under each read. Redis is well."""
