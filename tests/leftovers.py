"""Nothing that the tests have started may be alive when they are over.

Whoever loses its parent is somebody else's child, so descent tells too little: all that is started
inherits a variable with the run's name, and is found by that.
"""

import os
import secrets
import shlex
import time
from collections.abc import Iterator

import psutil
import pytest

RUN = "WOOTRIC_TEST_RUN"
"""Names the run of which a process is a part."""
GRACE_S = 10.0
"""Who was told to end, or has lost its parent, is given so long to be gone."""
LOOK_S = 0.1

_left = pytest.StashKey[list[str]]()


def is_first(config: pytest.Config) -> bool:
    """Whether this process started the others of the run, if there are any."""
    return not hasattr(config, "workerinput")


def name_run() -> None:
    """Give this run, and all that it starts, a name of its own."""
    os.environ[RUN] = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


def check(session: pytest.Session) -> None:
    """End what is left of the run; if there is any, the run has failed."""
    patience = time.monotonic() + GRACE_S
    while (left := list(_alive())) and time.monotonic() < patience:
        time.sleep(LOOK_S)
    if not left:
        return
    session.config.stash[_left] = [_described(process) for process in left]
    _end(left)
    if session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def tell(reporter: pytest.TerminalReporter) -> None:
    """Say what was left."""
    left = reporter.config.stash.get(_left, [])
    if left:
        reporter.section("left behind by the tests, and ended now: the run has failed", red=True)
        for line in left:
            reporter.line(line)


def _alive() -> Iterator[psutil.Process]:
    children = set(psutil.Process().children(recursive=True))
    for process in psutil.process_iter():
        if process.pid != os.getpid() and (process in children or _is_marked(process)):
            try:
                if process.status() != psutil.STATUS_ZOMBIE:
                    yield process
            except psutil.Error:  # it has ended meanwhile
                continue


def _is_marked(process: psutil.Process) -> bool:
    try:
        return process.environ().get(RUN) == os.environ[RUN]
    except (psutil.Error, OSError):  # somebody else's, or gone
        return False


def _described(process: psutil.Process) -> str:
    try:
        return f"pid {process.pid}: {shlex.join(process.cmdline())}"
    except psutil.Error:
        return f"pid {process.pid}: gone before it could be asked"


def _end(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.Error:  # it has ended meanwhile
            continue
    psutil.wait_procs(processes, timeout=GRACE_S)
