"""The bodies of the Open WebUI dialect, keys in the order they are sent. Pure.

Counts are whole numbers, times are whole seconds since 1970, and dates are texts in the zone of the
request. An unknown value is null where Open WebUI's own model allows it.
Source: schemas/contracts/openwebui.md.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class OpenWebUiBody(BaseModel):
    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        protected_namespaces=(),  # `model_id` is theirs
    )


class Summary(OpenWebUiBody):
    """`GET /api/v1/analytics/summary`."""

    total_messages: int = Field(description="Requests to a language model.")
    total_chats: int
    total_models: int
    total_users: int


class ModelCount(OpenWebUiBody):
    model_id: str
    count: int
    unique_users: int
    unique_chats: int


class Models(OpenWebUiBody):
    """`GET /api/v1/analytics/models`."""

    models: list[ModelCount]


class UserModel(OpenWebUiBody):
    """A user's messages of one model."""

    model_id: str
    count: int
    unique_chats: int
    input_tokens: int
    output_tokens: int
    total_tokens: int
    cached_tokens: int
    cost: float | None


class UserCount(OpenWebUiBody):
    user_id: str
    name: str | None
    email: str | None
    count: int
    input_tokens: int
    output_tokens: int
    total_tokens: int
    cost: float | None = Field(description="USD of the messages that have a cost; null: none has.")
    models: list[UserModel] = Field(
        default=[], description="Most expensive first. Left out if more than 100 users are listed."
    )


class Users(OpenWebUiBody):
    """`GET /api/v1/analytics/users`."""

    users: list[UserCount]


class ModelTokenUsage(OpenWebUiBody):
    model_id: str
    input_tokens: int
    output_tokens: int
    total_tokens: int
    cached_tokens: int = Field(description="Part of the input.")
    message_count: int
    cost: float | None = Field(description="USD of the messages that have a cost; null: none has.")


class Tokens(OpenWebUiBody):
    """`GET /api/v1/analytics/tokens`."""

    models: list[ModelTokenUsage]
    total_input_tokens: int
    total_output_tokens: int
    total_cached_tokens: int
    total_tokens: int
    total_cost: float | None
    currency: str | None = Field(description="`USD`, if anything has a cost.")
    unpriced_models: int = Field(description="Models of which no message has a cost.")


class Bucket(OpenWebUiBody):
    date: str = Field(description="`YYYY-MM-DD`; with `HH:MM` where buckets are shorter.")
    models: dict[str, int]
    tokens: dict[str, int]
    costs: dict[str, float] = Field(description="USD, of models of which a message has a cost.")


class Daily(OpenWebUiBody):
    """`GET /api/v1/analytics/daily`."""

    data: list[Bucket]
    previous: list[Bucket] = Field(
        default=[],
        description="With `compare` only: the range before, moved by its local days, or within a day by its"
        " length.",
    )


class ModelChat(OpenWebUiBody):
    chat_id: str
    user_id: str | None
    user_name: str | None
    first_message: str | None = Field(
        description="The preview where the operator keeps previews, else the title: at most 200"
        " characters."
    )
    updated_at: int


class ModelChats(OpenWebUiBody):
    """`GET /api/v1/analytics/models/{id}/chats`."""

    chats: list[ModelChat]
    total: int = Field(description="Before `skip` and `limit`.")


class Rated(OpenWebUiBody):
    date: str
    won: int
    lost: int


class Tag(OpenWebUiBody):
    tag: str
    count: int = Field(description="Chats.")


class ModelOverview(OpenWebUiBody):
    """`GET /api/v1/analytics/models/{id}/overview`."""

    history: list[Rated]
    tags: list[Tag]


class Usage(OpenWebUiBody):
    input_tokens: int
    output_tokens: int
    total_tokens: int


class Message(OpenWebUiBody):
    """One of `GET /api/v1/analytics/messages`: a request to a model, without its content."""

    id: str
    chat_id: str | None
    user_id: str | None
    role: str
    parent_id: None
    content: None
    output: None
    model_id: str | None
    files: None
    sources: None
    embeds: None
    meta: None
    done: bool
    status_history: None
    error: str | None
    usage: Usage | None
    created_at: int
    updated_at: int


class Invalid(OpenWebUiBody):
    """One invalid parameter."""

    type: str
    loc: list[str | int]
    msg: str
    input: Any = Field(description="The value as it was sent.")
    ctx: dict[str, Any] = Field(
        default={}, description="The bound that the value exceeds, if there is one."
    )


class OpenWebUiProblem(OpenWebUiBody):
    """The body of every error. `detail` is a list for invalid parameters (422)."""

    detail: str | list[Invalid]
