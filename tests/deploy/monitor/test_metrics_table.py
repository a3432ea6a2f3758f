"""Every metric is in the tables of deploy/README.md, with its type, unit and labels; and nothing else is."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from api.app.metrics import ApiMetrics
from api.http.durations import Durations
from deploy.monitor.counting import UNKNOWN
from deploy.monitor.usage import NO_USAGE
from deploy.settings import CHECKOUT
from streams.directory.metrics import DirectoryMetrics
from streams.worker.metrics import WorkerMetrics, WorkerState
from tests.deploy.monitor.test_counting import Fixed
from tests.deploy.monitor.test_usage import Usage

README: Final = (CHECKOUT / "deploy" / "README.md").read_text()
BASE_UNITS: Final = {"seconds", "bytes", "ratio"}


class Described(NamedTuple):
    type: str
    labels: frozenset[str]


def registries() -> dict[str, CollectorRegistry]:
    """The metrics of each process, by the heading of its table."""
    worker = WorkerMetrics()
    worker.watch(lambda: WorkerState("counting", {}, {}))
    api = ApiMetrics(Durations(lambda: 0.0), {}, lambda: 0)
    state = CollectorRegistry()
    state.register(Fixed(UNKNOWN))  # the names are those of a state that is known
    usage = CollectorRegistry()
    usage.register(Usage(NO_USAGE))
    return {
        "Worker": worker.registry,
        "API": api.registry,
        "State of counting": state,
        "Usage": usage,
        "Directory": DirectoryMetrics().registry,
    }


def described(registry: CollectorRegistry) -> dict[str, Described]:
    found = {}
    for collector in list(registry._collector_to_names):
        families: Iterator[Any] = iter(collector.collect())
        for family in families:
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels: tuple[str, ...] = getattr(collector, "_labelnames", ())
            labels = labels or getattr(family, "_labelnames", ())
            found[name] = Described(family.type, frozenset(labels))
    return found


def tables() -> dict[str, dict[str, tuple[Described, str]]]:
    """By heading and metric: type and labels, and the unit."""
    (part,) = re.findall(r"^## Metrics\n(.*?)(?=^## )", README, re.MULTILINE | re.DOTALL)
    found = {}
    for heading, text in re.findall(
        r"^### (.*?)\n(.*?)(?=^### |\Z)", part, re.MULTILINE | re.DOTALL
    ):
        rows = re.findall(
            r"^\| `(odometer_\w+)` \| (\w+) \| (\w*) ?\| (.*?) ?\|", text, re.MULTILINE
        )
        found[heading] = {
            name: (Described(kind, frozenset(re.findall(r"`(\w+)`", labels))), unit)
            for name, kind, unit, labels in rows
        }
    return found


def test_the_tables_have_every_metric_with_type_and_labels() -> None:
    written = tables()
    del written["Every process"]
    assert {
        heading: {name: one for name, (one, _) in rows.items()} for heading, rows in written.items()
    } == {heading: described(registry) for heading, registry in registries().items()}


def test_the_unit_of_a_metric_is_in_its_name() -> None:
    for rows in tables().values():
        for name, (_, unit) in rows.items():
            ending = re.search(r"_(seconds|bytes|ratio)(_total)?$", name)
            assert (ending.group(1) if ending else unit not in BASE_UNITS) in {unit, True}, name


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize("process", registries())
def test_promlint_has_nothing_to_say(process: str) -> None:
    data = generate_latest(registries()[process])
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=data, capture_output=True, check=False
    )
    assert (done.stdout + done.stderr).decode() == ""
