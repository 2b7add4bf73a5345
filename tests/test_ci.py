"""What the tests' own machinery promises: nothing left behind, no verdict asked for twice.

Each of these runs pytest, with the suite's own conftest, on a tiny test.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import again
import core_coverage
import order
import psutil
import pytest
from again import causes, is_verdict
from evidence import OracleError
from one_broker import OneBroker, ask

from stream.devtools.local_kafka import ADDRESS_VARIABLE

ROOT = Path(__file__).parent.parent
CI = (ROOT / ".ci" / "run").read_text()

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs pytest on a source; returns its exit code and what it printed."""

    def run(source: str, *arguments: str) -> tuple[int, str]:
        (tmp_path / "test_tiny.py").write_text(source)
        command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml")]
        place = [f"--rootdir={tmp_path}", "-p", "conftest", "test_tiny.py", *arguments]
        path = os.pathsep.join(map(str, (ROOT / "tests", ROOT / "tests" / "faults", ROOT)))
        ran = subprocess.run(
            [*command, *place],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path, "WOOTRIC_EVIDENCE": str(tmp_path / "kept")},
            capture_output=True,
            text=True,
            check=False,
        )
        return ran.returncode, ran.stdout + ran.stderr

    return run


# What is left behind

LEAVES = """
import subprocess, sys
from pathlib import Path
def test_leaves():
    script = "import subprocess as s; print(s.Popen(['sleep', '600'], stdout=s.DEVNULL).pid)"
    command = [sys.executable, "-c", script]
    orphan = subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout
    Path("pid").write_text(orphan)
"""


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_process_that_outlives_the_run_fails_it_and_is_ended(
    run: Run, tmp_path: Path, processes: str
) -> None:
    """The test itself has passed, and the process has lost its parent long ago."""
    code, said = run(LEAVES, "-n", processes)
    pid = int((tmp_path / "pid").read_text())
    assert "1 passed" in said
    assert (code, f"pid {pid}: sleep 600" in said) == (1, True)
    assert not psutil.pid_exists(pid)


# Once more, in CI

ONCE = """
import pytest
from pathlib import Path
from evidence import OracleError

timing = pytest.mark.timing(reason="its broker keeps its own time")

def fail_once(name, error=AssertionError):
    if not Path(name).exists():
        Path(name).touch()
        raise error("too late")

@timing
def test_marked():
    fail_once("marked")

def test_unmarked():
    fail_once("unmarked")

@timing
def test_verdict():
    fail_once("verdict", OracleError)

@timing
def test_verdict_behind_another_error():
    try:
        fail_once("behind", OracleError)
    finally:
        fail_once("a worker does not end")

@pytest.fixture
def ends_late():
    yield
    fail_once("ends")

@timing
def test_verdict_and_its_end(ends_late):
    fail_once("end", OracleError)
"""


def outcomes(said: str, word: str) -> set[str]:
    return set(re.findall(rf"^{word} test_tiny.py::test_(\w+)", said, re.MULTILINE))


def test_in_ci_only_what_is_marked_runs_again_and_never_for_a_verdict(run: Run) -> None:
    code, said = run(ONCE, "--rerun-timing")
    verdicts = {"verdict", "verdict_behind_another_error", "verdict_and_its_end"}
    assert (code, outcomes(said, "RERUN")) == (1, {"marked"})
    assert outcomes(said, "FAILED") == {"unmarked", *verdicts}
    assert "1 passed" in said or "2 passed" in said


def test_by_hand_nothing_runs_again(run: Run) -> None:
    code, said = run(ONCE, "-k", "test_marked")
    assert (code, outcomes(said, "RERUN"), outcomes(said, "FAILED")) == (1, set(), {"marked"})


def test_what_was_run_again_and_has_passed_is_noted_and_does_not_fail(run: Run) -> None:
    code, said = run(ONCE, "-k", "test_marked", "--rerun-timing", "-n", "1")
    assert (code, "1 passed, 1 rerun" in said, outcomes(said, "RERUN")) == (0, True, {"marked"})
    assert "left behind" not in said


def marked(nodeid: str, *, reason: str, crowd: bool = False) -> tuple[Any, pytest.Mark]:
    function = SimpleNamespace(scenario=None) if crowd else SimpleNamespace()
    item = SimpleNamespace(nodeid=nodeid, path=Path(nodeid), function=function)
    return item, pytest.mark.timing(reason=reason).mark


@pytest.mark.parametrize(
    ("folder", "reason", "crowd"),
    [
        ("kafka", "", False),
        ("model", "why", False),
        ("simulation", "why", False),
        ("faults", "why", True),
    ],
)
def test_a_mark_without_reason_or_where_it_says_nothing_is_refused(
    folder: str, reason: str, *, crowd: bool
) -> None:
    again.check(*marked("tests/integration/test_it.py", reason="why"))
    with pytest.raises(pytest.UsageError, match="`timing`"):
        again.check(*marked(f"tests/{folder}/test_it.py", reason=reason, crowd=crowd))


def test_an_error_in_a_groups_or_behind_another_is_a_verdict_all_the_same() -> None:
    group = ExceptionGroup("two", [ValueError(), OracleError()])
    behind = AssertionError()
    behind.__context__ = group
    assert is_verdict(behind)
    assert not is_verdict(ExceptionGroup("one", [ValueError()]))
    assert len(list(causes(behind))) == 4


