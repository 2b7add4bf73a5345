"""What Go programs say: `docker compose`'s loader of compose.yaml, actionlint of the workflows."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from chart_tools import built, folder, path
from rendering import run_tool

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).parent / "compose"


@pytest.fixture(scope="module")
def loader() -> str:
    """Built once per version; Go's own cache knows whether it is still right."""
    if not shutil.which("go"):
        pytest.fail("there is no go to build the loader of `docker compose`; install Go 1.24")
    folder().mkdir(parents=True, exist_ok=True)
    program = str(folder() / "compose-config")
    build = ["go", "build", "-mod=readonly", "-o", program, "."]
    subprocess.run(build, cwd=SOURCE, env={**os.environ, "CGO_ENABLED": "0"}, check=True)
    return program


def test_docker_compose_takes_the_file(loader, tmp_path):
    loaded = run_tool(loader, str(ROOT / "compose.yaml"))
    assert loaded.returncode == 0, loaded.stderr
    project = json.loads(loaded.stdout)
    assert project["services"]["worker"]["depends_on"]["emulator"]["condition"] == "service_healthy"
    config = project["configs"]["prometheus"]["content"]
    rules = ROOT / "helm" / "wootric-destination" / "files" / "rules"
    file = tmp_path / "prometheus.yml"
    file.write_text(config.replace("/etc/prometheus/rules", str(rules)))
    checked = run_tool(path("promtool"), "check", "config", str(file))
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.count("rules found") == len(list(rules.iterdir()))


def test_a_field_that_compose_does_not_know_is_refused(loader, tmp_path):
    wrong = (ROOT / "compose.yaml").read_text().replace("healthcheck:", "health_check:", 1)
    (tmp_path / "compose.yaml").write_text(wrong)
    assert "health_check" in run_tool(loader, str(tmp_path / "compose.yaml")).stderr


def test_actionlint_has_nothing_to_say():
    workflows = map(str, (ROOT / ".github" / "workflows").glob("*.yml"))
    result = run_tool(str(built("actionlint")), *workflows)
    assert (result.returncode, result.stdout) == (0, "")
