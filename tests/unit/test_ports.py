"""Ports that processes are given beside each other."""

import subprocess
import sys
from contextlib import ExitStack

PROCESSES = 4
PORTS = 200
SCRIPT = f"""
from stream.devtools.kafka_node import free_ports
print(*free_ports({PORTS}), flush=True)
input()
"""


def test_no_port_is_given_to_two_processes():
    """A worker listens some time after its port was chosen: until then nobody else may have it."""
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", SCRIPT],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(PROCESSES)
        ]
        given = [port for one in processes for port in one.stdout.readline().split()]
        for one in processes:
            one.stdin.close()
    assert len(set(given)) == PROCESSES * PORTS
