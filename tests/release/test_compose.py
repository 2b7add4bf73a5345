"""compose.yaml, as far as it can be read; `make check-deploy` loads it as Docker does."""

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.docs import sources
from stream import settings_loader

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: one for name, one in SERVICES.items() if "build" in one}
LOADERS: dict[str, Callable[[], object]] = {
    "worker": settings_loader.load,
    "bridge": settings_loader.load_bridge,
    "lag-exporter": settings_loader.load_exporter,
    "topics": settings_loader.load_kafka,
}


@pytest.mark.parametrize("name", LOADERS)
def test_the_settings_of_a_service_are_valid(name, monkeypatch):
    """An unknown name ends the start."""
    for setting, value in OURS[name]["environment"].items():
        monkeypatch.setenv(setting, str(value))
    LOADERS[name]()
    assert set(OURS[name]["environment"]) <= sources.setting_names()


def test_the_commands_exist():
    known = {name for name, _ in sources.commands()}
    assert {"worker", "bridge", "emulator", "topics", "lag-exporter"} == set(OURS)
    for service in OURS.values():
        words = service["command"]
        assert {words[0], " ".join(words[:2])} & known


@pytest.mark.kafka
def test_the_topics_are_created(bootstrap_servers):
    """What must be given to change something, such as `--yes`, is in the command."""
    topics = OURS["topics"]
    given = {
        **topics["environment"],
        "KAFKA__BOOTSTRAP_SERVERS": bootstrap_servers,
        "KAFKA__TOPIC": f"compose.{secrets.token_hex(4)}",
    }
    for command in (topics["command"], ["topics", "check"]):
        done = subprocess.run(
            [sys.executable, "-m", "stream", *command],
            env={**os.environ, **given},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_foreign_images_are_pinned_by_digest_and_nothing_listens_on_the_network():
    foreign = [one["image"] for name, one in SERVICES.items() if name not in OURS]
    assert len(foreign) == 3
    assert all(re.fullmatch(r"\w+/\w+:v?[\d.]+@sha256:[0-9a-f]{64}", image) for image in foreign)
    ports = [port for one in SERVICES.values() for port in one.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_charts_rules_and_dashboards_are_mounted():
    folders = {
        volume.split(":")[0] for one in SERVICES.values() for volume in one.get("volumes", ())
    }
    assert {Path(folder).name for folder in folders} == {"rules", "dashboards"}
    assert all(list((ROOT / folder).iterdir()) for folder in folders)
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (ROOT / "helm/wootric-destination/files/dashboards" / Path(home).name).exists()


def test_prometheus_scrapes_every_service_that_has_metrics():
    config = yaml.safe_load(COMPOSE["configs"]["prometheus"]["content"])
    targets = [one["targets"] for one in config["scrape_configs"][0]["static_configs"]]
    assert targets == [["worker:8080"], ["bridge:8080"], ["lag-exporter:8080"]]
