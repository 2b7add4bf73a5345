"""Alert and recording rules: each alert fires where it should and is silent where it should be."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from alert_cases import ALWAYS, CASES, Case, Series
from alert_worlds import LIMITED, OF, WORLDS, World, alerts
from bridge_alert_cases import BRIDGE_CASES
from chart_tools import path
from quick_rules import quick
from rendering import CHART, EXAMPLES, one, render, run_tool

from stream.telemetry.lag_exporter import LagMetrics
from stream.telemetry.metrics import BridgeMetrics, Metrics

FILES = sorted((CHART / "files" / "rules").glob("*.yaml"))
RULES = [
    rule
    for file in FILES
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
]
NAMES = [rule["alert"] for rule in RULES if "alert" in rule]


def key(rule: dict[str, Any]) -> str:
    """Return an alert's name, with its severity where there is another of the name."""
    name, severity = rule["alert"], rule["labels"]["severity"]
    return name if NAMES.count(name) == 1 else f"{name} {severity}"


ALERTS = {key(rule): rule for rule in RULES if "alert" in rule}
ALL_CASES = {**CASES, **BRIDGE_CASES}
BASE = yaml.safe_load((CHART / "values.yaml").read_text())["metrics"]["prometheusRule"][
    "runbookBaseUrl"
]


