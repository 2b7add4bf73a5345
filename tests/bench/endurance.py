"""Hours at 80 % of what the service can, on realistic traffic: does anything grow?

The trace is played again and again: each time with new messageIds and higher numbers.
"""

import asyncio
import json
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from rich.console import Console
from stack import Stack, Worker

from stream.devtools.traffic import Document
from stream.kafka.producer import record_of
from stream.kafka.reader import TopicReader
from tests.bench.ground import Ground, say, status_of, worker_of
from tests.bench.speed import Case, Subject
from tests.bench.speed import measure as measure_case
from tests.bench.traces import SEED, Trace, producer, realistic
from tests.soak.watch import Memory, growth

SHARE = 0.8
CASE = Case(Subject.SERVICE, Trace.REALISTIC, 20, 256)
EVENTS = 20_000
"""Of the trace; its people come again each time that it is played."""
NUMBERS = 1_000_000
"""By so much the numbers rise from one time to the next."""
EVERY_S = 10.0
INPUT_RETENTION_MS = 15 * 60_000
TIME, NUMBER, ID_LETTERS = b"at=", b"bench=", 8


@dataclass(frozen=True, slots=True)
class Template:
    """A record with holes: for the messageId's first letters, the number and the time."""

    key: bytes | None
    value: bytes | None
    id_at: int = -1
    number_at: int = -1
    number: int = 0
    time_at: int = -1

    def filled(self, cycle: int, now_ms: int) -> bytes | None:
        if self.value is None:
            return None
        value = bytearray(self.value)
        if self.id_at >= 0:
            value[self.id_at : self.id_at + ID_LETTERS] = b"%08x" % cycle
        if self.number_at >= 0:
            value[self.number_at : self.number_at + 10] = b"%010d" % (self.number + cycle * NUMBERS)
        if self.time_at >= 0:
            value[self.time_at : self.time_at + 13] = b"%013d" % now_ms
        return bytes(value)


def template(value: Document | bytes | None) -> Template:
    """Return the template of an event of the trace."""
    if not isinstance(value, dict):
        return Template(None, value)
    properties = value.get("properties", {})
    if "bench=" in (url := properties.get("url", "")):
        value = {**value, "properties": {**properties, "url": f"{url}&at={0:013d}"}}
    key, encoded = record_of(json.dumps(value).encode())
    number_at, time_at = encoded.find(NUMBER), encoded.find(TIME + b"0" * 13)
    if number_at >= 0:
        number_at += len(NUMBER)
    return Template(
        key,
        encoded,
        encoded.find(value["messageId"].encode()) if "messageId" in value else -1,
        number_at,
        int(encoded[number_at : number_at + 10]) if number_at >= 0 else 0,
        time_at + len(TIME) if time_at >= 0 else -1,
    )


class Player(threading.Thread):
    """Publishes the trace again and again, at a pace."""

    def __init__(self, stack: Stack, rate: float) -> None:
        super().__init__(name="player", daemon=True)
        self.count = 0
        self._templates = [template(value) for value in realistic(EVENTS, SEED)]
        self._stack = stack
        self._rate = rate
        self._ending = threading.Event()

    def run(self) -> None:
        publishing = producer(self._stack.bootstrap_servers, linger_ms=2)
        began, topic = time.monotonic(), self._stack.config.topic
        while not self._ending.is_set():
            now_ms = time.time_ns() // 1_000_000
            while self.count < (time.monotonic() - began) * self._rate:
                cycle, place = divmod(self.count, len(self._templates))
                one = self._templates[place]
                publishing.produce(topic, one.filled(cycle + 1, now_ms), one.key)
                self.count += 1
            publishing.poll(0)
            self._ending.wait(0.004)
        publishing.flush(30)

    def end(self) -> None:
        self._ending.set()
        self.join(60)