def test_nothing_in_ci_runs_again_what_has_failed() -> None:
    commands = re.sub(r"#.*", "", CI)
    assert not re.search(
        r"--last-failed|--lf\b|--failed-first|--ff\b|--reruns|until make", commands
    )
    assert not re.search(r"\bmake\b[^\n]*(\|\||\\\n\s*\|\|)", commands)
    assert len(re.findall(r"^ *make test ", commands, re.MULTILINE)) == 1


def test_ci_tests_the_oldest_and_the_newest_python_that_is_claimed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = (re.search(rf"^{word}=([\d.]+)$", CI, re.MULTILINE) for word in ("OLDEST", "NEWEST"))
    oldest, newest = (found[1] for found in named if found)
    assert project["requires-python"] == f">={oldest}"
    prefix = "Programming Language :: Python :: "
    versions = [one.removeprefix(prefix) for one in project["classifiers"] if prefix in one]
    assert (versions[0], versions[-1]) == (oldest, newest)


# The order


def test_tests_that_build_on_each_other_stay_in_the_order_in_which_they_are_written() -> None:
    written = [
        SimpleNamespace(nodeid=f"{name}::test_{number}", stash=pytest.Stash())
        for name in ("tests/unit/test_it.py", *order.IN_ORDER)
        for number in range(4)
    ]
    for item in written:
        order.pytest_itemcollected(item)
    other, first, *rest = (written[at : at + 4] for at in range(0, len(written), 4))
    items = [item for tests in (first, other, *rest) for item in reversed(tests)]
    order.pytest_collection_modifyitems(items)
    assert items == [*first, *reversed(other), *(item for tests in rest for item in tests)]
    assert all((ROOT / name).exists() for name in (*order.IN_ORDER, *order.TOGETHER))


# Evidence

FAILS = """
import pytest
from stream.devtools.wootric_emulator import Emulator
from stack import Stack
from stream.record import Partition, Record

async def test_fails(tmp_path):
    async with Emulator() as wootric:
        stack = Stack("127.0.0.1:1", wootric, tmp_path)
        stack.published.append(Record(Partition("events", 0), 7, 1, b"ann", bytes([0, 255])))
        (tmp_path / "w1.log").write_text("the worker's words")
        try:
            assert 1 == 2, "an event is missing"
        finally:
            stack.end()
"""


def test_a_failed_test_keeps_what_there_was_to_see_also_without_kafka(
    run: Run, tmp_path: Path
) -> None:
    code, said = run(FAILS)
    found = re.search(r"^test_tiny.py::test_fails: (.+)$", said, re.MULTILINE)
    assert found, said
    kept = {path.name: path.read_text() for path in Path(found[1]).iterdir()}
    assert (code, Path(found[1]).is_relative_to(tmp_path / "kept")) == (1, True)
    assert "an event is missing" in kept["failure.txt"]
    (seed,) = re.findall(r"the order is of (--randomly-seed=\d+)", said)
    assert seed in kept["again.txt"]
    assert kept["w1.log"] == "the worker's words"
    assert json.loads(kept["published.jsonl"]) == {
        "partition": 0,
        "offset": 7,
        "timestamp_ms": 1,
        "key": "ann",
        "value": "base64:AP8=",
    }
    assert json.loads(kept["wootric_state.json"])["end_users"] == []
    assert kept["wootric_journal.jsonl"] == ""
    assert kept["ledger.jsonl"] == ""
    assert "Kafka gave no more" in kept["kafka.txt"]


# One broker


def test_the_processes_of_a_run_are_told_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADDRESS_VARIABLE, "127.0.0.1:9092")
    shared = OneBroker()
    assert [ask(shared.door), ask(shared.door)] == ["127.0.0.1:9092"] * 2
    shared.end()
    with pytest.raises(ConnectionError):
        ask(shared.door)


# Coverage


def test_the_core_is_what_the_contracts_name_and_its_gaps_are_told() -> None:
    modules = core_coverage.core(tomllib.loads((ROOT / "pyproject.toml").read_text()))
    assert {"stream.engine", "sink.rate_limit", "stream.bridge.payload"} <= modules
    files = [path.relative_to(ROOT).as_posix() for path in ROOT.glob("s*/**/*.py")]
    reached = [path for path in files if core_coverage.is_of(path, modules)]
    assert {
        "stream/engine/task_manager.py",
        "stream/transform/page.py",
        "stream/transform/__init__.py",
    } <= {*reached}
    assert not {"stream/runtime/worker.py", "stream/flow_of_time.py", "sink/http_session.py"} & {
        *reached
    }
    seen = {
        "stream/engine/task_manager.py": {
            "summary": {"num_branches": 4, "covered_branches": 3, "missing_branches": 1},
            "missing_lines": [12],
            "missing_branches": [[9, 12]],
        },
        "stream/engine/lanes.py": {
            "summary": {"num_branches": 6, "covered_branches": 6, "missing_branches": 0},
            "missing_lines": [],
            "missing_branches": [],
        },
    }
    assert core_coverage.share(seen) == 0.9
    assert [str(gap) for gap in core_coverage.gaps(seen)] == [
        "stream/engine/task_manager.py: 1 of 4 branches: lines 12; branches 9->12"
    ]
