"""Millions of random records through the real service: does the stream ever stop, is one lost?

Where every record has gone is read from Kafka afterwards, and what came of the good ones from
the server.
"""

import asyncio
import threading
import time
from collections import Counter
from typing import Any

import psutil
from noise import Noise
from rich.console import Console
from rich.table import Table
from stack import Stack, Worker

from stream.codec.dead_letter import DeadLetter
from stream.kafka.reader import open_reader
from tests.bench.ground import Ground, peak_mb, say, settled_in, status_of, worker_of
from tests.bench.native import Native
from tests.bench.traces import SEED, distinct, named, producer

RECORDS = 10_000_000
AHEAD_MAX = 200_000
"""So many records are published at most before they are settled."""
EVERY_S = 10.0
STANDSTILL_S_MAX = 60.0
IN_FLIGHT = 64


class Publisher:
    """Publishes noise, not too far ahead of the worker."""

    def __init__(self, stack: Stack, records: int) -> None:
        self.settled = 0
        self.stopped = threading.Event()
        self.noise = Noise(SEED, distinct(records, SEED))
        self._records = records
        self._topic = stack.config.topic
        self._producer = producer(stack.bootstrap_servers)

    def run(self) -> None:
        for number in range(self._records):
            record = self.noise.record()
            self._producer.produce(self._topic, record.value, record.key)
            if number % 100 == 0:
                self._producer.poll(0)
            while number - self.settled > AHEAD_MAX:
                if self.stopped.wait(0.1):
                    return
        if left := self._producer.flush(60):
            raise RuntimeError(f"Kafka did not take {left} records")


async def measure(ground: Ground, records: int) -> dict[str, Any]:
    """Publish so many random records, and say what became of them.

    Raises:
        RuntimeError: the stream stands still, or the worker has ended.
    """
    with ground.laid(journal=True) as (stack, server):
        worker = worker_of(
            stack,
            STATE__DIR=str(ground.folder / "random"),
            KAFKA__DEAD_LETTER_LIMIT="0",
            WOOTRIC__IN_FLIGHT_MAX=str(IN_FLIGHT),
        )
        worker.start()
        await worker.until_ready()
        publisher = Publisher(stack, records)
        publishing = asyncio.create_task(asyncio.to_thread(publisher.run))
        began = time.monotonic()
        try:
            settled = await _settled(worker, publisher, publishing, records)
        finally:
            publisher.stopped.set()
        took_s = time.monotonic() - began
        peak = peak_mb(psutil.Process(worker.running.pid))
        code = await asyncio.to_thread(worker.stop)
        letters, twice = await asyncio.to_thread(read_letters, stack)
        return {
            "records": records,
            "seconds": took_s,
            "peak_mb": peak,
            "exit_code": code,
            "settled": {outcome: sum(by.values()) for outcome, by in settled.items()},
            "reasons": dict(letters.most_common()),
            "letters_twice": twice,
            **_good(publisher, server),
        }


async def _settled(
    worker: Worker, publisher: Publisher, publishing: asyncio.Task[None], records: int
) -> dict[str, dict[str, int]]:
    """Return how the records were settled, once all are."""
    process = psutil.Process(worker.running.pid)
    began = moved_at = said_at = time.monotonic()
    while True:
        await asyncio.sleep(0.5)
        status = await status_of(worker)
        count = settled_in(status)
        now = time.monotonic()
        if count > publisher.settled:
            publisher.settled, moved_at = count, now
        if publishing.done():
            await publishing
            if count >= records:
                return dict(status["settled"])
        if now - moved_at > STANDSTILL_S_MAX:
            raise RuntimeError(f"the stream stands still at {count} of {records}")
        if now - said_at > EVERY_S:
            said_at = now
            left_s = (now - began) * (records - count) / max(count, 1)
            say(
                f"  {count:,} of {records:,} settled, about {left_s / 60:.0f} min to go, "
                f"{process.memory_info().rss / 1e6:.0f} MB"
            )


def read_letters(stack: Stack) -> tuple[Counter[str], int]:
    """Return how many dead letters there are for each reason, and how many places came twice."""
    seen = {number: bytearray(end) for number, end in stack.ends(stack.config.topic).items()}
    reasons, twice = Counter[str](), 0
    with open_reader(stack.config) as survey:
        for record in survey.read(stack.config.dead_letter_topic):
            letter = DeadLetter.from_headers(record.key, record.value, record.headers)
            reasons[letter.reason] += 1
            twice += seen[letter.origin.number][letter.offset]
            seen[letter.origin.number][letter.offset] = 1
    return reasons, twice


def _good(publisher: Publisher, server: Native) -> dict[str, int]:
    """Return how many good records there were between, how many are missing at the server, how
    many came twice.
    """
    expected = Counter(map(named, publisher.noise.good))
    arrived = Counter((user, number) for _, user, number in server.arrivals())
    return {
        "good": expected.total(),
        "good_missing": (expected - arrived).total(),
        "good_twice": (arrived - expected).total(),
        "order_violations": server.counts()["order_violations"],
    }


def astray(found: dict[str, Any]) -> int:
    """Return how many records are lost or there twice, by all that can be counted."""
    settled = found["settled"]
    return sum(
        (
            abs(found["records"] - sum(settled.values())),
            abs(settled.get("rejected", 0) - sum(found["reasons"].values())),
            found["letters_twice"],
            found["good_missing"],
            found["good_twice"],
        )
    )


def show(found: dict[str, Any], out: Console) -> None:
    table = Table(title=f"{found['records']:,} random records")
    for name in ("", "records"):
        table.add_column(name, justify="right" if name else "left")
    for outcome, count in found["settled"].items():
        table.add_row(outcome, f"{count:,}")
    for reason, count in found["reasons"].items():
        table.add_row(f"  dead letter: {reason}", f"{count:,}")
    out.print(table)
    out.print(
        f"{found['seconds'] / 60:.1f} min, {found['records'] / found['seconds']:,.0f} records/s, "
        f"peak {found['peak_mb']:.0f} MB, ended with {found['exit_code']}; good ones between: "
        f"{found['good']:,}, missing {found['good_missing']}, twice {found['good_twice']}, out of "
        f"order {found['order_violations']}; astray: {astray(found)}"
    )
