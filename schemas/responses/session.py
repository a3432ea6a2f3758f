"""The body of `/v1/session`. Pure."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class SessionAnswer(BaseModel):
    """Who is signed in."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    key: str = Field(description="The id of the key.")
    name: str
    role: str
    tenants: list[str] | Literal["*"] = Field(description='The tenants of the key; "*" is all.')
    csrf: str | None = Field(
        description="Send it as x-odometer-csrf with requests that change something. Null: the request has a key and no session."
    )
    expires: str | None = Field(
        description="When the session ends, if its key does not end before."
    )
