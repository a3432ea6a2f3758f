"""The application over the counters of `LOG`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.api.conftest import Clock, client_of
from tests.api.counters import pack
from tests.api.openai.log import LOG, sdk_of


@pytest.fixture
async def client(redis_url: str, clock: Clock, key: str) -> AsyncIterator[httpx.AsyncClient]:
    pack(LOG).write(redis_url)
    async with client_of(redis_url, clock, key) as client:
        yield client


@pytest.fixture
def sdk(client: httpx.AsyncClient, key: str) -> Any:
    """OpenAI's own client."""
    return sdk_of(client, key)
