"""Processes that do not outlive the one that started them, whatever becomes of it."""

import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

# The guard leads the group. Its standard input is a pipe that only the starting process holds:
# the kernel closes it even after SIGKILL. `kill 0` means the whole group, guard included.
GUARD = 'while read -r _; do :; done; rm -rf -- "$@"; kill -KILL 0'


class GuardedGroup:
    """A process group that is killed when it is closed or when its starter dies.

    Unlike PR_SET_PDEATHSIG this does not depend on the *thread* that started a process,
    and it works wherever there is a shell. A fork of the starter that never execs keeps
    the pipe open and so the group alive.
    """

    def __init__(self, *, remove: Sequence[Path] = ()) -> None:
        """Start the guard; it deletes the folders ``remove`` at the end as well."""
        self._guard = subprocess.Popen(  # noqa: S603  (a constant script)
            ["sh", "-c", GUARD, "guard", *map(str, remove)],  # noqa: S607
            stdin=subprocess.PIPE,
            process_group=0,
        )

    def start(self, command: Sequence[str], *, log: Path) -> subprocess.Popen[bytes]:
        """Start a process of the group; what it prints is appended to ``log``.

        The terminal's Ctrl-C does not reach it: the starter decides when it ends.
        """
        with log.open("ab") as output:
            return subprocess.Popen(  # noqa: S603  (our own command lines)
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=self._guard.pid,
            )

    def close(self) -> None:
        """Kill what is left of the group and wait for the guard."""
        assert self._guard.stdin is not None  # noqa: S101  (for the type checker: a pipe)
        self._guard.stdin.close()
        self._guard.wait()


class Child(ABC):
    """What runs for as long as its ``with`` block does; stopped too where the start fails."""

    @abstractmethod
    def start(self) -> None:
        """Start it, and return when it answers."""

    @abstractmethod
    def stop(self) -> None:
        """End it, however far its start has come; also if it has ended already."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
