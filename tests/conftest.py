"""What all tests share: one Kafka for the whole run, and that nothing is left of it."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import forked
import leftovers
import one_broker
import pytest
from hypothesis import settings
from one_broker import OneBroker
from readings import wootric_for
from stack import Stack

from stream.devtools.local_kafka import broker

pytest_plugins = ["again", "evidence", "order"]

settings.register_profile("shared", deadline=None)  # several tests run at once: time says nothing
settings.register_profile("fast", settings.get_profile("shared"), max_examples=20)
settings.load_profile("fast" if os.environ.get("WOOTRIC_TESTS") == "fast" else "shared")

_one_broker = pytest.StashKey[OneBroker]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Name the run before anything is started."""
    if leftovers.is_first(config):
        leftovers.name_run()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell each process that runs tests where to ask for the broker."""
    stash = node.config.stash
    if _one_broker not in stash:
        stash[_one_broker] = OneBroker()
    node.workerinput["door"] = stash[_one_broker].door


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_sessionfinish(session: pytest.Session):
    """End what the run itself has started, and see that nothing else is left."""
    result = yield  # the fixtures' ends, and the processes that ran the tests
    forked.end()
    if leftovers.is_first(session.config):
        if _one_broker in session.config.stash:
            session.config.stash[_one_broker].end()
        leftovers.check(session)
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left."""
    leftovers.tell(terminalreporter)


@pytest.fixture(scope="session")
def bootstrap_servers(pytestconfig: pytest.Config) -> Iterator[str]:
    """A real Apache Kafka. A run without one fails: the guarantee would be untested."""
    if leftovers.is_first(pytestconfig):
        with broker(say=one_broker.tell) as address:
            yield address
    else:
        yield one_broker.ask(pytestconfig.workerinput["door"])


@pytest.fixture
async def stack(
    request: pytest.FixtureRequest, bootstrap_servers: str, tmp_path: Path
) -> AsyncIterator[Stack]:
    """Topics of their own on the shared Kafka, and a Wootric that holds nothing yet."""
    async with wootric_for(tmp_path.name) as wootric:
        stack = Stack(bootstrap_servers, wootric, tmp_path)
        await asyncio.to_thread(stack.create_topics)
        yield stack
        stack.end(forget=leftovers.FAILED not in request.node.stash)
