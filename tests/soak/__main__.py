"""`make soak`: everything goes wrong at once, for as long as one likes; then all must agree.

Three brokers, three workers (and now and then a fourth), Wootric's emulator, and a nemesis
that strikes all of them at random. What Wootric holds at the end is compared with what went in.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from confluent_kafka import KafkaException
from rich.console import Console
from rich.table import Table
from stack import Stack

from stream.devtools.demo import judge_all, pixels_of
from stream.devtools.demo_processes import Publisher
from stream.devtools.demo_report import Row, compare, differences, expect, observed
from stream.devtools.local_kafka import LocalBroker
from stream.devtools.traffic import traffic
from stream.devtools.wootric_emulator import Behaviour, Emulator
from stream.kafka.reader import TopicReader
from tests.soak.nemesis import GAVE_UP, LATE_S_MAX, SESSION_S, Nemesis, World, end
from tests.soak.watch import CommittedReader, Memory, read_all

PARTITIONS = 6
USERS = 2_000
WARM_UP_S = 60.0
RECOVERY_S_MAX = 30.0
PATIENCE_S = 300.0
SLOPE_MB_MAX = 1.0
SLOPE_S_MIN = 300.0
"""In less time than this a slope says more about one fault than about memory."""
PEAK_MB_MAX = 200.0
LASTING = 3
"""A soak of so many times that has a life that is long enough, or it says nothing of memory."""
EVERY_S = 5.0
SETTINGS = {
    "KAFKA__SESSION_TIMEOUT_S": f"{SESSION_S:g}",
    "WOOTRIC__QUIET_PERIOD_S": f"{LATE_S_MAX + Behaviour().survey_delay_s + 0.4:g}",
}

talk = Console(stderr=True, highlight=False)


@dataclass
class Findings:
    """What the soak has shown."""

    events: int
    rows: list[Row]
    examples: list[str]
    struck: Mapping[str, int]
    recovery_s: float
    open_intents: int
    memory: Memory
    slope_mb: float
    long_enough: bool
    requests: int
    failures: list[str] = field(default_factory=list)

    def complaints(self) -> list[str]:
        """Return what is not as it has to be."""
        found = [f"{row.kind}: in and out differ" for row in self.rows if not row.agrees]
        found += self.failures
        if self.open_intents:
            found.append(f"{self.open_intents} requests are still in doubt")
        if self.recovery_s > RECOVERY_S_MAX:
            found.append(f"back to normal only {self.recovery_s:.0f} s after the last fault")
        if self.long_enough and self.slope_mb > SLOPE_MB_MAX:
            found.append(f"memory grows by {self.slope_mb:.2f} MB a minute")
        if self.memory.peak > PEAK_MB_MAX:
            found.append(f"memory of {self.memory.peak:.0f} MB")
        if not self.long_enough and self.memory.watched_s > LASTING * SLOPE_S_MIN:
            found.append("no life was long enough to tell whether memory is flat")
        return found


async def soak(minutes: float, seed: int, rate: int, folder: Path) -> Findings:
    """Run one soak."""
    events = round(minutes * 60 * rate)
    with LocalBroker(nodes=3, directory=folder / "kafka", say=say) as brokers:
        async with Emulator(journal=False) as wootric:
            settings = {**SETTINGS, "STATE__DIR": str(folder / "state")}
            stack = Stack(
                brokers.bootstrap_servers, wootric, folder, PARTITIONS, settings, forks=False
            )
            await asyncio.to_thread(stack.create_topics)
            try:
                return await _soak(stack, wootric, brokers, events, seed, rate)
            finally:
                stack.end()


async def _soak(
    stack: Stack, wootric: Emulator, brokers: LocalBroker, events: int, seed: int, rate: int
) -> Findings:
    steady, *crew = (stack.worker(f"w{number}") for number in (1, 2, 3))
    for worker in (steady, *crew):
        worker.start()
    world = World(stack, wootric, brokers, steady, crew, guest=stack.worker("w4"))
    survey = TopicReader(stack.config)
    samples = traffic(events=events, seed=seed, users=USERS)
    publisher = Publisher(stack.config, samples, events=events, seconds=None)
    reader = CommittedReader(stack.config, PARTITIONS)
    reader.start()
    memory, nemesis = Memory(), Nemesis(world, seed, say)
    publishing = asyncio.create_task(asyncio.to_thread(publisher.run))
    striking = asyncio.create_task(nemesis.run())
    try:
        await _watch(world, survey, publisher, memory, events, rate)
        nemesis.stop()
        await striking
        lifted_at = time.monotonic()
        say("the last fault is lifted")
        await publishing
        await _until_settled(world, survey, memory, events, lifted_at)
        recovery_s = time.monotonic() - lifted_at
    finally:
        publisher.stop()
        striking.cancel()
        await asyncio.gather(publishing, striking, return_exceptions=True)
    for worker in (steady, *crew):
        await asyncio.to_thread(end, world, worker)
    await _check_reader(world, reader)
    return await _findings(world, survey, publisher, nemesis, memory, recovery_s)


async def _watch(
    world: World, survey: TopicReader, publisher: Publisher, memory: Memory, events: int, rate: int
) -> None:
    """Let the events flow at their rate; say every now and then how far it is."""
    began_at = time.monotonic()
    said_at = 0.0
    while publisher.count < events:
        await asyncio.sleep(0.05)
        elapsed_s = time.monotonic() - began_at
        publisher.limit = min(events, round(rate * elapsed_s))
        if elapsed_s - said_at < EVERY_S:
            continue
        said_at = elapsed_s
        await _revive(world)
        size = memory.sample(world.steady.running.pid)
        settled = await _settled(survey)
        say(
            f"{elapsed_s / 60:.1f} of {events / rate / 60:.1f} min, {publisher.count} published, "
            f"{settled} settled, {size:.0f} MB"
        )


async def _revive(world: World) -> None:
    """Start a worker again that gave up for a good reason, as its supervisor would."""
    for worker in (world.steady, *world.crew):
        code = worker.running.poll()
        if code in GAVE_UP:
            say(f"a worker ended with {code}: started again")
            worker.start()
        elif code is not None and code not in (0, -9):
            world.failures.append(f"a worker ended with {code}")
            worker.start()


async def _settled(survey: TopicReader) -> str:
    try:
        return str(await asyncio.to_thread(survey.settled))
    except KafkaException:  # a broker is away
        return "?"


async def _until_settled(
    world: World, survey: TopicReader, memory: Memory, events: int, since: float
) -> None:
    while time.monotonic() - since < PATIENCE_S:
        await _revive(world)
        memory.sample(world.steady.running.pid)
        if await asyncio.to_thread(survey.caught_up):
            return
        say(f"{await _settled(survey)} of {events} settled")
        await asyncio.sleep(0.5)
    world.failures.append(f"not settled {PATIENCE_S:.0f} s after the last fault")


async def _check_reader(world: World, reader: CommittedReader) -> None:
    """Compare what was readable during the faults with what is there now."""
    config = world.stack.config
    topics = (config.ledger_topic, config.dead_letter_topic, config.parked_topic)
    ends = {
        (topic, number): end for topic in topics for number, end in world.stack.ends(topic).items()
    }
    reader.finish(ends)
    await asyncio.to_thread(reader.join, 60)
    fresh = await asyncio.to_thread(read_all, config, topics, PARTITIONS)
    if reader.seen != fresh or reader.twice:
        world.failures.append("a reader during the faults saw another set than one afterwards")


async def _findings(
    world: World,
    survey: TopicReader,
    publisher: Publisher,
    nemesis: Nemesis,
    memory: Memory,
    recovery_s: float,
) -> Findings:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{world.wootric.url}/_emulator/state") as reply,
    ):
        state = await reply.json()
    letters, parked = await asyncio.to_thread(survey.letters)
    judged = judge_all(publisher.records)
    expected, held = expect(judged), observed(state)
    dead_letters, parked_pixels = Counter(letters), pixels_of(judged, parked)
    receipts = await asyncio.to_thread(survey.receipts)
    return Findings(
        events=len(publisher.records),
        rows=compare(
            expected,
            held,
            dead_letters=dead_letters,
            parked_pixels=parked_pixels,
            receipts=receipts,
        ),
        examples=differences(
            expected, held, parked_pixels=parked_pixels, dead_letters=dead_letters
        ),
        struck=nemesis.struck,
        recovery_s=recovery_s,
        open_intents=await asyncio.to_thread(survey.open_intents),
        memory=memory,
        slope_mb=memory.slope(WARM_UP_S),
        long_enough=memory.span_s > SLOPE_S_MIN,
        requests=sum(one["count"] for one in state["counters"]),
        failures=world.failures,
    )


def show(findings: Findings) -> bool:
    """Print what was found; return whether all of it is as it has to be."""
    out = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    table = Table(title=f"{findings.events:,} events, {sum(findings.struck.values())} faults")
    for name in ("", "expected", "held", "too many", "missing", "parked"):
        table.add_column(name, justify="right" if name else "left")
    for row in findings.rows:
        figures = (row.expected, row.held, row.extra, row.missing, row.parked)
        table.add_row(row.kind, *(f"{figure:,}" for figure in figures))
    out.print(table)
    faults = ", ".join(f"{n} x {name.replace('_', ' ')}" for name, n in findings.struck.items())
    out.print(f"faults: {faults}")
    out.print(f"requests: {findings.requests:,}, in doubt at the end: {findings.open_intents}")
    out.print(f"back to normal {findings.recovery_s:.1f} s after the last fault")
    out.print(
        f"memory of the worker that lived through it: peak {findings.memory.peak:.0f} MB, "
        f"slope {findings.slope_mb:+.2f} MB a minute"
        + ("" if findings.long_enough else ", too short a life to judge by that")
    )
    for line in findings.examples:
        out.print(f"  {line}")
    complaints = findings.complaints()
    out.print("all agrees" if not complaints else f"FAILED: {'; '.join(complaints)}")
    return not complaints


def say(line: str) -> None:
    """Tell the person at the terminal."""
    talk.print(f"{time.strftime('%H:%M:%S')} {line}", markup=False)


def main() -> None:
    """Read the options, run, and end with 1 if something does not agree."""
    minutes = float(os.environ.get("SOAK_MINUTES", "10"))
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=minutes, help="or SOAK_MINUTES")
    parser.add_argument("--seed", type=int, default=1, help="the same faults in the same order")
    parser.add_argument("--schedules", type=int, help="only so many schedules of make simulate")
    parser.add_argument("--rate", type=int, default=60, help="events a second")
    options = parser.parse_args()
    if options.schedules is not None:
        simulate = [sys.executable, "tests/simulation", "--schedules", str(options.schedules)]
        os.execv(sys.executable, simulate)  # noqa: S606
    folder = Path(tempfile.mkdtemp(prefix="wootric-soak-"))
    say(f"{options.minutes:g} minutes, seed {options.seed}; logs are in {folder}")
    findings = asyncio.run(soak(options.minutes, options.seed, options.rate, folder))
    sys.exit(0 if show(findings) else 1)


if __name__ == "__main__":
    main()
