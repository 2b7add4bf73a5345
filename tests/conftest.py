"""What all tests share: one Kafka for the whole run."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from stack import Stack

from sink.wootric.emulator import Emulator
from stream.local.broker import broker

settings.register_profile("shared", deadline=None)  # several tests run at once: time says nothing
settings.load_profile("shared")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests that need three brokers share one cluster, and so one process."""
    for item in items:
        if "brokers" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("brokers"))


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
