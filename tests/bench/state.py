"""State beyond memory: a ledger of many entries on a real Kafka, restored by a real worker.

What it costs to hold it and to look something up, beside the same in memory.
"""

import asyncio
import random
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import Producer
from rich.console import Console
from rich.table import Table
from stack import Stack, Worker

from sink.delivery import EndUser
from stream.devtools.wootric_emulator import Emulator
from stream.kafka.config import KafkaConfig
from stream.state.ledger import EVENT, USER, EventEntry, EventOutcome, UserEntry, encode
from stream.state.rocksdb.directory import StateDirectory
from stream.state.store import InMemoryProvider, LedgerPartitionInfo, OpenedStore
from tests.bench.ground import talk

PARTITIONS = 6
IN_MEMORY_MAX = 2_000_000
"""Beyond this many entries a worker without a store is not tried."""
SAMPLE_S = 0.1
RESTORE_S_MAX = 600.0
TELL_EVERY_S = 5.0
LOOKUPS = 100_000
HELD = 200_000
BATCH = 400


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a worker: how many records it read in which time, and what it takes."""

    what: str
    entries: int
    seconds: float
    cpu_s: float
    rss_mb: float
    disk_mb: float

    @property
    def rate(self) -> float:
        return self.entries / self.seconds


# The ledger


def samples() -> list[tuple[str, bytes]]:
    """A few hundred values such as the service writes: nine receipts for one user."""
    dice = random.Random(1)
    found = []
    for number in range(500):
        now_ms = 1_760_000_000_000 + number * 977
        if number % 10:
            receipt = EventEntry(
                outcome=EventOutcome.DELIVERED,
                offset=dice.randrange(10**7),
                at_ms=now_ms,
                request_id=dice.randbytes(15).hex(),
                status=200,
                attempts=1,
            )
            found.append((EVENT, encode(receipt)))
        else:
            user = UserEntry(
                end_user=EndUser(
                    id=dice.randrange(10**9),
                    email=f"somebody.{number}@example.com",
                    external_id=str(dice.randrange(10**6)),
                    external_created_at=now_ms // 1000,
                    properties={
                        "plan": "business",
                        "company": f"Company {number}",
                        "seats": number,
                    },
                ),
                sent_at_ms=now_ms,
                newest_event_at_ms=now_ms,
            )
            found.append((USER, encode(user)))
    return found


def fill(config: KafkaConfig, entries: int) -> None:
    """Write a ledger of so many keys."""
    producer = Producer(
        {
            "bootstrap.servers": config.bootstrap_servers,
            "compression.type": "lz4",
            "linger.ms": 20,
            "queue.buffering.max.messages": 200_000,
            "enable.idempotence": True,
        }
    )
    dice, values, told_at = random.Random(2), samples(), time.monotonic()
    for number in range(entries):
        kind, value = values[number % len(values)]
        key = f"{kind}{uuid.UUID(int=dice.getrandbits(128))}".encode()
        while True:
            try:
                producer.produce(
                    config.ledger_topic, key=key, value=value, partition=number % PARTITIONS
                )
            except BufferError:
                producer.poll(0.05)
            else:
                break
        if time.monotonic() > told_at + TELL_EVERY_S:
            told_at = time.monotonic()
            talk.print(f"  ledger: {number:,} of {entries:,} entries")
    assert producer.flush(120) == 0


# A worker that restores it


async def opened(worker: Worker, what: str, state: Path) -> Start:
    """Start a worker, and wait until all of its partitions are open."""
    seen = len(worker.logged()) if worker.log.exists() else 0
    began_at = told_at = time.monotonic()
    worker.start()
    process = psutil.Process(worker.running.pid)
    peak = 0
    done: list[dict[str, Any]] = []
    while len(done) < PARTITIONS:
        await asyncio.sleep(SAMPLE_S)
        assert worker.running.poll() is None, worker.log.read_text()[-3000:]
        assert time.monotonic() < began_at + RESTORE_S_MAX
        peak = max(peak, process.memory_info().rss)
        lines = worker.logged()[seen:]
        done = [line for line in lines if line["event"] == "partition_opened"]
        if time.monotonic() > told_at + TELL_EVERY_S:
            told_at = time.monotonic()
            talk.print(f"  {what}: {_progress(lines)}, {peak / 1e6:,.0f} MB")
    seconds = time.monotonic() - began_at if "warm" in what else max(x["took_s"] for x in done)
    used = process.cpu_times()
    cpu_s = used.user + used.system
    for _ in range(20):  # compactions go on for a while
        await asyncio.sleep(SAMPLE_S)
        peak = max(peak, process.memory_info().rss)
    entries = sum(line["entries"] for line in done)
    start = Start(what, entries, seconds, cpu_s, peak / 1e6, _disk_bytes(state) / 1e6)
    talk.print(f"  {what}: {entries:,} records in {seconds:.1f} s, {start.rss_mb:,.0f} MB")
    return start


def _progress(lines: Sequence[dict[str, Any]]) -> str:
    latest = {line["partition"]: line for line in lines if line["event"] == "restoring"}
    return f"{sum(line['entries'] for line in latest.values()):,} records"


def _disk_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*") if folder.exists() else ():
        try:
            total += path.stat().st_blocks * 512
        except FileNotFoundError:  # compacted away
            continue
    return total


async def restores(servers: str, folder: Path, entries: int) -> list[Start]:
    """Restore cold, warm after SIGTERM and warm after kill -9; and in memory, if it fits."""
    state = folder / "state"
    starts = []
    async with Emulator() as wootric:
        stack = Stack(servers, wootric, folder, partitions=PARTITIONS, forks=False)
        stack.create_topics()
        await asyncio.to_thread(fill, stack.config, entries)
        worker = stack.worker("w1", STATE__DIR=str(state))
        starts.append(await opened(worker, "cold", state))
        assert await asyncio.to_thread(worker.stop) == 0
        starts.append(await opened(worker, "warm, after SIGTERM", state))
        worker.kill()
        starts.append(await opened(worker, "warm, after kill -9", state))
        assert await asyncio.to_thread(worker.stop) == 0
        if entries <= IN_MEMORY_MAX:
            without = stack.worker("w1")
            starts.append(await opened(without, "in memory", folder / "nothing"))
            assert await asyncio.to_thread(without.stop) == 0
        stack.end()
    shutil.rmtree(state)
    return starts


# One lookup


def _timed(each: Callable[[int], object], count: int) -> float:
    began_at = time.perf_counter()
    for number in range(count):
        each(number)
    return (time.perf_counter() - began_at) / count * 1e6


def _names(seed: int) -> Iterator[str]:
    dice = random.Random(seed)
    while True:
        yield f"{EVENT}{uuid.UUID(int=dice.getrandbits(128))}"


def calls(folder: Path) -> list[dict[str, Any]]:
    """What the calls of an event cost, in microseconds, by where the state is."""
    part = LedgerPartitionInfo(
        cluster_id="bench",
        topic_id="bench",
        number=0,
        begin=0,
        end=0,
        tombstones_kept_s=86_400,
        kept_s=86_400,
    )

    def fail(failure: Exception) -> None:
        raise failure

    rows = []
    for name, keeper in (
        ("memory", InMemoryProvider()),
        ("disk", StateDirectory(folder / "calls", on_failure=fail)),
    ):
        rows.append({"state": name, **_calls(keeper.open(part))})
    return rows


def _calls(opened: OpenedStore) -> dict[str, float]:
    state, value = opened.state, samples()[1][1]
    names = [name for name, _ in zip(_names(3), range(HELD), strict=False)]
    others = [name for name, _ in zip(_names(4), range(LOOKUPS), strict=False)]
    for at in range(0, HELD, BATCH):
        state.apply_changelog(
            [(name.encode(), value, None) for name in names[at : at + BATCH]], at + BATCH
        )
    state.save(HELD)
    dice = random.Random(5)
    wanted = [dice.choice(names) for _ in range(LOOKUPS)]

    def commit(number: int) -> None:
        for at in range(BATCH):
            state.put(others[(number * BATCH + at) % LOOKUPS], value)
        state.save(HELD + number)

    figures = {
        "unknown key": _timed(lambda number: state.get(others[number]), LOOKUPS),
        "known key": _timed(lambda number: state.get(wanted[number]), LOOKUPS),
        f"put, {BATCH} a commit": _timed(commit, LOOKUPS // BATCH) / BATCH,
    }
    state.close()
    return figures


# What is shown


async def measure(servers: str, folder: Path, entries: int) -> dict[str, Any]:
    """Do all of it."""
    talk.print(f"state: a ledger of {entries:,} entries in {PARTITIONS} partitions")
    return {"starts": await restores(servers, folder, entries), "calls": calls(folder)}


def show(found: dict[str, Any], out: Console) -> None:
    """Print both tables."""
    starts = Table(
        "start", "records read", "seconds", "records/s", "CPU seconds", "peak RSS", "on disk"
    )
    for start in found["starts"]:
        starts.add_row(
            start.what,
            f"{start.entries:,}",
            f"{start.seconds:.1f}",
            f"{start.rate:,.0f}",
            f"{start.cpu_s:.1f}",
            f"{start.rss_mb:,.0f} MB",
            f"{start.disk_mb:,.0f} MB",
        )
    out.print(starts)
    table = Table("state in", *list(found["calls"][0])[1:])
    for row in found["calls"]:
        name, *figures = row.values()
        table.add_row(name, *(f"{figure:.1f} µs" for figure in figures))
    out.print(table)


def as_json(found: dict[str, Any]) -> dict[str, Any]:
    """Return the figures without our own classes."""
    return {"starts": [asdict(one) for one in found["starts"]], "calls": found["calls"]}
