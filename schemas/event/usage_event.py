"""The event: the one contract with producers, as a pydantic model. Pure.

`UsageEvent` is the neutral event of schemas/contracts/producers.md. Its JSON Schema is frozen in
schemas/event/event.schema.json, and a test compares the two. The worker sends an event that this
model rejects to the dead letters. `input_tokens` and `output_tokens` are inclusive totals; text,
audio, cache and reasoning tokens are subsets of them. None means "not reported", 0 means "reported
as zero", and an empty text means "not reported".
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)

from schemas.errors import InvalidEvent, Reason
from schemas.event.envelope import Headers, read_content
from schemas.event.event_struct import FIELDS, parse_instant
from schemas.event.kinds import Kind
from schemas.limits import (
    COST_NANO_USD_MAX,
    COUNT_MAX,
    DURATION_MS_MAX,
    EMAIL_CHARS_MAX,
    ERROR_CHARS_MAX,
    ID_CHARS_MAX,
    LABEL_KEY_CHARS_MAX,
    LABEL_VALUE_CHARS_MAX,
    LABELS_MAX,
    NANO_PER_USD,
    PHONE_CHARS_MAX,
    PREVIEW_CHARS_MAX,
    TAG_CHARS_MAX,
    TAGS_MAX,
    TENANT_CHARS_MAX,
    TITLE_CHARS_MAX,
)
from schemas.units import usd_to_nano


def _decimal(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError("must be a decimal number or a text that holds one")
    try:
        return Decimal(value)
    except ArithmeticError as error:
        raise ValueError("must be a decimal number or a text that holds one") from error


def _whole(value: object) -> object:
    """A literal is compared by its value, so 1.0 and true would pass for 1."""
    if value is not None and type(value) is not int:
        raise ValueError("must be 1 or -1, a whole number")
    return value


def _payable(usd: Decimal) -> Decimal:
    usd_to_nano(usd)
    return usd


Instant = Annotated[datetime, BeforeValidator(parse_instant)]
Count = Annotated[int, Field(ge=0, le=COUNT_MAX)]
DurationMs = Annotated[int, Field(ge=0, le=DURATION_MS_MAX)]
Name = Annotated[str, Field(max_length=ID_CHARS_MAX)]
CostUsd = Annotated[
    Decimal,
    BeforeValidator(_decimal),
    AfterValidator(_payable),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": COST_NANO_USD_MAX // NANO_PER_USD},
                {"type": "string", "description": "The same as decimal text, exact."},
            ]
        }
    ),
]
LabelKey = Annotated[str, Field(min_length=1, max_length=LABEL_KEY_CHARS_MAX)]
LabelValue = Annotated[str, Field(max_length=LABEL_VALUE_CHARS_MAX)]
Tag = Annotated[str, Field(min_length=1, max_length=TAG_CHARS_MAX)]

_FROZEN_DESCRIPTION: Final = (
    "One usage event (contracts/producers.md). Unknown fields are ignored and counted by name."
)
"""As event.schema.json has it, which is frozen byte for byte."""


class UsageEvent(BaseModel):
    """One usage event (schemas/contracts/producers.md).

    Unknown fields are ignored and counted by name.
    """

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="ignore",
        title="Usage event",
        json_schema_extra={"description": _FROZEN_DESCRIPTION},
    )

    id: Annotated[str, Field(min_length=1, max_length=ID_CHARS_MAX)]
    source: Annotated[str, Field(min_length=1, max_length=ID_CHARS_MAX)]
    time: Instant
    kind: Kind
    tenant: Annotated[str, Field(max_length=TENANT_CHARS_MAX)] | None = None

    provider: Name | None = None
    model: Name | None = None
    agent_id: Name | None = None
    user_id: Name | None = None
    user_email: Annotated[str, Field(max_length=EMAIL_CHARS_MAX)] | None = None
    user_name: Name | None = None
    phone_number: Annotated[str, Field(max_length=PHONE_CHARS_MAX)] | None = None
    service: Name | None = None
    voice: Name | None = None
    operation: Name | None = None
    service_tier: Name | None = None

    call_id: Name | None = None
    call_started_at: Instant | None = None
    duration_ms: DurationMs | None = None
    chat_id: Name | None = None
    chat_title: Annotated[str, Field(max_length=TITLE_CHARS_MAX)] | None = None
    message_preview: Annotated[str, Field(max_length=PREVIEW_CHARS_MAX)] | None = None
    tags: Annotated[list[Tag], Field(max_length=TAGS_MAX, fail_fast=True)] | None = None
    rating: Annotated[Literal[1, -1], BeforeValidator(_whole)] | None = None

    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_read_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    reasoning_tokens: Count | None = None
    input_text_tokens: Count | None = None
    input_audio_tokens: Count | None = None
    cache_read_text_tokens: Count | None = None
    cache_read_audio_tokens: Count | None = None
    output_text_tokens: Count | None = None
    output_audio_tokens: Count | None = None
    tts_characters: Count | None = None
    tts_audio_ms: DurationMs | None = None
    stt_audio_ms: DurationMs | None = None

    cost_usd: CostUsd | None = None
    latency_ms: DurationMs | None = None
    first_output_ms: DurationMs | None = None
    error: Annotated[str, Field(max_length=ERROR_CHARS_MAX)] | None = None
    error_class: Name | None = None
    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=LABELS_MAX)] | None = None

    speed: Name | None = None
    region: Name | None = None
    cache_write_1h_tokens: Count | None = None
    input_image_tokens: Count | None = None
    input_video_tokens: Count | None = None
    cache_read_image_tokens: Count | None = None
    output_image_tokens: Count | None = None
    images: Count | None = None
    pages: Count | None = None
    web_searches: Count | None = None
    file_searches: Count | None = None
    rerank_searches: Count | None = None
    code_executions: Count | None = None
    tool_calls: Count | None = None
    cost_problem: Annotated[str, Field(max_length=ERROR_CHARS_MAX)] | None = None
    finish_reason: Name | None = None


ERRORS_MAX: Final = 2 * LABELS_MAX
"""Errors of one event that are described, of which the first is shown: labels alone may have so many,
one for each name and value."""
_ITEMS_MAX: Final = (("labels", LABELS_MAX), ("tags", TAGS_MAX))
_REQUIRED: Final = [name for name, field in UsageEvent.model_fields.items() if field.is_required()]
_OPTIONAL: Final = [name for name in UsageEvent.model_fields if name not in _REQUIRED]
_GROUPS: Final = [
    (*_REQUIRED, *_OPTIONAL[start : start + LABELS_MAX])
    for start in range(0, len(_OPTIONAL), LABELS_MAX)
]
"""Parts of an event that are valid by themselves, in the order of the model."""


def parse_usage(fields: dict[str, Any]) -> UsageEvent:
    """A decoded JSON object (numbers with a point as Decimal) to a `UsageEvent`, or InvalidEvent.

    Labels and tags are counted first: the model would check each, and make an error for each.
    """
    for name, limit in _ITEMS_MAX:
        held = fields.get(name)
        if isinstance(held, dict | list) and len(held) > limit:
            raise InvalidEvent(
                Reason.INVALID_FIELD, f"has {len(held)} items, the limit is {limit}", name
            )
    try:
        return UsageEvent.model_validate(fields)
    except ValidationError as error:
        few = error if error.error_count() <= ERRORS_MAX else _first_errors(fields)
        first = few.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        detail = first["msg"].removeprefix("Value error, ")
        raise InvalidEvent(Reason.INVALID_FIELD, detail, field) from error


def _first_errors(fields: dict[str, Any]) -> ValidationError:
    """The first errors of an event that is wrong almost everywhere: those of its first wrong group."""
    for names in _GROUPS:
        try:
            UsageEvent.model_validate({name: fields[name] for name in names if name in fields})
        except ValidationError as error:
            return error
    raise AssertionError("an event is valid if its groups are")


def parse_record(
    value: bytes | None, headers: Headers, append_ms: int
) -> tuple[UsageEvent, tuple[str, ...]]:
    """The event of one record and the sorted names of its unknown fields, or InvalidEvent.

    A CloudEvent that has no time gets `append_ms`.
    """
    content = read_content(value, headers, append_ms)
    return parse_usage(content), tuple(sorted(set(content) - FIELDS))


def json_schema() -> dict[str, Any]:
    """The contract as JSON Schema 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **UsageEvent.model_json_schema(mode="validation"),
    }
