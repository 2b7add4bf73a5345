"""One Kafka node: properties, folder and process."""

import atexit
import os
import secrets
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from stream.devtools.downloads import Distribution
from stream.errors import StartupError

# Processes that never outlive the process that started them


# The guard leads the group. Its standard input is a pipe that only the starting process holds:
# the kernel closes it even after SIGKILL. `kill 0` kills the whole group, including the guard.
GUARD = 'while read -r _; do :; done; rm -rf -- "$@"; kill -KILL 0'


class GuardedGroup:
    """A process group that is killed when it is closed or when its starter dies.

    Unlike PR_SET_PDEATHSIG this does not depend on the *thread* that started a process,
    and it works on any system with a shell. A fork of the starter that never execs keeps
    the pipe open, and so the group alive.
    """

    def __init__(self, *, remove: Sequence[Path] = ()) -> None:
        """Start the guard; at the end it also deletes the folders ``remove``."""
        self._guard = subprocess.Popen(  # noqa: S603  (a constant script)
            ["sh", "-c", GUARD, "guard", *map(str, remove)],  # noqa: S607
            stdin=subprocess.PIPE,
            process_group=0,
        )

    def start(self, command: Sequence[str], *, log: Path) -> subprocess.Popen[bytes]:
        """Start a process of the group; its output is appended to ``log``.

        It does not receive the terminal's Ctrl-C: the starter decides when it ends.
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
        """Kill the remaining processes and wait for the guard."""
        assert self._guard.stdin is not None  # noqa: S101  (for the type checker: a pipe)
        self._guard.stdin.close()
        self._guard.wait()


class Child(ABC):
    """A process that runs during its ``with`` block; it is also stopped if the start fails."""

    @abstractmethod
    def start(self) -> None:
        """Start it, and return when it is ready."""

    @abstractmethod
    def stop(self) -> None:
        """Stop it, even if it has started only partly or has already ended."""

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


HOST = "127.0.0.1"
PORTS = range(10_000, 32_768)  # Linux assigns those from 32,768 on, other systems from 49,152
BLOCK = 64
"""The number of ports that a process claims at a time."""
LOG_LINES_SHOWN = 25
TERMINATE_S_MAX = 30

ALONE_SESSION_MS = "600000"
"""Nobody takes over from a single node, so one that gets no processor for some seconds must not be
fenced: it would have no leaders, and answer with no brokers."""

# Starts as fast as with the JVM's defaults. For start-up and 1,500 transactions of 50 records on
# two cores the node used 6 s of CPU instead of 12 (two runs each).
QUICK_START = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
LOGGING = (
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The ports of one node: for clients and for other controllers."""

    client_port: int
    controller_port: int


@dataclass(frozen=True, slots=True)
class KafkaListener:
    """An additional listener of every node.

    ``advertised`` has the ports advertised to its clients, by node; they may be a proxy's.
    ``host`` is the address of both.
    """

    name: str
    ports: tuple[int, ...]
    advertised: tuple[int, ...]
    protocol: str = "PLAINTEXT"
    host: str = HOST


_claims = ExitStack()
atexit.register(_claims.close)
_claimed: list[int] = []
_claiming = Lock()


def free_ports(count: int) -> list[int]:
    """Return unused ports, each at most once and none that another process has claimed.

    They are below the ephemeral ports, which a system could assign before they are used.
    """
    with _claiming:
        return [_free_port() for _ in range(count)]


def _free_port() -> int:
    while True:
        if not _claimed:
            _claimed.extend(_claim_block())
        port = _claimed.pop()
        try:
            with socket.socket() as taken:
                taken.bind((HOST, port))
        except OSError:  # in use
            continue
        return port


def _claim_block() -> range:
    """Return ports claimed until this process ends; it holds the port before them."""
    while True:
        first = secrets.choice(PORTS[::BLOCK])  # independent of seeds in the caller
        claim = socket.socket()
        try:
            claim.bind((HOST, first))
        except OSError:  # claimed by another process
            claim.close()
            continue
        _claims.enter_context(claim)
        return range(first + 1, min(first + BLOCK, PORTS.stop))


