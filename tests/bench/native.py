"""The benchmark's Wootric: written in Go, built once into the user's cache folder."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.devtools import Say, silent
from stream.devtools.downloads import alone, cache
from stream.errors import StartupError

SOURCES = Path(__file__).with_name("native")
BUILD_S_MAX = 300


@dataclass(frozen=True, slots=True)
class Native:
    """A server that runs; where a Wootric is asked for, it is one."""

    url: str
    pid: int

    @property
    def pixel_url(self) -> str:
        return f"{self.url}/pixel.gif"

    def counts(self) -> dict[str, Any]:
        """What it has seen: requests, order violations, duplicates."""
        return self._ask("counts")

    def latency(self) -> dict[str, float]:
        """From publication to arrival, of the events since the last call; in ms."""
        return self._ask("latency")

    def arrivals(self, after: float = 0.0) -> list[tuple[float, str, int]]:
        """The page views since a Unix time: when, whose, which of theirs."""
        return [(at, user, number) for at, user, number in self._ask(f"arrivals?after={after:.6f}")]

    def _ask(self, what: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/_bench/{what}", timeout=30) as reply:  # noqa: S310
            return json.load(reply)


def program(say: Say = silent) -> Path:
    """Return the server's program; it is built when its sources are new.

    Raises:
        StartupError: there is no Go, or it could not build.
    """
    sources = sorted(SOURCES.iterdir())
    content = b"\0".join(source.name.encode() + source.read_bytes() for source in sources)
    kept = cache() / f"bench-wootric-{hashlib.sha256(content).hexdigest()[:16]}"
    if not kept.exists():
        go = shutil.which("go")
        if go is None:
            raise StartupError(
                "there is no go to build the benchmark's server with; install Go 1.21 or newer",
                exit_code=69,
            )
        kept.parent.mkdir(parents=True, exist_ok=True)
        with alone(kept.with_name("bench-wootric.lock")):
            if not kept.exists():
                say("building the benchmark's server (once)")
                _build(go, kept)
    return kept


def _build(go: str, kept: Path) -> None:
    """Build beside and move into place: there is a whole program or none."""
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix="build-") as folder:
        made = Path(folder, "server")
        done = subprocess.run(
            [go, "build", "-trimpath", "-o", str(made), "."],
            cwd=SOURCES,
            env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOTOOLCHAIN": "local"},
            capture_output=True,
            text=True,
            timeout=BUILD_S_MAX,
            check=False,
        )
        if done.returncode != 0:
            raise StartupError(f"go could not build the server:\n{done.stderr}", exit_code=69)
        made.rename(kept)


@contextmanager
def served(*, delay_ms: int = 0, journal: bool = False, say: Say = silent) -> Iterator[Native]:
    """Run the server on a free port, with replies that take so long."""
    command = [str(program(say)), "-port", "0", "-delay", f"{delay_ms}ms", f"-journal={journal}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            yield Native(f"http://127.0.0.1:{port}", process.pid)
        finally:
            process.terminate()
