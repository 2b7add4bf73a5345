"""Print the part of requirements.lock that the service needs at run time, including hashes.

The lock also has the development tools. It lists the dependents of each package ("# via"); packages
that only those tools need are omitted. `pip install --require-hashes` fails if one is missing.
"""

import re
import sys
import tomllib
from pathlib import Path

PROJECT = "wootric-stream (pyproject.toml)"
APART = {"aws", "dev"}
"""Extras that are not in the image: one has a lock of its own, the other has the tools."""
BUILD = "setuptools"
"""Builds the wheel in the first stage; it is not copied into the image."""


def normal(name: str) -> str:
    """Return a package's normalized name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def entries(lock: str) -> dict[str, str]:
    """Return the lock's entries by package."""
    blocks = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)
    return {normal(block.partition("==")[0]): block for block in blocks if "==" in block}


def wanted_by(entry: str) -> set[str]:
    """Return the dependents of a package, from the lock's comment."""
    comment = re.findall(r"^    #(?: via)?(.*)$", entry, re.MULTILINE)
    return {name.strip() for name in comment if name.strip()}


def runtime(lock: str, pyproject: str) -> dict[str, str]:
    """Return the entries of the project's dependencies and extras, except those apart, transitively."""
    found = entries(lock)
    project = tomllib.loads(pyproject)["project"]
    extras = project.get("optional-dependencies", {})
    direct = project["dependencies"] + [
        line for extra, lines in extras.items() if extra not in APART for line in lines
    ]
    kept = {normal(re.split(r"[\s<>=!~;\[]", line, maxsplit=1)[0]) for line in direct} | {BUILD}
    while True:
        more = {
            name
            for name, entry in found.items()
            if name not in kept and {normal(one) for one in wanted_by(entry)} & kept
        }
        if not more:
            return {name: found[name] for name in sorted(kept)}
        kept |= more


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    lock, pyproject = (
        (folder / name).read_text(encoding="utf-8")
        for name in ("requirements.lock", "pyproject.toml")
    )
    sys.stdout.write("".join(runtime(lock, pyproject).values()))
