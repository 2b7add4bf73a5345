"""The chart, rendered by the real Helm."""

import functools
import subprocess
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import psutil
import yaml
from chart_tools import path
from waiting import until_now

CHART = Path(__file__).parents[2] / "helm" / "wootric-destination"
EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))
MINIMAL = CHART / "examples" / "minimal.yaml"


def run_tool(*command: str) -> "subprocess.CompletedProcess[str]":
    """Run a tool that only computes, as long as it does."""
    with (
        TemporaryFile("w+") as out,
        TemporaryFile("w+") as err,
        subprocess.Popen(command, stdout=out, stderr=err) as process,
    ):
        try:
            until_now(
                lambda: process.poll() is not None,
                f"{command[0]} ends",
                lambda: sum(psutil.Process(process.pid).cpu_times()[:2]),
            )
        finally:
            process.kill()
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess(command, process.returncode, out.read(), err.read())


def helm(*arguments: str, binary: str = "helm") -> "subprocess.CompletedProcess[str]":
    return run_tool(path(binary), *arguments)


@functools.cache
def render(*arguments: str, values: Path = MINIMAL, binary: str = "helm") -> list[dict[str, Any]]:
    """Return the objects of a release with these values; they are shared, so leave them alone."""
    options = ("template", "rel", str(CHART), "--namespace", "surveys", "--values", str(values))
    result = helm(*options, *arguments, binary=binary)
    assert result.returncode == 0, result.stderr
    return [document for document in yaml.load_all(result.stdout, yaml.CSafeLoader) if document]


def refusal(*arguments: str, values: Path = MINIMAL, binary: str = "helm") -> str:
    """Return what Helm says about values that must not be rendered."""
    options = ("template", "rel", str(CHART), "--values", str(values))
    result = helm(*options, *arguments, binary=binary)
    assert result.returncode != 0, result.stdout
    return result.stderr


def one(kind: str, documents: list[dict[str, Any]], suffix: str = "") -> dict[str, Any]:
    """Return the only object of this kind and ending."""
    found = [
        document
        for document in documents
        if document["kind"] == kind and document["metadata"]["name"].endswith(suffix)
    ]
    assert len(found) == 1, [document["metadata"]["name"] for document in found]
    return found[0]


def pods(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the pod specs by kind and name of what makes them."""
    found = {}
    for document in documents:
        name = f"{document['kind']}/{document['metadata']['name']}"
        if document["kind"] == "Pod":
            found[name] = document["spec"]
        elif document["kind"] == "CronJob":
            found[name] = document["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        elif "template" in document.get("spec", {}):
            found[name] = document["spec"]["template"]["spec"]
    return found


def environment(pod: dict[str, Any]) -> dict[str, Any]:
    """Return a pod's environment: the value, or where it comes from."""
    (container,) = pod["containers"]
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}
