"""The body that `POST /v1/events` answers, keys in the order they are sent. Pure."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.responses.usage import NativeBody, Problem


class RejectedItem(NativeBody):
    """An object that was rejected: it cannot be counted."""

    index: int = Field(description="Position of the object in the body, from 0.")
    field: str = Field(description="The field that is wrong. Empty if the whole object is.")
    reason: str = Field(
        description="Class of the problem, the same as for dead letters, or `quota_used_up`: the tenant has"
        " used up its quota of event ids, so send the event again later."
    )
    detail: str = Field(description="The problem of the value, and what is allowed.")


class SkippedItem(NativeBody):
    """An object that is valid but counts nothing."""

    index: int
    format: str
    reason: str


class IngestProblem(Problem):
    """The body of an error of `/v1/events`; with the reasons, if events were rejected."""

    refusals: list[RejectedItem] | None = Field(default=None, description="The first 100.")
    more_refusals: int | None = Field(
        default=None, description="How many rejected objects `refusals` does not list."
    )


class IngestAnswer(NativeBody):
    """The answer after Kafka has acknowledged the events. From here on they will be counted."""

    accepted: int = Field(description="Events that Kafka has acknowledged.")
    skipped: int
    refused: int
    ids: Literal["given", "generated"] = Field(
        description="`generated` if some events had no id and the request no Idempotency-Key. Those"
        " events count twice if they are sent again."
    )
    unknown_fields: list[str] = Field(
        description="Fields that an event does not have. They are ignored, and counted by name."
    )
    refusals: list[RejectedItem] = Field(description="The first 100, in the order of the body.")
    more_refusals: int = Field(description="How many rejected objects `refusals` does not list.")
    skips: list[SkippedItem] = Field(description="The first 100, in the order of the body.")
    more_skips: int = Field(description="How many skipped objects `skips` does not list.")
