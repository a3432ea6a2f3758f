"""The bodies of `GET /v1/status` and `odometer status --json`: the state of counting, with its verdict. Pure."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field


class PartitionStatus(BaseModel):
    """`position`: the next offset to count, None where nothing is counted yet. `end` and `lag` are
    None where Kafka does not answer. `refused`: why the partition is paused, such as
    `position_expired: the position is ...`. Times are ms since 1970."""

    model_config = ConfigDict(frozen=True)

    partition: int
    position: int | None
    end: int | None
    lag: int | None
    last_commit_ms: int | None
    complete_through_ms: int | None
    refused: str | None


class RefusalStatus(BaseModel):
    """A reason why partitions are paused, once, with the sentence of the first one. `partitions`: None
    for all, where workers wait outside the consumer group."""

    model_config = ConfigDict(frozen=True)

    reason: str
    detail: str
    partitions: list[int] | None


class GenerationStatus(BaseModel):
    """`state`: answers, filling, replaced or given up (the last two are dropped later). `counted`:
    records of all partitions."""

    model_config = ConfigDict(frozen=True)

    generation: int
    state: str
    counted: int | None
    begun_ms: int | None
    replaced_ms: int | None
    dropped_after_ms: int | None


class PriceListStatus(BaseModel):
    """A price list of the counters: events from `from_ms` on have its prices, until the next one's. None:
    from the beginning."""

    model_config = ConfigDict(frozen=True)

    version: str
    from_ms: int | None


class AddedViewStatus(BaseModel):
    """A view that was added without a rebuild: it has all events since `counts_from_ms`."""

    model_config = ConfigDict(frozen=True)

    view: str
    counts_from_ms: int


class TenantStatus(BaseModel):
    """How much a tenant has used of its quotas. `ids_quota`: None if there is none."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    series: int
    series_quota: int
    ids: int
    ids_quota: int | None


class Status(BaseModel):
    """`complete_through_ms` is the smallest of all partitions.

    - `redis_away`, `kafka_away`: why the server cannot be used, else "". Without Redis, nothing else is
      known; without Kafka, no lag.
    - `refusals`: each reason why partitions are not counted, once.
    - `dead_letters_last_hour`: None where Kafka does not say.
    - `differs`: duplicates with other tokens or another cost than the event that was counted, as far as
      the worker still knew its numbers (streams/worker/counted_numbers.py).
    - `price_lists`: those that the counters were made with, the one that counts now last.
    - `costs_computed`: events without a cost, by the price list that priced them. `unpriced`: by
      provider/model without a known price. `incomplete`: by provider/model with a price, and why
      it does not give a cost.
    - `skipped`: spans, log records and data points with usage that count nothing, by reason. Counted
      as often as they were sent.
    - `over_limit`: rows that went to (other), because the view (or, for `tenant`, Redis) has as many
      series as its limit allows.
    - `tenants`: the TENANTS_SHOWN that have used most of a quota.
    - `misread`: labels that a measure sums and that are not whole numbers; they added nothing.
    - `directory_full`: how often the directory of a tenant had no room for a user.
    - `directory_refused`: rejected records of the directory's streams, by topic:partition:offset.
    - `problems`: sentences about the whole installation, such as a server that does not answer.
    """

    model_config = ConfigDict(frozen=True)

    redis_away: str = ""
    kafka_away: str = ""
    refusals: list[RefusalStatus] = []
    complete_through_ms: int | None
    history_from_ms: int | None
    lag: int | None
    commits: int
    series: int
    partitions: list[PartitionStatus]
    generations: list[GenerationStatus]
    price_lists: list[PriceListStatus]
    added_views: list[AddedViewStatus] = []
    dead_letters: dict[str, int]
    dead_letters_last_hour: int | None = None
    duplicates: int
    differs: int
    unknown_fields: dict[str, int]
    skipped: dict[str, int]
    over_limit: dict[str, int]
    tenants: list[TenantStatus]
    misread: dict[str, int]
    directory_full: int
    directory_refused: dict[str, str]
    costs_computed: dict[str, int]
    unpriced: dict[str, int]
    incomplete: dict[str, int]
    problems: list[str]


WITHOUT_REDIS: Final = {"redis_away", "kafka_away", "dead_letters_last_hour", "partitions"}
"""The members of a status that are known without Redis: of a partition, only where it ends."""


def known_members(found: Status) -> dict[str, Any]:
    """The status as JSON values. Without Redis, what it would say is None, and not 0."""
    said = found.model_dump(mode="json")
    if found.redis_away:
        said |= dict.fromkeys(said.keys() - WITHOUT_REDIS)
    return said


class State(IntEnum):
    """The exit code of `odometer status`."""

    COUNTING = 0
    BEHIND = 1
    NOT_COUNTING = 2


class Verdict(BaseModel):
    """`next`: the command to run next, or a section of the runbook; "" if there is nothing to do.
    `notes`: what counts and still needs somebody, such as dead letters of the last hour."""

    model_config = ConfigDict(frozen=True)

    state: State
    sentence: str
    next: str
    notes: list[str]


class WholeStatus(Status):
    """The status of the whole installation: what a monitor and a super-admin of all tenants read."""

    verdict: Verdict


class UnpricedModel(BaseModel):
    """A model with requests that have no cost: no price list has it, or its price does not decide."""

    model_config = ConfigDict(frozen=True)

    kind: str
    provider: str | None
    model: str | None
    requests: int = Field(description="All requests of the last 7 days.")
    without_cost: int = Field(description="Those of them without a cost.")


class OwnStatus(BaseModel):
    """The status of one tenant: what its keys read. Instants are ISO 8601."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    complete_through: str | None = Field(
        description="All events that Kafka acknowledged before are counted."
    )
    history_from: str | None = Field(
        description="The counters are complete from here on; null: from the beginning."
    )
    refused: list[str] = Field(description="Partitions that are not counted, or `generation`.")
    dead_letters_last_hour: dict[str, int] | None = Field(
        description="Records of this tenant that became dead letters in the last hour, by reason. Null:"
        " unknown."
    )
    dead_letters: dict[str, int] | None = Field(
        description="Records of this tenant among all dead letters that Kafka holds, by reason; those that were"
        " replayed too. Null: unknown."
    )
    dead_letters_from: str | None = Field(
        description="Dead letters that were written before this instant were not looked at. Null: all were."
    )
    unpriced: list[UnpricedModel] = Field(
        description="Models with requests without a cost in the last 7 days, the most such requests first:"
        " at most 20."
    )
