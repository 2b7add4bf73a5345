"""The deployment's documents name only what exists."""

import re
from pathlib import Path

import pytest
import typer
import yaml
from rendering import CHART
from test_render import commands

from stream import cli
from stream.kafka.config import KafkaConfig
from stream.kafka.topics import HOUR_MS, plans
from stream.settings import names

ROOT = Path(__file__).parents[2]
PATHS = [
    ROOT / "SECURITY.md",
    ROOT / "helm" / "OPERATIONS.md",
    ROOT / "helm" / "RUNBOOKS.md",
    CHART / "README.md",
]
UNBORN = {"BRIDGE__PREVIOUS_SECRET"} - set(names())
"""Of the bridge, until it is there."""

every_document = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)


@every_document
def test_a_setting_that_is_named_exists(path):
    named = set(
        re.findall(r"\b(?:KAFKA|WOOTRIC|HTTP|LOG|BRIDGE)__[A-Z_]*[A-Z]\b", path.read_text())
    )
    assert named - set(names()) - UNBORN == set()


@every_document
def test_a_command_that_is_named_exists(path):
    known = commands(typer.main.get_command(cli.app))
    first = {command.split()[0] for command in known}
    for command in re.findall(r"`(?:\$ )?wootric-stream ([a-z-]+(?: [a-z]+)?)", path.read_text()):
        assert command in known or command.split()[0] in first, command


@every_document
def test_a_value_of_the_chart_that_is_named_exists(path):
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for name in re.findall(r"`([a-z]\w+(?:\.\w+)+)=?[^`]*`", path.read_text()):
        if name.split(".")[0] not in values or name.endswith((".yaml", ".md")):
            continue
        inner = values
        for part in name.split("."):
            assert part in inner, name
            inner = inner[part]


@every_document
def test_a_link_leads_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        document = path.parent / file if file else path
        assert document.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles}


def test_what_is_kept_is_as_the_topics_are_made():
    config = KafkaConfig(
        bootstrap_servers="",
        group_id="",
        instance_id="",
        topic="segment.events",
        ledger_topic="segment.events.wootric.ledger",
        dead_letter_topic="segment.events.wootric.dlq",
        parked_topic="segment.events.wootric.parked",
    )
    text = (ROOT / "helm" / "OPERATIONS.md").read_text()
    for plan in plans(config, dedupe_window_s=7 * 86_400, record_bytes_max=0):
        row = re.search(rf"^\| `{re.escape(plan.name)}` \|.*$", text, re.MULTILINE)
        assert row, plan.name
        days = int(plan.config.get("retention.ms", 6 * 24 * HOUR_MS)) // (24 * HOUR_MS)
        assert f"{days} days" in row[0]
