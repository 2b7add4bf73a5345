"""Tests that mostly wait, run at the same time: each has its own topics, workers and Wootric.

The first of a module that is run starts all of them that were selected, a few at once; each then
reports its own outcome. `@together` makes such a test of a coroutine that takes a `Stack`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from readings import wootric_for
from stack import Stack

AT_ONCE = 4
"""More would only wait for the processors."""

Scenario = Callable[..., Awaitable[None]]
Test = Callable[..., Awaitable[None]]


class Crowd:
    """The tests of one module that are under way."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def add(self, name: str, scenario: Scenario, address: str, *arguments: Any) -> None:
        """Let a test begin as soon as there is a place for it."""
        work = self._run(scenario, address, f"s{len(self._tasks)}", arguments)
        self._tasks[name] = asyncio.create_task(work)

    async def outcome(self, name: str) -> None:
        """Return when a test has passed, or raise what it raised."""
        await self._tasks[name]

    async def end(self) -> None:
        """Give up what nobody waits for any more."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _run(
        self, scenario: Scenario, address: str, name: str, arguments: tuple[Any, ...]
    ) -> None:
        folder = self._folder / name
        folder.mkdir()
        async with self._places, wootric_for(name) as wootric:
            stack = Stack(address, wootric, folder)
            passed = False
            try:
                await asyncio.to_thread(stack.create_topics)
                await scenario(stack, *arguments)
                passed = True
            finally:
                stack.end(forget=passed)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crowd(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Crowd]:
    """All tests of the module that were selected, under way."""
    crowd = Crowd(tmp_path_factory.mktemp("crowd"))
    for item in request.session.items:
        test = getattr(item, "function", None)
        if getattr(item, "module", None) is request.module and hasattr(test, "scenario"):
            case = item.callspec.params.values() if hasattr(item, "callspec") else ()
            address, *others = (request.getfixturevalue(name) for name in test.needs)
            crowd.add(item.nodeid, test.scenario, address, *others, *case)
    yield crowd
    await crowd.end()


def together(
    *others: str, cases: Mapping[str, Any] | None = None, on: str = "bootstrap_servers"
) -> Callable[[Scenario], Test]:
    """Make a test of a scenario, run beside the others of its module.

    ``on`` is the fixture that has the bootstrap servers, ``others`` are fixtures that the
    scenario takes behind its stack; ``cases`` are what it takes last, by name: one test each.
    """

    def made(scenario: Scenario) -> Test:
        if cases is None:

            async def test(crowd: Crowd, request: pytest.FixtureRequest) -> None:
                await crowd.outcome(request.node.nodeid)

        else:

            async def test(crowd: Crowd, request: pytest.FixtureRequest, case: Any) -> None:
                await crowd.outcome(request.node.nodeid)

        test.__name__, test.__doc__ = scenario.__name__, scenario.__doc__
        test.__module__ = scenario.__module__
        test.scenario, test.needs = scenario, (on, *others)
        marked = pytest.mark.asyncio(loop_scope="module")(test)
        if cases is None:
            return marked
        return pytest.mark.parametrize("case", cases.values(), ids=list(cases))(marked)

    return made
