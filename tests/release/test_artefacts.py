"""What is released: the wheel, built from what a clone has."""

import email.message
import email.parser
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from scripts.release import sources
from stream import __version__

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = ("schemas", "sink", "stream")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = sources(tmp_path_factory.mktemp("source"))
    place = tmp_path_factory.mktemp("wheel")
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet")
    command = [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(place)]
    built = subprocess.run([*command, str(source)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (found,) = place.glob("*.whl")
    return found


def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        return email.parser.Parser().parsestr(archive.read(name).decode())


def test_the_wheel_has_all_of_the_packages_and_nothing_else(wheel, tmp_path):
    """Schemas and the status page are data: they are missing unless somebody names them."""
    source = sources(tmp_path)
    files = [file for name in PACKAGES for file in (source / name).rglob("*.*") if file.is_file()]
    expected = {str(file.relative_to(source)) for file in files if file.suffix != ".md"}
    assert {"stream/telemetry/page.html", "schemas/avro/segment_event.avsc"} <= expected
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
        extra = {name.partition("/")[2] for name in archive.namelist() if ".dist-info/" in name}
    assert found == expected
    assert {"licenses/LICENSE", "entry_points.txt"} <= extra


def test_the_metadata_is_that_of_this_version(wheel):
    said = metadata(wheel)
    assert (said["Name"], said["Version"]) == (PROJECT["name"], __version__)
    assert said["Requires-Python"] == PROJECT["requires-python"]
    assert said["License-Expression"] == PROJECT["license"]
    assert {line.partition(", ")[0] for line in said.get_all("Project-URL", [])} == {
        "Changelog",
        "Documentation",
    }
    text = str(said.get_payload())
    assert "not yet against Wootric's production API" in text
    assert not re.findall(r"\]\((?!https://)", text), "relative links lead nowhere there"


def test_all_parts_have_one_version():
    chart = yaml.safe_load((ROOT / "helm" / "wootric-destination" / "Chart.yaml").read_text())
    newest = re.search(r"^## \[(.+?)\] - ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest
    assert {chart["version"], chart["appVersion"], newest[1]} == {__version__}
