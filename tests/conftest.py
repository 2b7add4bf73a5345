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


SHARED = {"cluster", "crowd"}
"""Fixtures that are dear to make, and would be made anew in every process."""


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests together that share one cluster, or run beside each other as a crowd."""
    for item in items:
        if SHARED & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group("cluster"))


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
