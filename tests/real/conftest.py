"""Fixtures: a system on the session's servers, and one on servers that the test may kill."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local.servers import Server
from deploy.local.valkey import url_of
from tests.real.harness.system import System, system_of

PARTITIONS = 4


@pytest.fixture
async def system(kafka: Server, redis_url: str, tmp_path: Path) -> AsyncIterator[System]:
    async with system_of(kafka.address, redis_url, tmp_path, PARTITIONS) as system:
        yield system


@pytest.fixture
async def own_system(
    own_kafka: Server, own_valkey: Server, tmp_path: Path
) -> AsyncIterator[System]:
    """Its servers are `own_kafka` and `own_valkey`."""
    async with system_of(own_kafka.address, url_of(own_valkey), tmp_path, PARTITIONS) as system:
        yield system
