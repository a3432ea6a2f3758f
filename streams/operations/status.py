"""The state of counting for `odometer status`: positions, complete_through, dead letters, pauses."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from schemas.catalog.views import DEFAULT, Catalog
from schemas.errors import InvalidConfig, LogError, LogUnavailable, StoreError
from schemas.prices.price_list import BUNDLED_VERSION
from schemas.quotas import NO_QUOTA, Quota
from schemas.responses.status import (
    AddedViewStatus,
    GenerationStatus,
    PartitionStatus,
    PriceListStatus,
    RefusalStatus,
    Status,
    TenantStatus,
)
from schemas.store.added_views import catalog_difference
from schemas.store.generation import generation_digest, layout_digest
from schemas.store.layout import NO_POSITION, Meta
from streams.core.ports import OffsetBounds, RefusalReason
from streams.directory.store import RedisDirectory
from streams.kafka.offsets import read_bounds
from streams.operations.replay import recent_dead_letters
from streams.redis.commit import TENANT_SERIES
from streams.redis.eviction import EvictionWatch
from streams.redis.generations import GenerationEntry, RedisGenerations, TenantUsage

TENANTS_SHOWN: Final = 20
"""A screen of them. Those that are far from their quotas matter least."""


async def read_status(
    kafka: str,
    redis_url: str,
    topic: str = "usage.events",
    prices: str = BUNDLED_VERSION,
    catalog: Catalog = DEFAULT,
    redis_eviction: str = "",
    series_quota: Quota = TENANT_SERIES,
    id_quota: Quota = NO_QUOTA,
    dead_letter_topic: str = "usage.dead-letter",
    since_ms: int | None = None,
    kafka_s: float | None = None,
    *,
    with_tenants: bool = True,
) -> Status:
    """`prices`, `catalog` and the quotas: those of this installation. Reads both servers once. Where one
    does not answer, the status says why. `since_ms`: when the last hour began; None: dead letters are
    not counted by time. `kafka_s`: how long to wait for Kafka; None: as long as any command.
    `with_tenants`: also reads what each tenant has used, which takes long with many tenants."""
    try:
        async with asyncio.timeout(kafka_s):
            bounds, kafka_away = await read_bounds(kafka, topic), ""
    except LogUnavailable as away:
        bounds, kafka_away = {}, str(away)
    except TimeoutError:
        bounds, kafka_away = {}, f"Kafka did not answer within {kafka_s} s"
    recent = None
    if since_ms is not None and not kafka_away:
        with suppress(LogError, InvalidConfig):  # there is no such topic yet
            recent = await recent_dead_letters(kafka, dead_letter_topic, since_ms)
    quotas = (series_quota, id_quota) if with_tenants else None
    try:
        status = await _read_redis(
            redis_url, bounds, topic, prices, catalog, redis_eviction, quotas
        )
    except StoreError as away:
        status = _without_redis(bounds, str(away))
    return status.model_copy(
        update={
            "kafka_away": kafka_away,
            "dead_letters_last_hour": recent,
        }
    )


async def _read_redis(
    redis_url: str,
    bounds: Mapping[int, OffsetBounds],
    topic: str,
    prices: str,
    catalog: Catalog,
    redis_eviction: str,
    quotas: tuple[Quota, Quota] | None,
) -> Status:
    async with RedisGenerations(redis_url) as store:
        meta = await store.meta()
        tallies = await store.tallies()
        refusals = await store.refusals()
        skipped = await store.skipped()
        generations = await _generations(store) if meta else []
        tenants = tenants_of(await store.usages(), *quotas) if quotas else []
        price_lists = await store.list_starts()
        about, view_starts = await store.about(), await store.view_starts()
        async with EvictionWatch(redis_url, redis_eviction) as watch:
            evicts = await watch.look(store.generation, is_read_only=True)
    async with RedisDirectory(redis_url) as directory:
        directory_refused = await directory.refusals()
    refused = refusal_texts(refusals)
    problems = [text for field, text in refused.items() if field == "generation"]
    if evicts is not None:
        said = f"{evicts[0].name.lower()}: {evicts[1]}"
        problems += [said] if said not in problems else []
    problems += _mismatch(meta, about, topic, prices, catalog)
    partitions = _partitions(meta, bounds, refused)
    lags = [one.lag for one in partitions if one.lag is not None]
    return Status(
        refusals=refusals_by_reason(refusals, evicts),
        complete_through_ms=meta.complete_through_ms or None if meta else None,
        history_from_ms=meta.history_from_ms or None if meta else None,
        lag=sum(lags) if lags else None,
        commits=meta.commits if meta else 0,
        series=meta.names if meta else 0,
        partitions=partitions,
        generations=generations,
        price_lists=[
            PriceListStatus(version=version, from_ms=from_ms or None)
            for from_ms, version in price_lists
        ],
        added_views=[
            AddedViewStatus(view=view.name, counts_from_ms=view_starts[view.id])
            for view in catalog.views
            if view.id in view_starts
        ],
        dead_letters=_named(tallies, "dead:"),
        duplicates=tallies.get("duplicate", 0),
        differs=tallies.get("differs", 0),
        unknown_fields=_named(tallies, "unknown:"),
        skipped=skipped,
        over_limit=_named(tallies, "over:"),
        tenants=tenants,
        misread=_named(tallies, "misread:"),
        directory_full=tallies.get("directory_full", 0),
        directory_refused=directory_refused,
        costs_computed=_named(tallies, "cost:"),
        unpriced=_named(tallies, "unpriced:"),
        incomplete=_named(tallies, "incomplete:"),
        problems=problems,
    )


def _without_redis(bounds: Mapping[int, OffsetBounds], why: str) -> Status:
    return Status(
        redis_away=why,
        complete_through_ms=None,
        history_from_ms=None,
        lag=None,
        commits=0,
        series=0,
        partitions=[one.model_copy(update={"lag": None}) for one in _partitions(None, bounds, {})],
        generations=[],
        price_lists=[],
        dead_letters={},
        duplicates=0,
        differs=0,
        directory_full=0,
        tenants=[],
        problems=[],
        **{name: {} for name in _NAMED},
    )


_NAMED: Final = (
    *("unknown_fields", "skipped", "over_limit", "misread", "directory_refused"),
    *("costs_computed", "unpriced", "incomplete"),
)


def refusals_by_reason(
    refusals: Mapping[str, Mapping[str, str]], evicts: tuple[RefusalReason, str] | None
) -> list[RefusalStatus]:
    """Each reason once; those of all partitions first, then those of most."""
    found: dict[str, RefusalStatus] = {}
    if evicts is not None:
        reason = evicts[0].name.lower()
        found[reason] = RefusalStatus(reason=reason, detail=evicts[1], partitions=None)
    for field, said in refusals.items():
        reason, of_all = said["reason"], field == "generation"
        one = RefusalStatus(reason=reason, detail=said["detail"], partitions=None if of_all else [])
        known = found.setdefault(reason, one)
        if known.partitions is not None and not of_all:
            known.partitions.append(int(field))
            known.partitions.sort()

    def rank(one: RefusalStatus) -> tuple[bool, int, str]:
        return one.partitions is not None, -len(one.partitions or ()), one.reason

    return sorted(found.values(), key=rank)


def refusal_texts(refusals: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """What is shown of stored refusals: the reason's name, as in deploy/RUNBOOK.md, and the sentence."""
    return {field: f"{said['reason']}: {said['detail']}" for field, said in refusals.items()}


