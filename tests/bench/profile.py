"""Where each microsecond of an event goes: the service with timers, on realistic traffic."""

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench.ground import Ground, follow, say, worker_of
from tests.bench.traces import Trace, encoded, publish

EVENTS = 20_000
IN_FLIGHT = "64"
STAGED = (sys.executable, "-m", "tests.bench.staged", "run")


async def measure(ground: Ground) -> dict[str, Any]:
    """Return microseconds of CPU time an event, by stage, with replies of 0 ms."""
    say("profile: realistic traffic, with a timer around each stage")
    file = ground.folder / "stages.json"
    with ground.laid() as (stack, server):
        records = encoded(Trace.REALISTIC, EVENTS)
        await asyncio.to_thread(publish, stack.bootstrap_servers, stack.config.topic, records)
        worker = worker_of(
            stack, command=STAGED, WOOTRIC__IN_FLIGHT_MAX=IN_FLIGHT, BENCH_STAGES=str(file)
        )
        worker.start()
        course = await follow([worker], server, EVENTS)
        worker.stop()
    spent: Mapping[str, float] = json.loads(file.read_text(encoding="utf-8"))
    stages = {name: seconds / EVENTS * 1e6 for name, seconds in spent.items()}
    return {"events_per_s": course.rate, "stages": stages}


def show(found: dict[str, Any], out: Console) -> None:
    table = Table(title=f"an event's CPU time, {found['events_per_s']:,.0f} events/s with timers")
    table.add_column("stage")
    table.add_column("µs an event", justify="right")
    stages = found["stages"]
    for name in sorted(stages, key=stages.__getitem__, reverse=True):
        table.add_row(name, f"{stages[name]:.1f}")
    table.add_row("all", f"{sum(stages.values()):.1f}")
    out.print(table)
