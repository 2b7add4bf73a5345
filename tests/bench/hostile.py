"""What requests cost that prove nothing, and whether signed ones are fast beside them.

``python -m tests.bench.hostile PORT ADDRESS EACH`` is a sender of a flood; it ends with its input.
"""

import asyncio
import gzip
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TypeAlias

import psutil
import uvloop
from fuzz import post
from rich.table import Table
from segment import Bridge, stringify

from stream.devtools.demo_report import quantile
from stream.devtools.traffic import traffic

ADDRESSES = ("127.0.0.2", "127.0.0.3")
FLOOD_PER_S = 10_000
"""Of each address."""
FLOOD_SENDERS = 50
FLOOD_BEGINS_S = 3.0
NICE = 10
"""A flood comes from other machines: here it yields to the bridge."""
COST_S = 1.0
COST_SENDERS = 8
WRONG = "0" * 40
EVENT = stringify(next(s.value for s in traffic(events=50, seed=8) if isinstance(s.value, dict)))
BATCH = stringify([s.value for s in traffic(events=500, seed=8) if isinstance(s.value, dict)])
NUMBERS = b"[[" + b"1," * 249_999 + b"1]]"
GZIP = "Content-Encoding: gzip"


def requests() -> Mapping[str, bytes]:
    """One request of each kind that is refused, as bytes on the wire."""
    members = gzip.compress(b"1") * 2_400
    return {
        "no HTTP": random.Random(1).randbytes(400) + b"\r\n\r\n",
        "another path": post(EVENT, WRONG).replace(b"/v1/events", b"/wp-login.php"),
        "no signature": post(EVENT, None),
        "wrong signature, one event": post(EVENT, WRONG),
        "wrong signature, array of events": post(BATCH, WRONG),
        "wrong signature, 500 KB of numbers": post(NUMBERS, WRONG),
        "wrong signature, 500 KB of blanks": post(b"[" + b" " * 500_000, WRONG),
        "wrong signature, array of events, gzip": post(gzip.compress(BATCH), WRONG, GZIP),
        "500 KB of numbers in 526 bytes of gzip": post(gzip.compress(NUMBERS, 9), WRONG, GZIP),
        "wrong signature, 2,400 gzip members": post(members, WRONG, GZIP),
    }


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one kind of refusal, in the bridge's process."""

    kind: str
    sent_bytes: int
    per_s: float
    cpu_us: float

    @property
    def cpu_ns_per_byte(self) -> float:
        return self.cpu_us * 1e3 / self.sent_bytes


async def _send_once(port: int, request: bytes, address: str) -> None:
    """Send, and wait until the bridge closes."""
    with suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
        writer.write(request)
        writer.write_eof()
        with suppress(OSError):
            await reader.read()
        writer.close()
        await writer.wait_closed()


async def costs(unbound: Bridge, gate: Bridge) -> list[Cost]:
    """Measure each kind where no address is excluded, and a connection of one that is."""
    found = [await _cost(unbound, kind, request) for kind, request in requests().items()]
    request = requests()["no signature"]
    await _cost(gate, "to be excluded", request)
    return [*found, await _cost(gate, "an address that is excluded", request)]


async def _cost(gate: Bridge, kind: str, request: bytes) -> Cost:
    process, count = psutil.Process(gate.running.pid), 0
    began_at, before = time.monotonic(), process.cpu_times()

    async def send() -> None:
        nonlocal count
        while time.monotonic() - began_at < COST_S:
            await _send_once(gate.webhook_port, request, ADDRESSES[0])
            count += 1

    await asyncio.gather(*(send() for _ in range(COST_SENDERS)))
    took_s, after = time.monotonic() - began_at, process.cpu_times()
    cpu_s = after.user + after.system - before.user - before.system
    return Cost(kind, len(request), count / took_s, cpu_s / count * 1e6)


# A flood of requests with a wrong signature