def _mismatch(
    meta: Meta | None, about: str, topic: str, prices: str, catalog: Catalog
) -> list[str]:
    """Why this installation cannot continue the counters, if so."""
    if meta is None:
        return ["nothing is counted yet: start a worker (odometer worker)"]
    if not meta.digest.startswith(layout_digest(topic, catalog)):
        difference = catalog_difference(about, topic, catalog)
        if difference.problem:
            problem = (
                "the counters were made by another version, for another topic or with another catalog"
                f" file ({difference.problem}): use the one that made them, or rebuild under this one:"
                " odometer rebuild"
            )
        elif difference.lacking:
            problem = (
                f"the counters have a view by {difference.lacking}, which this catalog lacks: use the"
                " catalog file of the workers"
            )
        else:
            names = [view.name for view in catalog.views if view.id in difference.added]
            problem = (
                f"nothing is counted yet in {', '.join(names)}: restart the workers with this catalog"
                " file"
            )
        return [problem]
    if meta.digest != generation_digest(topic, prices, catalog):
        problem = (
            f"the counters have other prices than these: {prices}. Give odometer status the prices of"
            " the workers. Workers with a list that only adds models or later prices let it take effect"
            " when they start; for others: odometer rebuild"
        )
        return [problem]
    return []


async def _generations(store: RedisGenerations) -> list[GenerationStatus]:
    """The generation that answers, one that a rebuild fills, and those that were replaced."""
    answering = store.generation
    found = []
    for number, entry in sorted({answering: GenerationEntry(), **await store.entries()}.items()):
        meta = await store.meta_of(number)
        if meta is None:
            continue
        state = "answers" if number == answering else "filling"
        if entry.drop_ms:
            state = "replaced" if number < answering else "given up"
        found.append(
            GenerationStatus(
                generation=number,
                state=state,
                counted=sum(max(part.position, 0) for part in meta.partitions),
                begun_ms=entry.begun_ms or meta.created_ms,
                replaced_ms=entry.retired_ms or None,
                dropped_after_ms=entry.drop_ms or None,
            )
        )
    return found


def _partitions(
    meta: Meta | None, bounds: Mapping[int, OffsetBounds], refused: Mapping[str, str]
) -> list[PartitionStatus]:
    stored = dict(enumerate(meta.partitions)) if meta else {}
    found = []
    for partition in sorted({*stored, *bounds}):
        one, log = stored.get(partition), bounds.get(partition)
        position = None if one is None or one.position == NO_POSITION else one.position
        found.append(
            PartitionStatus(
                partition=partition,
                position=position,
                end=log.end if log else None,
                lag=log.lag(position or 0) if log else None,
                last_commit_ms=one.committed_ms or None if one else None,
                complete_through_ms=one.complete_ms or None if one else None,
                refused=refused.get(str(partition)),
            )
        )
    return found


def tenants_of(
    usages: Mapping[str, TenantUsage], series_quota: Quota, id_quota: Quota
) -> list[TenantStatus]:
    def share(one: TenantStatus) -> float:
        return max(one.series / one.series_quota, one.ids / one.ids_quota if one.ids_quota else 0)

    found = [
        TenantStatus(
            tenant=tenant,
            series=usage.series,
            series_quota=series_quota.of(tenant),
            ids=usage.ids,
            ids_quota=id_quota.of(tenant) or None,
        )
        for tenant, usage in usages.items()
    ]
    return sorted(found, key=share, reverse=True)[:TENANTS_SHOWN]


def _named(tallies: Mapping[str, int], head: str) -> dict[str, int]:
    return {
        name.removeprefix(head): count
        for name, count in sorted(tallies.items())
        if name.startswith(head)
    }
