"""Kafka in a container, where Docker runs and testcontainers (an extra) is installed."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

from stream.devtools import Say
from stream.errors import StartupError

# testcontainers starts images of Confluent's layout only; this is the one it is tested with.
IMAGE = "confluentinc/cp-kafka:7.6.0"
PROBE = "import docker; docker.from_env(timeout=3).ping()"
START_S_MAX = 120

# The image asks for three replicas of the transaction log, which one node never has.
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
        StartupError: more than one node is asked for, testcontainers is not installed, no
            Docker daemon answers, or the container did not start.
    """
    if nodes != 1:
        raise StartupError("a container is one node only", exit_code=69)
    _require_docker()
    say(f"starting {IMAGE} in Docker (the first time the image is fetched)")
    kafka = kafka_container()
    try:
        kafka.start(timeout=START_S_MAX)
    except Exception as error:
        kafka.stop()
        raise StartupError(f"the container did not start: {error}", exit_code=69) from error
    try:
        yield kafka.get_bootstrap_server()
    finally:
        kafka.stop()


def kafka_container() -> Any:
    """Return a container, not started: KRaft, transactions on one node."""
    kafka = import_module("testcontainers.community.kafka").KafkaContainer(IMAGE).with_kraft()
    for name, value in ENVIRONMENT.items():
        kafka.with_env(name, value)
    return kafka


def _require_docker() -> None:
    """Ask the daemon in a process of its own: the library leaves sockets open when none answers."""
    if not find_spec("testcontainers"):
        raise StartupError("testcontainers is not installed", exit_code=69)
    answer = subprocess.run(  # noqa: S603  (a constant script)
        [sys.executable, "-c", PROBE], capture_output=True, check=False
    )
    if answer.returncode != 0:
        raise StartupError("no Docker daemon answers", exit_code=69)
