"""The kinds of operators, as their own modules define them.

`operators/modules.mod` and `modules.sum` are a go.mod and a go.sum: Go fetches the modules once and
compares their hashes. What is kept are the definitions alone, in the user's cache folder.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from chart_tools import MissingError
from toolchains import kept

FETCH_S_MAX = 600
SOURCES = Path(__file__).parent / "operators"
MODULES, SUMS = SOURCES / "modules.mod", SOURCES / "modules.sum"
OPERATOR = "github.com/prometheus-operator/prometheus-operator"
MONITORING = "example/prometheus-operator-crd/monitoring.coreos.com"
KEDA = "github.com/kedacore/keda/v2"
FILES = {
    "PodMonitor": (OPERATOR, f"{MONITORING}_podmonitors.yaml"),
    "ServiceMonitor": (OPERATOR, f"{MONITORING}_servicemonitors.yaml"),
    "PrometheusRule": (OPERATOR, f"{MONITORING}_prometheusrules.yaml"),
    "ScaledObject": (KEDA, "config/crd/bases/keda.sh_scaledobjects.yaml"),
    "TriggerAuthentication": (KEDA, "config/crd/bases/keda.sh_triggerauthentications.yaml"),
    "ExternalSecret": (
        "github.com/external-secrets/external-secrets",
        "config/crds/bases/external-secrets.io_externalsecrets.yaml",
    ),
    "HTTPRoute": (
        "sigs.k8s.io/gateway-api",
        "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
    ),
    "CiliumNetworkPolicy": (
        "github.com/cilium/cilium",
        "pkg/k8s/apis/cilium.io/client/crds/v2/ciliumnetworkpolicies.yaml",
    ),
}
"""Where a kind is defined: the module, and the file in it."""


def definitions() -> dict[str, dict[str, Any]]:
    """Return the CustomResourceDefinition of each kind in ``FILES``.

    Raises:
        MissingError: there is no Go, or it could not fetch a module.
    """
    place = kept("operators", [MODULES, SUMS], _fetch)
    return {kind: yaml.safe_load((place / f"{kind}.yaml").read_text()) for kind in FILES}


def schema(definition: dict[str, Any], version: str) -> dict[str, Any]:
    """Return the schema of a kind's objects in one of its versions."""
    (found,) = (one for one in definition["spec"]["versions"] if one["name"] == version)
    assert found["served"], f"{version} is not served"
    return dict(found["schema"]["openAPIV3Schema"])


def _fetch(place: Path) -> None:
    if not shutil.which("go"):
        raise MissingError("there is no go to fetch the operators' modules; install Go 1.24")
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copy(MODULES, Path(scratch, "go.mod"))
        sums = Path(shutil.copy(SUMS, Path(scratch, "go.sum")))
        done = subprocess.run(
            # By name: without names Go neither compares nor adds the modules' own hashes.
            ["go", "mod", "download", "-json", *sorted({module for module, _ in FILES.values()})],
            cwd=scratch,
            env={**os.environ, "GOTOOLCHAIN": "auto"},  # a module may ask for a newer Go
            capture_output=True,
            text=True,
            timeout=FETCH_S_MAX,
            check=False,
        )
        if done.returncode:
            raise MissingError(f"the operators' modules cannot be fetched: {done.stderr[-2000:]}")
        if sums.read_text() != SUMS.read_text():
            raise MissingError(f"{SUMS.name} has not the hash of each module")
    folders = {one["Path"]: Path(one["Dir"]) for one in _objects(done.stdout)}
    for kind, (module, file) in FILES.items():
        shutil.copyfile(folders[module] / file, place / f"{kind}.yaml")


def _objects(text: str) -> list[dict[str, Any]]:
    """Return the JSON objects that follow each other."""
    found, decoder = [], json.JSONDecoder()
    while text := text.lstrip():
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:]
    return found


if __name__ == "__main__":
    try:
        definitions()
    except MissingError as missing:
        sys.exit(str(missing))
