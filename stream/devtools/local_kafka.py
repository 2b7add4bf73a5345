"""A real Apache Kafka on this machine: an existing one, a container, or child processes."""

import base64
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from stream.devtools import Say, silent
from stream.devtools.downloads import KAFKA_VERSION, Distribution, alone, distribution
from stream.devtools.kafka_node import (
    HOST,
    Child,
    Endpoint,
    GuardedGroup,
    KafkaListener,
    Node,
    free_ports,
    server_properties,
)
from stream.errors import StartupError

__all__ = ["LocalBroker", "broker", "run_foreground"]

ADDRESS_VARIABLE = "KAFKA__BOOTSTRAP_SERVERS"

Way: TypeAlias = Callable[[], AbstractContextManager[str]]
"""Opens a Kafka and yields its bootstrap servers; raises StartupError with the cause otherwise."""


@contextmanager
def broker(*, nodes: int = 1, say: Say = silent) -> Iterator[str]:
    """Yield the bootstrap servers of a Kafka.

    ``KAFKA__BOOTSTRAP_SERVERS`` if set, otherwise a container, otherwise Kafka's jars.

    Raises:
        StartupError: none of the three works; the message has the cause of each.
    """
    given = os.environ.get(ADDRESS_VARIABLE)
    if given:
        yield given
        return
    ways: Mapping[str, Way] = MappingProxyType(
        {
            "Docker": partial(container, nodes=nodes, say=say),
            "Java 17 and Maven": partial(_processes, nodes=nodes, say=say),
        }
    )
    with ExitStack() as stack:
        yield _enter_first(ways, stack)


def run_foreground(port: int | None, directory: Path | None, nodes: int, say: Say) -> None:
    """Run a Kafka until SIGINT or SIGTERM; print its bootstrap servers on stdout when it is up.

    Raises:
        StartupError: it did not start, or a node ended.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        suppress(KeyboardInterrupt),
        LocalBroker(nodes=nodes, port=port, directory=directory, say=say) as local,
    ):
        sys.stdout.write(f"{local.bootstrap_servers}\n")
        sys.stdout.flush()
        local.wait()


@contextmanager
def _processes(*, nodes: int, say: Say) -> Iterator[str]:
    with LocalBroker(nodes=nodes, say=say) as local:
        yield local.bootstrap_servers


def _enter_first(ways: Mapping[str, Way], stack: ExitStack) -> str:
    failures = [f"1. {ADDRESS_VARIABLE}: is not set"]
    for number, (name, way) in enumerate(ways.items(), start=2):
        try:
            return stack.enter_context(way())
        except StartupError as error:
            failures.append(f"{number}. {name}: {error}")
    reasons = "\n".join(failures)
    raise StartupError(
        f"no Kafka is available; make one of these work:\n{reasons}",
        exit_code=69,
    )


# Apache Kafka as child processes: one node, or three


START_S_MAX = 300  # for a busy machine; a failing node ends by itself
KEEP_S_MAX = 300
POLL_S = 0.05
NO_PROPERTIES: Mapping[str, str] = MappingProxyType({})


class LocalBroker(Child):
    """Apache Kafka as child processes: one node, or three.

    Without ``directory`` its data is in a temporary folder that is removed at the end;
    with one, data and logs are kept, and the next start uses them. Node ``n`` listens on
    ``port`` + n - 1, or on a free port. ``properties`` are added to every node's own, and
    ``listeners`` are additional listeners of every node.
    The processes end with this one, even if it is killed.
    """

    def __init__(
        self,
        *,
        nodes: int = 1,
        port: int | None = None,
        directory: Path | None = None,
        properties: Mapping[str, str] = NO_PROPERTIES,
        listeners: Sequence[KafkaListener] = (),
        java_options: Sequence[str] = (),
        say: Say = silent,
    ) -> None:
        client_ports = [port + n for n in range(nodes)] if port else free_ports(nodes)
        self._cluster = tuple(map(Endpoint, client_ports, free_ports(nodes)))
        self._directory = directory
        self._properties = properties
        self._listeners = listeners
        self._java_options = java_options
        self._say = say
        self._nodes: tuple[Node, ...] = ()
        self._group: GuardedGroup | None = None
        self._cluster_id = ""
        self.bootstrap_servers = ",".join(f"{HOST}:{e.client_port}" for e in self._cluster)

    def node(self, number: int) -> Node:
        """Return node ``number``, from 1."""
        return self._nodes[number - 1]

    def start(self) -> None:
        """Start all nodes and wait until they are ready.

        Raises:
            StartupError: no Java, no jars, or a node did not start; with the end of its log.
        """
        kafka = distribution(self._say)
        if not self._java_options:
            keep_classes(kafka, self._say)
        began = time.monotonic()
        self._say(f"starting Apache Kafka {KAFKA_VERSION}, nodes: {len(self._cluster)}")
        home = self._directory or Path(tempfile.mkdtemp(prefix="wootric-kafka-"))
        home = home.absolute()
        self._cluster_id = _cluster_id(home)
        self._group = GuardedGroup(remove=() if self._directory else (home,))
        self._nodes = tuple(
            Node(
                number,
                home=home / f"node-{number}",
                kafka=kafka,
                group=self._group,
                java_options=self._java_options,
            )
            for number in range(1, len(self._cluster) + 1)
        )
        self._format()
        for node in self._nodes:
            node.start()
        self.wait_until_ready()
        self._say(f"Kafka is up at {self.bootstrap_servers} ({time.monotonic() - began:.1f} s)")

    def stop(self) -> None:
        """Stop all nodes: shut down if the data is kept, otherwise kill."""
        if self._group is None:
            return
        for node in self._nodes:
            if node.running:
                node.terminate() if self._directory else node.kill()
        self._group.close()
        self._group = None

    def wait_until_ready(self, timeout_s: float = START_S_MAX) -> None:
        """Wait until every node accepts connections and the cluster is complete.

        Raises:
            StartupError: a node has ended, or the timeout expired; with the end of its log.
        """
        began = time.monotonic()
        said_at = began
        while not self._ready():
            now = time.monotonic()
            for node in self._nodes:
                if not node.running or now - began > timeout_s:
                    what = "does not reply" if node.running else "has ended"
                    raise StartupError(
                        f"Kafka's node {node.number} {what}; its log ends:\n{node.tail()}",
                        exit_code=69,
                    )
            if now - said_at > 5:
                said_at = now
                self._say(f"waiting for Kafka ({now - began:.0f} s)")
            time.sleep(POLL_S)

    def wait(self) -> None:
        """Wait while all nodes are running.

        Raises:
            StartupError: a node has ended.
        """
        while all(node.running for node in self._nodes):
            time.sleep(10 * POLL_S)
        ended = next(node for node in self._nodes if not node.running)
        raise StartupError(f"Kafka's node {ended.number} has ended:\n{ended.tail()}", exit_code=69)

    def _format(self) -> None:
        for number, node in enumerate(self._nodes, start=1):
            properties = server_properties(number, self._cluster, node.data, self._listeners)
            node.configure({**properties, **self._properties})
        for node, formatting in [(node, node.format(self._cluster_id)) for node in self._nodes]:
            if formatting and formatting.wait(START_S_MAX) != 0:
                raise StartupError(
                    f"Kafka's node {node.number} could not be prepared:\n{node.tail()}",
                    exit_code=69,
                )

    def _ready(self) -> bool:
        """Return whether all nodes are up and belong to this cluster, not to another Kafka.

        The client is used only after all ports are open, since it logs every refused connection.
        """
        if not all(_open(endpoint.client_port) for endpoint in self._cluster):
            return False
        with suppress(KafkaException):
            client = AdminClient({"bootstrap.servers": self.bootstrap_servers})
            seen = client.list_topics(timeout=2)
            return seen.cluster_id == self._cluster_id and len(seen.brokers) == len(self._cluster)
        return False


def keep_classes(kafka: Distribution, say: Say) -> None:
    """Create the class data archive of Kafka, once.

    A start then uses 2.9 s of CPU instead of 4.8 (two runs each); the archive has 49 MB.
    """
    if kafka.archive.exists():
        return
    with alone(kafka.archive.with_name(f"{kafka.archive.name}.lock")):
        if kafka.archive.exists():
            return
        say("preparing Apache Kafka for quicker starts (once)")
        with tempfile.TemporaryDirectory(dir=kafka.jars.parent, prefix="classes-") as folder:
            kept = Path(folder, "classes.jsa")
            keeping = f"-XX:ArchiveClassesAtExit={kept}"
            with LocalBroker(directory=Path(folder, "node"), java_options=[keeping]) as local:
                local.node(1).terminate(KEEP_S_MAX)
            kept.touch()  # if Java could not write it, it is not tried again
            kept.rename(kafka.archive)


def _open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _cluster_id(home: Path) -> str:
    """Return the folder's cluster id (16 bytes in base64); a new folder gets a new one."""
    file = home / "cluster-id"
    if not file.exists():
        home.mkdir(parents=True, exist_ok=True)
        file.write_text(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))
    return file.read_text()


