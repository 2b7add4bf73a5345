"""One, two, three workers on a server whose replies take 20 ms, and what limits them."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table
from stack import Worker

from tests.bench.ground import Ground, follow, say, status_of, worker_of
from tests.bench.traces import PARTITIONS, Trace, encoded, publish

REPLY_MS = 20
WORKERS = (1, 2, 3)
IN_FLIGHT = {16: 6_000, 256: 20_000}
"""Requests under way in each worker, and events of a run: with few it waits for replies, with
many for a core."""
BALANCED_S_MAX = 60.0


async def measure(ground: Ground) -> list[dict[str, Any]]:
    """Return a row for each number of workers."""
    rows = []
    for in_flight, events in IN_FLIGHT.items():
        for count in WORKERS:
            say(f"scaling: {count} workers, {in_flight} in flight each")
            run = await _run(ground, count, in_flight, events)
            say(f"  {run['events_per_s']:,.0f} events/s")
            rows.append({"workers": count, "in_flight": in_flight, **run})
    return rows


async def _run(ground: Ground, count: int, in_flight: int, events: int) -> dict[str, float]:
    with ground.laid(delay_ms=REPLY_MS) as (stack, server):
        workers = [worker_of(stack, WOOTRIC__IN_FLIGHT_MAX=str(in_flight)) for _ in range(count)]
        for worker in workers:
            worker.start()
        await _balanced(workers)
        records = encoded(Trace.DISTINCT, events)
        await asyncio.to_thread(publish, stack.bootstrap_servers, stack.config.topic, records)
        course = await follow(workers, server, events)
        for worker in workers:
            worker.stop()
        counts = server.counts()
    return {
        "events_per_s": course.rate,
        "waiting_bound": count * in_flight / REPLY_MS * 1000,
        "worker_cores": course.cpu["worker"] / count / course.took_s,
        "broker_cores": course.cpu["broker"] / course.took_s,
        "server_cores": course.cpu["server"] / course.took_s,
        "machine": course.cpu["machine"] / course.took_s / _cores(),
        "others": course.others,
        "order_violations": counts["order_violations"],
        "duplicates": counts["duplicates"],
    }


async def _balanced(workers: Sequence[Worker]) -> None:
    """Return once every worker has its share of the partitions."""
    deadline = time.monotonic() + BALANCED_S_MAX
    share = PARTITIONS // len(workers)
    while True:
        statuses = [await status_of(worker) for worker in workers]
        if all(len(one.get("partitions", ())) == share for one in statuses):
            return
        if time.monotonic() > deadline:
            raise RuntimeError("the group was never balanced")
        await asyncio.sleep(0.1)


def show(rows: Sequence[dict[str, Any]], out: Console) -> None:
    table = Table(title=f"workers side by side, replies of {REPLY_MS} ms, {_cores()} cores for all")
    names = ("workers", "in flight each", "events/s", "bound by waiting", "of it")
    for name in (*names, "cores a worker", "cores broker", "cores server", "machine", "disorder"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            str(row["workers"]),
            str(row["in_flight"]),
            f"{row['events_per_s']:,.0f}",
            f"{row['waiting_bound']:,.0f}",
            f"{row['events_per_s'] / row['waiting_bound']:.0%}",
            *(f"{row[f'{name}_cores']:.2f}" for name in ("worker", "broker", "server")),
            f"{row['machine']:.0%}",
            f"{row['order_violations']:.0f}",
        )
    out.print(table)
    for in_flight in sorted({row["in_flight"] for row in rows}):
        some = [row for row in rows if row["in_flight"] == in_flight]
        out.print(f"{in_flight} in flight each: {limit(some)}")


def limit(rows: Sequence[dict[str, Any]]) -> str:
    """Say what keeps the largest number of workers from going faster."""
    most = max(rows, key=lambda row: int(row["workers"]))
    one = min(rows, key=lambda row: int(row["workers"]))
    factor = most["events_per_s"] / one["events_per_s"]
    gain = f"{most['workers']} workers are {factor:.1f} times as fast as one"
    if most["events_per_s"] > 0.8 * most["waiting_bound"]:
        return f"{gain}; the replies are what is waited for"
    if most["machine"] > 0.9:
        return f"{gain}; the machine's cores are used up"
    return f"{gain}; neither the replies nor the cores alone limit it"


def _cores() -> int:
    return psutil.cpu_count() or 1
