"""The acts one after the other on one node, each judged, and their table."""

import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path

from evidence import DEFAULT
from rich.console import Console
from rich.table import Table
from stack import Stack

from stream.devtools import Say
from stream.devtools.kafka_node import KafkaListener, free_ports
from stream.devtools.local_kafka import LocalBroker
from stream.devtools.wootric_emulator import Behaviour, Emulator
from tests.cluster import acts
from tests.cluster.node import HOST, Node
from tests.cluster.parts import TAG, Parts
from tests.cluster.world import Verdict, World

PARTITIONS = 6
RATE = 40
"""Events a second; a node on two busy cores delivers more."""
CLIENT_SECRET = "a-secret-of-tests"
WIDTH = 120

Act = Callable[[World], Coroutine[object, object, str]]

ACTS: dict[str, Act] = {
    act.__name__: act
    for act in (
        *(acts.install, acts.deliver, acts.observe, acts.reach, acts.upgrade, acts.rollback),
        *(acts.force, acts.drain, acts.evict, acts.scale, acts.kill, acts.freeze, acts.oom),
        *(acts.rotate, acts.operate, acts.uninstall, acts.tutorial),
    )
}
"""In their order; those between install and uninstall leave two ready workers."""
ALWAYS = {"install", "uninstall"}


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    act: str
    seconds: float
    verdict: Verdict | None
    said: str
    failure: str = ""


async def perform(parts: Parts, folder: Path, only: list[str] | None, step: Say) -> int:
    """Start the node and what is beside it, let the acts happen, print their table.

    Returns 0 if each of them was as it has to be.
    """
    node = Node(parts, folder, folder.name, step)
    node.start()
    node.tag(TAG, f"{TAG}-next")
    node.tag(TAG, "docker.io/library/wootric-stream:tutorial")
    step("the node is ready; Kafka and Wootric's emulator beside it")
    (port,) = free_ports(1)
    pods = KafkaListener("PODS", (port,), (port,), host=HOST)
    behaviour = Behaviour().changed({"client_secret": CLIENT_SECRET})
    with LocalBroker(directory=folder / "kafka", listeners=[pods]) as kafka:
        async with Emulator(behaviour, host=HOST) as wootric:
            stack = Stack(f"{HOST}:{port}", wootric, folder, PARTITIONS)
            try:
                world = World(node, stack, RATE)
                await world.prepare()
                return _show(await _acts(world, only, step))
            finally:
                stack.end()
                kafka.node(1).kill()


async def _acts(world: World, only: list[str] | None, step: Say) -> list[Row]:
    rows: list[Row] = []
    for name, act in ACTS.items():
        if only and name not in ALWAYS.union(only):
            continue
        step(f"{name}: {act.__doc__}")
        row = await _act(world, name, act)
        rows.append(row)
        step(f"{name}: {row.failure or row.said}")
        if row.failure:
            folder = DEFAULT / time.strftime(f"cluster-%Y%m%d-%H%M%S-{name}")
            await world.evidence(folder)
            step(f"what the cluster knows of it is in {folder}")
            break
    return rows


async def _act(world: World, name: str, act: Act) -> Row:
    began_at, since = time.monotonic(), time.time()
    verdict, said, failure = None, "", ""
    try:
        said = await act(world)
        await world.settle()
        verdict = await world.verdict(since)
        failure = "; ".join(verdict.complaints)
        if verdict.disorder:
            failure += f"; {verdict.disorder} surveys out of order"
    except (AssertionError, ValueError, KeyError) as error:
        failure = f"{type(error).__name__}: {error}"
    return Row(name, time.monotonic() - began_at, verdict, said, failure)


def _show(rows: list[Row]) -> int:
    """Print the table; return the exit code."""
    table = Table(title="The chart on a real node")
    for column in ("act", "seconds", "events", "lost", "twice", "out of order", "longest wait"):
        table.add_column(column, justify="left" if column == "act" else "right")
    table.add_column("")
    for row in rows:
        found = row.verdict
        figures = ["", "", "", "", ""]
        if found is not None:
            counts = (found.events, found.lost, found.twice, found.disorder)
            figures = [*(f"{count:,}" for count in counts), f"{found.longest_s:.1f} s"]
        table.add_row(row.act, f"{row.seconds:.0f}", *figures, row.said or "failed")
    Console(highlight=False, width=WIDTH).print(table)
    failed = [row.act for row in rows if row.failure]
    print(f"FAILED: {', '.join(failed)}" if failed else f"{len(rows)} acts, nothing lost or twice")
    return int(bool(failed))
