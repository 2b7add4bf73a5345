"""What is installed: no version with a known vulnerability, and all by hash."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
ADVISORIES = json.loads((ROOT / "scripts" / "advisories.json").read_text())
"""Found in public issue threads and advisories; `make audit` asks the databases themselves."""

LOCKS = sorted(
    path for folder in (".", "docs", "scripts") for path in (ROOT / folder).glob("require*.lock")
)


def admitted(requirement: Requirement) -> Iterator[str]:
    """Yield the advisories of versions that a requirement admits."""
    bounds = [Version(one.version) for one in requirement.specifier if one.operator in {">=", "=="}]
    for advisory in ADVISORIES:
        if advisory["package"] == canonicalize_name(requirement.name) and (
            not bounds or max(bounds) < Version(advisory["fixed"])
        ):
            yield f"{requirement}: {advisory['id']}"


def test_no_floor_admits_a_known_vulnerability():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = pyproject["project"]
    stated = [
        *pyproject["build-system"]["requires"],
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    assert [found for line in stated for found in admitted(Requirement(line))] == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_lock_pins_by_hash_and_nothing_with_a_known_vulnerability(lock):
    entries = re.split(r"^(?=\w)", re.sub(r"\\\n", "", lock.read_text()), flags=re.MULTILINE)
    pins = [entry for entry in entries if "==" in entry]
    assert pins
    assert all("--hash=sha256:" in entry for entry in pins)
    assert [found for pin in pins for found in admitted(Requirement(pin.split(" --hash")[0]))] == []


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("aiohttp>=3.14.2", 3),
        ("aiohttp>=3.14.4", 0),
        ("aiohttp<4", 5),
        ("Pydantic_Settings==2.14.1", 1),
        ("rich>=15", 0),
    ],
)
def test_a_version_with_an_advisory_is_noticed(line, count):
    assert len(list(admitted(Requirement(line)))) == count