async def measure(ground: Ground, minutes: float) -> dict[str, Any]:
    """Find out what the service can, then let it do 80 % of that for so long."""
    say("endurance: what it can")
    capacity = (await measure_case(ground, CASE, EVENTS)).events_per_s
    rate = SHARE * capacity
    say(f"endurance: {rate:,.0f} events/s for {minutes:g} minutes")
    with ground.laid(delay_ms=CASE.reply_ms) as (stack, server):
        _keep_little(stack)
        worker = worker_of(stack, WOOTRIC__IN_FLIGHT_MAX=str(CASE.in_flight))
        worker.start()
        await worker.until_ready()
        memory, player = Memory(), Player(stack, rate)
        player.start()
        began, samples = time.monotonic(), []
        while (elapsed_s := time.monotonic() - began) < minutes * 60:
            await asyncio.sleep(EVERY_S)
            samples.append(await _sample(worker, memory, server.latency(), elapsed_s))
        player.end()
        await stack.until_caught_up()
        open_intents = await asyncio.to_thread(TopicReader(stack.config).open_intents)
        counts = server.counts()
        worker.stop()
    return {
        "capacity": capacity,
        "minutes": minutes,
        "events": player.count,
        "events_per_s": player.count / (minutes * 60),
        "peak_mb": memory.peak,
        "in_doubt": open_intents,
        "order_violations": counts["order_violations"],
        "duplicates": counts["duplicates"],
        "samples": samples,
        **drift(samples),
    }


def _keep_little(stack: Stack) -> None:
    """An hour of input need not stay on the disk."""
    entries = {"retention.ms": str(INPUT_RETENTION_MS), "segment.bytes": str(64 << 20)}
    changes = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in entries.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, stack.config.topic, incremental_configs=changes)
    stack.admin.incremental_alter_configs([resource])[resource].result(20)


async def _sample(
    worker: Worker, memory: Memory, latency: dict[str, float], at_s: float
) -> dict[str, float]:
    status = await status_of(worker)
    one = {
        "at_s": at_s,
        "mb": memory.sample(worker.running.pid),
        "lag": sum(standing["lag"] for standing in status["partitions"].values()),
        "machine": psutil.cpu_percent() / 100,
        **latency,
    }
    say(
        f"  {at_s / 60:.1f} min: {one['mb']:.0f} MB, lag {one['lag']}, "
        f"p50 {one.get('p50_ms', 0):.0f} ms, p99 {one.get('p99_ms', 0):.0f} ms"
    )
    return one


def drift(samples: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return latency and memory of the first and the last third, leaving out the first sample.

    And how memory grows in MB a minute, by least squares, once the first third is over: caches
    and buffers that have a bound fill in the beginning.
    """
    seen = [one for one in samples[1:] if "p99_ms" in one]
    third = max(1, len(seen) // 3)
    return {
        f"{name}_{when}": statistics.median(one[name] for one in some)
        for name in ("p50_ms", "p99_ms", "mb")
        for when, some in (("first", seen[:third]), ("last", seen[-third:]))
    } | {"slope_mb": growth([(one["at_s"], one["mb"]) for one in seen[third:]])}


def show(found: dict[str, Any], out: Console) -> None:
    out.print(
        f"{found['minutes']:g} minutes at {found['events_per_s']:,.0f} events/s, "
        f"{SHARE:.0%} of {found['capacity']:,.0f}: {found['events']:,} events\n"
        f"  memory: {found['mb_first']:.0f} MB in the first third, {found['mb_last']:.0f} MB in "
        f"the last, peak {found['peak_mb']:.0f} MB; {found['slope_mb']:+.2f} MB a minute behind "
        "the first third\n"
        f"  record to Wootric: p50 {found['p50_ms_first']:.0f} ms in the first third, "
        f"{found['p50_ms_last']:.0f} ms in the last; p99 {found['p99_ms_first']:.0f} ms, "
        f"{found['p99_ms_last']:.0f} ms\n"
        f"  in doubt at the end: {found['in_doubt']}, out of order: {found['order_violations']}, "
        f"twice: {found['duplicates']}"
    )
