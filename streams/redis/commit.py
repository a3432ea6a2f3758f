"""The arguments of `names` (streams/redis/lua/names.lua) and `commit`
(streams/redis/lua/commit.lua)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Any, Final

import msgspec
import numpy as np

from schemas.catalog.views import CALL_BUCKETS, ID_BUCKETS, OTHER, SLICE_MS, TENANTS_MAX
from schemas.limits import AHEAD_MS_MAX, MINUTE_MS
from schemas.quotas import Quota
from schemas.store import directory
from schemas.store.chats import CHAT_MODELS_MAX, CHATS_MAX, DAYS_MAX, Chat, tags_text
from schemas.store.layout import Form, page_kept_ms
from schemas.store.recent_calls import RECENT_HELD, RECENT_MAX
from schemas.tiers import CLOSING, Tier
from streams.core.fold import Delta
from streams.core.ports import Commit
from streams.redis.compaction import starts_of
from streams.redis.series_ids import Ids, Named, other_of, paged

TENANT_SERIES: Final = Quota(1_000_000)
"""Quota of one tenant's series, in all views and kinds, unless the operator says otherwise: as many
as one view has at most. Names of 60 B cost 200 B each."""
TABLE_SERIES_MIN: Final = 100
"""Series that a tenant may always have in each view and kind. So invented users do not push out agents and
models, which are few. With 60 views and kinds they are 6,000 series, 1.2 MB."""
GROUP_MAX: Final = 1000
"""Arguments that the Lua side passes to one command: its stack holds 8,000."""


def encode_names(commit: Commit, missing: Sequence[Named], tenant_series: Quota) -> list[bytes]:
    """The arguments of `names`: asks for the ids of the tenants and of these series.

    `tenant_series`: the quota of each tenant, in all tables.
    """
    control = {
        "partitions": commit.partitions,
        "secret": commit.secret,
        "at_commits": commit.at_commits,
        "epoch": commit.id.hex(),
        "tenants": commit.delta.tenants,
        "tenants_max": TENANTS_MAX,
        "other": OTHER,
        "tenant_series": [tenant_series.of(tenant) for tenant in commit.delta.tenants],
        "table_series_min": TABLE_SERIES_MIN,
        "series": [
            (one.table.id, one.tenant, one.table.view.series_max, other_of(one.table), one.names)
            for one in missing
        ],
    }
    return [commit.generation_digest, commit.id, msgspec.json.encode(control)]


def encode_commit(commit: Commit, ids: Ids) -> list[bytes]:
    """The arguments of `commit`. `ids` knows all names of the delta."""
    delta = commit.delta
    resolved = ids.resolved(delta)
    recent, records = _recent_of(delta)
    control = {
        "now_ms": commit.now_ms,
        "secret": commit.secret,
        "count": commit.count,
        "absent_ms": list(commit.absent_ms.items()),
        "partitions": commit.partitions,
        "ids": _ids_of(commit),
        "calls": [
            (
                call.call.packed,
                call.call.digest % CALL_BUCKETS,
                -1 if call.old is None else call.old.slice,
                "" if call.old is None else call.old.data.decode(),
                call.new.slice,
                call.new.data.decode(),
            )
            for call in delta.calls
        ],
        "id_counts": commit.id_counts,
        "epoch": ids.epoch,
        "names": ids.names,
        "tallies": [
            *commit.tallies.items(),
            *resolved.over.items(),
            *((name, count, tenant) for (tenant, name), count in commit.named.items()),
        ],
        "closed": commit.closed,
        "newest_ms": delta.newest_ms // MINUTE_MS * MINUTE_MS,
        "ahead_ms": AHEAD_MS_MAX + MINUTE_MS,
        "parts": [
            page_spec(
                part.page_kind.head, part.tier, part.page_kind.room_bytes, part.page_kind.form
            )
            for part in delta.parts
        ],
        "people": delta.users,
        "users_max": directory.USERS_MAX,
        "recent": recent,
        "recent_max": RECENT_MAX,
        "recent_held": RECENT_HELD,
        "slice_ms": SLICE_MS,
        "id_buckets": ID_BUCKETS,
        "call_buckets": CALL_BUCKETS,
        "chats": [
            (tenant, len(tenant), [_chat_note(chat) for chat in chats])
            for tenant, chats in delta.chats
        ],
        "chats_max": CHATS_MAX,
        "chat_models_max": CHAT_MODELS_MAX,
        "chat_days_max": DAYS_MAX,
        "at_commits": commit.at_commits,
    }
    return [
        commit.generation_digest,
        commit.id,
        msgspec.json.encode(control),
        records,
        *(data for pages, rows in paged(delta.parts, resolved) for data in (pages.tobytes(), rows)),
    ]


def page_spec(head: str, tier: Tier, room_bytes: int, form: Form) -> tuple[Any, ...]:
    """What `spec_of` in streams/redis/lua/pages.lua takes."""
    closes = CLOSING.index(tier) + 1 if tier in CLOSING else 0
    return head, tier.id, room_bytes, tier.chunk_ms, page_kept_ms(tier), *form, closes


def _recent_of(delta: Delta) -> tuple[list[tuple[str, list[int]]], bytes]:
    """The latest calls of each tenant: [time in ms, calls, bytes, ...] of its records, and the data of
    all records."""
    recent = [
        (tenant, [n for one in records for n in (one.at_ms, one.calls, len(one.data))])
        for tenant, records in delta.recent
    ]
    return recent, b"".join(one.data for _, records in delta.recent for one in records)


def _chat_note(chat: Chat) -> list[Any]:
    """As `heard_chat` in streams/redis/lua/chats.lua takes it: short if there is no title, tag or
    preview."""
    days = dict(chat.days)
    models = [[model, *chain.from_iterable(days.get(model, ()))] for model in chat.models]
    said = [chat.id, chat.first_ms, chat.last_ms, chat.user_ms, chat.user, models]
    if chat.title_ms or chat.tags_ms or chat.preview_ms:
        said += [chat.title_ms, chat.title, chat.tags_ms, tags_text(chat.tags)]
        said += [chat.preview_ms, chat.preview]
    return said


def _ids_of(commit: Commit) -> list[tuple[int, list[str], list[list[str]]]]:
    """For each slice: [bucket, id, ...] of the sets that get one id, and [bucket, id, id, ...] of
    each other set. Ids are signed decimals, as a set of integers holds them."""
    if not len(commit.digests):
        return []
    place = commit.slices * ID_BUCKETS + (commit.digests % np.uint64(ID_BUCKETS)).astype(np.int64)
    order = np.argsort(place, kind="stable")
    ids = [str(one) for one in commit.digests[order].view(np.int64).tolist()]
    place = place[order]
    starts = starts_of(place)
    found: dict[int, tuple[list[str], list[list[str]]]] = {}
    for one, (start, end) in zip(
        place[starts].tolist(), pairwise([*starts.tolist(), len(ids)]), strict=True
    ):
        slice_, at = divmod(one, ID_BUCKETS)
        singles, groups = found.setdefault(slice_, ([], []))
        if end == start + 1:
            singles += (_BUCKETS[at], ids[start])
        else:
            groups.extend(
                [_BUCKETS[at], *ids[some : min(some + GROUP_MAX, end)]]
                for some in range(start, end, GROUP_MAX)
            )
    return [(slice_, *of_slice) for slice_, of_slice in found.items()]


_BUCKETS: Final = [str(bucket) for bucket in range(ID_BUCKETS)]
