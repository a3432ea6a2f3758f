"""`odometer export` against a real API: which files it writes, keeps and resumes."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from api.app.main import wall_clock_ms
from deploy.cli.main import app
from deploy.export.command import INCOMPLETE_EXIT
from deploy.export.days import Day, DayState, Export
from deploy.export.fetching import RangeRefused, Source, TooLarge
from deploy.export.files import Files
from deploy.local import servers
from deploy.local.api_keys import create_key
from deploy.local.servers import Server, free_port
from deploy.local.valkey import url_of
from schemas.limits import DAY_MS, HOUR_MS
from schemas.tiers import TIERS, floor_to
from schemas.units import iso
from tests.api.app.test_serve import api_spec
from tests.api.counters import Event, pack

DAYS: Final = 4
TIER: Final = TIERS[1]


@pytest.fixture(scope="module")
def api(valkey: Server) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="odometer-test-") as directory:
        server = servers.start(api_spec(url_of(valkey), free_port(), Path(directory)))
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def now_ms() -> int:
    return wall_clock_ms()


@pytest.fixture
def log(redis_url: str, now_ms: int) -> list[Event]:
    log = [
        Event(now_ms - 1 - n * 2 * HOUR_MS, model=f"m{n % 3}", input_tokens=n)
        for n in range(DAYS * 12)
    ]
    write(redis_url, log, now_ms)
    return log


def write(
    redis_url: str, log: list[Event], now_ms: int, generation: int = 1, commits: int = 1
) -> None:
    complete_ms = (now_ms - 1000, now_ms - 500)
    counters = pack(
        log, now_ms=now_ms, complete_ms=complete_ms, generation=generation, commits=commits
    )
    counters.write(redis_url)


@pytest.fixture
def key(redis_url: str) -> str:
    return key_of(redis_url, "acme")


def key_of(redis_url: str, tenant: str) -> str:
    return asyncio.run(create_key(redis_url, name="warehouse", tenant=tenant, role="viewer"))


def export(api: Server, key: str, folder: Path, *words: str, code: int = 0) -> Any:
    options = ["--api-url", f"http://{api.address}", "--api-key", key, "--json", "--give-up-s", "0"]
    command = ["export", "model", str(folder), "--tier", TIER.name, *options, *words]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == code, (result.output, result.exception)
    return json.loads(result.stdout) if result.stdout else str(result.exception)


def states(said: Any) -> list[str]:
    return [day["state"] for day in said["days"]]


def rows_in(folder: Path) -> Counter[tuple[int, str]]:
    table = pq.read_table(folder)
    times = table.column("time").cast(pa.int64()).to_pylist()
    models = table.column("model").cast(pa.string()).to_pylist()
    counted: Counter[tuple[int, str]] = Counter()
    for time, model, events in zip(times, models, table.column("events").to_pylist(), strict=True):
        counted[time, model] += events
    return counted


def test_files_have_the_rows_of_a_scan_and_final_days_are_kept(
    api: Server, redis_url: str, key: str, log: list[Event], now_ms: int, tmp_path: Path
) -> None:
    said = export(api, key, tmp_path, "--from", f"now-{DAYS - 1}d")
    assert states(said) == ["written"] * DAYS
    # A resend counts for a day after the end of its day, so yesterday is not final.
    assert [day["final"] for day in said["days"]] == [True] * (DAYS - 2) + [False] * 2
    from_ms = floor_to(now_ms - (DAYS - 1) * DAY_MS, DAY_MS)
    expected = Counter(
        (floor_to(one.at_ms, TIER.bucket_ms), one.model) for one in log if one.at_ms >= from_ms
    )
    assert rows_in(tmp_path) == expected
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == [f"model-15m-{day['day']}.parquet" for day in said["days"]]
    assert [day["rows"] for day in said["days"]] == [
        pq.read_metadata(tmp_path / name).num_rows for name in names
    ]

    late = [*log, Event(floor_to(now_ms, DAY_MS) - 1, model="late")]
    write(redis_url, late, now_ms, commits=2)
    said = export(api, key, tmp_path, "--from", f"now-{DAYS - 1}d")
    assert states(said) == ["kept"] * (DAYS - 2) + ["written"] * 2
    assert rows_in(tmp_path).total() == expected.total() + 1
    assert states(export(api, key, tmp_path, "--from", "now-1d", "--late-hours", "0")) == [
        "kept",
        "written",
    ]
    assert states(export(api, key, tmp_path, "--from", "now-2d", "--force")) == ["written"] * 3


def test_what_a_killed_export_left_is_replaced(
    api: Server, key: str, log: list[Event], tmp_path: Path
) -> None:
    assert log
    export(api, key, tmp_path, "--from", "now-3d", "--to", "now-2d")
    final, second, *_ = sorted(tmp_path.iterdir())
    before = final.stat().st_mtime_ns
    second.write_bytes(second.read_bytes()[:-1])
    (tmp_path / f".{second.name}.new").write_bytes(b"PAR1")
    said = export(api, key, tmp_path, "--from", "now-3d")
    assert states(said) == ["kept", "written", "written", "written"]
    assert final.stat().st_mtime_ns == before
    assert len([*tmp_path.iterdir()]) == 4
    assert pq.read_metadata(second).num_rows == said["days"][1]["rows"]


def test_a_rebuild_makes_all_days_be_written_again(
    api: Server, redis_url: str, key: str, log: list[Event], now_ms: int, tmp_path: Path
) -> None:
    export(api, key, tmp_path, "--from", "now-2d")
    write(redis_url, log, now_ms, generation=2)
    assert states(export(api, key, tmp_path, "--from", "now-2d")) == ["written"] * 3


def test_files_of_another_export_are_not_replaced(
    api: Server, redis_url: str, key: str, log: list[Event], tmp_path: Path
) -> None:
    assert log
    export(api, key, tmp_path, "--from", "now-1d")
    kept = {file: file.read_bytes() for file in tmp_path.iterdir()}
    said = export(api, key, tmp_path, "--from", "now-1d", "--dimensions", "model", code=1)
    assert "is of another export: columns time,model," in said.replace(
        "kind,provider,model", "model"
    )
    other = key_of(redis_url, "beta")
    assert "tenant acme, not beta" in export(api, other, tmp_path, "--from", "now-1d", code=1)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == kept


def test_days_that_have_expired_are_named(
    api: Server, key: str, log: list[Event], tmp_path: Path
) -> None:
    assert log
    said = export(api, key, tmp_path, "--from", "now-92d", "--to", "now-89d", code=INCOMPLETE_EXIT)
    assert states(said)[:2] == ["missing"] * 2
    assert states(said)[-1] == "written"
    assert "have expired before" in said["days"][0]["why"]
    assert said["days"][0]["file"] is None


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--tier", "2m"], "--tier is '2m'; it must be one of 1m, 15m, 1h, 1d."),
        (["--format", "csv"], "--format is 'csv'; it must be parquet or arrow."),
        (["--from", "soon"], "--from is 'soon'; it must be"),
        (["--from", "now", "--to", "now-1d"], "must be before --to"),
        (["--dimensions", "modle"], "'modle' is not a dimensions"),
        (["--api-key", "als_wrong"], "answered 401"),
        (["--api-url", "http://127.0.0.1:1"], "http://127.0.0.1:1 did not answer"),
        (["--api-url", "ftp://x"], "--api-url must be http://HOST:PORT"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    api: Server, key: str, log: list[Event], tmp_path: Path, words: list[str], sentence: str
) -> None:
    assert log
    said = export(api, key, tmp_path / "new", *words, code=1)
    assert sentence in said
    assert "\n" not in said
    assert not (tmp_path / "new").exists()


class NarrowSource(Source):
    """The real API, as if answers had room for six hours only."""

    def fetch(self, from_text: str, to_text: str) -> bytes:
        length = datetime.fromisoformat(to_text) - datetime.fromisoformat(from_text)
        if length > timedelta(hours=6):
            raise TooLarge("too many rows")
        return super().fetch(from_text, to_text)


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_a_day_that_is_too_large_is_read_in_parts(
    api: Server, key: str, log: list[Event], now_ms: int, tmp_path: Path, form: str
) -> None:
    assert log
    parameters = {"view": "model", "tier": TIER.name, "format": form}
    source = Source(f"http://{api.address}", key, parameters, 0, print)
    narrow = NarrowSource(f"http://{api.address}", key, parameters, 0, print)
    files = Files(tmp_path, "model", TIER.name, form)
    day_ms = floor_to(now_ms, DAY_MS) - 2 * DAY_MS
    now = files.described(source.fetch(iso(now_ms), iso(now_ms)))
    done: list[Day] = []
    for one, forced in ((source, False), (narrow, True)):
        run = Export(one, files, TIER, day_ms, day_ms + 1, 0, is_forced=forced)
        with files.locked():
            run.run(now, done.append)
    assert done[0] == done[1]
    found = files.read(done[-1].day)
    assert found is not None
    assert [part["from"][11:13] for part in found.exact["parts"]] == ["00", "06", "12", "18"]
    assert (found.exact["from"], found.exact["to"]) == (iso(day_ms), iso(day_ms + DAY_MS))


def test_a_file_outlives_its_counters(
    api: Server, key: str, log: list[Event], now_ms: int, tmp_path: Path
) -> None:
    """Minutes are kept for 48 h. The file of a day that has expired since stays as it is."""

    class Expired(Source):
        def fetch(self, from_text: str, to_text: str) -> bytes:
            if from_text == to_text:
                return super().fetch(from_text, to_text)
            raise RangeRefused("expired")

    assert log
    export(api, key, tmp_path, "--from", "now-1d")
    source = Expired(f"http://{api.address}", key, {"view": "model", "tier": TIER.name}, 0, print)
    files = Files(tmp_path, "model", TIER.name, "parquet")
    now = files.described(source.fetch(iso(now_ms), iso(now_ms)))
    done: list[Day] = []
    Export(source, files, TIER, now_ms - DAY_MS, now_ms, 0, is_forced=True).run(now, done.append)
    assert [(day.state, day.why) for day in done] == [(DayState.KEPT, "expired")] * 2


@given(st.lists(st.lists(st.none() | st.integers(0, 99), min_size=1, max_size=3), min_size=2))
def test_parts_together_are_exact_to_the_oldest(positions: list[list[int | None]]) -> None:
    arrow = pa.table({"time": [1]})
    parts = []
    for number, one in enumerate(positions):
        told = {
            "from": iso(number),
            "to": iso(number + 1),
            "complete_through": iso(max((p or 0 for p in one), default=0)),
            "history_from": None,
            "refused": [],
            "generation": 1,
            "positions": one,
        }
        sink = pa.BufferOutputStream()
        pq.write_table(arrow.replace_schema_metadata({"odometer": json.dumps(told)}), sink)
        parts.append(sink.getvalue().to_pybytes())
    with tempfile.TemporaryDirectory() as folder:
        files = Files(Path(folder), "v", "1d", "parquet")
        merged = files.described(files.merged(parts))
    assert merged.rows == len(parts)
    for place, position in enumerate(merged.exact["positions"]):
        column = [one[place] if place < len(one) else None for one in positions]
        assert position == (None if None in column else min(p for p in column if p is not None))
