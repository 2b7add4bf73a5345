"""Three brokers for the faults of a cluster, and the networks between them and a worker."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from order import is_on_cluster
from proxy import Network, Proxy
from readings import wootric_for
from stack import Stack

from stream.devtools.kafka_node import HOST, KafkaListener, free_ports
from stream.devtools.local_kafka import LocalBroker

pytest.register_assert_rewrite("common")

NODES = 3
NETWORKS = 6
"""How many workers may have a network of their own, to be broken without the others'."""
PASSWORD = "a-password-of-tests"
GUARDED = "GUARDED"
PROPERTIES = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
    "sasl.enabled.mechanisms": "PLAIN",
    f"listener.name.{GUARDED.lower()}.plain.sasl.jaas.config": (
        "org.apache.kafka.common.security.plain.PlainLoginModule required "
        f'user_worker="{PASSWORD}";'
    ),
    "log.cleaner.backoff.ms": "500",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
}
"""Who comes without a name may do all, as the tests themselves; `worker` only what it is let."""


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    """The thread that carries what goes through a proxy."""
    with Network() as network:
        yield network


class Cluster:
    """Three real brokers, and the ways to them."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.networks = [[network.proxy() for _ in range(NODES)] for _ in range(NETWORKS)]
        """For each network the proxies before the brokers, in their order."""
        ports = free_ports(NODES * (NETWORKS + 1))
        guarded, *others = (tuple(ports[at : at + NODES]) for at in range(0, len(ports), NODES))
        listeners = [KafkaListener(GUARDED, guarded, guarded, "SASL_PLAINTEXT")]
        for number, proxies in enumerate(self.networks):
            for proxy, port in zip(proxies, others[number], strict=True):
                proxy.target = port
            advertised = tuple(proxy.port for proxy in proxies)
            listeners.append(KafkaListener(f"NETWORK{number}", others[number], advertised))
        say = lambda line: print(line, file=sys.stderr)  # noqa: E731
        self.brokers = LocalBroker(
            nodes=NODES, directory=folder, properties=PROPERTIES, listeners=listeners, say=say
        )
        self.guarded_servers = ",".join(f"{HOST}:{port}" for port in guarded)


def servers(proxies: list[Proxy]) -> str:
    """What a worker behind these proxies is told."""
    return ",".join(f"{HOST}:{proxy.port}" for proxy in proxies)


class SharedCluster:
    """The cluster of the files that share one, from the first that asks until the last is done."""

    def __init__(self) -> None:
        self._cluster: Cluster | None = None
        self._until_unused = ExitStack()

    def get(self, network: Network, folder: Path) -> Cluster:
        """Return the cluster with all of its brokers, also if a failed test left one ended."""
        if self._cluster is None:
            self._cluster = Cluster(network, folder)
            self._until_unused.enter_context(self._cluster.brokers)
        brokers = self._cluster.brokers
        for node in map(brokers.node, range(1, NODES + 1)):
            if not node.running:
                node.start()
        brokers.wait_until_ready()
        return self._cluster

    def end(self) -> None:
        """End it; without anybody to use it, it takes a tenth of a core."""
        if self._cluster is not None:
            for node in map(self._cluster.brokers.node, range(1, NODES + 1)):
                node.kill()  # in order the last ones would wait for a quorum
            self._cluster = None
            self._until_unused.close()


shared_cluster = SharedCluster()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> Iterator[None]:
    """Let the cluster end with the last of the tests that share it."""
    try:
        return (yield)
    finally:
        if not is_on_cluster(nextitem):
            shared_cluster.end()


@pytest.fixture(scope="module")
def cluster(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """Three real brokers, to be killed and started again."""
    return shared_cluster.get(network, tmp_path_factory.mktemp("brokers"))


@pytest.fixture(scope="module")
def brokers(cluster: Cluster) -> LocalBroker:
    """The brokers of the cluster."""
    return cluster.brokers


@pytest.fixture(scope="module")
def three_brokers(brokers: LocalBroker) -> str:
    """Their bootstrap servers."""
    return brokers.bootstrap_servers


@pytest.fixture
async def replicated(brokers: LocalBroker, tmp_path: Path) -> AsyncIterator[Stack]:
    """Topics with three replicas, and a Wootric that holds nothing yet."""
    async with wootric_for(tmp_path.name) as wootric:
        stack = Stack(brokers.bootstrap_servers, wootric, tmp_path)
        await asyncio.to_thread(stack.create_topics)
        yield stack
        stack.end()
