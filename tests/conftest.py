"""What all tests share: one Kafka for the whole run."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from stack import Stack
from xdist.scheduler import LoadScopeScheduling

from sink.wootric.emulator import Emulator
from stream.local.broker import broker

settings.register_profile("shared", deadline=None)  # several tests run at once: time says nothing
settings.load_profile("shared")


CROWDS = ("api", "brokers", "members", "network", "topics")
TOGETHER = {
    **{f"tests/faults/test_{name}.py": "cluster" for name in CROWDS},
    **{f"tests/operate/test_{name}.py": name for name in ("acting", "looking", "stopped")},
    "tests/kafka/test_registry.py": "registry",
}
"""Files whose tests share something dear, a cluster say, or run beside each other as a crowd."""


class Scheduling(LoadScopeScheduling):
    """Gives each process the next test, but keeps in one process what belongs together.

    pytest-xdist's own groups are lost on pytest 9.2: they ride in a name that it cannot set.
    """

    def _split_scope(self, nodeid: str) -> str:
        return TOGETHER.get(nodeid.partition("::")[0], nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling:
    """Let pytest-xdist schedule so."""
    return Scheduling(config, log)


@pytest.fixture(scope="session")
def bootstrap_servers() -> Iterator[str]:
    """A real Apache Kafka. A run without one fails: the guarantee would be untested."""
    with broker(say=lambda line: print(line, file=sys.stderr)) as address:
        yield address


@pytest.fixture
async def stack(bootstrap_servers: str, tmp_path: Path) -> AsyncIterator[Stack]:
    """Topics of their own on the shared Kafka, and a Wootric that holds nothing yet."""
    async with Emulator() as wootric:
        stack = Stack(bootstrap_servers, wootric, tmp_path)
        await asyncio.to_thread(stack.create_topics)
        yield stack
        stack.end()
