"""What a request says about the objects in its body: who, for whom, when. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from schemas.formats.body import invalid

_INTEGERS: Final = frozenset({"latency_ms", "first_output_ms"})
OTHER_TENANT: Final = "differs from the tenant that the request may write to"
NOT_OURS: Final = "is no tenant that the key may write to"
_DIGITS: Final = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True)
class Context:
    """`received_ms` and `id_seed` come with every request, the rest where the producer says it.

    `id_seed` is the request's idempotency key, or an id made for it: an event that nothing names
    gets the seed and its place in the body. What the body says itself is not overwritten; only a
    `tenant` that differs is refused, since it is the key's. Where `writes` says which tenants the
    key may write to, none of them is the request's: each event names its own.
    """

    received_ms: int
    id_seed: str
    writes: Callable[[str], bool] | None = None
    id: str | None = None
    source: str | None = None
    time: str | None = None
    tenant: str | None = None
    provider: str | None = None
    model: str | None = None
    agent_id: str | None = None
    user_id: str | None = None
    user_email: str | None = None
    user_name: str | None = None
    phone_number: str | None = None
    service: str | None = None
    voice: str | None = None
    call_id: str | None = None
    call_started_at: str | None = None
    chat_id: str | None = None
    latency_ms: int | None = None
    first_output_ms: int | None = None


GIVEN: Final = tuple(
    field.name
    for field in fields(Context)
    if field.name not in {"received_ms", "id_seed", "writes"}
)
"""What a producer may say: as query parameters, or in the `context` of an envelope."""


def with_given(context: Context, given: Mapping[str, object], where: str = "") -> Context:
    """The context with what a producer says, out of a query (texts) or of an envelope (JSON)."""
    changes: dict[str, Any] = {}
    for name, value in given.items():
        if name not in GIVEN:
            raise invalid(
                where + name[:64], f"is no part of a context: those are {', '.join(GIVEN)}"
            )
        if value is None or value == "":
            continue
        changes[name] = _read(name, value, where)
    tenant = changes.get("tenant")
    if context.tenant is not None and tenant not in {None, context.tenant}:
        raise invalid(where + "tenant", OTHER_TENANT)
    if tenant is not None and context.writes is not None and not context.writes(tenant):
        raise invalid(where + "tenant", NOT_OURS)
    return replace(context, **changes)


def _read(name: str, value: object, where: str) -> str | int:
    if name in _INTEGERS:
        if isinstance(value, str) and _DIGITS.fullmatch(value):
            return int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise invalid(where + name, "must be a whole number of milliseconds")
    if isinstance(value, str):
        return value
    raise invalid(where + name, "must be a text")
