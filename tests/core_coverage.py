"""What `make test-fast` reaches of lines and branches: of everything, and nearly all of the core.

The core is what the import contracts keep free of clocks, sockets and Kafka.
"""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parent.parent
CONTRACTS = {"stream-core", "sink-core", "bridge-core"}
BRANCHES_MIN = 0.95
"""Of the core's; what is left are cases that the types exclude."""


@dataclass(frozen=True)
class Gap:
    """What of a file no test has reached."""

    path: str
    branches: int
    missing_branches: int
    places: str

    def __str__(self) -> str:
        return f"{self.path}: {self.missing_branches} of {self.branches} branches: {self.places}"


def core(pyproject: Mapping[str, Any]) -> set[str]:
    """Return the modules of the core, by the contracts."""
    contracts = pyproject["tool"]["importlinter"]["contracts"]
    return {
        module for one in contracts if one["id"] in CONTRACTS for module in one["source_modules"]
    }


def is_of(path: str, modules: Collection[str]) -> bool:
    """Whether a file is one of the modules, or in one that is a package."""
    name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return any(name == one or name.startswith(f"{one}.") for one in modules)


def share(files: Mapping[str, Any]) -> float:
    """Return how many of the branches were taken, from 0 to 1."""
    summaries = [file["summary"] for file in files.values()]
    branches = sum(one["num_branches"] for one in summaries)
    return sum(one["covered_branches"] for one in summaries) / branches if branches else 1.0


def gaps(files: Mapping[str, Any]) -> list[Gap]:
    """Return what was not reached, the largest first."""
    found = []
    for path, file in files.items():
        lines = [f"{line}" for line in file["missing_lines"]]
        branches = [f"{a}->{b if b > 0 else 'exit'}" for a, b in file["missing_branches"]]
        if lines or branches:
            summary = file["summary"]
            places = "; ".join(
                part
                for part in (
                    f"lines {', '.join(lines)}" if lines else "",
                    f"branches {', '.join(branches)}" if branches else "",
                )
                if part
            )
            missing = summary["missing_branches"]
            found.append(Gap(path, summary["num_branches"], missing, places))
    return sorted(found, key=lambda gap: (-gap.missing_branches, gap.path))


def measured(arguments: list[str]) -> dict[str, Any]:
    """Run the tests, and return what coverage.py has seen of each file.

    Raises:
        subprocess.CalledProcessError: a test failed.
    """
    coverage = (sys.executable, "-m", "coverage")
    with TemporaryDirectory() as folder:
        environment = {**os.environ, "COVERAGE_FILE": str(Path(folder) / "data")}
        report = Path(folder) / "coverage.json"
        for command in (
            ("run", "-m", "pytest", "--dist", "loadscope", *arguments),
            ("combine", "--quiet"),
            ("json", "--quiet", "-o", f"{report}"),
        ):
            subprocess.run([*coverage, *command], cwd=ROOT, env=environment, check=True)
        return json.loads(report.read_text())


def main() -> int:
    """Print the figures; return the exit code."""
    try:
        seen = measured(sys.argv[1:])
    except subprocess.CalledProcessError as error:
        return error.returncode
    modules = core(tomllib.loads((ROOT / "pyproject.toml").read_text()))
    files = {path: file for path, file in seen["files"].items() if is_of(path, modules)}
    for gap in gaps(files):
        print(gap)
    print(f"all: {seen['totals']['percent_covered']:.1f} % of lines and branches")
    print(f"core: {share(files):.1%} of branches; at least {BRANCHES_MIN:.0%} have to be")
    return 0 if share(files) >= BRANCHES_MIN else 1


if __name__ == "__main__":
    sys.exit(main())
