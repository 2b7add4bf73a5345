"""What every part of the benchmark stands on: topics, a server, workers, and what they use."""

import asyncio
import itertools
import json
import platform
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from rich.console import Console
from stack import RUN, Stack, Worker

from tests.bench.native import Native, served
from tests.bench.traces import PARTITIONS

WITHOUT_TRANSACTIONS = (sys.executable, "-m", "tests.bench.without_transactions", "run")
RUN_S_MAX = 240.0
POLL_S = (0.02, 0.5)
"""A status costs the worker time: few while it runs, and close ones at the end."""

talk = Console(stderr=True, highlight=False)
_numbers = itertools.count(1)


def say(line: str) -> None:
    talk.print(line, markup=False, soft_wrap=True)


def interpreter(options: str | None = sysconfig.get_config_var("CONFIG_ARGS")) -> str:
    """Return the interpreter's name and version, and with which optimizations it was built."""
    built = [
        word
        for word, option in (("PGO", "--enable-optimizations"), ("LTO", "--with-lto"))
        if option in (options or "")
    ]
    how = f"built with {' and '.join(built)}" if built else "built without PGO"
    return f"{platform.python_implementation()} {platform.python_version()}, {how}"


@dataclass(frozen=True, slots=True)
class Ground:
    """A Kafka, a folder for logs, and settings that are the same for every worker."""

    bootstrap_servers: str
    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def laid(self, *, delay_ms: int = 0, journal: bool = False) -> Iterator[tuple[Stack, Native]]:
        """Topics that are there for one run, and a server."""
        with served(delay_ms=delay_ms, journal=journal, say=say) as server:
            stack = Stack(
                self.bootstrap_servers,
                server,  # type: ignore[arg-type]
                self.folder,
                partitions=PARTITIONS,
                settings={"WOOTRIC__REQUEST_TIMEOUT_S": "10", **self.settings},
                forks=False,
            )
            stack.create_topics()
            config = stack.config
            names = [
                config.topic,
                config.ledger_topic,
                config.dead_letter_topic,
                config.parked_topic,
            ]
            try:
                yield stack, server
            finally:
                admin = stack.admin
                stack.end()
                for future in admin.delete_topics(names).values():
                    with suppress(Exception):  # the next run has topics of its own
                        future.result(20)


def worker_of(stack: Stack, *, command: Sequence[str] = RUN, **settings: str) -> Worker:
    """Return a worker that was never there before."""
    return stack.worker(f"bench{next(_numbers)}", command=command, **settings)


async def status_of(worker: Worker) -> dict[str, Any]:
    """Return the worker's status; nothing while it is not up.

    Raises:
        RuntimeError: it has ended.
    """
    try:
        return json.loads((await worker.get("/status"))[1])  # type: ignore[no-any-return]
    except aiohttp.ClientConnectionError:
        if worker.running.poll() is not None:
            raise RuntimeError(worker.log.read_text()[-2000:]) from None
        return {}


def settled_in(status: dict[str, Any]) -> int:
    """Return how many records a worker has settled, by its status."""
    return sum(sum(by.values()) for by in status.get("settled", {}).values())


def brokers() -> list[psutil.Process]:
    """Return the Kafka nodes that this process has started."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if child.name() == "java"]


def cpu_s(processes: Sequence[psutil.Process]) -> float:
    """Return what the processes have used until now, in seconds."""
    times = [process.cpu_times() for process in processes]
    return sum(one.user + one.system for one in times)


def machine_s() -> float:
    """Return what all processes of the machine have used until now, in seconds."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    return float(sum(times) - idle - getattr(times, "guest", 0.0))


def peak_mb(process: psutil.Process) -> float:
    """Return the most memory that a process has had resident."""
    with suppress(OSError):
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1000
    return process.memory_info().rss / 1e6


@dataclass(slots=True)
class Course:
    """How a run went; CPU in seconds, by who used it."""

    took_s: float
    settled: int
    cpu: dict[str, float] = field(default_factory=dict)
    peak_mb: float = 0.0
    others: float = 0.0
    """Cores that processes which are none of ours have used meanwhile."""

    @property
    def rate(self) -> float:
        return self.settled / self.took_s


async def follow(workers: Sequence[Worker], server: Native, events: int) -> Course:
    """Return once the workers have settled so many events.

    Raises:
        RuntimeError: they never did, or one has ended.
    """
    parties = {
        "worker": [psutil.Process(worker.running.pid) for worker in workers],
        "broker": brokers(),
        "server": [psutil.Process(server.pid)],
        "bench": [psutil.Process()],
    }
    deadline = time.monotonic() + RUN_S_MAX
    began: tuple[float, int, dict[str, float]] | None = None
    while True:
        statuses = [await status_of(worker) for worker in workers]
        now, used = time.monotonic(), {name: cpu_s(some) for name, some in parties.items()}
        used["machine"] = machine_s()
        done = sum(map(settled_in, statuses))
        if began is None and any(one.get("consumed") for one in statuses):
            began = (now, done, used)
        if began is not None and done >= events:
            break
        if now > deadline:
            raise RuntimeError(f"not done: {statuses}")
        await asyncio.sleep(_pause_s(began, now, done, events))
    spent = {name: used[name] - began[2][name] for name in used}
    peak = max(peak_mb(process) for process in parties["worker"])
    took_s, others_s = now - began[0], 2 * spent["machine"] - sum(spent.values())
    return Course(took_s, events - began[1], spent, peak, max(0.0, others_s / took_s))


def _pause_s(
    began: tuple[float, int, dict[str, float]] | None, now: float, done: int, events: int
) -> float:
    if began is None or done <= began[1]:
        return POLL_S[0]
    left_s = (events - done) * (now - began[0]) / (done - began[1])
    return min(max(left_s / 2, POLL_S[0]), POLL_S[1])
