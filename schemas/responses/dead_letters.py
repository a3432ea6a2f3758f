"""The bodies of `/v1/dead-letters`. Pure."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field

_STRICT: Final = ConfigDict(strict=True, frozen=True, extra="forbid")
ORIGINS_MAX: Final = 50
"""Dead letters of one replay: 50 MB of the largest records."""
ORIGIN_PATTERN: Final = r"^[A-Za-z0-9._-]{1,249}:[0-9]{1,10}:[0-9]{1,19}$"


class EventNamed(BaseModel):
    """All input of an event's identity: events with the same one count once."""

    model_config = _STRICT

    tenant: str
    source: str
    id: str


class EarlierReplay(BaseModel):
    """The last replay of a dead letter."""

    model_config = _STRICT

    state: Literal["sending", "sent"] = Field(
        description="`sending`: the replay was interrupted, and the event may have been sent."
    )
    at: str
    as_: EventNamed = Field(alias="as", serialization_alias="as")


class DeadLetterLine(BaseModel):
    """A record that could not be counted, and why."""

    model_config = _STRICT

    origin: str = Field(
        description="TOPIC:PARTITION:OFFSET of the record. It names the dead letter."
    )
    tenant: str | None = Field(
        description="The tenant that the record names; null if it cannot be read."
    )
    appended: str = Field(description="When Kafka got the record.")
    reason: str
    field: str = Field(description="The field that is wrong; empty if it is the whole record.")
    detail: str
    bytes: int = Field(description="Size of the record's value.")
    replayed: EarlierReplay | None


class DeadLettersAnswer(BaseModel):
    """`GET /v1/dead-letters`."""

    model_config = _STRICT

    dead_letters: list[DeadLetterLine] = Field(description="Newest first, at most `limit`.")
    reasons: dict[str, int] = Field(
        description="How many dead letters match, by reason, also beyond `limit`."
    )
    searched_from: str | None = Field(
        description="Dead letters that were written before this time were not looked at, because there are"
        " too many after it; null: all were. `odometer dead list` looks at all."
    )
    problem: str | None = Field(
        description="Why nothing can be listed, such as a topic that does not exist."
    )


class DeadLetterDetail(DeadLetterLine):
    """`GET /v1/dead-letters/{origin}`: with the record, as its producer sent it."""

    value: str | None = Field(
        description="The record's value. Bytes that are not UTF-8 are written as \\xNN."
    )
    value_is_whole: bool = Field(description="False: only the beginning is shown.")
    headers: dict[str, str]
    replay_would: str = Field(description="Completes the sentence: a replay would ...")


class ReplayWish(msgspec.Struct, forbid_unknown_fields=True):
    """`POST /v1/dead-letters/replay`: which dead letters to send again, and what to correct before."""

    origins: Annotated[
        list[Annotated[str, msgspec.Meta(pattern=ORIGIN_PATTERN)]],
        msgspec.Meta(
            min_length=1, max_length=ORIGINS_MAX, description="The dead letters, by their origins."
        ),
    ]
    set: Annotated[
        dict[str, Any],
        msgspec.Meta(
            description="Fields of the event to change before it is sent; null removes a field."
        ),
    ] = msgspec.field(default_factory=dict)
    value: Annotated[
        str | None,
        msgspec.Meta(
            description="The whole corrected record, as JSON in a text; for one dead letter only."
        ),
    ] = None
    dry_run: Annotated[
        bool, msgspec.Meta(description="Only say what would be done; send nothing.")
    ] = False
    again: Annotated[
        bool,
        msgspec.Meta(
            description="Also send dead letters whose replay was interrupted more than 23 hours ago. Check"
            " first whether they were counted: they could count twice."
        ),
    ] = False


class ReplayLine(BaseModel):
    """What was done with one dead letter."""

    model_config = _STRICT

    origin: str
    tenant: str | None
    outcome: Literal["sent", "sendable", "refused", "kept"] = Field(
        description="`sendable`: it would be sent, in a dry run. `refused`: it would be a dead letter"
        " again. `kept`: it was sent before, or may have been."
    )
    counts_as: EventNamed | None = Field(description="The event that it counts as.")
    detail: str


class ReplayAnswer(BaseModel):
    """`POST /v1/dead-letters/replay`."""

    model_config = _STRICT

    results: list[ReplayLine] = Field(description="In the order of the request.")


class ReplayAuditLine(BaseModel):
    """Who replayed which dead letters. It is written before they are sent."""

    model_config = _STRICT

    at: str
    by_id: str = Field(description="The id of the caller's key.")
    by_name: str
    tenants: list[str] = Field(description="The tenants whose events are sent.")
    origins: list[str]
    corrected: list[str] = Field(
        description="The fields that were changed; `value`: the whole record was replaced."
    )
    again: bool


class ReplayAuditAnswer(BaseModel):
    """`GET /v1/dead-letters/audit`."""

    model_config = _STRICT

    lines: list[ReplayAuditLine] = Field(description="Newest first.")
