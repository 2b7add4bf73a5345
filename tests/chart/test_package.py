"""The chart's package, as `helm push` uploads it."""

import tarfile
from pathlib import Path

from chart_tools import path
from rendering import run_tool

CHART = Path(__file__).parents[2] / "helm" / "wootric-destination"


def test_the_package_has_every_file_that_is_not_ignored(tmp_path):
    done = run_tool(path("helm"), "package", str(CHART), "--destination", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (package,) = tmp_path.glob("*.tgz")
    with tarfile.open(package) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    ignored = tuple((CHART / ".helmignore").read_text().split())
    expected = {str(one.relative_to(CHART)) for one in CHART.rglob("*") if one.is_file()}
    expected = {name for name in expected if not name.startswith(ignored)}
    assert {"files/dashboards", "files/rules"} <= {str(Path(name).parent) for name in expected}
    assert found == expected
