"""One API for the tests of the browser: a process of its own over the session's Valkey."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import servers
from deploy.local.servers import Server, free_port
from deploy.local.valkey import url_of
from tests.api.app.test_serve import api_spec


@pytest.fixture(scope="session")
def site(valkey: Server) -> Iterator[str]:
    """The API's URL. What it reads is what the test wrote to `redis_url`, by the real clock."""
    with tempfile.TemporaryDirectory(prefix="odometer-test-") as directory:
        server = servers.start(api_spec(url_of(valkey), free_port(), Path(directory)))
        try:
            yield f"http://{server.address}"
        finally:
            server.stop()
