"""Networks that lose, delay and break, between a worker and Wootric, and between it and Kafka."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

from common import (
    IMPATIENT,
    SHORT,
    TROUBLE_S,
    end_well,
    flow,
    group_coordinator,
    input_leader,
    publish,
    read_meanwhile,
    seen_in_trouble,
    supervised,
    total,
    transaction_coordinator,
)
from conftest import Cluster, servers
from crowd import crowd, together
from proxy import Network, Proxy
from stack import RESTARTED, Stack, Worker
from waiting import stretched, until
from with_constants import command, constants

from stream.devtools.traffic import Traffic, TrafficKind

__all__ = ["crowd"]


def behind(stack: Stack, network: Network, **settings: str) -> tuple[Worker, Proxy]:
    """A worker that reaches Wootric through a proxy."""
    proxy = network.proxy(int(stack.wootric.url.rpartition(":")[2]))
    urls = {"WOOTRIC__API_URL": proxy.url, "WOOTRIC__PIXEL_URL": f"{proxy.url}/pixel.gif"}
    return stack.worker("w1", **urls, **settings), proxy


# Between the worker and Wootric

OPEN = 'wootric_sink_circuit_open{circuit="api",reason="unreachable"}'
PATIENT = {"WOOTRIC__REQUEST_TIMEOUT_S": "60"}
"""Where no doubt may be: the emulator is as busy as the machine."""
BREAKS: dict[str, Callable[[Proxy], None]] = {
    "requests lost": lambda proxy: proxy.up.become(cuts=30),
    "half requests": lambda proxy: proxy.up.become(cuts=30, keep_bytes=60),
    "replies lost": lambda proxy: proxy.down.become(cuts=30),
    "half replies": lambda proxy: proxy.down.become(cuts=30, keep_bytes=40),
    "replies that drip past the deadline": lambda proxy: proxy.down.become(
        drip_bytes=10, drip_s=0.1
    ),
}
DELAYS: dict[str, Callable[[Proxy], None]] = {
    "latency and jitter": lambda proxy: (
        proxy.up.become(latency_s=0.05, jitter_s=0.2),
        proxy.down.become(latency_s=0.05, jitter_s=0.2),
    ),
    "replies that drip": lambda proxy: proxy.down.become(drip_bytes=40, drip_s=0.02),
}


@together("network", cases=BREAKS)
async def test_a_network_that_breaks_repeats_and_loses_nothing(
    stack: Stack, network: Network, strike: Callable[[Proxy], None]
) -> None:
    """Whether the request or the reply was lost, each effect is there once."""
    worker, proxy = behind(stack, network)
    worker.start()
    await publish(stack, 100, 61)
    await stack.until_caught_up()
    strike(proxy)
    await publish(stack, 200, 62)

    def broken() -> int:
        return proxy.up.met + proxy.down.met

    await until(
        lambda: broken() >= 10, "it has broken ten times", lambda: (broken(), stack.moved())
    )
    proxy.heal()
    await end_well(stack, worker)


@together("network", cases=DELAYS)
async def test_a_slow_network_is_no_doubt(
    stack: Stack, network: Network, strike: Callable[[Proxy], None]
) -> None:
    """What arrives within the deadline is as good as what arrives at once."""
    worker, proxy = behind(stack, network, **PATIENT)
    strike(proxy)
    worker.start()
    await publish(stack, 200, 63)
    await stack.until_caught_up()
    assert total(await worker.metrics(), "wootric_ambiguous_outcomes_total") == 0
    assert proxy.up.met + proxy.down.met >= 100
    await end_well(stack, worker)


@together("network")
async def test_a_silent_wootric_opens_the_circuit(stack: Stack, network: Network) -> None:
    """Nothing is answered for twice the poll interval: it waits, in bounded memory."""
    worker, proxy = behind(stack, network, **IMPATIENT)
    worker.start()
    await publish(stack, 50, 60)
    await stack.until_caught_up()
    effects = len(stack.wootric.state.effects)
    proxy.up.become(held=True)
    await publish(stack, 200, 64)

    async def opened() -> bool:
        return (await worker.metrics()).get(OPEN) == 1

    await until(opened, "the circuit is open", worker.said)
    await asyncio.sleep(TROUBLE_S)
    await seen_in_trouble(worker)
    assert len(stack.wootric.state.effects) == effects
    proxy.heal()
    await end_well(stack, worker)


@together("network")
async def test_a_server_that_closes_idle_connections_causes_no_doubt(
    stack: Stack, network: Network
) -> None:
    """Requests that come after that have connections of their own."""
    worker, proxy = behind(stack, network, **PATIENT)
    worker.start()
    await worker.until_logged("partition_opened")
    for seed in range(65, 69):
        await publish(stack, 30, seed)
        await stack.until_caught_up()
        assert proxy.links
        proxy.hang_up()
        await until(lambda: not proxy.links, "all connections are closed", lambda: proxy.links)
        await asyncio.sleep(float(stretched(0.4)))  # it has to hear of it
    assert total(await worker.metrics(), "wootric_ambiguous_outcomes_total") == 0
    proxy.heal()
    await end_well(stack, worker)


@together("network")
async def test_a_proxy_that_repeats_requests_makes_no_end_user_twice(
    stack: Stack, network: Network
) -> None:
    """Somebody between us and Wootric tries again by himself: creates and updates bear it."""
    worker, proxy = behind(stack, network)
    worker.start()
    await worker.until_logged("partition_opened")
    proxy.up.become(repeats=60)
    source = Traffic(Random(69), users=40)
    profiles = [source.sample(TrafficKind.CHANGED).value for _ in range(150)]
    await asyncio.to_thread(stack.publish, profiles)
    await end_well(stack, worker)
    assert proxy.up.met == 60


# Between the worker and Kafka


def all_of(proxies: list[Proxy], act: Callable[[Proxy], None]) -> None:
    for proxy in proxies:
        act(proxy)


async def unreachable(proxies: list[Proxy], _: Stack) -> None:
    """No broker can be reached, for longer than a session and a transaction last."""
    all_of(proxies, Proxy.close)
    await asyncio.sleep(float(stretched(9)))


async def one_unreachable(proxies: list[Proxy], stack: Stack) -> None:
    """The leader of a partition cannot be reached, by this worker alone."""
    proxies[await asyncio.to_thread(input_leader, stack) - 1].close()
    await asyncio.sleep(float(stretched(8)))


async def delayed(proxies: list[Proxy], _: Stack) -> None:
    """Everything takes its time, and never the same."""
    for proxy in proxies:
        proxy.up.become(latency_s=0.02, jitter_s=0.08)
        proxy.down.become(latency_s=0.02, jitter_s=0.08)
    await asyncio.sleep(float(stretched(8)))


async def reset(proxies: list[Proxy], _: Stack) -> None:
    """All connections are reset, again and again."""
    for _turn in range(12):
        all_of(proxies, Proxy.cut)
        await asyncio.sleep(0.5)


async def group_silent(proxies: list[Proxy], stack: Stack) -> None:
    """The group's coordinator is not heard of for longer than a session."""
    proxy = proxies[await asyncio.to_thread(group_coordinator, stack) - 1]
    proxy.up.become(held=True)
    proxy.down.become(held=True)
    await asyncio.sleep(float(stretched(9)))


