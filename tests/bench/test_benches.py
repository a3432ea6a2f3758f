"""A short form of the benchmarks, so that they run when they are needed: totals are checked by them."""

from __future__ import annotations

import pytest

from deploy.servers import Server
from tests.bench import fold, scaling, stages

pytestmark = pytest.mark.servers


async def test_the_fold_is_measured_and_its_totals_are_right(
    kafka: Server, valkey: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    await fold.compare(fold.Servers(kafka, valkey), 2000, 500, short=True)
    assert "times the Faust agent" in capsys.readouterr().out


async def test_scaling_is_measured(
    kafka: Server, valkey: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    await scaling.compare(fold.Servers(kafka, valkey), 2000, short=True)
    assert "100000 series" in capsys.readouterr().out


async def test_stages_are_measured(valkey: Server, capsys: pytest.CaptureFixture[str]) -> None:
    await stages.compare(valkey, 2000, 1000)
    assert "roll-up" in capsys.readouterr().out
