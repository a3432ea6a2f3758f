"""The benchmark of the wrap runs, and each of its calls is recorded once."""

from __future__ import annotations

import re

import pytest

from tests.bench.clients import wrap


def test_the_wrap_is_measured_and_each_call_is_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    wrap.main(["--calls", "50"])
    said = capsys.readouterr().out
    assert re.search(r"a whole answer: -?\d+ us added", said)
    assert re.search(r"-?[\d.]+ us added a chunk", said)
    assert "59 calls, 59 recorded, 59 ids" in said
