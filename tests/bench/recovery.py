"""How long nothing is sent after a worker's death: until it is back or another takes over."""

import asyncio
import json
import random
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import Producer
from rich.console import Console
from rich.table import Table
from stack import Stack, Worker

from stream.devtools.traffic import Traffic
from stream.kafka.producer import record_of
from tests.bench.ground import Ground, say, status_of, worker_of
from tests.bench.native import Native
from tests.bench.traces import PARTITIONS

TRIALS = 10
RATE = 60
"""Events a second, of as many people as there are events, over all partitions."""
STEADY_S = 1.5
PATIENCE_S = 60.0
DYING = (sys.executable, "-m", "tests.bench.dying", "run")


class Death(StrEnum):
    """How it ends."""

    KILLED = "killed"
    IN_TRANSACTION = "killed inside a transaction"
    FROZEN = "frozen inside a transaction, for ever"


class Sequel(StrEnum):
    """What follows."""

    RESTART = "restarted with its instance id"
    TAKE_OVER = "never back, another worker there"


@dataclass(frozen=True, slots=True)
class Case:
    death: Death
    sequel: Sequel


CASES = (
    Case(Death.KILLED, Sequel.RESTART),
    Case(Death.IN_TRANSACTION, Sequel.RESTART),
    *(Case(death, Sequel.TAKE_OVER) for death in Death),
)


class Stream(threading.Thread):
    """Publishes page views at a steady pace, each of somebody new, whose number says where."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(name="steady-stream", daemon=True)
        self._stack = stack
        self._ending = threading.Event()

    def run(self) -> None:
        producer = Producer({"bootstrap.servers": self._stack.bootstrap_servers, "linger.ms": 1})
        source = Traffic(random.Random(3), users=1)
        began, count = time.monotonic(), 0
        while not self._ending.is_set():
            while count < (time.monotonic() - began) * RATE:
                source.tick()
                document = source.page(count, with_email=True)
                document["properties"]["url"] += "#bench=1"
                document["context"]["traits"]["createdAt"] = document["timestamp"]
                key, value = record_of(json.dumps(document).encode())
                producer.produce(self._stack.config.topic, value, key, count % PARTITIONS)
                count += 1
            producer.poll(0)
            self._ending.wait(0.01)
        producer.flush(10)

    def end(self) -> None:
        self._ending.set()
        self.join(20)


def partition_of(user: str) -> int:
    """Return where the stream has put a person, by e-mail."""
    return int(user.split("@", maxsplit=1)[0].rpartition(".")[2]) % PARTITIONS


async def measure(ground: Ground, trials: int) -> list[dict[str, Any]]:
    """Return a row a case."""
    return [await _trials(ground, case, trials) for case in CASES]


async def _trials(ground: Ground, case: Case, trials: int) -> dict[str, Any]:
    first, every = [], []
    with ground.laid(journal=True) as (stack, server):
        order = ground.folder / f"{stack.config.group_id}.order"
        count = 1 if case.sequel is Sequel.RESTART else 2
        workers = [
            worker_of(stack, command=DYING, DIE_IN_TRANSACTION=str(order.with_suffix(f".{number}")))
            for number in range(count)
        ]
        for worker in workers:
            worker.start()
        stream = Stream(stack)
        stream.start()
        try:
            for trial in range(trials):
                await _steady(workers, server)
                place = trial % count
                figures = await _trial(case, workers, place, order.with_suffix(f".{place}"), server)
                first.append(figures[0])
                every.append(figures[1])
                say(f"{case.death}, {case.sequel}, {trial + 1} of {trials}: {figures[1]:.1f} s")
        finally:
            stream.end()
        await stack.until_caught_up(may_end=(0, -9))
        counts = server.counts()
    return {
        "death": case.death,
        "sequel": case.sequel,
        "first_s": first,
        "every_s": every,
        "order_violations": counts["order_violations"],
        "duplicates": counts["duplicates"],
    }


async def _trial(
    case: Case, workers: Sequence[Worker], place: int, order: Path, server: Native
) -> tuple[float, float]:
    """Let one die; return the seconds until the first request of its partitions, and until all
    of them flow again.
    """
    dying = workers[place]
    lost = {int(number) for number in (await status_of(dying))["partitions"]}
    died_at = await _die(case.death, dying, order)
    if case.sequel is Sequel.RESTART:
        dying.start()
    try:
        found = await _until_flowing(server, lost, died_at)
    finally:
        if case.sequel is Sequel.TAKE_OVER:
            dying.end()
            dying.start()
    times = [at - died_at for at in found.values()]
    return min(times), max(times)


async def _die(death: Death, worker: Worker, order: Path) -> float:
    """Return the Unix time at which it was no more, or stood still."""
    if death is Death.KILLED:
        worker.kill()
        return time.time()
    order.write_text("SIGSTOP" if death is Death.FROZEN else "SIGKILL")
    deadline = time.monotonic() + PATIENCE_S
    while worker.running.poll() is None and not _stands_still(worker):
        assert time.monotonic() < deadline, "it does not die"
        await asyncio.sleep(0.005)
    died_at = time.time()
    order.unlink()
    return died_at


def _stands_still(worker: Worker) -> bool:
    try:
        return psutil.Process(worker.running.pid).status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False


SETTLING_S = 0.03
"""What was in the server's sockets when the worker died is not counted."""


async def _until_flowing(server: Native, lost: set[int], died_at: float) -> dict[int, float]:
    """Return when each of the partitions was first heard of again."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found: dict[int, float] = {}
        for at, user, _ in server.arrivals(died_at + SETTLING_S):
            if (partition := partition_of(user)) in lost:
                found.setdefault(partition, at)
        if len(found) == len(lost):
            return found
        assert time.monotonic() < deadline, f"only {sorted(found)} of {sorted(lost)} flow again"
        await asyncio.sleep(0.05)


async def _steady(workers: Sequence[Worker], server: Native) -> None:
    """Return once all partitions have been flowing for a while, fairly shared."""
    deadline = time.monotonic() + 2 * PATIENCE_S
    share, since = PARTITIONS // len(workers), time.monotonic()
    while time.monotonic() - since < STEADY_S:
        statuses = [await status_of(worker) for worker in workers]
        recent = Counter(partition_of(user) for _, user, _ in server.arrivals(time.time() - 0.5))
        fair = all(len(one.get("partitions", ())) == share for one in statuses)
        if not fair or len(recent) < PARTITIONS:
            since = time.monotonic()
        assert time.monotonic() < deadline, f"never steady: {recent}, {statuses}"
        await asyncio.sleep(0.1)


def show(rows: Sequence[dict[str, Any]], out: Console) -> None:
    table = Table(title="a worker dies: seconds until its partitions are sent from again")
    for name in ("death", "then", "times", "first: median", "max", "all of them: median", "max"):
        table.add_column(name, justify="left" if name in ("death", "then") else "right")
    table.add_column("disorder", justify="right")
    table.add_column("twice", justify="right")
    for row in rows:
        table.add_row(
            row["death"],
            row["sequel"],
            str(len(row["every_s"])),
            *(f"{of(row[f'{which}_s']):.1f}" for which in ("first", "every") for of in BOTH),
            str(row["order_violations"]),
            str(row["duplicates"]),
        )
    out.print(table)


BOTH = (statistics.median, max)
