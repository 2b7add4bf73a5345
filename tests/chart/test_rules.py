"""Alert and recording rules: each alert fires where it should and is silent where it should be."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from alert_cases import ALWAYS, CASES, Case, Series
from chart_tools import path
from rendering import CHART, EXAMPLES, one, render, run_tool

ROOT = Path(__file__).parents[2]
FILES = sorted((CHART / "files" / "rules").glob("*.yaml"))
RULES = [
    rule
    for file in FILES
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RUNBOOKS = ROOT / "docs" / "runbooks"
BASE = yaml.safe_load((CHART / "values.yaml").read_text())["metrics"]["prometheusRule"][
    "runbookBaseUrl"
]


def promtool(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return run_tool(path("promtool"), *arguments)


def test_the_rules_are_sound():
    result = promtool("check", "rules", "--lint=all", "--lint-fatal", *map(str, FILES))
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_fires_in_its_case_and_is_silent_in_the_other(tmp_path):
    assert set(CASES) == set(ALERTS)
    files = []
    for alert, case in CASES.items():
        worlds = [world(alert, case, fires=True)]
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
    file = folder / f"{alert}.yaml"
    document = {"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": worlds}
    file.write_text(yaml.safe_dump(document))
    return str(file)


def world(alert: str, case: Case, *, fires: bool) -> dict[str, object]:
    series = case.fires if fires else case.silent
    firing = f'count by (alertname) (ALERTS{{alertname="{alert}",alertstate="firing"}})'
    expected = [{"labels": f'{{alertname="{alert}"}}', "value": case.times}] if fires else []
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
        fixed = (labels, f'job="{job}"', 'namespace="surveys"')
        inside = ",".join(filter(None, (*fixed, *extra)))
        found[f"{metric}{{{inside}}}"] = values
    return found


@pytest.mark.parametrize("alert", ALERTS.values(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_where_to_read_on(alert):
    assert alert["labels"]["severity"] in {"page", "ticket", "none"}
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["runbook_url"] == f"{BASE}/{alert['alert']}.md"
    assert BASE.startswith("https://")
    runbook = (RUNBOOKS / f"{alert['alert']}.md").read_text()
    assert runbook.startswith(f"# {alert['alert']}\n\nSeverity `{alert['labels']['severity']}`: ")
    parts = re.findall(r"^## (.*)$", runbook, re.MULTILINE)
    assert parts == ["Meaning", "Impact", "First look", "Fix", "Verify", "Escalate"]


def test_every_runbook_belongs_to_an_alert():
    assert {path.stem for path in RUNBOOKS.glob("*.md")} - {"index"} == set(ALERTS)


# What the chart makes of them


def rendered(*arguments: str) -> list[dict[str, object]]:
    enabled = ("--set", "metrics.prometheusRule.enabled=true")
    groups = one("PrometheusRule", render(*enabled, *arguments))["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_the_chart_ships_the_tested_rules():
    assert rendered() == RULES


def test_alerts_can_be_left_out_labelled_and_pointed_at_your_runbooks():
    options = "metrics.prometheusRule.alertLabels.team=data"
    options += ",metrics.prometheusRule.runbookBaseUrl=https://example.com"
    options += ",metrics.prometheusRule.excludeAlerts={WootricWatchdog,WootricParkedEvents}"
    alerts = {rule["alert"]: rule for rule in rendered("--set", options) if "alert" in rule}
    assert set(ALERTS) - set(alerts) == {"WootricWatchdog", "WootricParkedEvents"}
    assert all(rule["labels"]["team"] == "data" for rule in alerts.values())
    link = alerts["WootricCircuitOpen"]["annotations"]["runbook_url"]
    assert link == "https://example.com/WootricCircuitOpen.md"


def test_the_examples_have_the_rules():
    production = next(example for example in EXAMPLES if example.stem == "production")
    rules = one("PrometheusRule", render(values=production))["spec"]["groups"]
    assert sum(len(group["rules"]) for group in rules) == len(RULES)
