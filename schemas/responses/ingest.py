"""What `POST /v1/events` answers, in the order it is sent. Pure."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.responses.usage import NativeBody


class RejectedItem(NativeBody):
    """An object that cannot be counted."""

    index: int = Field(description="Its place in the body, from 0.")
    field: str = Field(description="The field that is wrong; empty: the object as a whole.")
    reason: str = Field(description="The class of the problem, as dead letters have it.")
    detail: str = Field(description="What is wrong with the value, and the limit.")


class SkippedItem(NativeBody):
    """An object that is fine and counts nothing."""

    index: int
    format: str
    reason: str


class IngestAnswer(NativeBody):
    """Kafka has the events: they will be counted whatever happens from here on."""

    accepted: int = Field(description="Events that are with Kafka now.")
    skipped: int
    refused: int
    ids: Literal["given", "generated"] = Field(
        description="generated: some events had no id and the request no Idempotency-Key. Sent"
        " again, those count twice."
    )
    unknown_fields: list[str] = Field(description="Names that no event has: ignored, and counted.")
    refusals: list[RejectedItem]
    skips: list[SkippedItem]