def promtool(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return run_tool(path("promtool"), *arguments)


def test_the_rules_are_sound():
    result = promtool("check", "rules", "--lint=all", "--lint-fatal", *map(str, FILES))
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_fires_in_its_case_and_is_silent_in_the_other(tmp_path):
    """Also where none of its series exists at the beginning."""
    assert set(ALL_CASES) == set(ALERTS)
    files = []
    for alert, case in ALL_CASES.items():
        worlds = [world(alert, case, fires=True), world(alert, born_late(case), fires=True)]
        worlds += [world(alert, case, fires=False)] if alert not in ALWAYS else []
        files.append(written(tmp_path, alert, worlds))
    result = promtool("test", "rules", *files)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_rule_that_is_wrong_does_not_pass(tmp_path):
    """The comparison has teeth: the silent world called a firing one fails."""
    case = CASES["WootricInDoubtTooLong"]
    swapped = Case(case.silent, case.fires, at_min=case.at_min)
    worlds = [world("WootricInDoubtTooLong", swapped, fires=True)]
    assert promtool("test", "rules", written(tmp_path, "WootricInDoubtTooLong", worlds)).returncode


def written(folder: Path, alert: str, worlds: list[dict[str, object]]) -> str:
    """Write an alert's tests, with just the rules that it needs: promtool runs all each minute."""
    needed = [rule for rule in RULES if "record" in rule] if ":" in ALERTS[alert]["expr"] else []
    rules = folder / f"{alert}.rules.yaml"
    group = {"name": alert, "rules": [*needed, ALERTS[alert]]}
    rules.write_text(yaml.safe_dump({"groups": [group]}))
    return written_worlds(folder / f"{alert}.yaml", [rules], worlds)


def written_worlds(file: Path, rules: list[Path], worlds: list[dict[str, object]]) -> str:
    """Write worlds; what is recorded is evaluated before what asks for it, or at random."""
    groups = [group for path in rules for group in yaml.safe_load(path.read_text())["groups"]]
    groups.sort(key=lambda group: "record" not in group["rules"][0])
    document = {
        "group_eval_order": [group["name"] for group in groups],
        "rule_files": [str(path) for path in rules],
        "evaluation_interval": "2m",
        "tests": worlds,
    }
    file.write_text(yaml.safe_dump(document))
    return str(file)


LATE_MIN = 10
LEADING_ZEROS = re.compile(r"^0x(\d+) ")


def born_late(case: Case) -> Case:
    """Return a case whose series come into being later; a counter with its first event."""
    late = {
        name: f"_x{LATE_MIN} " + LEADING_ZEROS.sub(r"_x\1 ", values)
        for name, values in case.fires.items()
    }
    return replace(case, fires=late, at_min=LATE_MIN + case.at_min)


def world(alert: str, case: Case, *, fires: bool) -> dict[str, object]:
    series = case.fires if fires else case.silent
    name = ALERTS[alert]["alert"]
    firing = f'count by (alertname) (ALERTS{{alertname="{name}",alertstate="firing"}})'
    expected = [{"labels": f'{{alertname="{name}"}}', "value": case.times}] if fires else []
    return {
        "name": f"{alert} {'fires' if fires else 'is silent'}",
        "interval": "1m",
        "input_series": [
            {"series": name, "values": values} for name, values in labelled(series).items()
        ],
        "promql_expr_test": [
            {"expr": firing, "eval_time": f"{case.at_min}m", "exp_samples": expected}
        ],
    }


def labelled(series: Series, job: str = "wootric") -> Series:
    """Add what a scrape adds."""
    found = {}
    for name, values in series.items():
        metric, _, labels = name.rstrip("}").partition("{")
        extra = [] if "instance=" in labels else ['instance="w-0"']
        fixed = (labels, "" if "job=" in labels else f'job="{job}"', 'namespace="surveys"')
        inside = ",".join(filter(None, (*fixed, *extra)))
        found[f"{metric}{{{inside}}}"] = values
    return found


def test_in_a_world_of_all_rules_just_the_right_ones_fire(tmp_path):
    fresh = World(at_the_start(), {45: alerts()})
    worlds = [whole(name, one) for name, one in {**WORLDS, "a fresh one": fresh}.items()]
    result = promtool("test", "rules", written_worlds(tmp_path / "worlds.yaml", FILES, worlds))
    assert result.returncode == 0, result.stdout + result.stderr


GROWING = "The lag does not shrink: more arrives than the limit lets through."


def test_the_rate_limits_ticket_says_when_the_lag_is_gone(tmp_path):
    """A forecast: of the end of the lag, or of the end of retention."""
    lag, left = WORLDS[LIMITED].series, "wootric_consumer_retention_headroom_seconds"
    shrinking = {
        name: "20000-100x60" if "lag" in name else "90000+10x60" if left in name else values
        for name, values in lag.items()
    }
    worlds = []
    for series, expected in (
        (shrinking, "At this rate the lag is gone in 2h 50m 0s. More"),
        (
            lag,
            f"{GROWING} Retention deletes unread events in 9h 55m 0s. More",
        ),
    ):
        labels = {"namespace": "s", "job": "j", "severity": "ticket"}
        ticket = ALERTS["WootricRateLimited"]["annotations"]
        worlds.append(
            {
                "interval": "1m",
                "input_series": [{"series": n, "values": v} for n, v in series.items()],
                "alert_rule_test": [
                    {
                        "alertname": "WootricRateLimited",
                        "eval_time": "30m",
                        "exp_alerts": [
                            {
                                "exp_labels": labels,
                                "exp_annotations": {
                                    **ticket,
                                    "description": f"{expected} workers do not help.",
                                },
                            }
                        ],
                    }
                ],
            }
        )
    result = promtool("test", "rules", written_worlds(tmp_path / "worlds.yaml", FILES, worlds))
    assert result.returncode == 0, result.stdout + result.stderr


def at_the_start() -> Series:
    """Return what a healthy installation shows before its first event, from minute 5 on."""
    running = {
        "wootric_kafka_up": "1",
        "wootric_consumer_assigned_partitions": "6",
        "wootric_group_members": "1",
        "wootric_bridge_kafka_up": "1",
        "wootric_group_measured_timestamp_seconds": "300+60",
        "process_resident_memory_bytes": "1",
    }
    found = {}
    for instance, catalogue in (
        ("w-0", Metrics()),
        ("l-0", LagMetrics()),
        ("b-0", BridgeMetrics()),
    ):
        for family in catalogue.registry.collect():
            for sample in family.samples:
                labels = "".join(f',{name}="{value}"' for name, value in sample.labels.items())
                values = running.get(sample.name, f"{min(sample.value, 2.0**60):g}")
                found[f'{sample.name}{{{OF}"{instance}"{labels}}}'] = f"_x5 {values}x60"
    return found


def whole(name: str, one: World) -> dict[str, object]:
    firing = 'count by (alertname, severity) (ALERTS{alertstate="firing",severity!="none"})'
    return {
        "name": name,
        "interval": "1m",
        "input_series": [
            {"series": series, "values": values} for series, values in one.series.items()
        ],
        "promql_expr_test": [
            {
                "expr": firing,
                "eval_time": f"{minutes}m",
                "exp_samples": [
                    {"labels": f'{{alertname="{name}",severity="{severity}"}}', "value": 1}
                    for name, severity in map(str.split, sorted(expected))
                ],
            }
            for minutes, expected in one.firing.items()
        ],
    }


@pytest.mark.parametrize("alert", ALERTS.values(), ids=key)
def test_an_alert_says_what_is_wrong_and_where_to_read_on(alert):
    assert alert["labels"]["severity"] in {"page", "ticket", "none"}
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["runbook_url"] == f"{BASE}/{alert['alert']}.md"
    assert BASE.startswith("https://")


# What the chart makes of them


def rendered(*arguments: str) -> list[dict[str, object]]:
    enabled = ("--set", "metrics.prometheusRule.enabled=true")
    groups = one("PrometheusRule", render(*enabled, *arguments))["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_the_chart_ships_the_tested_rules():
    assert rendered() == RULES


@pytest.mark.parametrize(
    ("monitor", "job"),
    [("podMonitor", "surveys/rel-wootric-destination"), ("serviceMonitor", "rel")],
)
def test_the_rules_of_a_release_ask_for_its_own_job(monitor, job, tmp_path):
    """So that two releases have each its own alerts, also the one that was never scraped."""
    rules = rendered("--set", f"metrics.{monitor}.enabled=true")
    scope = f'namespace="surveys",job="{job}"'
    for rule in rules:
        for selector in selectors_of(rule["expr"]):
            if not selector.startswith("kube_"):
                assert scope in selector, selector
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "scoped", "rules": rules}]}))
    other = {
        f'{name[:-1]},namespace="surveys",job="other",instance="w-0"}}': values
        for name, values in CASES["WootricCircuitOpen"].fires.items()
    }
    other |= {'wootric_consumer_assigned_partitions{namespace="surveys",job="other"}': "3x60"}
    alone = whole(
        "another release has trouble", World(other, {20: alerts("WootricMetricsAbsent page")})
    )
    result = promtool("test", "rules", written_worlds(tmp_path / "worlds.yaml", [file], [alone]))
    assert result.returncode == 0, result.stdout + result.stderr


