"""Counters as they lie in Redis, packed from plain events, and the oracle that keeps the events.

The packer is the smallest thing that follows the docstring of `schemas.store.layout`; it shares with the
fold only the layout itself. The oracle answers by scanning.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import redis

from api.query.plan import Plan
from api.query.selection import Selection, check_pages, select
from api.query.series_index import empty_index, extended
from api.query.sums import summed
from api.store.page_cache import PageCache
from api.store.reader import Store
from api.store.sums_cache import new_sums_cache
from schemas.catalog.measures import CHATS, LATENCY
from schemas.catalog.sketches import bins_of, chat_digest
from schemas.catalog.views import VIEWS, Table
from schemas.event.kinds import USAGE_KINDS, Kind
from schemas.limits import AHEAD_MS_MAX, DAY_MS, HOUR_MS, MINUTE_MS
from schemas.prices.price_list import BUNDLED_VERSION
from schemas.store import layout
from schemas.store.generation import generation_digest
from schemas.store.series_names import series_name
from schemas.tiers import (
    DAY,
    HOUR,
    MINUTE,
    QUARTER,
    SOURCES,
    TIERS,
    Closed,
    Tier,
    boundary,
    ceil_to,
    finest_written,
    floor_to,
    kept_from,
)
from schemas.units import instant_to_ms, iso, ms_to_instant
from tests.oracles.redis_counters import page_kinds_of

NOW_MS = 1_770_552_123_456  # 2026-02-08T12:02:03.456Z
TOPIC = "usage.events"


@dataclass(frozen=True)
class Event:
    """One event that counts. It was appended at its own time unless said otherwise."""

    at_ms: int
    provider: str = "openai"
    model: str = "gpt-4o"
    agent: str = "support"
    user: str = "ann"
    service: str = ""
    phone: str = ""
    kind: Kind = "llm"
    tenant: str = "acme"
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cost_nano_usd: int | None = None
    latency_ms: int | None = None
    appended_ms: int | None = None
    others: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Measures by name, in place of those of the other fields."""
    voice: str = ""
    chat: str = ""
    first_output_ms: int | None = None
    operation: str = ""
    service_tier: str = ""
    error_class: str = ""

    def __post_init__(self) -> None:
        """Amounts are those of usage."""
        if self.kind not in USAGE_KINDS:
            for name in ("input_tokens", "output_tokens", "cache_read_tokens"):
                object.__setattr__(self, name, 0)
            for name in ("cost_nano_usd", "latency_ms", "first_output_ms"):
                object.__setattr__(self, name, None)

    @cached_property
    def measures(self) -> Mapping[str, int]:
        return self.others or {
            "events": 1,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cache_read_tokens": self.cache_read_tokens,
            "cost_nano_usd": self.cost_nano_usd or 0,
            "cost_events": self.cost_nano_usd is not None,
            "latency_ms": self.latency_ms or 0,
            "latency_events": self.latency_ms is not None,
            "first_output_ms": self.first_output_ms or 0,
            "first_output_events": self.first_output_ms is not None,
        }


@dataclass
class Counters:
    """What a Redis holds: texts, and lists of names."""

    texts: dict[str, bytes] = field(default_factory=dict)
    lists: dict[str, list[bytes]] = field(default_factory=dict)

    def write(self, redis_url: str) -> None:
        """Put all of it there at once, in place of what stood under the same keys."""
        with redis.Redis.from_url(redis_url) as client, client.pipeline() as pipe:
            if self.lists:
                pipe.delete(*self.lists)
            if self.texts:
                pipe.mset(self.texts)  # in one command: a month has 1,700 texts
            for key, names in self.lists.items():
                pipe.rpush(key, *names)
            pipe.execute()


def name_of(table: Table, *values: str) -> str:
    """The name of a series with these values; the dimensions after them are not reported."""
    return series_name([*values, *[""] * (len(table.dimensions) - len(values))])


