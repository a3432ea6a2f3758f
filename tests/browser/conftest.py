"""One API for the tests of the browser: a process of its own over the session's Valkey."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from api.app.main import wall_clock_ms
from deploy.local import servers
from deploy.local.api_keys import create_key
from deploy.local.servers import Server, free_port
from deploy.local.valkey import url_of
from schemas.limits import MINUTE_MS
from tests.api.app.test_serve import api_spec
from tests.api.counters import Event
from tests.browser.sites import Site


@pytest.fixture(scope="session")
def dashboard() -> str:
    """The origin of another page, which may ask the API. A test serves it."""
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture(scope="session")
def site(valkey: Server, dashboard: str) -> Iterator[str]:
    """The API's URL. What it reads is what the test wrote to `redis_url`, by the real clock."""
    with tempfile.TemporaryDirectory(prefix="odometer-test-") as directory:
        server = servers.start(
            api_spec(url_of(valkey), free_port(), Path(directory), cors_origins=(dashboard,))
        )
        try:
            yield f"http://{server.address}"
        finally:
            server.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def page_site(site: str, redis_url: str) -> AsyncIterator[Site]:
    now_ms = wall_clock_ms()
    events = [
        Event(
            at_ms=now_ms - 1000 - n * MINUTE_MS // 2,
            provider=["openai", "anthropic"][n % 2],
            model=f"m{n % 4}",
            agent=f"a{n % 3}",
            input_tokens=1000 + n,
            output_tokens=n,
            cost_nano_usd=n * 1_000_000 if n % 4 else None,
            latency_ms=100 + n,
            first_output_ms=50 + n,
        )
        for n in range(100)
    ]
    key = await create_key(redis_url, name="viewer", tenant="acme", role="viewer")
    found = Site(site, redis_url, key, events)
    found.write()
    yield found
