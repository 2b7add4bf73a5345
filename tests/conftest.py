"""What all tests share: one Kafka for the whole run, their order, and what they leave."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import forked
import leftovers
import one_broker
import pytest
from hypothesis import settings
from one_broker import OneBroker
from stack import Stack
from xdist.scheduler import LoadScopeScheduling

from sink.wootric.emulator import Emulator
from stream.local.broker import broker

pytest_plugins = ["again", "evidence"]

settings.register_profile("shared", deadline=None)  # several tests run at once: time says nothing
settings.load_profile("shared")


CROWDS = ("api", "brokers", "members", "network", "topics")
TOGETHER = {
    **{f"tests/faults/test_{name}.py": "cluster" for name in CROWDS},
    **{f"tests/operate/test_{name}.py": name for name in ("acting", "looking", "stopped")},
    "tests/kafka/test_registry.py": "registry",
}
"""Files whose tests share something dear, a cluster say, or run beside each other as a crowd."""


IN_ORDER = {
    "tests/operate/test_acting.py": "the first counts all letters of a worker, the last all events",
    "tests/operate/test_stopped.py": "a worker runs until a test stops it, for those behind it",
}
"""Files whose tests keep their order, and why; all others come in the order of a seed."""

_place = pytest.StashKey[int]()
_places = count()
_one_broker = pytest.StashKey[OneBroker]()


class Scheduling(LoadScopeScheduling):
    """Gives each process the next test, but keeps in one process what belongs together.

    pytest-xdist's own groups are lost on pytest 9.2: they ride in a name that it cannot set.
    """

    def _split_scope(self, nodeid: str) -> str:
        return TOGETHER.get(nodeid.partition("::")[0], nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling:
    """Let pytest-xdist schedule so."""
    return Scheduling(config, log)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Remember the order in which the tests are written."""
    item.stash[_place] = next(_places)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Undo the random order where tests build on each other."""
    for name in IN_ORDER:
        at = [i for i, item in enumerate(items) if item.nodeid.partition("::")[0] == name]
        written = sorted((items[i] for i in at), key=lambda item: item.stash[_place])
        for i, item in zip(at, written, strict=True):
            items[i] = item


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
    """Say what was left, and how the order was."""
    leftovers.tell(terminalreporter)
    seed = terminalreporter.config.getoption("randomly_seed", None)
    if seed is not None:
        terminalreporter.line(f"the order is of --randomly-seed={seed}")


@pytest.fixture(scope="session")
def bootstrap_servers(pytestconfig: pytest.Config) -> Iterator[str]:
    """A real Apache Kafka. A run without one fails: the guarantee would be untested."""
    if leftovers.is_first(pytestconfig):
        with broker(say=one_broker.tell) as address:
            yield address
    else:
        yield one_broker.ask(pytestconfig.workerinput["door"])


@pytest.fixture
async def stack(bootstrap_servers: str, tmp_path: Path) -> AsyncIterator[Stack]:
    """Topics of their own on the shared Kafka, and a Wootric that holds nothing yet."""
    async with Emulator() as wootric:
        stack = Stack(bootstrap_servers, wootric, tmp_path)
        await asyncio.to_thread(stack.create_topics)
        yield stack
        stack.end()
