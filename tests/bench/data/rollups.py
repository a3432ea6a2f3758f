"""The baseline of the benchmarks of reads: rollups by hour and by day in SQLite, with good indexes.

This is what one builds who knows the queries in advance: a table without agents and users, one with
agents and one with users, each by hour and by day, and an index for each filter.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np

from schemas.limits import DAY_MS, HOUR_MS
from tests.bench.data.filling import AGENTS, MODELS, Batch, Ints, Traffic

TABLES: Final = {
    f"{length}_{who}": (length_ms, who)
    for length, length_ms in (("hour", HOUR_MS), ("day", DAY_MS))
    for who in ("model", "agent", "user")
}
"""Those without an agent or user are a hundred times smaller."""

_CREATE: Final = """
CREATE TABLE {name} (tenant INTEGER, at_ms INTEGER, provider TEXT, model TEXT, who TEXT,
  calls INTEGER, cost INTEGER, input INTEGER, output INTEGER, latency INTEGER, latencies INTEGER,
  PRIMARY KEY (tenant, at_ms, provider, model, who)) WITHOUT ROWID;
"""
_ADD: Final = """
INSERT INTO {name} VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET calls = calls + excluded.calls, cost = cost + excluded.cost,
  input = input + excluded.input, output = output + excluded.output,
  latency = latency + excluded.latency, latencies = latencies + excluded.latencies
"""
_INDEXES: Final = """
CREATE INDEX {name}_model ON {name} (tenant, model, at_ms);
CREATE INDEX {name}_who ON {name} (tenant, who, at_ms);
"""
SUMS: Final = "sum(calls), sum(cost), sum(input), sum(output), sum(latency), sum(latencies)"


def roll_up(path: Path, traffic: Traffic) -> sqlite3.Connection:
    database = sqlite3.connect(path)
    for name in TABLES:
        database.executescript(_CREATE.format(name=name))
    _add_all(database, traffic, traffic.bulk())
    _add_all(database, traffic, traffic.live())
    for name, (_length_ms, who) in TABLES.items():
        if who != "model":
            database.executescript(_INDEXES.format(name=name))
        else:
            database.executescript(_INDEXES.format(name=name).partition(";")[0] + ";")
    database.executescript("ANALYZE;")
    database.commit()
    return database


def _add_all(database: sqlite3.Connection, traffic: Traffic, batches: Iterable[Batch]) -> None:
    words = traffic.words
    for batch in batches:
        whose: dict[str, Ints] = {
            "model": np.zeros_like(batch.agent), "agent": batch.agent, "user": batch.user,
        }  # fmt: skip
        width = max(AGENTS, traffic.users)
        for name, (length_ms, who) in TABLES.items():
            bucket = batch.at_ms // length_ms
            key = ((bucket - bucket[0]) * MODELS + batch.model) * width + whose[who]
            order = np.argsort(key, kind="stable")
            starts = np.flatnonzero(np.concatenate([[True], np.diff(key[order]) != 0]))
            sums = np.add.reduceat(batch.summed[order], starts, axis=0)
            rows = []
            for at, own in zip(order[starts].tolist(), sums.tolist(), strict=True):
                model = int(batch.model[at])
                named = words[who][int(whose[who][at])] if who != "model" else ""
                names = words["provider"][model % 5], words["model"][model], named
                rows.append((int(bucket[at]) * length_ms, *names, *own, own[0]))
            database.executemany(_ADD.format(name=name), rows)


def ask(
    database: sqlite3.Connection, table: str, from_ms: int, to_ms: int, filters: dict[str, str]
) -> dict[str, Any]:
    """Summary, by model, by time."""
    where, bound = "tenant = 1 AND at_ms >= ? AND at_ms < ?", [from_ms, to_ms, *filters.values()]
    for column in filters:
        where += f" AND {'model' if column == 'model' else 'who'} = ?"
    whole = database.execute(f"SELECT {SUMS} FROM {table} WHERE {where}", bound).fetchone()  # noqa: S608
    models = database.execute(
        f"SELECT provider, model, {SUMS} FROM {table} WHERE {where} GROUP BY 1, 2"  # noqa: S608
        " ORDER BY sum(cost) DESC, 1, 2",
        bound,
    ).fetchall()
    series = database.execute(
        f"SELECT at_ms, {SUMS} FROM {table} WHERE {where} GROUP BY 1 ORDER BY 1",  # noqa: S608
        bound,
    ).fetchall()
    return {"summary": whole, "byModel": models, "byTime": series}
