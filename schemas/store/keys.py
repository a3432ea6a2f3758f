"""The record of an API key: its tenants, its role, when it expires, and its rate limit. Pure.

The key itself is never stored: the SHA-256 of its secret is the name of the record. After a rotation
a key has two records for a while, with the same `id` and consecutive serials.
"""

from __future__ import annotations

from math import ceil
from typing import Annotated, Final, Literal, NamedTuple, Self, cast, get_args

import msgspec
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from schemas.limits import ID_CHARS_MAX, TENANT_CHARS_MAX

Role = Literal["write-only", "monitor", "viewer", "member", "admin", "super-admin"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
"""Least first. From viewer on, each role reads what the roles before it read; write-only reads nothing. A
monitor reads metrics and the status of the whole installation, and no usage under `/v1/usage`. It is of all
tenants, so only a super-admin of all tenants makes one."""
WRITERS: Final[tuple[Role, ...]] = ("write-only", "member", "admin", "super-admin")
"""The roles that may send events."""
ALL: Final = "all"
State = Literal["active", "expired", "revoked"]

TENANTS_MAX: Final = 100
"""Tenants of one key: its record stays under 7 kB. A key for more tenants must be one for all."""
REQUESTS_PER_S_MAX: Final = 100_000
"""More than one process answers, so a higher limit has the effect of none."""
REQUESTS_PER_S_MIN: Final = 1e-5
"""One request in 28 hours. With 5e-324, the smallest float, the time until the next request is infinite:
every request of the key failed. A new key cannot have a lower limit, and a stored one counts as this."""
ID_PATTERN: Final = r"key-[0-9a-f]{10}"
"""40 random bits. At most 10,000 keys are kept, so a new key has the id of another with odds of
10^-8."""


def _tenants(value: object, check: ValidatorFunctionWrapHandler) -> object:
    """The tenants, each once: a tenant that is named twice is one tenant. So are those of records that
    were stored before. The same sentence for every problem of the tenants."""
    try:
        checked = check(value)
        return checked if checked == ALL else tuple(dict.fromkeys(cast("tuple[str, ...]", checked)))
    except ValidationError:
        raise ValueError(
            f"a list of 1 to {TENANTS_MAX} tenants of 1 to {TENANT_CHARS_MAX} characters, or the"
            f" text {ALL}"
        ) from None


Tenant = Annotated[str, Field(min_length=1, max_length=TENANT_CHARS_MAX)]
Tenants = Annotated[
    # Not strict: a wrapping validator passes on a list, even for JSON input.
    Annotated[tuple[Tenant, ...], Field(min_length=1, max_length=TENANTS_MAX, strict=False)]
    | Literal["all"],
    WrapValidator(_tenants),
]
AtMs = Annotated[int, Field(ge=0, le=253_402_300_799_999)]
"""Up to the end of the year 9999, the last one that ISO 8601 writes with four digits."""


ONLY_VALUES_MAX: Final = 20
"""Values of all filters of one key or token: those of one person are one or two. A token is sent with each
request."""
Bound = tuple[tuple[str, tuple[str, ...]], ...]
"""Filters that a key or token is bound to: dimensions, and of each the values that may be read. All of them
hold, also if a dimension is there twice."""


def _bound(value: object, check: ValidatorFunctionWrapHandler) -> object:
    """The same sentence for every problem of the filters."""
    try:
        bound = cast("Bound", check(value))
    except ValidationError:
        bound = ()
    count = sum(len(values) for _, values in bound)
    texts = [text for name, values in bound for text in (name, *values)]
    if not all(values for _, values in bound) or not 0 < count <= ONLY_VALUES_MAX:
        texts = [""]
    if not all(0 < len(text) <= ID_CHARS_MAX for text in texts):
        raise ValueError(
            f"dimensions with 1 to {ONLY_VALUES_MAX} values in all (ONLY_VALUES_MAX), of 1 to"
            f" {ID_CHARS_MAX} characters"
        )
    return bound


_Texts = Annotated[tuple[str, ...], Field(strict=False)]
BoundField = Annotated[
    Annotated[tuple[Annotated[tuple[str, _Texts], Field(strict=False)], ...], Field(strict=False)],
    WrapValidator(_bound),
]

RequestsPerS = Annotated[float, Field(gt=0, le=REQUESTS_PER_S_MAX, allow_inf_nan=False)]
Burst = Annotated[int, Field(ge=1, le=REQUESTS_PER_S_MAX)]


class RateLimit(NamedTuple):
    """Requests that all secrets and keys with this `id` share."""

    id: str
    per_s: float
    burst: int


class SharedLimit(BaseModel):
    """The rate limit of the admin's key `id`, which the keys that it creates share with it."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    id: Annotated[str, Field(pattern=f"^{ID_PATTERN}$")]
    requests_per_s: RequestsPerS
    burst: Burst


class Key(BaseModel):
    """What a key may do. Instants are ms since 1970."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    id: Annotated[str, Field(pattern=f"^{ID_PATTERN}$")]
    serial: Annotated[int, Field(ge=1)] = 1
    name: Annotated[str, Field(min_length=1, max_length=ID_CHARS_MAX)]
    tenants: Tenants
    role: Role
    created_ms: AtMs
    expires_ms: AtMs | None = None
    revoked_ms: AtMs | None = None
    requests_per_s: RequestsPerS | None = None
    burst: Burst | None = None
    # Without one, it is not written: processes of before do not know the field.
    shared_limit: Annotated[SharedLimit | None, Field(exclude_if=lambda shared: shared is None)] = (
        None
    )
    # The same. A process of before rejects a record with filters, rather than to ignore them.
    only: Annotated[BoundField, Field(exclude_if=lambda only: not only)] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.tenants == ALL and self.role not in {"monitor", "super-admin"}:
            raise ValueError("only a super-admin sees all tenants")
        if self.role == "monitor" and self.tenants != ALL:
            raise ValueError("a monitor watches the whole installation: its tenants are `all`")
        if self.burst is not None and self.requests_per_s is None:
            raise ValueError("a burst needs requests_per_s")
        if self.only and self.role != "viewer":
            raise ValueError("a key that is bound to filters has the role viewer")
        return self

    @property
    def limit_burst(self) -> int:
        """Requests at once of a key with a rate limit; by default those of one second."""
        assert self.requests_per_s is not None
        return self.burst or max(1, ceil(self.requests_per_s))

    @property
    def limit_per_s(self) -> float | None:
        """The rate limit in requests a second; None: no limit."""
        if self.requests_per_s is None:
            return None
        return max(self.requests_per_s, REQUESTS_PER_S_MIN)

    @property
    def limits(self) -> list[RateLimit]:
        """The rate limits that each request counts in: its own, and the one that it shares."""
        found = []
        if self.limit_per_s is not None:
            found.append(RateLimit(self.id, self.limit_per_s, self.limit_burst))
        if self.shared_limit is not None:
            shared = self.shared_limit
            per_s = max(shared.requests_per_s, REQUESTS_PER_S_MIN)
            found.append(RateLimit(shared.id, per_s, shared.burst))
        return found

    def limit_to_share(self) -> SharedLimit | None:
        """What the keys that this one creates share: the limit that it shares itself, else its own.

        A key of all tenants is the operator's, so its keys share nothing.
        """
        if self.tenants == ALL or self.requests_per_s is None:
            return self.shared_limit
        own = SharedLimit(id=self.id, requests_per_s=self.requests_per_s, burst=self.limit_burst)
        return self.shared_limit or own

    @property
    def watches(self) -> bool:
        """Whether the key may read the state of the whole installation, which names all tenants."""
        return self.tenants == ALL

    def sees(self, tenant: str) -> bool:
        """Whether the key may see this tenant."""
        if self.tenants == ALL:
            return 0 < len(tenant) <= TENANT_CHARS_MAX
        return tenant in self.tenants

    def state(self, now_ms: int) -> State:
        return state_of(self.revoked_ms, self.expires_ms, now_ms)


class KeySummary(msgspec.Struct, frozen=True, gc=False):
    """The fields of a record by which keys are found and counted. It is decoded 15 times faster than a
    whole record is validated, and a change looks at all records."""

    id: str
    tenants: tuple[str, ...] | str
    role: Role
    created_ms: int
    expires_ms: int | None = None
    revoked_ms: int | None = None

    def state(self, now_ms: int) -> State:
        return state_of(self.revoked_ms, self.expires_ms, now_ms)


def state_of(revoked_ms: int | None, expires_ms: int | None, now_ms: int) -> State:
    if revoked_ms is not None:
        return "revoked"
    return "expired" if expires_ms is not None and now_ms >= expires_ms else "active"


class KeptKey(Key):
    """A line of a keys file: a record with the hex SHA-256 of its secret."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