def pack(
    events: Iterable[Event],
    *,
    generation: int = 1,
    topic: str = TOPIC,
    prices: str = BUNDLED_VERSION,
    commits: int = 1,
    compactions: int | None = None,
    created_ms: int = NOW_MS - 40 * DAY_MS,
    history_from_ms: int = 0,
    complete_ms: Sequence[int] = (NOW_MS - 1000, NOW_MS - 500),
    refused: Sequence[int] = (0, 0),
    now_ms: int = NOW_MS,
    closed: Closed | None = None,
    hours_from_ms: int = 0,
) -> Counters:
    """What the fold leaves in Redis at `now_ms`; pages that have expired by then are not there. By
    default, what is over by ten minutes is closed. There are no hours before `hours_from_ms`.

    All chunks say that something was added by the last of these commits and that pages were made
    compact so often, by default as many times: what is there need not begin as it was before.
    """
    chunk_version = struct.pack("<QQ", commits, commits if compactions is None else compactions)
    closed = closed_at(now_ms) if closed is None else closed
    packed, names = _pages(tuple(events), generation, now_ms, closed, hours_from_ms)
    counters = Counters({}, {key: [*held] for key, held in packed.lists.items()})
    for key, page in packed.texts.items():
        counters.texts[key] = page
        counters.texts[version_key_of_page(key)] = chunk_version
    counters.texts[layout.CURRENT_KEY] = str(generation).encode()
    counters.texts[layout.meta_key(generation)] = pack_meta(
        digest=generation_digest(topic, prices),
        names=names,
        commits=commits,
        created_ms=created_ms,
        history_from_ms=history_from_ms,
        complete_ms=complete_ms,
        refused=refused,
        closed=closed,
        hours_from_ms=hours_from_ms,
    )
    return counters


def closed_at(now_ms: int) -> Closed:
    minutes_ms = floor_to(now_ms - 10 * MINUTE_MS, MINUTE.chunk_ms)
    return Closed(minutes_ms, floor_to(minutes_ms, QUARTER.chunk_ms))


