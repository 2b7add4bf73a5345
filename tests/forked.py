"""Processes of the service that begin as a fork of one that has imported it already.

To import it takes a second of CPU, and the tests start hundreds. Each is a process of its own all
the same: with its environment, its log and its exit code, to be stopped, frozen and killed. It is
killed as well when the process dies that started it.
"""

import array
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Lock

MODULE = "-m"
IMPORTED = ("stream.cli", "stream.service")
REQUEST_BYTES_MAX = 1 << 18


class Forked:
    """What `subprocess.Popen` is, as far as the tests need it."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: int) -> None:
        """Start ``command``, which begins with this interpreter."""
        self.returncode: int | None = None
        self._lock = Lock()
        self._reply, theirs = socket.socketpair()
        with theirs:
            _parent().start(command[1:], environment, log, theirs)
        self.pid = int(self._reply.recv(64))

    def poll(self) -> int | None:
        """Return its exit code, or None while it runs."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code, once it has one.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._reply], [], [], timeout)[0]:
            with self._lock:
                if self.returncode is None:
                    self.returncode = int(self._reply.recv(64))
                    self._reply.close()
        return self.returncode


class Parent:
    """The process that is forked. It ends with the one that started it."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self._ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, REQUEST_BYTES_MAX)
        with theirs:
            command = [sys.executable, str(Path(__file__)), str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        self._lock = Lock()

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], log: int, reply: socket.socket
    ) -> None:
        """Start a command; what becomes of it is said to ``reply``."""
        request = json.dumps({"command": list(command), "environment": dict(environment)})
        with self._lock:
            socket.send_fds(self._ours, [request.encode()], [log, reply.fileno()])

    def end(self) -> None:
        """End it, when nothing of it runs any more."""
        self._ours.close()
        self._process.wait()


@cache
def _parent() -> Parent:
    return Parent()


def end() -> None:
    """End what this process has started to be forked."""
    if _parent.cache_info().currsize:
        _parent().end()
        _parent.cache_clear()


def serve(requests: socket.socket) -> list[str]:
    """Fork for each request; return its command in the process that is to run it."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who watches is not waited for
    while True:
        request, (log, reply) = _receive(requests)
        if os.fork():
            os.close(log)
            os.close(reply)
            continue
        requests.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        ends, lives = os.pipe()
        pid = os.fork()
        if pid:
            os.close(lives)
            _watch(pid, ends, socket.socket(fileno=reply))
        os.close(ends)
        os.close(reply)
        os.dup2(log, 2)
        os.environ.clear()
        os.environ.update(request["environment"])
        return request["command"]


def _receive(requests: socket.socket) -> tuple[dict, array.array]:
    message, descriptors, _, _ = socket.recv_fds(requests, REQUEST_BYTES_MAX, 2)
    if not message:
        os._exit(0)
    return json.loads(message), descriptors


def _watch(pid: int, ends: int, reply: socket.socket) -> None:
    """Say what becomes of a process; kill it when nobody listens any more. Does not return."""
    try:
        reply.send(b"%d" % pid)
        if ends not in select.select([ends, reply], [], [])[0]:
            os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        reply.send(b"%d" % code)
    finally:
        os._exit(0)


def main() -> None:
    """Import the service, and become what is asked for."""
    for name in IMPORTED:
        import_module(name)
    command = serve(socket.socket(fileno=int(sys.argv[1])))
    if command[0] == MODULE:
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        sys.path[0] = str(Path(command[0]).parent)
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    main()
