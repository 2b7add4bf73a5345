"""The demo as a person runs it."""

import json
import os
import subprocess
import sys

import pytest


def test_the_demo_kills_a_worker_twice_and_agrees(bootstrap_servers: str) -> None:
    """The report is on stdout, its last line the verdict; the exit code says the same."""
    done = subprocess.run(
        [sys.executable, "-m", "stream", "demo", "--events", "1500"],
        env={**os.environ, "KAFKA__BOOTSTRAP_SERVERS": bootstrap_servers},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "in and out agree: 1500 events, nothing lost, nothing twice"
    assert any(line.startswith("faults      2 x kill -9") for line in lines)
    assert "events settled" in done.stderr


def test_the_demo_with_webhooks_agrees_too(bootstrap_servers: str) -> None:
    """The events go in signed, through a bridge; what lies in Kafka then decides."""
    done = subprocess.run(
        [sys.executable, "-m", "stream", "demo", "--bridge", "--json", "--events", "200"],
        env={**os.environ, "KAFKA__BOOTSTRAP_SERVERS": bootstrap_servers},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["verdict"] == "in and out agree: 200 events, nothing lost, nothing twice"
    assert (report["agrees"], report["in_doubt"], report["exit_code"]) == (True, 0, 0)
    assert "the events go in as signed webhooks" in done.stderr
