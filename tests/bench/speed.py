"""How fast the service is beside a bare loop, in one run, on a real Kafka."""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import psutil
from confluent_kafka import KafkaException, Producer
from rich.console import Console
from rich.table import Table

from stream.kafka.publish import record_of
from stream.local.traffic import distinct, traffic
from tests.stack import Stack, Worker, free_port

PARTITIONS = 6
SAMPLE_S = 0.05
RUN_S_MAX = 120.0
IDLE_EVENTS = 200
IDLE_PAUSE_S = 0.02

T = TypeVar("T")
talk = Console(stderr=True, highlight=False)


@dataclass(frozen=True, slots=True)
class Case:
    """One row: what runs, on which traffic, against which reply time."""

    subject: str
    trace: str
    reply_ms: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class Result:
    """What one run showed; ``latencies_ms`` only of the idle case."""

    events_per_s: float
    cpu_us: float
    rss_mb: float = 0.0
    requests_per_event: float = 1.0


CASES = (
    Case("bare loop", "distinct", 0, 64),
    Case("service", "distinct", 0, 64),
    Case("service, no transactions", "distinct", 0, 64),
    Case("bare loop", "distinct", 20, 256),
    Case("service", "distinct", 20, 256),
    Case("service", "realistic", 0, 64),
    Case("service, no transactions", "realistic", 0, 64),
    Case("service", "realistic", 20, 256),
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a Wootric of another process listens."""

    url: str
    pixel_url: str


@contextmanager
def served(case: Case) -> Iterator[Address]:
    """A server of its own process: the cheap one for pixels, the emulator for the rest."""
    port = free_port()
    delay_s = case.reply_ms / 1000
    if case.trace == "distinct":
        command = [sys.executable, "-m", "tests.bench.server", str(port), str(delay_s)]
    else:
        command = [sys.executable, "-m", "stream", "emulator", "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield Address(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port}/pixel.gif")
    finally:
        process.terminate()
        process.wait()


async def ready(address: Address, case: Case) -> None:
    behaviour = {"behaviour": {"reply_delay_s": case.reply_ms / 1000}}
    async with aiohttp.ClientSession() as session:
        for _ in range(100):
            try:
                async with session.get(address.pixel_url) as reply:
                    await reply.read()
                break
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)
        if case.trace == "realistic":
            url = f"{address.url}/_emulator/faults"
            async with session.post(url, json=behaviour) as reply:
                reply.raise_for_status()


def values(case: Case, events: int) -> list[Any]:
    if case.trace == "distinct":
        return list(distinct(events, 1))
    return [sample.value for sample in traffic(events=events, seed=1)]


async def measure(bootstrap_servers: str, case: Case, events: int, folder: Path) -> Result:
    with served(case) as address:
        await ready(address, case)
        stack = Stack(bootstrap_servers, address, folder, partitions=PARTITIONS)  # type: ignore[arg-type]
        stack.create_topics()
        stack.publish(values(case, events))
        if case.subject == "bare loop":
            return await measure_bare(stack, case, events)
        return await measure_service(stack, case, events)


async def measure_bare(stack: Stack, case: Case, events: int) -> Result:
    command = [sys.executable, "-m", "tests.bench.bare", stack.bootstrap_servers]
    command += [stack.config.topic, stack.wootric.pixel_url, str(case.in_flight), str(events)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)
    figures = json.loads(done.stdout)
    return Result(events / figures["took_s"], figures["cpu_s"] / events * 1e6)


async def measure_service(stack: Stack, case: Case, events: int) -> Result:
    worker = stack.worker(f"bench{time.time_ns()}", WOOTRIC__IN_FLIGHT_MAX=str(case.in_flight))
    start(worker, plain="no transactions" in case.subject)
    process = psutil.Process(worker.running.pid)
    began: tuple[float, int, float] | None = None
    rss = 0
    deadline = time.monotonic() + RUN_S_MAX
    while True:
        rss = max(rss, process.memory_info().rss)
        status = await status_of(worker)
        cpu = process.cpu_times()
        done = sum(sum(by.values()) for by in status.get("settled", {}).values())
        if began is None and status.get("consumed"):
            began = (time.monotonic(), done, cpu.user + cpu.system)
        if done >= events:
            break
        if time.monotonic() > deadline:
            raise RuntimeError(f"not done: {status}")
        await asyncio.sleep(SAMPLE_S)
    assert began is not None
    took_s, count = time.monotonic() - began[0], events - began[1]
    cpu_s = cpu.user + cpu.system - began[2]
    metrics = await worker.metrics()
    requests = sum(v for k, v in metrics.items() if k.startswith("wootric_sink_requests_total"))
    worker.stop()
    return Result(count / took_s, cpu_s / count * 1e6, rss / 1e6, requests / events)


def start(worker: Worker, *, plain: bool) -> None:
    if not plain:
        worker.start()
        return
    with worker.log.open("ab") as log:
        worker.process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.without_transactions", "run"],
            env=worker._environment,
            stderr=log,
        )


async def status_of(worker: Worker) -> dict[str, Any]:
    try:
        return json.loads((await worker.get("/status"))[1])
    except aiohttp.ClientConnectionError:
        if worker.running.poll() is not None:
            raise RuntimeError(worker.log.read_text()[-2000:]) from None
        return {}


async def measure_idle(bootstrap_servers: str, folder: Path) -> list[float]:
    """From a record's production to its request at Wootric, in ms, one event at a time."""
    case = Case("service", "realistic", 0, 64)
    with served(case) as address:
        await ready(address, case)
        stack = Stack(bootstrap_servers, address, folder, partitions=PARTITIONS)  # type: ignore[arg-type]
        stack.create_topics()
        worker = stack.worker("idle")
        worker.start()
        documents = list(distinct(IDLE_EVENTS + 1, 2))
        stack.publish(documents[:1])
        await stack.until_caught_up()
        producer = Producer({"bootstrap.servers": bootstrap_servers, "linger.ms": 0})
        sent: dict[str, float] = {}
        for document in documents[1:]:
            key, value = record_of(json.dumps(document).encode())
            sent[document["properties"]["url"] + document["context"]["traits"]["email"]] = (
                time.time()
            )
            producer.produce(stack.config.topic, key=key, value=value)
            producer.poll(0)
            await asyncio.sleep(IDLE_PAUSE_S)
        producer.flush()
        await stack.until_caught_up()
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{address.url}/_emulator/state") as reply,
        ):
            views = (await reply.json())["page_views"]
        worker.stop()
        return sorted(
            (view["at"] - sent[f"{view['url']}{view['email']}"]) * 1000
            for view in views
            if f"{view['url']}{view['email']}" in sent
        )