def server_properties(
    number: int, cluster: tuple[Endpoint, ...], data: Path, more: Sequence[KafkaListener] = ()
) -> dict[str, str]:
    """Return the properties of node ``number`` (from 1), a combined broker and controller.

    The replication factor is the number of nodes, at most three. The internal topics have one
    partition per node, not 50: the first use of a group or a transaction waits for them.
    """
    at = number - 1
    here = cluster[at]
    nodes = len(cluster)
    replicas, in_sync = str(min(3, nodes)), str(min(2, nodes))
    voters = ",".join(f"{n}@{HOST}:{e.controller_port}" for n, e in enumerate(cluster, start=1))
    client = f"PLAINTEXT://{HOST}:{here.client_port}"
    listeners = [client, *(f"{one.name}://{one.host}:{one.ports[at]}" for one in more)]
    advertised = [client, *(f"{one.name}://{one.host}:{one.advertised[at]}" for one in more)]
    protocols = [f"{one.name}:{one.protocol}" for one in more]
    return {
        "process.roles": "broker,controller",
        "node.id": str(number),
        "controller.quorum.voters": voters,
        "listeners": ",".join([*listeners, f"CONTROLLER://{HOST}:{here.controller_port}"]),
        "advertised.listeners": ",".join(advertised),
        "listener.security.protocol.map": ",".join(
            ["PLAINTEXT:PLAINTEXT", "CONTROLLER:PLAINTEXT", *protocols]
        ),
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(data),
        "num.partitions": "6",
        "auto.create.topics.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": str(nodes),
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": str(nodes),
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        "group.initial.rebalance.delay.ms": "0",
        # The default of 128 MB is allocated at the start: after the first collection of garbage
        # 155 MB of the heap were in use, and 43 MB with this.
        "log.cleaner.dedupe.buffer.size": "16777216",
        "num.network.threads": "2",
        "num.io.threads": "2",
        "log.segment.bytes": "16777216",
        **({"broker.session.timeout.ms": ALONE_SESSION_MS} if nodes == 1 else {}),
        # An idle node used 6 % of a core with the default of 500 ms, 3 % without these records.
        "metadata.max.idle.interval.ms": "5000",
    }


class Node:
    """A node of a local cluster that can be stopped, paused and restarted.

    ``home`` has its data, its properties and its log.
    """

    def __init__(
        self,
        number: int,
        *,
        home: Path,
        kafka: Distribution,
        group: GuardedGroup,
        java_options: Sequence[str] = (),
    ) -> None:
        self.number = number
        self.log = home / "server.log"
        self.data = home / "data"
        self._properties = home / "server.properties"
        self._kafka = kafka
        self._group = group
        # Kafka unpacks its libraries there: in the system's folder they stay after a SIGKILL.
        scratch = f"-Djava.io.tmpdir={home}"
        self._java_options = ("-Xmx512m", *QUICK_START, *LOGGING, scratch, *java_options)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; also of a node that has ended."""
        return self._started.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended; a paused one has not."""
        return self._process is not None and self._process.poll() is None

    def configure(self, properties: Mapping[str, str]) -> None:
        """Write the node's properties, for the next start."""
        self._properties.parent.mkdir(parents=True, exist_ok=True)
        lines = (f"{name}={value}\n" for name, value in properties.items())
        self._properties.write_text("".join(lines))

    def format(self, cluster_id: str) -> subprocess.Popen[bytes] | None:
        """Start to prepare the data folder, unless it holds a cluster already."""
        if (self.data / "meta.properties").exists():
            return None
        storage = ("format", f"--cluster-id={cluster_id}", "--config", str(self._properties))
        command = self._kafka.command("kafka.tools.StorageTool", *storage, options=QUICK_START)
        return self._group.start(command, log=self.log)

    def start(self) -> None:
        """Start the process; it is ready after a few seconds.

        Raises:
            StartupError: it is already running.
        """
        if self.running:
            raise StartupError(f"Kafka's node {self.number} is already running", exit_code=69)
        command = self._kafka.command(
            "kafka.Kafka", str(self._properties), options=self._java_options
        )
        self._process = self._group.start(command, log=self.log)

    def kill(self) -> None:
        """End it with SIGKILL, like a crash of the process."""
        self._started.kill()
        self._started.wait()

    def terminate(self, within_s: float = TERMINATE_S_MAX) -> None:
        """Shut it down; kill it if it does not end within ``within_s``."""
        self._started.terminate()
        self.resume()
        try:
            self._started.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def pause(self) -> None:
        """Pause it with SIGSTOP: connections stay open without replies."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume a paused node."""
        self._signal(signal.SIGCONT)

    def tail(self) -> str:
        """Return the last warnings and errors of its log, or its last lines if there are none.

        A failing node writes one line with the cause and a hundred lines about its shutdown.
        """
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        serious = [line for line in lines if " INFO " not in line and not line.startswith("\tat ")]
        return "\n".join((serious or lines)[-LOG_LINES_SHOWN:])

    def _signal(self, number: signal.Signals) -> None:
        if self.running:
            os.kill(self.pid, number)

    @property
    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise StartupError(f"Kafka's node {self.number} was never started", exit_code=69)
        return self._process
