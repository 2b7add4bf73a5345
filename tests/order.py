"""Which tests run in one process, and in which order.

The order is of a seed, by pytest-randomly, so that no test leans on the one before. What took long
the last time is handed out first: else one process is still busy when the others are done.
"""

from itertools import count
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

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
"""Files whose tests keep their order, and why."""

CACHED = "wootric/durations"
NOTED_S = 1.0
"""What takes less is not worth a place of its own."""
GUESSED_S = {"faults": 20.0, "kafka": 10.0, "operate": 10.0, "simulation": 10.0}
"""How long a test of a folder takes before it was ever run."""

_place = pytest.StashKey[int]()
_places = count()
_durations = pytest.StashKey[dict[str, float]]()


def file_of(nodeid: str) -> str:
    """Return the file of a test."""
    return nodeid.partition("::")[0]


class Scheduling(LoadScopeScheduling):
    """Gives each process the next test, but keeps in one process what belongs together.

    pytest-xdist's own groups are lost on pytest 9.2: they ride in a name that it cannot set.
    """

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        super().__init__(config, log)
        self._took: dict[str, float] = config.cache.get(CACHED, {}) if config.cache else {}
        self._is_sorted = False

    def _split_scope(self, nodeid: str) -> str:
        return TOGETHER.get(file_of(nodeid), nodeid)

    def _assign_work_unit(self, node: Any) -> None:
        if not self._is_sorted:
            self._is_sorted = True
            for scope in sorted(self.workqueue, key=self._seconds, reverse=True):
                self.workqueue.move_to_end(scope)
        super()._assign_work_unit(node)

    def _seconds(self, scope: str) -> int:
        """How long a group takes; whole seconds, so that most are alike and stay at random."""
        return int(sum(map(self._seconds_of, self.workqueue[scope])))

    def _seconds_of(self, nodeid: str) -> float:
        guess = GUESSED_S.get(nodeid.split("/")[1], 0.0) if "/" in nodeid else 0.0
        return self._took.get(nodeid, 0.0 if self._took else guess)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling:
    """Let pytest-xdist schedule so."""
    return Scheduling(config, log)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Remember the order in which the tests are written."""
    item.stash[_place] = next(_places)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Undo the random order where tests build on each other."""
    for name in IN_ORDER:
        at = [i for i, item in enumerate(items) if file_of(item.nodeid) == name]
        written = sorted((items[i] for i in at), key=lambda item: item.stash[_place])
        for i, item in zip(at, written, strict=True):
            items[i] = item


class Durations:
    """What each test has taken, kept for the next run."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._took: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._took[report.nodeid] = self._took.get(report.nodeid, 0.0) + report.duration

    def pytest_sessionfinish(self) -> None:
        cache = self._config.cache
        if cache is not None and self._took:
            kept = {name: s for name, s in cache.get(CACHED, {}).items() if name not in self._took}
            dear = {name: round(s, 1) for name, s in self._took.items() if s >= NOTED_S}
            cache.set(CACHED, kept | dear)


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Durations(config))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how the order is had again, also where no header was."""
    seed = terminalreporter.config.getoption("randomly_seed", None)
    if seed is not None:
        terminalreporter.line(f"the order is of --randomly-seed={seed}")
