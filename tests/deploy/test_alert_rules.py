"""Each alert has a section in the runbook and uses metrics that exist; promtool checks and tests the rules."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml

from deploy.settings import CHECKOUT
from tests.deploy.monitor.test_metrics_table import tables
from tests.deploy.test_readme import RUNBOOK, assert_complete, sections

FOLDER: Final = CHECKOUT / "deploy" / "prometheus"
SEVERITIES: Final = {"critical", "warning", "info"}


def rules() -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load((FOLDER / "rules.yaml").read_text())["groups"]:
        yield from group["rules"]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def test_each_alert_has_a_complete_section_and_each_section_an_alert() -> None:
    found = sections(RUNBOOK, "Alerts")
    assert set(found) == set(alerts())
    assert_complete(found)


@pytest.mark.parametrize("name", alerts())
def test_an_alert_says_how_bad_it_is_and_where_to_read(name: str) -> None:
    alert = alerts()[name]
    assert alert["labels"]["severity"] in SEVERITIES
    assert alert["for"]
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["runbook_url"] == f"deploy/RUNBOOK.md#{name.lower()}"


def test_rules_use_metrics_and_labels_that_exist() -> None:
    known = {
        name: one.type for rows in tables().values() for name, (one, _) in rows.items()
    } | dict.fromkeys((rule["record"] for rule in rules() if "record" in rule), "gauge")
    for rule in rules():
        for name in re.findall(r"odometer[\w:]+", rule["expr"]):
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            assert name in known or known.get(base) == "histogram", name


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize("command", [("check", "rules.yaml"), ("test", "rules_test.yaml")])
def test_promtool_accepts_the_rules_and_every_alert_fires_and_resolves(
    command: tuple[str, str],
) -> None:
    done = subprocess.run(
        ["promtool", command[0], "rules", command[1]],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested() -> None:
    tests = (FOLDER / "rules_test.yaml").read_text()
    assert not [name for name in alerts() if f"alertname: {name}\n        exp_alerts" not in tests]
    assert not [name for name in alerts() if f"alertname: {name}}}" not in tests]
