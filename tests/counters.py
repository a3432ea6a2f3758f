"""All counters of one generation, read out of a real Redis by the layout of `schemas.layout`.

For whoever compares them with the oracle, or with the fake store: cells as `tests.oracle` has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, cast

import redis

from schemas import layout
from schemas.chats import CHATS, Chat, model_key, records_key, unpack_chat, updates_key
from schemas.grid import TIERS, Tier
from schemas.views import VIEWS, View

Cell = tuple[str, str, str, tuple[str, ...], int]
"""View, tier, tenant, the series' values in the view's order, start of the bucket in ms."""

_VIEWS: Final = {view.id: view for view in VIEWS}
_TIERS: Final = {tier.id: tier for tier in TIERS}


def read_counters(
    redis_url: str, generation: int = layout.FIRST_GENERATION
) -> dict[Cell, tuple[int, ...]]:
    """Every row that is not all zeros. Read when nothing commits: the pages are not one snapshot."""
    counters: dict[Cell, tuple[int, ...]] = {}
    with redis.Redis.from_url(redis_url) as client:
        tenants = _texts(client, layout.tenants_list_key(generation))
        names = {
            (view.id, tenant_id): [
                layout.series_values(name)
                for name in _texts(client, layout.names_list_key(generation, view, tenant_id))
            ]
            for view in VIEWS
            for tenant_id in range(len(tenants))
        }
        head = f"{layout.prefix(generation)}p"
        keys = sorted(client.scan_iter(match=f"{head}*", count=1000))
        for key, page in zip(keys, client.mget(keys) if keys else (), strict=True):
            view_id, tier_id, chunk, tenant_id, page_number = (
                int(part) for part in key.decode().removeprefix(head).split(".")
            )
            view, tier = _VIEWS[view_id], _TIERS[tier_id]
            for series, start_ms, values in _rows(view, tier, chunk, page_number, page):
                cell = (
                    view.name,
                    tier.name,
                    tenants[tenant_id],
                    names[view_id, tenant_id][series],
                    start_ms,
                )
                assert cell not in counters, f"two rows for {cell}"
                counters[cell] = values
    return {cell: values for cell, values in counters.items() if any(values)}


def read_chats(redis_url: str) -> dict[tuple[str, str], Chat]:
    """By tenant and id; the sets of models hold the same chats."""
    found: dict[tuple[str, str], Chat] = {}
    head = records_key("")
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(match=f"{head}*"):
            tenant = key.decode().removeprefix(head)
            last_ms = dict(client.zrange(updates_key(tenant), 0, -1, withscores=True))
            records = client.hgetall(key)
            assert set(records) == set(last_ms)
            for chat_id, record in records.items():
                chat = unpack_chat(chat_id.decode(), int(last_ms[chat_id]), record)
                found[tenant, chat.id] = chat
        listed = {
            (key.decode(), member.decode())
            for key in client.scan_iter(match=f"{CHATS}m:*")
            for member in client.smembers(key)
        }
    assert listed == {
        (model_key(tenant, model), chat.id)
        for (tenant, _), chat in found.items()
        for model in chat.models
    }
    return found


def _texts(client: redis.Redis, key: str) -> list[str]:
    return [name.decode() for name in cast("list[bytes]", client.lrange(key, 0, -1))]


def _rows(
    view: View, tier: Tier, chunk: int, page_number: int, page: bytes
) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Series id, start of the bucket in ms, values."""
    rows = layout.unpack_page(view, page)
    for cell, values in zip(rows["cell"].tolist(), rows["values"].tolist(), strict=True):
        in_page, bucket = divmod(cell, tier.chunk_buckets)
        start_ms = chunk * tier.chunk_ms + bucket * tier.bucket_ms
        yield page_number * view.page_series + in_page, start_ms, tuple(values)
