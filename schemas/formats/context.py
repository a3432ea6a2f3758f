"""The context of a request: fields that it adds to the objects in its body. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Any, Final

from schemas.formats.body import invalid, short

_COUNTS: Final = (
    "cache_write_1h_tokens",
    "input_image_tokens",
    "input_video_tokens",
    "cache_read_image_tokens",
    "output_image_tokens",
    "images",
    "pages",
    "web_searches",
    "file_searches",
    "rerank_searches",
    "code_executions",
    "tool_calls",
)
_DURATIONS: Final = ("latency_ms", "first_output_ms")
_INTEGERS: Final = frozenset({*_COUNTS, *_DURATIONS})
ONCE: Final = frozenset({*_INTEGERS, "cost_usd"})
"""The fields that are added up: of several events that one object makes, the first gets them."""
OTHER_TENANT: Final = "differs from the tenant that the request may write to"
NOT_OURS: Final = "is not a tenant that the key may write to"
_DIGITS: Final = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True)
class Context:
    """`received_ms` and `id_seed` are always there; the producer may give the other fields.

    `id_seed` is the request's idempotency key, or a generated id. An event without an id gets the
    seed and its position in the body. The context never overwrites a field of the body. A `tenant`
    that differs from the key's is refused. If the key has several tenants, `writes` tells which, and
    each event must name its own.
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
    operation: str | None = None
    service_tier: str | None = None
    speed: str | None = None
    region: str | None = None
    error_class: str | None = None
    call_id: str | None = None
    call_started_at: str | None = None
    chat_id: str | None = None
    latency_ms: int | None = None
    first_output_ms: int | None = None
    cache_write_1h_tokens: int | None = None
    input_image_tokens: int | None = None
    input_video_tokens: int | None = None
    cache_read_image_tokens: int | None = None
    output_image_tokens: int | None = None
    images: int | None = None
    pages: int | None = None
    web_searches: int | None = None
    file_searches: int | None = None
    rerank_searches: int | None = None
    code_executions: int | None = None
    tool_calls: int | None = None
    cost_usd: str | None = None


GIVEN: Final = tuple(
    field.name
    for field in fields(Context)
    if field.name not in {"received_ms", "id_seed", "writes"}
)
"""The fields that a producer may give, as query parameters or in an envelope's `context`."""


def with_given(context: Context, given: Mapping[str, object], where: str = "") -> Context:
    """The context with the fields that a producer gives, as texts (a query) or JSON (an envelope)."""
    changes: dict[str, Any] = {}
    for name, value in given.items():
        if name not in GIVEN:
            raise invalid(
                where + name[:64],
                f"is not a field of the context; its fields are {', '.join(GIVEN)}",
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
        unit = " of milliseconds" if name in _DURATIONS else ""
        raise invalid(where + name, f"must be a whole number{unit}")
    if name == "cost_usd" and isinstance(value, int | Decimal) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        return short(value, where + name)
    raise invalid(where + name, "must be a text")
