"""Settings of the person who runs the tests are not those of the tests."""

import os

import pytest

from deploy.setting_sources import ENV_PREFIX


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(ENV_PREFIX):
            monkeypatch.delenv(name)
