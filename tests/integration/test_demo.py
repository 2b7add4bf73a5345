"""The demo as a person runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import until_now


def demo(servers: str, folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run the demo, as long as it says something new; return its exit code and what it printed."""
    out, err = folder / "out", folder / "err"
    with (
        out.open("w") as stdout,
        err.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "stream", "demo", *arguments],
            env={**os.environ, "KAFKA__BOOTSTRAP_SERVERS": servers},
            stdout=stdout,
            stderr=stderr,
        ) as process,
    ):
        try:
            until_now(
                lambda: process.poll() is not None,
                "the demo ends",
                lambda: (out.stat().st_size, err.stat().st_size),
            )
        finally:
            process.kill()
    return process.returncode, out.read_text(), err.read_text()


@pytest.mark.slow  # the README has it as well
def test_the_demo_kills_a_worker_twice_and_agrees(bootstrap_servers: str, tmp_path: Path) -> None:
    """The report is on stdout, its last line the verdict; the exit code says the same."""
    code, out, err = demo(bootstrap_servers, tmp_path, "--events", "1500")
    assert code == 0, out + err
    lines = out.splitlines()
    assert lines[-1] == "in and out agree: 1500 events, nothing lost, nothing twice"
    assert any(line.startswith("faults      2 x kill -9") for line in lines)
    assert "events settled" in err


@pytest.mark.slow
def test_the_demo_with_webhooks_agrees_too(bootstrap_servers: str, tmp_path: Path) -> None:
    """The events go in signed, through a bridge; what lies in Kafka then decides."""
    code, out, err = demo(bootstrap_servers, tmp_path, "--bridge", "--json", "--events", "200")
    assert code == 0, out + err
    report = json.loads(out)
    assert report["verdict"] == "in and out agree: 200 events, nothing lost, nothing twice"
    assert (report["agrees"], report["in_doubt"], report["exit_code"]) == (True, 0, 0)
    assert "the events are sent as signed webhooks" in err
