"""For every test: the fixtures of the real servers, the profile of hypothesis, the order of tests."""

import os
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.browser.chromium", "tests.servers"]

# How long an example takes says how busy the machine is: pytest's own limit is the deadline.
settings.register_profile("odometer", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("odometer")

WAITING: Final = ("tests/real/", "tests/chaos/", "tests/bench/", "tests/deploy/local/")
"""Tests of up to a minute each, which wait for servers most of the time."""
COMPUTING: Final = "tests/simulation/"
"""Tests of half a minute each, which compute all the time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Lets each process begin with what takes long: all but the last wait, the last one computes.

    Of n processes, pytest-xdist gives the first n-th of the tests to the first, and so on. One that
    has ended takes over what others have not begun: towards the end all share tests of
    milliseconds, and so end together.
    """
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    waiting = [item for item in items if item.nodeid.startswith(WAITING)]
    others = [item for item in items if not item.nodeid.startswith(WAITING)]
    others.sort(key=lambda item: item.nodeid.startswith(COMPUTING))  # the last process is last
    modules = list(dict.fromkeys(item.path for item in waiting))  # each has servers of its own
    starts = max(1, processes - 1)
    begun, share = len(others), len(items) // processes
    dealt: list[pytest.Item] = []
    for process in reversed(range(processes)):
        own = [item for item in waiting if modules.index(item.path) % starts == process]
        size = share - len(own) if process else begun
        rest = others[begun - max(0, size) : begun]
        begun -= len(rest)
        rest.sort(key=lambda item: not item.nodeid.startswith(COMPUTING))
        dealt[:0] = own + rest
    items[:] = dealt
