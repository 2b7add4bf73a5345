"""The bridge beside a bare aiohttp handler, in one run; and what it does when all goes wrong.

``python -m tests.bench.webhooks bare PORT`` and ``… load …`` are the processes of a run.
"""

import asyncio
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import psutil
import uvloop
from aiohttp import web
from fuzz import assail
from rich.console import Console
from rich.table import Table
from segment import Bridge, bridge, signed
from stack import Stack, free_port

from stream.devtools.demo_report import quantile
from stream.devtools.local_kafka import LocalBroker
from stream.devtools.traffic import traffic
from stream.devtools.wootric_emulator import Emulator
from tests.bench import hostile
from tests.bench.ground import talk

BATCH = 100
SINGLES_PER_S = 500
SINGLES_S = 10
BESIDE_PER_S = 50
AWAY_S = 60
BAD_REQUESTS = 100_000
SENDERS = 4
WARM_UP = 20


@dataclass(frozen=True, slots=True)
class Load:
    """What one load showed; times in milliseconds, sorted."""

    events_per_s: float
    cpu_us: float
    latencies_ms: Sequence[float]


# The processes


async def bare(port: int) -> None:
    """What somebody would write in an afternoon: read, parse, say yes."""

    async def handler(request: web.Request) -> web.Response:
        orjson.loads(await request.read())
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_post("/v1/events", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


async def load(url: str, events: int, batch: int, per_s: float) -> None:
    """Send signed requests: as fast as they are answered, or so many a second."""
    samples = traffic(events=events, seed=5)
    documents = [s.value for s in samples if isinstance(s.value, dict)]
    requests = [
        signed(documents[at] if batch == 1 else documents[at : at + batch])
        for at in range(0, len(documents), batch)
    ]
    latencies: list[float] = []
    async with aiohttp.ClientSession() as session:

        async def send(body: bytes, headers: dict[str, str]) -> None:
            began_at = time.perf_counter()
            async with session.post(url, data=body, headers=headers) as reply:
                await reply.read()
                assert reply.status == 200, reply.status
            latencies.append((time.perf_counter() - began_at) * 1000)

        async def send_from(queue: Iterator[Any]) -> None:
            for body, headers in queue:
                await send(body, headers)

        for body, headers in requests[:WARM_UP]:
            await send(body, headers)
        latencies.clear()
        began_at = time.perf_counter()
        left = requests[WARM_UP:]
        if per_s:
            tasks = []
            for number, (body, headers) in enumerate(left):
                await asyncio.sleep(max(0.0, began_at + number / per_s - time.perf_counter()))
                tasks.append(asyncio.create_task(send(body, headers)))
            await asyncio.gather(*tasks)
        else:
            queue = iter(left)
            await asyncio.gather(*(send_from(queue) for _ in range(SENDERS)))
        took_s = time.perf_counter() - began_at
    count = sum(1 for _ in left) * batch
    sys.stdout.write(json.dumps({"per_s": count / took_s, "latencies_ms": sorted(latencies)}))


@contextmanager
def bare_server() -> Iterator[tuple[str, int]]:
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.webhooks", "bare", str(port)]
    process = subprocess.Popen(command)
    try:
        yield f"http://127.0.0.1:{port}/v1/events", process.pid
    finally:
        process.terminate()
        process.wait()


async def measure(url: str, pid: int, events: int, batch: int, per_s: float = 0) -> Load:
    async with aiohttp.ClientSession() as session:
        for _ in range(200):
            try:
                await (await session.get(url)).read()
                break
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)
    before = psutil.Process(pid).cpu_times()
    command = [sys.executable, "-m", "tests.bench.webhooks", "load", url]
    command += [str(events), str(batch), str(per_s)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    after = psutil.Process(pid).cpu_times()
    figures = json.loads(done.stdout)
    cpu_s = after.user + after.system - before.user - before.system
    return Load(figures["per_s"], cpu_s / events * 1e6, figures["latencies_ms"])


# What is measured


async def run(events: int, bad_requests: int, away_s: int) -> dict[str, Any]:
    """Run it all; return the figures."""
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalBroker(say=lambda line: talk.print(line, markup=False)) as broker,
    ):
        async with Emulator() as wootric:
            stack = Stack(
                broker.bootstrap_servers, wootric, Path(folder), partitions=6, forks=False
            )
            await asyncio.to_thread(stack.create_topics)
            gate = bridge(
                stack,
                instance="b1",
                BRIDGE__UNSIGNED_BATCH_ITEMS="accept",
                BRIDGE__BOUND_BY_ADDRESS="false",
            )
            strict = bridge(stack, instance="b2")
            for one in (gate, strict):
                one.start()
                await one.until_ready()
            try:
                figures = await speed(gate, events)
                figures |= await defence(gate, strict)
                figures |= await assault(strict, stack, bad_requests)
                figures |= await siege(gate, broker, away_s)
            finally:
                stack.end()
    return figures


