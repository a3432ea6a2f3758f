"""The reader of counters that the tests of large answers and of the caches share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from api.store import reader
from api.store.reader import Store
from tests.api.counters import TOPIC


@pytest.fixture
async def store(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    monkeypatch.setattr(
        reader, "LARGE_TIMEOUT_S", 120.0
    )  # no test depends on how fast a machine is
    store = Store(redis_url, TOPIC)
    yield store
    await store.close()
