"""The example of Alertmanager's configuration: its form, its routes and what it inhibits.

amtool checks form and routes. It has no test for inhibitions, so they are evaluated here by
Alertmanager's definition: https://prometheus.io/docs/alerting/latest/configuration/#inhibit_rule
"""

import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_tools import path
from rendering import run_tool
from test_rules import ALERTS

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "observe" / "alertmanager.md"
TEXT = re.search(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
assert TEXT
RULES: list[dict[str, Any]] = yaml.safe_load(TEXT[1])["inhibit_rules"]
NAMES = {rule["alert"] for rule in ALERTS.values()}
MATCHER = re.compile(r'(\w+)(=~|=)"(.*)"')


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "alertmanager.yml"
    file.write_text(TEXT[1] if TEXT else "")
    return str(file)


def amtool(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return run_tool(path("amtool"), *arguments)


def test_the_example_routes_each_severity_to_its_receiver(config):
    checked = amtool("check-config", config)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    for alert, severity, receiver in (
        ("WootricCircuitOpen", "page", "pager"),
        ("WootricParkedEvents", "ticket", "tickets"),
        ("WootricWatchdog", "none", "dead-mans-switch"),
    ):
        labels = (f"alertname={alert}", f"severity={severity}")
        options = (f"--config.file={config}", f"--verify.receivers={receiver}")
        routed = amtool("config", "routes", "test", *options, *labels)
        assert routed.returncode == 0, routed.stdout + routed.stderr


@pytest.mark.parametrize(
    ("firing", "silenced"),
    [
        (
            "KafkaUnavailable page, LagExporterStale page, RetentionAtRisk page",
            "LagExporterStale",
        ),
        ("BridgeLosesEvents page, BridgeLosesEvents ticket", "BridgeLosesEvents"),
        ("CircuitOpen page, FreshnessBudgetBurn page, ParkedEvents ticket", "FreshnessBudgetBurn"),
        ("MetricsAbsent page, WorkersMissing ticket", "WorkersMissing"),
        ("PartitionHalted page, LagSkewed ticket", "LagSkewed"),
        ("RateLimited ticket, FreshnessSlowBurn ticket", "FreshnessSlowBurn"),
    ],
)
def test_what_another_alert_explains_is_inhibited(firing, silenced):
    """And nothing of another installation is."""
    alerts = [labels(*one.split()) for one in firing.split(", ")]
    assert {one["alertname"] for one in alerts} <= NAMES
    there = [{**one, "job": "another"} for one in alerts]
    expected = {f"Wootric{name}" for name in silenced.split(", ")}
    assert {one["alertname"] for one in alerts if inhibited(one, alerts)} == expected
    assert not any(inhibited(one, there) for one in alerts)


def labels(name: str, severity: str) -> dict[str, str]:
    return {
        "alertname": f"Wootric{name}",
        "severity": severity,
        "namespace": "surveys",
        "job": "wootric",
    }


def inhibited(alert: Mapping[str, str], others: Iterable[Mapping[str, str]]) -> bool:
    return any(
        matches(alert, rule["target_matchers"])
        and any(
            matches(other, rule["source_matchers"])
            and all(other.get(name) == alert.get(name) for name in rule["equal"])
            for other in others
            if other != alert
        )
        for rule in RULES
    )


def matches(alert: Mapping[str, str], matchers: Iterable[str]) -> bool:
    def one(matcher: str) -> bool:
        name, operator, value = read(matcher)
        given = alert.get(name, "")
        return bool(re.fullmatch(value, given)) if operator == "=~" else given == value

    return all(map(one, matchers))


def read(matcher: str) -> tuple[str, str, str]:
    found = MATCHER.fullmatch(matcher)
    assert found, matcher
    name, operator, value = found.groups()
    return name, operator, value