def show(results: dict[Case, list[Result]], out: Console) -> None:
    table = Table(title="events from Kafka to Wootric and back into Kafka")
    for name in ("", "traffic", "reply", "in flight", "events/s", "spread", "CPU µs/event"):
        table.add_column(name, justify="left" if name in ("", "traffic") else "right")
    table.add_column("peak MB", justify="right")
    table.add_column("requests/event", justify="right")
    for case, rounds in results.items():
        rates = [one.events_per_s for one in rounds]
        table.add_row(
            case.subject,
            case.trace,
            f"{case.reply_ms} ms",
            str(case.in_flight),
            f"{statistics.median(rates):,.0f}",
            f"{min(rates):,.0f} to {max(rates):,.0f}",
            f"{statistics.median(one.cpu_us for one in rounds):.0f}",
            f"{max(one.rss_mb for one in rounds):.0f}" if rounds[0].rss_mb else "",
            f"{statistics.median(one.requests_per_event for one in rounds):.2f}",
        )
    out.print(table)
    rate = {
        (case.subject, case.trace, case.reply_ms): statistics.median(r.events_per_s for r in rounds)
        for case, rounds in results.items()
    }
    for trace, reply in (("distinct", 0), ("distinct", 20)):
        if ("service", trace, reply) in rate and ("bare loop", trace, reply) in rate:
            ratio = rate["service", trace, reply] / rate["bare loop", trace, reply]
            out.print(f"service to bare loop, {trace}, {reply} ms: {ratio:.2f}")
    for trace in ("distinct", "realistic"):
        plain = rate.get(("service, no transactions", trace, 0))
        if plain:
            cost = 1 - rate["service", trace, 0] / plain
            out.print(f"cost of exactly-once, {trace}, 0 ms: {cost:.0%} of the rate")


def show_idle(idle_ms: list[float], out: Console) -> None:
    p50, p99 = (idle_ms[min(len(idle_ms) - 1, int(len(idle_ms) * q))] for q in (0.5, 0.99))
    out.print(
        f"one event at a time, record to Wootric: p50 {p50:.0f} ms, p99 {p99:.0f} ms "
        f"({len(idle_ms)} events)"
    )


async def twice_at_most(run: Callable[[], Awaitable[T]]) -> T:
    """Run something, and once more, and say so, if Kafka was not ready for it.

    A broker with hundreds of partitions may still be looking for leaders of the newest.
    """
    try:
        return await run()
    except (KafkaException, AssertionError, RuntimeError) as error:
        talk.print(f"  failed, once more: {str(error)[-500:]}", markup=False)
        return await run()


async def measure_all(
    bootstrap_servers: str, folder: Path, *, events: int, rounds: int
) -> dict[Case, list[Result]]:
    """Run every case once a round, so that what changes on the machine changes for all."""
    results: dict[Case, list[Result]] = {case: [] for case in CASES}
    for number in range(rounds):
        for place, case in enumerate(CASES, 1):
            talk.print(
                f"round {number + 1} of {rounds}, run {place} of {len(CASES)}: {case.subject}, "
                f"{case.trace}, {case.reply_ms} ms"
            )
            run = partial(measure, bootstrap_servers, case, events, folder)
            result = await twice_at_most(run)
            talk.print(f"  {result.events_per_s:,.0f} events/s")
            results[case].append(result)
    return results


def as_json(results: dict[Case, list[Result]]) -> list[dict[str, Any]]:
    return [{**asdict(case), **asdict(one)} for case, many in results.items() for one in many]