async def transactions_deaf(proxies: list[Proxy], stack: Stack) -> None:
    """Requests reach the transactions' coordinator, its replies do not come back."""
    proxy = proxies[await asyncio.to_thread(transaction_coordinator, stack) - 1]
    proxy.down.become(held=True)
    await asyncio.sleep(float(stretched(7)))


async def transactions_late(proxies: list[Proxy], stack: Stack) -> None:
    """What goes to the transactions' coordinator arrives after their timeout, and does arrive."""
    proxy = proxies[await asyncio.to_thread(transaction_coordinator, stack) - 1]
    proxy.up.become(held=True, outlives=True)
    await asyncio.sleep(float(stretched(7)))


@asynccontextmanager
async def borrowed(cluster: Cluster) -> AsyncIterator[list[Proxy]]:
    """A network that nobody else breaks meanwhile."""
    proxies = cluster.networks.pop()
    try:
        yield proxies
    finally:
        all_of(proxies, Proxy.heal)
        cluster.networks.append(proxies)


PARTS = {
    "no broker in reach": unreachable,
    "one broker out of reach": one_unreachable,
    "latency and jitter": delayed,
    "resets": reset,
    "a silent group coordinator": group_silent,
    "a deaf transaction coordinator": transactions_deaf,
    "requests that reach the transaction coordinator late": transactions_late,
}


@together("cluster", on="three_brokers")
async def test_kafka_that_does_not_answer_is_said_by_all_that_look(
    stack: Stack, cluster: Cluster
) -> None:
    """Also while nothing is in flight; a standby worker and the lag exporter know it too."""
    soon = constants(stream__telemetry__status__KAFKA_SILENT_S=float(stretched(8)))
    async with borrowed(cluster) as proxies:
        behind_them = {"KAFKA__BOOTSTRAP_SERVERS": servers(proxies), **soon, **SHORT}
        owner = stack.worker("w1", command=command("run"), **behind_them)
        owner.start()
        await owner.until_logged("partition_opened")
        exporter_command = command("lag-exporter", "--every", "1")
        exporter = stack.worker("lag", command=exporter_command, **behind_them)
        spare = [stack.worker(f"s{n}", command=command("run"), **behind_them) for n in range(3)]
        for one in (exporter, *spare):
            one.start()
            await one.until_ready()
        everyone = (owner, exporter, *spare)

        async def seen(up: float) -> bool:
            return [(await one.metrics())["wootric_kafka_up"] for one in everyone] == [up] * 5

        await until(lambda: seen(1.0), "everybody hears Kafka", owner.said)
        all_of(proxies, lambda proxy: proxy.up.become(held=True))
        await until(lambda: seen(0.0), "nobody hears Kafka", owner.said)
        for one in (owner, *spare):
            said = json.loads((await one.get("/status"))[1])
            assert said["verdict"] == "bad"
            assert said["summary"].startswith("Kafka has not answered for ")
        all_of(proxies, Proxy.heal)
        await until(lambda: seen(1.0), "everybody hears Kafka again", owner.said)
        for one in everyone:
            one.kill()


@together("cluster", on="three_brokers", cases=PARTS)
async def test_a_network_between_worker_and_kafka_that_breaks_changes_nothing(
    stack: Stack, cluster: Cluster, part: Callable[[list[Proxy], Stack], object]
) -> None:
    """It is fenced or goes on; a reader meanwhile sees what is there at the end."""
    async with borrowed(cluster) as proxies, read_meanwhile(stack):
        worker = stack.worker("w1", KAFKA__BOOTSTRAP_SERVERS=servers(proxies), **SHORT)
        worker.start()
        await worker.until_logged("partition_opened")
        async with supervised(worker):
            flowing = asyncio.create_task(flow(stack, 300, 70))
            await asyncio.sleep(1)
            await part(proxies, stack)
            all_of(proxies, Proxy.heal)
            await flowing
            await stack.until_caught_up(may_end=(0, *RESTARTED))
        await end_well(stack, worker)