# Kafka in a container, if Docker runs and testcontainers (an extra) is installed


# testcontainers supports only Confluent's images; this is the one that it is tested with.
IMAGE = "confluentinc/cp-kafka:7.6.0"
PROBE = "import docker; docker.from_env(timeout=3).ping()"
CONTAINER_START_S_MAX = 120

# The image requires three replicas of the transaction log, which a single node cannot have.
ENVIRONMENT = MappingProxyType(
    {
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS": "1",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    }
)


@contextmanager
def container(*, nodes: int, say: Say) -> Iterator[str]:
    """Yield the bootstrap servers of a Kafka in a container; it is removed at the end.

    Raises:
        StartupError: more than one node is requested, testcontainers is not installed, no
            Docker daemon replies, or the container did not start.
    """
    if nodes != 1:
        raise StartupError("a container has only one node", exit_code=69)
    _require_docker()
    say(f"starting {IMAGE} in Docker (the first start downloads the image)")
    kafka = kafka_container()
    try:
        kafka.start(timeout=CONTAINER_START_S_MAX)
    except Exception as error:
        kafka.stop()
        raise StartupError(f"the container did not start: {error}", exit_code=69) from error
    try:
        yield kafka.get_bootstrap_server()
    finally:
        kafka.stop()


def kafka_container() -> Any:
    """Return a container that is not started, with KRaft and transactions on one node."""
    kafka = import_module("testcontainers.community.kafka").KafkaContainer(IMAGE).with_kraft()
    for name, value in ENVIRONMENT.items():
        kafka.with_env(name, value)
    return kafka


def _require_docker() -> None:
    """Check the daemon in a separate process: without a reply the library leaves sockets open."""
    if not find_spec("testcontainers"):
        raise StartupError("testcontainers is not installed", exit_code=69)
    answer = subprocess.run(  # noqa: S603  (a constant script)
        [sys.executable, "-c", PROBE], capture_output=True, check=False
    )
    if answer.returncode != 0:
        raise StartupError("no Docker daemon replies", exit_code=69)