async def flood(port: int, address: str, each: int) -> None:
    """Send ``each`` requests over a connection, then over another one; print how many a second."""
    burst = post(EVENT, WRONG).replace(b"Connection: close\r\n", b"") * each
    began_at, sent = time.monotonic(), 0
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))

    async def send() -> None:
        nonlocal sent
        while not ended.done():
            early = sent / FLOOD_PER_S - (time.monotonic() - began_at)
            await asyncio.sleep(max(0.0, early))
            sent += each
            await _send_once(port, burst, address)

    await asyncio.gather(*(send() for _ in range(FLOOD_SENDERS)))
    sys.stdout.write(str(sent / (time.monotonic() - began_at)))


@asynccontextmanager
async def flooded(port: int, each: int) -> AsyncIterator[list[float]]:
    """Flood from both addresses; afterwards the list has the requests a second of each."""
    senders = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.bench.hostile", str(port), address, str(each)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for address in ADDRESSES
    ]
    rates: list[float] = []
    await asyncio.sleep(FLOOD_BEGINS_S)
    yield rates
    for sender in senders:
        output, _ = await asyncio.to_thread(sender.communicate)
        rates.append(float(output))


@dataclass(frozen=True, slots=True)
class Beside:
    """Signed requests beside a flood; ``cpu`` is the bridge's share of a core."""

    what: str
    flood_per_s: float
    cpu: float
    p50_ms: float
    p99_ms: float


Latencies: TypeAlias = Callable[[Bridge], Awaitable[Sequence[float]]]


async def beside(gate: Bridge, signed: Latencies) -> list[Beside]:
    """Measure alone, and beside floods over few connections and over as many as can be had."""
    found = [await _beside(gate, signed, "alone", 0)]
    found.append(await _beside(gate, signed, "beside 32 requests a connection", 32))
    found.append(await _beside(gate, signed, "beside one request a connection", 1))
    return found


async def _beside(gate: Bridge, signed: Latencies, what: str, each: int) -> Beside:
    process = psutil.Process(gate.running.pid)
    rates: list[float] = []
    async with flooded(gate.webhook_port, each) if each else nullcontext(rates) as rates:
        before, began_at = process.cpu_times(), time.monotonic()
        latencies = await signed(gate)
        after, took_s = process.cpu_times(), time.monotonic() - began_at
    cpu_s = after.user + after.system - before.user - before.system
    return Beside(
        what, sum(rates), cpu_s / took_s, statistics.median(latencies), quantile(latencies, 0.99)
    )


def beside_table(found: Sequence[Beside]) -> Table:
    """The latencies for people."""
    title = "webhooks: signed requests beside hostile ones of two addresses"
    shown = _table(title, "hostile/s", "CPU of the bridge", "p50 ms", "p99 ms")
    for one in found:
        shown.add_row(
            one.what,
            f"{one.flood_per_s:,.0f}",
            f"{one.cpu:.0%}",
            f"{one.p50_ms:.1f}",
            f"{one.p99_ms:.1f}",
        )
    return shown


def costs_table(found: Sequence[Cost]) -> Table:
    """The costs for people."""
    title = "webhooks: what is refused, and what it costs the bridge"
    shown = _table(title, "bytes", "requests/s", "CPU µs/request", "CPU ns/byte")
    for one in found:
        shown.add_row(
            one.kind,
            f"{one.sent_bytes:,}",
            f"{one.per_s:,.0f}",
            f"{one.cpu_us:,.0f}",
            f"{one.cpu_ns_per_byte:,.1f}",
        )
    return shown


if __name__ == "__main__":
    _, own_port, own_address, requests_each = sys.argv
    os.nice(NICE)
    uvloop.run(flood(int(own_port), own_address, int(requests_each)))


def _table(title: str, *figures: str) -> Table:
    shown = Table(title=title)
    shown.add_column()
    for name in figures:
        shown.add_column(name, justify="right")
    return shown
