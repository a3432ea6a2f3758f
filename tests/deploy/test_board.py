"""The Grafana board asks for metrics and labels that exist, and its panels do not overlap."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any, Final

from deploy.settings import CHECKOUT
from tests.deploy.monitor.test_metrics_table import tables

BOARD: Final[dict[str, Any]] = json.loads(
    (CHECKOUT / "deploy" / "grafana" / "odometer.json").read_text()
)
PANELS: Final[list[dict[str, Any]]] = [one for one in BOARD["panels"] if one["type"] != "row"]


def test_every_query_uses_metrics_that_exist_with_their_labels() -> None:
    known = {name: one for rows in tables().values() for name, (one, _) in rows.items()}
    for panel in PANELS:
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            names = re.findall(r"odometer_\w+", target["expr"])
            bases = [re.sub(r"_(bucket|sum|count)$", "", name) for name in names]
            found = [
                known.get(name) or known[base] for name, base in zip(names, bases, strict=True)
            ]
            labels = {label for one in found for label in one.labels} | {"instance", "le"}
            by = re.findall(r"by \(([\w, ]+)\)", target["expr"])
            assert {label for one in by for label in one.split(", ")} <= labels, target["expr"]
            shown = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
            assert set(shown) <= {label for one in by for label in one.split(", ")}, target
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_every_metric_of_the_tables_is_on_the_board() -> None:
    asked = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    left_out = {
        "odometer_build_info",
        "odometer_over_limit_rows_total",
        "odometer_redis_rewrite_in_progress",
        "odometer_directory_records_total",
        "odometer_partition_end_offset",
        "odometer_partition_last_commit_timestamp_seconds",
    }
    names = {name for rows in tables().values() for name in rows if "odometer_worker_" not in name}
    assert {name for name in names if name not in asked} == left_out


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    ids = [one["id"] for one in BOARD["panels"]]
    assert len(ids) == len(set(ids))
    for one, other in combinations((panel["gridPos"] for panel in BOARD["panels"]), 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
