"""Short forms of the benchmarks: they still run, and the totals that they check are right."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local.servers import Server
from tests.bench import fold, large, memory, scaling, stages
from tests.bench.live import freshness, pace
from tests.real.harness.system import system_of

pytestmark = pytest.mark.servers


async def test_the_fold_is_measured_and_its_totals_are_right(
    kafka: Server, valkey: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    await fold.compare(fold.Servers(kafka, valkey), 2000, 500, short=True)
    assert "the Faust agent to the worker" in capsys.readouterr().out


async def test_scaling_is_measured(
    kafka: Server, valkey: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    await scaling.compare(fold.Servers(kafka, valkey), 2000, short=True)
    assert "100000 series" in capsys.readouterr().out


async def test_memory_is_sampled_and_all_is_counted(
    kafka: Server, valkey: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await memory.compare(kafka, valkey, tmp_path, 2, 0.2)
    assert "what it keeps" in capsys.readouterr().out


async def test_stages_are_measured(valkey: Server, capsys: pytest.CaptureFixture[str]) -> None:
    await stages.compare(valkey, 2000, 1000)
    assert "roll-up" in capsys.readouterr().out


async def test_freshness_is_measured_beside_a_backfill(
    kafka: Server, redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with system_of(kafka.address, redis_url, tmp_path, freshness.PARTITIONS) as system:
        await freshness.compare(system, tmp_path, 0.3, 3000)
    assert "counted in every view, as sent" in capsys.readouterr().out


async def test_commits_by_load_are_measured(
    kafka: Server,
    valkey: Server,
    redis_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with system_of(kafka.address, redis_url, tmp_path, freshness.PARTITIONS) as system:
        await pace.compare(system, valkey, [50], 0.3, 1)
    assert "counted in every view, as sent" in capsys.readouterr().out


async def test_a_small_question_is_measured_beside_large_ones(
    redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await large.compare(redis_url, tmp_path, 0.3, large.short(), large.KINDS)
    assert capsys.readouterr().out.count("all as written") == 1 + len(large.KINDS)
