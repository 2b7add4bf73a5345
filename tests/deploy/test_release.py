"""What a release has beside the image: its bill of materials, and wheels for the other platform."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from jsonschema import Draft7Validator
from referencing import Registry, Resource

from scripts.runtime_lock import BUILD, runtime
from stream import __version__

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[2]
RUNTIME = runtime((ROOT / "requirements.lock").read_text(), (ROOT / "pyproject.toml").read_text())
PLATFORMS = [f"manylinux{name}_aarch64" for name in ("2014", "_2_28", "_2_34", "_2_41")]
"""What pip accepts on arm64 with the glibc of the base image, 2.41."""


@pytest.fixture(scope="module")
def tools() -> Path:
    """The environment of the maintainers' tools."""
    subprocess.run(["make", ".venv-tools/.ready"], cwd=ROOT, check=True)
    return ROOT / ".venv-tools"


@pytest.fixture(scope="module")
def bill(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("bill") / "bill.json"
    command = [tools / "bin" / "python", "-m", "scripts.sbom", file]
    subprocess.run(command, cwd=ROOT, check=True)
    return dict(json.loads(file.read_text()))


@pytest.fixture(scope="module")
def check(tools: Path) -> Callable[[Any], None]:
    """Compares with CycloneDX's own schema, which its library has."""
    (folder,) = tools.glob("lib/python*/site-packages/cyclonedx/schema/_res")
    schemas = {
        name: json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_text())
        for name in ("bom-1.6", "spdx", "jsf-0.82")
    }
    known = [(one["$id"], Resource.from_contents(one)) for one in schemas.values()]
    return Draft7Validator(schemas["bom-1.6"], registry=Registry().with_resources(known)).validate


def test_the_bill_is_cyclonedx(bill, check):
    check(bill)
    with pytest.raises(jsonschema.ValidationError):
        check({**bill, "components": [{"name": "a component without a type"}]})


def test_the_bill_has_what_is_in_the_image(bill):
    named = {one["name"]: one for one in bill["components"]}
    assert bill["metadata"]["component"]["version"] == __version__
    assert named.keys() - {"python"} == RUNTIME.keys() - {BUILD}
    assert all(named[name]["version"] in RUNTIME[name] for name in RUNTIME.keys() - {BUILD})
    digest = named["python"]["hashes"][0]["content"]
    assert f"@sha256:{digest} " in (ROOT / "Dockerfile").read_text()
    needed = {one["ref"]: one.get("dependsOn", []) for one in bill["dependencies"]}
    assert named["yarl"]["bom-ref"] in needed[named["aiohttp"]["bom-ref"]]


def test_every_package_has_a_wheel_for_arm64(tools, tmp_path):
    """The image compiles nothing: by the same lock it is built for arm64, too."""
    lock = tmp_path / "runtime.lock"
    lock.write_text("".join(RUNTIME.values()))
    command = [
        *(tools / "bin" / "python", "-m", "pip", "install", "--dry-run", "--ignore-installed"),
        *("--target", tmp_path / "target", "--implementation", "cp", "--python-version", "3.13"),
        *(f"--platform={name}" for name in PLATFORMS),
        *("--only-binary=:all:", "--no-deps", "--require-hashes", "--requirement", lock),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "would install" in done.stdout.lower()
