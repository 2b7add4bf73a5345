"""Three brokers for the faults of a cluster."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from stack import Stack

from sink.wootric.emulator import Emulator
from stream.local.cluster import LocalBroker


@pytest.fixture(scope="session")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    """Three real brokers, to be killed and started again."""
    folder = tmp_path_factory.mktemp("brokers")
    say = lambda line: print(line, file=sys.stderr)  # noqa: E731
    with LocalBroker(nodes=3, directory=folder, say=say) as brokers:
        yield brokers


@pytest.fixture
async def replicated(brokers: LocalBroker, tmp_path: Path) -> AsyncIterator[Stack]:
    """Topics with three replicas, and a Wootric that holds nothing yet."""
    async with Emulator() as wootric:
        stack = Stack(brokers.bootstrap_servers, wootric, tmp_path)
        await asyncio.to_thread(stack.create_topics)
        yield stack
        stack.end()
