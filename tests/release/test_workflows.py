"""The workflows, as far as they can be read; `make check-deploy` runs actionlint on them."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = {path.stem: path.read_text() for path in (GITHUB / "workflows").glob("*.yml")}
ONLY_OURS = "./.github/workflows/"


def jobs(name: str) -> dict[str, dict[str, Any]]:
    return yaml.safe_load(WORKFLOWS[name])["jobs"]


def test_every_action_is_pinned_by_its_commit():
    """A tag can be moved to other code, which would run with the right to publish."""
    used = re.findall(r"uses: (\S+)(.*)", "".join(WORKFLOWS.values()))
    foreign = {name + comment for name, comment in used if not name.startswith(ONLY_OURS)}
    assert len(foreign) > 10
    pinned = re.compile(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    assert not [name for name in foreign if not pinned.fullmatch(name)]
    assert len({name.partition("@")[0] for name in foreign}) == len(foreign), "one version each"


def test_a_workflow_may_only_read_unless_a_job_says_more():
    assert {yaml.safe_load(text)["permissions"]["contents"] for text in WORKFLOWS.values()} == {
        "read"
    }
    writing = {
        (name, job)
        for name in WORKFLOWS
        for job, entry in jobs(name).items()
        if "write" in entry.get("permissions", {}).values()
    }
    assert writing == {("docs", "publish"), ("dependencies", "locks"), ("release", "release")}


def test_a_release_is_tested_and_rehearsed_first():
    release = jobs("release")
    assert release[release["release"]["needs"]]["uses"] == f"{ONLY_OURS}ci.yml"
    steps = [str(step) for step in release["release"]["steps"]]
    order = [
        next(number for number, step in enumerate(steps) if word in step)
        for word in (
            "make release-dry-run",
            "docker login",
            "skopeo copy",
            "cosign sign",
            "gh release",
        )
    ]
    assert order == sorted(order)


def test_what_the_workflows_call_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = [
        word
        for line in re.findall(r"run: make ([a-z -]+)", "".join(WORKFLOWS.values()))
        for word in line.split()
    ]
    assert {"release-dry-run", "site", "audit", "lock"} <= set(called) <= targets
    versions = re.findall(r"(?:OLDEST|NEWEST)=([\d.]+)", (ROOT / ".ci" / "run").read_text())
    (python,) = (step for step in jobs("ci")["run"]["steps"] if "setup-python" in str(step))
    assert python["with"]["python-version"].split() == versions


def test_no_registry_is_named():
    """A fork publishes to a place of their own: `vars.REGISTRY`."""
    hosts = re.findall(r"\b[\w-]+\.(?:io|com|dev)/", "".join(WORKFLOWS.values()))
    assert hosts == []
