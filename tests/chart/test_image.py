"""The Dockerfile, as far as it can be read; `make check-deploy` builds it."""

import importlib.util
import re
import sys
import tomllib
from pathlib import Path

from rendering import run_tool

from stream import __version__

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
LOCK = (ROOT / "requirements.lock").read_text()
PYPROJECT = (ROOT / "pyproject.toml").read_text()


def test_hadolint_has_nothing_to_say():
    hadolint = str(Path(sys.executable).parent / "hadolint")
    result = run_tool(hadolint, str(ROOT / "Dockerfile"))
    assert (result.returncode, result.stdout) == (0, "")


def test_the_image_is_small_and_nobodys():
    final = DOCKERFILE.rpartition("FROM ")[2]
    assert "USER 10001:10001" in final
    assert 'ENTRYPOINT ["/opt' in final
    assert re.findall(r"^RUN (\S+)", final, re.MULTILINE) == ["rm"]


def test_every_base_is_pinned_by_digest():
    """A tag may be moved by somebody else; `.github/dependabot.yml` reads only literal names."""
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert [base for base in bases if base != "${PYTHON}"] == [bases[0]]
    assert re.fullmatch(r"python:3\.13\.\d+-slim-\w+@sha256:[0-9a-f]{64}", bases[0])
    assert DOCKERFILE.count("ARG PYTHON=base\n") == 1


def test_the_labels_name_this_version():
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="(.*)"', DOCKERFILE))
    project = tomllib.loads(PYPROJECT)["project"]
    assert f"ARG VERSION={__version__}\n" in DOCKERFILE
    assert labels == {
        "title": project["name"],
        "description": project["description"],
        "documentation": project["urls"]["Documentation"],
        "licenses": project["license"],
        "version": "${VERSION}",
        "revision": "${REVISION}",
    }


def runtime() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location(
        "runtime_lock", ROOT / "scripts" / "runtime_lock.py"
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.runtime(LOCK, PYPROJECT)


def test_the_image_gets_what_the_service_needs_and_nothing_else():
    """The project's dependencies and theirs, as pinned; the development tools not."""
    found = runtime()
    project = tomllib.loads(PYPROJECT)["project"]
    direct = {re.split(r"[<>=;\[]", line)[0].strip() for line in project["dependencies"]}
    tools = {re.split(r"[<>=;\[]", line)[0] for line in project["optional-dependencies"]["dev"]}
    assert direct <= set(found)
    assert not tools & set(found)
    assert all(entry in LOCK for entry in found.values())
    assert all("--hash=sha256:" in entry for entry in found.values())


def test_everything_that_is_copied_exists_and_reaches_the_builder():
    copied = [
        word
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
        for word in line.split()
    ]
    admitted = [line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"]
    assert copied
    assert all((ROOT / word).exists() for word in copied)
    assert set(copied) <= {*admitted}