def selectors_of(expr: str) -> set[str]:
    """Return the selectors of an expression."""
    names = r"\b(?:\w+:)?(?:wootric_|process_|kube_)[\w:]+|\bup\b"
    return set(re.findall(rf"(?:{names})(?:\{{[^}}]*\}})?", expr))


def test_alerts_can_be_left_out_labelled_and_pointed_at_your_runbooks():
    options = "metrics.prometheusRule.alertLabels.team=data"
    options += ",metrics.prometheusRule.runbookBaseUrl=https://example.com"
    options += ",metrics.prometheusRule.excludeAlerts={WootricWatchdog,WootricParkedEvents}"
    left = {rule["alert"]: rule for rule in rendered("--set", options) if "alert" in rule}
    assert set(NAMES) - set(left) == {"WootricWatchdog", "WootricParkedEvents"}
    assert all(rule["labels"]["team"] == "data" for rule in left.values())
    link = left["WootricCircuitOpen"]["annotations"]["runbook_url"]
    assert link == "https://example.com/WootricCircuitOpen.md"


def test_the_examples_have_the_rules():
    production = next(example for example in EXAMPLES if example.stem == "production")
    rules = one("PrometheusRule", render(values=production))["spec"]["groups"]
    assert sum(len(group["rules"]) for group in rules) == len(RULES)


def test_on_a_faster_clock_durations_become_shorter_and_nothing_else():
    rule = {
        "alert": "A",
        "expr": 'rate(x{le="5m"}[5m]) > 300 or (y[1h30m] unless y\noffset 15m)',
        "for": "10m",
        "keep_firing_for": "90s",
        "annotations": {"summary": "for 10m"},
    }
    faster = {
        **rule,
        "expr": 'rate(x{le="5m"}[5000ms]) > 300 or (y[90000ms] unless y\noffset 15000ms)',
        "for": "10000ms",
        "keep_firing_for": "1500ms",
    }
    assert quick([{"name": "g", "rules": [rule]}], 60) == [{"name": "g", "rules": [faster]}]