@lru_cache(maxsize=32)  # hundreds of tests begin with the same month, which takes 0.1 s to pack
def _pages(
    events: tuple[Event, ...], generation: int, now_ms: int, closed: Closed, hours_from_ms: int
) -> tuple[Counters, int]:
    """Pages and names, and how many names there are. Shared: not to be changed."""
    counters = Counters()
    tenants: list[bytes] = []
    rows: dict[str, list[bytes]] = defaultdict(list)
    for event in events:
        appended_ms = event.at_ms if event.appended_ms is None else event.appended_ms
        finest = finest_written(appended_ms - event.at_ms)
        assert finest is not None
        tenant_id = _place(tenants, event.tenant.encode())
        for table in (view.tables[event.kind] for view in VIEWS if event.kind in view.tables):
            name = series_name([getattr(event, dim) for dim in table.dimensions]).encode()
            names_key = layout.names_list_key(generation, table, tenant_id)
            series = _place(counters.lists.setdefault(names_key, []), name)
            for tier in (tier for tier in table.view.tiers if TIERS.index(tier) >= finest):
                chunk, bucket = divmod(event.at_ms // tier.bucket_ms, tier.chunk_buckets)
                if (chunk + 1) * tier.chunk_ms + layout.page_kept_ms(tier) <= now_ms:
                    continue
                if tier is HOUR and event.at_ms < hours_from_ms:
                    continue
                for page_kind in page_kinds_of(table):
                    if tier not in page_kind.tiers:
                        continue
                    whole_ms = closed.whole_before(tier, page_kind.tiers)
                    is_open = whole_ms is not None and event.at_ms >= whole_ms
                    if is_open and finest <= TIERS.index(SOURCES[tier]):
                        continue
                    page, in_page = divmod(series, page_kind.page_series)
                    key = layout.page_key(generation, page_kind, tier, chunk, tenant_id, page)
                    row = _row(page_kind, in_page * layout.SLOT_BUCKETS + bucket, event)
                    if row is not None:
                        rows[key].append(page_kind.packed(np.array([row], page_kind.dtype)))
    for key, found in rows.items():
        counters.texts[key] = b"".join(found)
    if tenants:
        counters.lists[layout.tenants_list_key(generation)] = tenants
    names = sum(len(names) for key, names in counters.lists.items() if not key.endswith("tl"))
    return counters, names + len(tenants)


def version_key_of_page(key: str) -> str:
    """The key of the version of a page's chunk: the same without the page, marked by a v."""
    head, _, rest = key.removeprefix(layout.HASH_TAG).partition(":")
    return f"{layout.HASH_TAG}{head}:v{rest.rpartition('.')[0]}"


def _row(page_kind: layout.PageKind, cell: int, event: Event) -> tuple[Any, ...] | None:
    """One event's own row: a page says the sum of all."""
    if page_kind.sketch is None:
        measures = event.measures
        return cell, [measures.get(measure.name, 0) for measure in page_kind.table.measures]
    if page_kind.sketch is CHATS:
        return (cell, chat_digest(event.tenant, event.chat)) if event.chat else None
    value_ms = event.latency_ms if page_kind.sketch is LATENCY else event.first_output_ms
    return None if value_ms is None else (cell, int(bins_of(np.array([value_ms]))[0]), 1)


def pack_meta(
    *,
    digest: bytes,
    names: int,
    commits: int,
    created_ms: int,
    history_from_ms: int,
    complete_ms: Sequence[int],
    refused: Sequence[int],
    closed: Closed,
    hours_from_ms: int,
) -> bytes:
    header = layout._HEADER.pack(
        layout.MAGIC,
        layout.LIVE,
        digest,
        len(complete_ms),
        0,
        history_from_ms,
        commits,
        0,
        0,
        names,
        created_ms,
        0,
        *closed,
        *closed,
        hours_from_ms,
    )
    return header + b"".join(
        layout._PARTITION.pack(10, bytes(16), 9, complete, complete, complete, code)
        for complete, code in zip(complete_ms, refused, strict=True)
    )


def read_pure(counters: Counters, tenant: str, plans: Sequence[Plan]) -> list[list[Any]]:
    """The rows of each plan, through the pure engine alone."""
    return [summed(*one).rows for one in selections_of(counters, tenant, plans)]


def selections_of(
    counters: Counters, tenant: str, plans: Sequence[Plan]
) -> list[tuple[Selection, list[list[bytes | None]]]]:
    """What each plan selects, and its pages."""
    tenants = counters.lists.get(layout.tenants_list_key(1), [])
    tenant_id = tenants.index(tenant.encode()) if tenant.encode() in tenants else -1
    found = []
    for plan in plans:
        keys = {table: layout.names_list_key(1, table, tenant_id) for table in plan.tables}
        names = [extended(empty_index(t), counters.lists.get(key, [])) for t, key in keys.items()]
        meta = layout.unpack_meta(counters.texts[layout.meta_key(1)])
        hours_from_ms = meta.hours_from_ms
        selection = select(
            plan, names, 1, max(tenant_id, 0), meta.closed, hours_from_ms=hours_from_ms
        )
        pages = [
            [counters.texts.get(key) for key in page_set.keys] for page_set in selection.page_sets
        ]
        found.append((selection, pages))
    return found


def page_keys(selections: Sequence[Selection]) -> list[str]:
    """Every page that the selections read, each once; UnanswerableQuestion if they are too many."""
    keys = list(
        dict.fromkeys(key for one in selections for pages in one.page_sets for key in pages.keys)
    )
    check_pages(len(keys), "The answer's parts together")
    return keys


def clear_caches(store: Store) -> None:
    """Drop the pages and sums that the store has cached."""
    state = store._state
    if state is not None:
        state._page_cache, state._sums_cache = PageCache(), new_sums_cache()


# -- the oracle ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """One request's parameters; times in ms."""

    from_ms: int
    to_ms: int
    granularity: str = "hour"
    agent: str = ""
    model: str = ""
    provider: str = ""
    tenant: str = "acme"
    now_ms: int = NOW_MS
    hours_from_ms: int = 0

    @property
    def params(self) -> dict[str, str]:
        return {
            "from": iso(self.from_ms),
            "to": iso(self.to_ms),
            "granularity": self.granularity,
            "agentId": self.agent,
            "model": self.model,
            "provider": self.provider,
        }


def covered(asked: Asked, tiers: Sequence[Tier] = TIERS) -> tuple[int, int]:
    """The rule of the bounds, over what can exist at all; `tiers` are those of the view."""
    oldest_ms = ceil_to(asked.now_ms - DAY.kept_ms, DAY_MS)
    newest_ms = asked.now_ms + AHEAD_MS_MAX + HOUR_MS
    limited = (sorted((oldest_ms, at_ms, newest_ms))[1] for at_ms in (asked.from_ms, asked.to_ms))
    from_ms, to_ms = (boundary(at, asked.now_ms, _kept_at(at, asked, tiers)) for at in limited)
    return from_ms, to_ms


def _kept_at(at_ms: int, asked: Asked, tiers: Sequence[Tier]) -> Sequence[Tier]:
    return [one for one in tiers if one is not HOUR or at_ms >= asked.hours_from_ms]


def covering(asked: Asked) -> tuple[int, int]:
    """The same for a dialect: the bucket that the range lies in, where it has time but no whole bucket."""
    from_ms, to_ms = covered(asked)
    oldest_ms, newest_ms = covered(Asked(0, 1 << 52, now_ms=asked.now_ms))
    if from_ms < to_ms or max(asked.from_ms, oldest_ms) >= min(asked.to_ms, newest_ms):
        return from_ms, to_ms
    earlier = range(to_ms - MINUTE_MS, to_ms - DAY_MS - 1, -MINUTE_MS)
    return next(
        at for at in earlier if boundary(at, asked.now_ms, _kept_at(at, asked, TIERS)) == at
    ), to_ms


def parts_of(from_ms: int, to_ms: int, cuts: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Ranges that meet, of whole buckets: a dialect answers any other by the bucket around it, so they would
    overlap."""
    for cut in sorted(cuts):
        if _has_bucket(from_ms, cut) and _has_bucket(cut, to_ms):
            yield from_ms, cut
            from_ms = cut
    yield from_ms, to_ms


def _has_bucket(from_ms: int, to_ms: int) -> bool:
    start_ms, end_ms = covered(Asked(from_ms, to_ms))
    return start_ms < end_ms


def answer(events: Iterable[Event], asked: Asked) -> dict[str, Any]:
    """The body that AgentLens' endpoint must give, by scanning every event."""
    from_ms, to_ms = covering(asked)
    counted = [
        event
        for event in events
        if event.tenant == asked.tenant
        and event.kind == "llm"
        and from_ms <= event.at_ms < to_ms
        and asked.agent in {"", event.agent}
        and asked.model in {"", event.model}
        and asked.provider in {"", event.provider}
    ]
    models: dict[tuple[str, str], list[Event]] = defaultdict(list)
    buckets: dict[str, list[Event]] = defaultdict(list)
    for event in counted:
        models[event.provider, event.model].append(event)
        buckets[label(event.at_ms, asked)].append(event)
    total = _sums(counted)
    return {
        "summary": {
            "totalCalls": total["calls"],
            "totalCostUsd": total["costUsd"],
            "totalInputTokens": total["inputTokens"],
            "totalOutputTokens": total["outputTokens"],
            "avgLatencyMs": total["avgLatencyMs"],
            "avgCostPerCall": _number(Fraction(_cost(counted), 10**9 * max(len(counted), 1))),
        },
        "byModel": [
            {"provider": provider, "model": model, **_sums(members)}
            for (provider, model), members in sorted(
                models.items(),
                key=lambda item: (
                    -_cost(item[1]),
                    item[0][0].encode(),
                    item[0][1].encode(),
                ),
            )
        ],
        "byTime": [{"bucket": name, **_sums(buckets[name])} for name in sorted(buckets)],
    }


def label(at_ms: int, asked: Asked) -> str:
    """Start of the bucket; where only whole days are kept, an hour is its day."""
    instant = ms_to_instant(at_ms)
    day_ms = floor_to(at_ms, DAY_MS)
    if asked.granularity == "week":
        return iso(day_ms - instant.weekday() * DAY_MS)
    finest = HOUR if at_ms >= asked.hours_from_ms else QUARTER
    days_only = at_ms < kept_from(finest, DAY, asked.now_ms)
    if asked.granularity == "day" or days_only:
        return iso(day_ms)
    return iso(instant_to_ms(instant.replace(minute=0, second=0, microsecond=0)))


def _sums(events: list[Event]) -> dict[str, Any]:
    latencies = [event.latency_ms for event in events if event.latency_ms is not None]
    return {
        "calls": len(events),
        "costUsd": _number(Fraction(_cost(events), 10**9)),
        "inputTokens": sum(event.input_tokens for event in events),
        "outputTokens": sum(event.output_tokens for event in events),
        "avgLatencyMs": _number(Fraction(sum(latencies), max(len(latencies), 1))),
    }


def _cost(events: list[Event]) -> int:
    return sum(event.cost_nano_usd or 0 for event in events)


def _number(exact: Fraction) -> int | float:
    return exact.numerator if exact.denominator == 1 else float(exact)


def _place(names: list[bytes], name: bytes) -> int:
    if name not in names:
        names.append(name)
    return names.index(name)
