"""Fixtures of the API: the application over a real Valkey, asked through HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest

from api.app.main import build
from api.auth.audit import operator
from api.auth.authenticate import digest_of
from api.auth.keys import opened, read_records, revoke_key
from deploy.local.api_keys import create_key
from schemas.catalog.views import DEFAULT, Catalog
from tests.api.counters import NOW_MS


class Clock:
    """Time as an argument: what the application takes for now."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@asynccontextmanager
async def client_of(
    redis_url: str,
    clock: Callable[[], int],
    key: str = "",
    catalog: Catalog = DEFAULT,
    cors_origins: Sequence[str] = (),
) -> AsyncIterator[httpx.AsyncClient]:
    app = build(redis_url, clock=clock, catalog=catalog, cors_origins=cors_origins)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=transport, base_url="http://odometer.test", headers=headers
        ) as client,
    ):
        yield client


@pytest.fixture
async def key(redis_url: str) -> str:
    """A key of the tenant acme that may only read."""
    return await create_key(redis_url, name="dashboard", tenant="acme", role="viewer")


@pytest.fixture
async def client(redis_url: str, clock: Clock, key: str) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(redis_url, clock, key) as client:
        yield client


async def revoke(redis_url: str, secret: str) -> None:
    """End the key that has this secret."""
    async with opened(redis_url) as store:
        record = (await read_records(store))[digest_of(secret)]
        await revoke_key(store, record.id, operator(), NOW_MS)