async def speed(gate: Bridge, events: int) -> dict[str, Any]:
    talk.print("webhooks: arrays of 100, and single events at 500 a second, beside a bare handler")
    singles = SINGLES_PER_S * SINGLES_S
    pid = gate.running.pid
    with bare_server() as (bare_url, bare_pid):
        rows = {
            ("bare handler", "arrays of 100"): await measure(bare_url, bare_pid, events, BATCH),
            ("bridge", "arrays of 100"): await measure(gate.url, pid, events, BATCH),
            ("bare handler", "single events, 500/s"): await measure(
                bare_url, bare_pid, singles, 1, SINGLES_PER_S
            ),
            ("bridge", "single events, 500/s"): await measure(
                gate.url, pid, singles, 1, SINGLES_PER_S
            ),
        }
    return {"rows": rows}


async def defence(unbound: Bridge, gate: Bridge) -> dict[str, Any]:
    """Measure each refusal where no address is excluded, and signed requests beside a flood."""
    talk.print("what is refused, by kind, and signed events beside a flood")

    async def signed(gate: Bridge) -> Sequence[float]:
        found = await measure(gate.url, gate.running.pid, BESIDE_PER_S * SINGLES_S, 1, BESIDE_PER_S)
        return found.latencies_ms

    return {
        "refusals": await hostile.costs(unbound, gate),
        "beside": await hostile.beside(gate, signed),
    }


async def assault(gate: Bridge, stack: Stack, bad_requests: int) -> dict[str, Any]:
    """Send what must not be taken; return what came back, and what came into Kafka."""
    talk.print(f"{bad_requests} bad requests")
    memory = psutil.Process(gate.running.pid).memory_info
    await assail(gate.webhook_port, max(1, bad_requests // 10), seed=1)
    before, began_at = memory().rss, time.monotonic()
    held = sum(stack.ends(stack.config.topic).values())
    answers = await assail(gate.webhook_port, bad_requests, seed=2)
    return {
        "bad": answers,
        "bad_per_s": bad_requests / (time.monotonic() - began_at),
        "bad_grown_mb": (memory().rss - before) / 1e6,
        "bad_held": sum(stack.ends(stack.config.topic).values()) - held,
    }


async def siege(gate: Bridge, broker: LocalBroker, away_s: int) -> dict[str, Any]:
    """Send without end while nothing can be taken; return what memory did."""
    talk.print(f"Kafka is away for {away_s} s")
    memory = psutil.Process(gate.running.pid).memory_info
    broker.node(1).pause()
    documents = [s.value for s in traffic(events=2_000, seed=6) if isinstance(s.value, dict)]
    requests = itertools.cycle([signed(documents[at : at + 50]) for at in range(0, 1_900, 50)])
    began_at, answers, rss = time.monotonic(), Counter[int](), [memory().rss]

    async def send(session: aiohttp.ClientSession) -> None:
        while time.monotonic() - began_at < away_s:
            body, headers = next(requests)
            async with session.post(gate.url, data=body, headers=headers) as reply:
                await reply.read()
                answers[reply.status] += 1
            rss.append(memory().rss)
            await asyncio.sleep(0.02)

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(send(session) for _ in range(32)))
    broker.node(1).resume()
    early = max(rss[: max(1, len(rss) // 4)])
    return {"away": answers, "away_grown_mb": (max(rss) - early) / 1e6}


def show(figures: dict[str, Any]) -> None:
    table = Table(title="webhooks: signed, validated, encoded, acknowledged by Kafka")
    for name in ("", "sends", "events/s", "CPU µs/event", "p50 ms", "p99 ms"):
        table.add_column(name, justify="left" if name in ("", "sends") else "right")
    for (subject, what), one in figures["rows"].items():
        table.add_row(
            subject,
            what,
            f"{one.events_per_s:,.0f}",
            f"{one.cpu_us:.0f}",
            f"{statistics.median(one.latencies_ms):.1f}",
            f"{quantile(one.latencies_ms, 0.99):.1f}",
        )
    out = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    out.print(table, hostile.costs_table(figures["refusals"]))
    out.print(hostile.beside_table(figures["beside"]))
    bad = ", ".join(f"{count} x {status}" for status, count in sorted(figures["bad"].items()))
    out.print(
        f"bad requests, {figures['bad_per_s']:,.0f} a second: {bad}; memory "
        f"{figures['bad_grown_mb']:+.1f} MB, {figures['bad_held']} in Kafka"
    )
    away = ", ".join(f"{count} x {status}" for status, count in sorted(figures["away"].items()))
    out.print(f"while Kafka is away: {away}; memory {figures['away_grown_mb']:+.1f} MB")


async def main(events: int, *, quick: bool = False) -> dict[str, Any]:
    """Measure and show; return figures that JSON can hold."""
    share = 20 if quick else 1
    figures = await run(events, BAD_REQUESTS // share, max(6, AWAY_S // share))
    show(figures)
    rows = [
        {"subject": subject, "sends": what, "events_per_s": one.events_per_s, "cpu_us": one.cpu_us}
        for (subject, what), one in figures["rows"].items()
    ]
    refusals = [
        {**asdict(one), "cpu_ns_per_byte": one.cpu_ns_per_byte} for one in figures["refusals"]
    ]
    beside = [asdict(one) for one in figures["beside"]]
    return {**figures, "rows": rows, "refusals": refusals, "beside": beside}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["bare", port]:
            uvloop.run(bare(int(port)))
        case ["load", url, events, batch, per_s]:
            uvloop.run(load(url, int(events), int(batch), float(per_s)))
        case _:
            raise SystemExit("bare PORT | load URL EVENTS BATCH PER_S")
