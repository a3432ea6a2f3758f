"""Counters of many busy models and of many users, as they lie in Redis."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import redis

from api.query.plan import Plan, Question, Term, plan
from api.query.series_index import Filter
from api.query.time_buckets import Step
from schemas.catalog.measures import EVENTS, INPUT_TOKENS
from schemas.catalog.views import MODEL, USER
from schemas.limits import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.store.generation import generation_digest
from schemas.store.layout import (
    PageKind,
    chunk_version_key,
    counters_of,
    meta_key,
    names_list_key,
    page_key,
    tenants_list_key,
)
from schemas.tiers import ALL_CLOSED, DAY, MINUTE, QUARTER
from tests.api.counters import NOW_MS, TOPIC, Counters, name_of, pack, pack_meta

PAGE_KIND = counters_of(MODEL.tables["llm"])
MINUTELY = Step("1m", MINUTE_MS, MINUTE_MS)
TERMS = (Term(EVENTS), Term(INPUT_TOKENS))
LLM = (Filter("kind", frozenset(("llm",))),)
TENANTS = ("acme", "beta", "small")
"""By their ids."""
LAST_CHUNK = NOW_MS // HOUR_MS - 1
"""The last whole hour."""


@dataclass(frozen=True)
class Busy:
    """So many models with a row in every minute of so many hours; `commits` and `compactions` are those of every chunk."""

    models: int
    hours: int
    commits: int = 1
    compactions: int = 0
    extra: int = 0
    """Rows that are appended to each page, for its last minute."""
    tenant_id: int = 0

    @property
    def chunks(self) -> range:
        return range(LAST_CHUNK + 1 - self.hours, LAST_CHUNK + 1)

    @property
    def pages(self) -> range:
        return range(-(-self.models // PAGE_KIND.page_series))

    def key(self, chunk: int, page: int) -> str:
        return page_key(1, PAGE_KIND, MINUTE, chunk, self.tenant_id, page)

    def plan(self) -> Plan:
        return plan(
            Question(
                TERMS,
                self.chunks.start * HOUR_MS,
                self.chunks.stop * HOUR_MS,
                NOW_MS,
                LLM,
                ("model",),
                MINUTELY,
            )
        )

    def frame(self) -> Counters:
        """All but the pages."""
        counters = pack([], commits=self.commits)
        counters.lists[tenants_list_key(1)] = [tenant.encode() for tenant in TENANTS]
        counters.lists[names_list_key(1, PAGE_KIND.table, self.tenant_id)] = [
            name_of(PAGE_KIND.table, "p", f"m{n}").encode() for n in range(self.models)
        ]
        counters.texts[meta_key(1)] = pack_meta(
            digest=generation_digest(TOPIC), names=self.models, commits=self.commits,
            created_ms=NOW_MS - HOUR_MS, history_from_ms=0, complete_ms=(NOW_MS,), refused=(0,),
            closed=ALL_CLOSED, hours_from_ms=0,
        )  # fmt: skip
        for chunk in self.chunks:
            key = chunk_version_key(1, PAGE_KIND, MINUTE, chunk, self.tenant_id)
            counters.texts[key] = struct.pack("<QQ", self.commits, self.compactions)
        return counters

    def counters(self) -> Counters:
        counters = self.frame()
        rows = np.zeros(60 * PAGE_KIND.page_series, PAGE_KIND.dtype)
        series, minute = np.divmod(np.arange(len(rows)), 60)
        rows["slot"] = series * 256 + minute
        for chunk in self.chunks:
            for page in self.pages:
                rows["values"] = (page + minute + chunk % 7)[:, None]
                rows["values"][:, ~_valued(PAGE_KIND)] = 0
                own = PAGE_KIND.packed(rows) + self.extra * PAGE_KIND.packed(rows[-1:])
                counters.texts[self.key(chunk, page)] = own
        return counters

    @property
    def page_bytes(self) -> int:
        """Of all pages."""
        texts = self.counters().texts
        return sum(
            len(texts[self.key(chunk, page)]) for chunk in self.chunks for page in self.pages
        )

    def after(self, *, extra: int = 0, compactions: int = 0) -> Busy:
        """One commit later."""
        return replace(
            self,
            commits=self.commits + 1,
            extra=self.extra + extra,
            compactions=self.compactions + compactions,
        )

    def write_pages(self, redis_url: str, data: bytes) -> None:
        """This for each page."""
        self.frame().write(redis_url)
        with redis.Redis.from_url(redis_url) as client, client.pipeline() as pipe:
            for chunk in self.chunks:
                for page in self.pages:
                    pipe.set(self.key(chunk, page), data)
            pipe.execute()


CROWD_KIND = counters_of(USER.tables["llm"])
VALUED = frozenset(
    (
        "events",
        "calls",
        "cost_events",
        "cost_nano_usd",
        "input_tokens",
        "input_text_tokens",
        "latency_ms",
    )
)
"""The measures that are not 0: those of a plain call."""
EVERY = 4
"""On each day one of so many users has an event, at midnight."""


@dataclass(frozen=True)
class Crowd:
    """So many users over so many whole days; on the last of them everybody has another event."""

    users: int
    days: int
    tenant_id: int = 0

    @property
    def range_ms(self) -> tuple[int, int]:
        end_ms = NOW_MS // DAY_MS * DAY_MS
        return end_ms - self.days * DAY_MS, end_ms

    @property
    def names(self) -> list[str]:
        return [f"user-{n:06}-of-many-and-more-of-them" for n in range(self.users)]

    @property
    def pages(self) -> range:
        return range(-(-self.users // CROWD_KIND.page_series))

    def events_of_days(self, without: int) -> int:
        """All events in the quarter-hours, but those of one user."""
        return self.days * (-(-self.users // EVERY) - (without % EVERY == 0))

    def write(self, redis_url: str) -> None:
        """Beside the frame of a `Busy`."""
        start_ms, end_ms = self.range_ms
        chunks = range(start_ms // QUARTER.chunk_ms, end_ms // QUARTER.chunk_ms)
        whole = (end_ms - 1) // DAY.chunk_ms
        day = (end_ms - 1) % DAY.chunk_ms // DAY.bucket_ms
        with redis.Redis.from_url(redis_url) as client, client.pipeline() as pipe:
            pipe.delete(names_list_key(1, CROWD_KIND.table, self.tenant_id))
            pipe.rpush(
                names_list_key(1, CROWD_KIND.table, self.tenant_id),
                *[name_of(CROWD_KIND.table, name) for name in self.names],
            )
            for tier, numbers in ((QUARTER, chunks), (DAY, [whole])):
                for chunk in numbers:
                    key = chunk_version_key(1, CROWD_KIND, tier, chunk, self.tenant_id)
                    pipe.set(key, struct.pack("<QQ", 1, 0))
            for page in self.pages:
                some = self._rows(page, EVERY, 0)
                for chunk in chunks:
                    pipe.set(page_key(1, CROWD_KIND, QUARTER, chunk, self.tenant_id, page), some)
                key = page_key(1, CROWD_KIND, DAY, whole, self.tenant_id, page)
                pipe.set(key, self._rows(page, 1, day))
                if not page % 500:
                    pipe.execute()
            pipe.execute()

    def _rows(self, page: int, every: int, bucket: int) -> bytes:
        count = min(CROWD_KIND.page_series, self.users - page * CROWD_KIND.page_series)
        series = np.arange(0, count, every)
        rows = np.zeros(len(series), CROWD_KIND.dtype)
        rows["slot"] = series * 256 + bucket
        rows["values"] = _valued(CROWD_KIND)
        return CROWD_KIND.packed(rows)


def _valued(page_kind: PageKind) -> npt.NDArray[np.bool_]:
    return np.array([one.name in VALUED for one in page_kind.table.measures])
