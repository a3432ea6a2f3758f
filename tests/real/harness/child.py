"""A worker or a rebuild in a process of its own; a function may change it first.

    python -m tests.real.harness.child worker|rebuild [MODULE:FUNCTION]

The function runs before anything else. It may return the catalog that the worker counts by, or
change the code of the process (tests/chaos/planted.py). A worker reads its settings as JSON from
WORKER_SETTINGS, its prices from WORKER_PRICES and the port of its monitor from WORKER_MONITOR_PORT, as the
command has no options for the batch policy and for timing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module

from deploy.monitor.process import MonitorSettings
from schemas.catalog.views import DEFAULT, Catalog
from schemas.prices.price_list import parse_prices
from streams.worker.process import run_worker
from streams.worker.settings import WorkerSettings

Change = Callable[[], Catalog | None]


def command(role: str, change: Change | None) -> list[str]:
    """What starts it."""
    named = [] if change is None else [f"{change.__module__}:{change.__name__}"]
    return [sys.executable, "-m", __name__, role, *named]


def earlier_catalog() -> Catalog:
    """An earlier configuration: a view less, a measure of another less, and that in larger pages."""
    views = tuple(
        replace(view, measures=view.measures[:-1], page_series=4) if view.name == "model" else view
        for view in DEFAULT.views
        if view.name != "user_agent"
    )
    return replace(DEFAULT, views=views)


def main(role: str, change: str = "") -> int:
    catalog = changed(change) if change else DEFAULT
    if role == "worker":
        settings = WorkerSettings.model_validate_json(os.environ["WORKER_SETTINGS"])
        prices = parse_prices(os.environ["WORKER_PRICES"].encode(), "prices.toml")
        host, port = "127.0.0.1", int(os.environ["WORKER_MONITOR_PORT"])
        monitor = MonitorSettings("worker", host, port, "test", print)
        return run_worker(settings, prices, catalog, monitor)
    from deploy.cli import main as cli  # typer and rich take 0.3 s, which a worker does not need

    sys.argv = ["odometer", role]
    cli.main()
    return 0


def changed(change: str) -> Catalog:
    """The catalog after MODULE:FUNCTION has run."""
    module, _, name = change.partition(":")
    catalog: Catalog | None = getattr(import_module(module), name)()
    return DEFAULT if catalog is None else catalog


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
