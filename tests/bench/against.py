"""`make bench ARGS="--against REV"`: this tree and a commit of it, in turn on one machine.

Figures of two runs at different times compare the machine's other load. Here each round runs both
sides one after the other, and a ratio is of one round.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench.ground import say

ROOT = Path(__file__).parents[2]
FIGURES = {"events_per_s": "events/s", "cpu_us": "worker CPU", "broker_us": "broker CPU"}
"""What is compared, and its name in the table; CPU is per event."""

OF_MAKE = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")
"""What this process has from `make bench`; with it, the other tree would get its variables."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ratio:
    """This tree divided by the commit, over the rounds."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f} to {self.most:.2f})"


def ratios(rounds: Sequence[tuple[Sequence[Row], Sequence[Row]]]) -> list[dict[str, Any]]:
    """Return a row a case that both sides have, with a ``Ratio`` a figure; None if one lacks it.

    ``rounds`` holds the rows of this tree and of the commit.
    """
    found: dict[tuple[Any, ...], dict[str, list[float | None]]] = {}
    for ours, theirs in rounds:
        others = {_case(row): row for row in theirs}
        for row in ours:
            if (other := others.get(_case(row))) is None:
                continue
            by_figure = found.setdefault(_case(row), {name: [] for name in FIGURES})
            for name in FIGURES:
                by_figure[name].append(_divided(row.get(name), other.get(name)))
    return [
        dict(zip(CASE, case, strict=True))
        | {name: _summed_up(values) for name, values in by_figure.items()}
        for case, by_figure in found.items()
    ]


CASE = ("subject", "trace", "reply_ms", "in_flight")


def _case(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in CASE)


def _divided(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours and theirs else None


def _summed_up(values: Sequence[float | None]) -> Ratio | None:
    known = [value for value in values if value is not None]
    return Ratio(statistics.median(known), min(known), max(known)) if known else None


@dataclass(frozen=True, slots=True)
class Side:
    """A tree with a virtual environment."""

    name: str
    tree: Path
    python: Path

    def measure(self, file: Path, options: Sequence[str]) -> list[Row]:
        """Run one round of speed; return its rows."""
        file.unlink(missing_ok=True)
        command = [str(self.python), "-m", "tests.bench", "--only", "speed", "--rounds", "1"]
        command += [*options, "--json", str(file)]
        subprocess.run(command, cwd=self.tree, check=True, stdout=subprocess.DEVNULL)
        return list(json.loads(file.read_text())["speed"]["rows"])


def checked_out(revision: str, folder: Path) -> Side:
    """Return a clone at a commit, with an environment of its own.

    Raises:
        SystemExit: there is no such commit.
    """
    git = ["git", "-C", str(ROOT)]
    found = subprocess.run(
        [*git, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode != 0:
        raise SystemExit(f"no commit of this repository: {revision}")
    tree = folder / "tree"
    subprocess.run(["git", "clone", "-q", "--no-checkout", str(ROOT), str(tree)], check=True)
    subprocess.run(["git", "-C", str(tree), "checkout", "-q", found.stdout.strip()], check=True)
    say(f"setting up {revision}")
    make = ["make", "-s", "-C", str(tree), f"PYTHON={_interpreter()}", ".venv/.ready"]
    environment = {name: value for name, value in os.environ.items() if name not in OF_MAKE}
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL, env=environment)
    return Side(revision, tree, tree / ".venv/bin/python")


def _interpreter() -> Path:
    """Return the interpreter that this environment was made with: both sides are to have it."""
    major, minor = sys.version_info[:2]
    return Path(sys.base_prefix) / "bin" / f"python{major}.{minor}"


def run(
    revision: str, *, rounds: int, options: Sequence[str], out: Console
) -> list[dict[str, Any]]:
    """Measure both sides in turn, show the ratios after each round, and return them as JSON.

    ``options`` are those of the benchmark that both sides get.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours, theirs = Side("this tree", ROOT, Path(sys.executable)), checked_out(revision, folder)
        measured: list[tuple[list[Row], list[Row]]] = []
        rows: list[dict[str, Any]] = []
        for number in range(rounds):
            found: dict[str, list[Row]] = {}
            for side in (ours, theirs) if number % 2 == 0 else (theirs, ours):
                say(f"round {number + 1} of {rounds}: {side.name}")
                found[side.name] = side.measure(folder / "figures.json", options)
            measured.append((found[ours.name], found[theirs.name]))
            rows = ratios(measured)
            show(rows, revision, out)
    return [
        {name: asdict(value) if isinstance(value, Ratio) else value for name, value in row.items()}
        for row in rows
    ]


def show(rows: Sequence[Row], revision: str, out: Console) -> None:
    table = Table(title=f"this tree divided by {revision}: median (least to most)")
    for name in ("", "traffic", "reply", "in flight", *FIGURES.values()):
        table.add_column(name, justify="left" if name in ("", "traffic") else "right")
    for row in rows:
        figures = (str(row[name] or "") for name in FIGURES)
        place = (row["subject"], row["trace"], f"{row['reply_ms']} ms", str(row["in_flight"]))
        table.add_row(*place, *figures)
    out.print(table)
