"""For every test: the fixtures of the real servers, the profile of hypothesis, the order of tests."""

from typing import Final

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.servers"]

# How long an example takes says how busy the machine is: pytest's own limit is the deadline.
settings.register_profile("odometer", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("odometer")

LONG: Final = ("tests/real/", "tests/chaos/", "tests/bench/", "tests/deploy/local/")
"""Tests of up to a minute each, which wait for servers most of the time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests first. Of two processes, one begins with them while the other computes; towards
    the end both share tests of milliseconds, and so end together."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))
