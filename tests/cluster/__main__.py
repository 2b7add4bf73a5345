"""`make check-cluster`: the chart on one real node of Kubernetes, without Docker.

The node, Kafka and the emulator run in namespaces of their own: network, mounts and processes
end with the first process of them, whatever ends it.
"""

import argparse
import asyncio
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chart_tools import MissingError
from rich.console import Console

from scripts.image import BuildError
from stream.devtools.downloads import alone, cache
from stream.errors import StartupError
from tests.cluster import needs, parts, performance

TUNED = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "vm/panic_on_oom")
"""What a kubelet sets for the whole machine, so one node runs at a time."""
EMPTY_S = 20.0
SYSCTL = Path("/proc/sys")

talk = Console(stderr=True, highlight=False)
began_at = float(os.environ.setdefault("CLUSTER_BEGAN_AT", f"{time.time()}"))


def step(line: str) -> None:
    """Tell the person at the terminal, with the seconds since the beginning."""
    talk.print(f"{time.time() - began_at:6.1f} s  {line}", markup=False, soft_wrap=True)


def main() -> int:
    """Read the options and return the exit code."""
    parser = argparse.ArgumentParser(prog="make check-cluster", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="ACT", help="and what they need")
    parser.add_argument("--list", action="store_true", help="list the acts")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    if options.list:
        for name, act in performance.ACTS.items():
            print(f"{name:12} {act.__doc__}")
        return 0
    try:
        return _inside(options.inside, options.only) if options.inside else _outside(options.only)
    except KeyboardInterrupt:
        return 130


def _outside(only: list[str] | None) -> int:
    folder = Path(tempfile.mkdtemp(prefix="wootric-cluster-"))
    try:
        step("what this machine has")
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            if lacking := needs.missing(Path(scratch)):
                print("this machine cannot be a node; it has not:", file=sys.stderr)
                print("".join(f"  {line}\n" for line in lacking), end="", file=sys.stderr)
                return 69
        try:
            (folder / "parts").write_bytes(pickle.dumps(parts.prepare(step, step)))
        except (MissingError, StartupError, BuildError, subprocess.CalledProcessError) as error:
            print(f"{error}", file=sys.stderr)
            return 69
        with alone(cache() / "cluster.lock"), _unchanged_kernel(), _cgroup(folder.name):
            return _in_namespaces(folder, only)
    finally:
        _remove(folder)
        step("all is removed")


def _in_namespaces(folder: Path, only: list[str] | None) -> int:
    python = (sys.executable, "-m", "tests.cluster", "--inside", str(folder))
    selected = ("--only", *only) if only else ()
    command = ("setpriv", "--pdeathsig", "KILL", *needs.NAMESPACES, *python, *selected)
    process = subprocess.Popen(command)
    try:
        return process.wait()
    finally:
        process.kill()
        process.wait()


def _inside(folder: Path, only: list[str] | None) -> int:
    made = pickle.loads((folder / "parts").read_bytes())  # noqa: S301  (our own file)
    return asyncio.run(performance.perform(made, folder, only, step))


@contextmanager
def _unchanged_kernel() -> Iterator[None]:
    before = {name: (SYSCTL / name).read_text() for name in TUNED}
    try:
        yield
    finally:
        for name, value in before.items():
            if (SYSCTL / name).read_text() != value:
                (SYSCTL / name).write_text(value)


@contextmanager
def _cgroup(name: str) -> Iterator[None]:
    """A group of every controller, for the kubelet's."""
    if needs.version_2():
        roots = [needs.CGROUPS]
    else:
        roots = [path for path in needs.CGROUPS.iterdir() if (path / "tasks").exists()]
    try:
        for root in roots:
            (root / name).mkdir(exist_ok=True)  # two names may be one hierarchy
        yield
    finally:
        for group in (needs.CGROUPS / name, *needs.CGROUPS.glob(f"*/{name}")):
            _dissolve(group)


def _dissolve(group: Path) -> None:
    """Remove a group and those in it, once the last process has gone."""
    deadline = time.monotonic() + EMPTY_S
    below = [Path(folder) for folder, _, _ in os.walk(group, topdown=False)]
    for path in below:
        while path.is_dir():
            try:
                path.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


def _remove(folder: Path) -> None:
    """Remove the folder; what is mounted below it belongs to the namespaces, which have ended."""
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    if below := [place for place in mounted if place.startswith(f"{folder}/")]:
        step(f"{folder} stays: {', '.join(below)} is still mounted")
        return
    shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
