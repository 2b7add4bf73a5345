"""Print the part of requirements.lock that the service needs at run time, hashes and all.

The lock has the development tools too. It says of each package who wants it ("# via"); what is
wanted only by those tools is left out. `pip install --require-hashes` refuses if any is missing.
"""

import re
import sys
import tomllib
from pathlib import Path

PROJECT = "wootric-stream (pyproject.toml)"
TOOLS = "dev"
BUILD = "setuptools"
"""Builds the wheel in the first stage; it is not copied into the image."""


def normal(name: str) -> str:
    """Return a package's name as the lock has it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def entries(lock: str) -> dict[str, str]:
    """Return the lock's entries by package."""
    blocks = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)
    return {normal(block.partition("==")[0]): block for block in blocks if "==" in block}


def wanted_by(entry: str) -> set[str]:
    """Return who wants a package, by the lock's comment."""
    comment = re.findall(r"^    #(?: via)?(.*)$", entry, re.MULTILINE)
    return {name.strip() for name in comment if name.strip()}


def runtime(lock: str, pyproject: str) -> dict[str, str]:
    """Return the entries of the project's dependencies, extras but tools, and of what they want."""
    found = entries(lock)
    project = tomllib.loads(pyproject)["project"]
    extras = project.get("optional-dependencies", {})
    direct = project["dependencies"] + [
        line for extra, lines in extras.items() if extra != TOOLS for line in lines
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
