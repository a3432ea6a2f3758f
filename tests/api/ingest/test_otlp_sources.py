"""What OTLP's paths note in Redis is bounded, and no tenant hides what others need to see."""

from __future__ import annotations

from api.auth.keys import opened
from api.ingest.otlp_sources import (
    OTHER,
    REASONS_MAX,
    SOURCES_MAX,
    TENANT_REASONS_MAX,
    WAITING_MAX,
    OtlpSources,
)
from schemas.formats.parsed import SkippedObject
from schemas.store.layout import LOG_SOURCES_KEY, SKIPPED_KEY, SKIPPED_OF_TENANTS_KEY
from tests.api.counters import NOW_MS


def skipped(*reasons: str) -> list[SkippedObject]:
    return [SkippedObject(0, "otel", reason, has_usage=True) for reason in reasons]


async def test_reasons_that_a_tenant_invents_hide_no_other_tenants(redis_url: str) -> None:
    async with opened(redis_url) as store:
        sources = OtlpSources(store, lambda: NOW_MS)
        sources.note_skipped("acme", skipped(*(f"invented {n}" for n in range(500))))
        sources.note_skipped("beta", skipped("of beta", "invented 1", "invented too"))
        for n in range(2 * REASONS_MAX):
            sources.note_skipped(f"t{n}", skipped(f"of t{n}"))
        await sources.close()
        found = await store.ask("HGETALL", SKIPPED_KEY)
    counts = {reason.decode(): int(n) for reason, n in found.items()}
    assert counts["of beta"] == 1
    assert (counts["invented 1"], counts["invented too"]) == (2, 1)
    assert sum(reason.startswith("invented") for reason in counts) == TENANT_REASONS_MAX + 1
    assert len(counts) == REASONS_MAX + 1
    assert sum(counts.values()) == 500 + 3 + 2 * REASONS_MAX
    assert counts[OTHER] > 490


async def test_restarts_add_no_reasons(redis_url: str) -> None:
    async with opened(redis_url) as store:
        for start in range(3 * REASONS_MAX // TENANT_REASONS_MAX):
            sources = OtlpSources(store, lambda: NOW_MS)
            of_this_start = (f"of start {start}: {n}" for n in range(2 * TENANT_REASONS_MAX))
            sources.note_skipped("acme", skipped("known", *of_this_start))
            await sources.close()
        found = await store.ask("HGETALL", SKIPPED_KEY)
        assert len(found) == TENANT_REASONS_MAX + 1
        assert int(found[b"known"]) == start + 1
        assert sum(map(int, found.values())) == (start + 1) * (2 * TENANT_REASONS_MAX + 1)
        for n in range(2 * REASONS_MAX):
            sources = OtlpSources(store, lambda: NOW_MS)
            sources.note_skipped(f"t{n}", skipped(f"of t{n}"))
            await sources.close()
        assert await store.ask("HLEN", SKIPPED_KEY) == REASONS_MAX + 1
        assert await store.ask("HLEN", SKIPPED_OF_TENANTS_KEY) <= REASONS_MAX


async def test_what_waits_for_redis_is_bounded_and_all_of_it_counts(redis_url: str) -> None:
    async with opened(redis_url) as store:
        sources = OtlpSources(store, lambda: NOW_MS)
        sources.note_skipped("acme", skipped("known", *(f"reason {n}" for n in range(5_000))))
        assert len(sources._skipped) == WAITING_MAX + 1
        await sources.close()
        found = await store.ask("HGETALL", SKIPPED_KEY)
    assert sum(map(int, found.values())) == 5_001


async def test_services_of_one_body_stay_within_the_limit(redis_url: str) -> None:
    async with opened(redis_url) as store:
        sources = OtlpSources(store, lambda: NOW_MS)
        await sources.note_logs("acme", ["first"])
        await sources.note_logs("acme", [f"service-{n}" for n in range(3 * SOURCES_MAX)])
        await sources.note_logs("acme", ["late"])
        assert await store.ask("SCARD", f"{LOG_SOURCES_KEY}acme") == SOURCES_MAX
        assert not await sources.that_send_logs("beta")
