"""How fast the service is beside a bare loop, in one run, on a real Kafka."""

import asyncio
import json
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar

from confluent_kafka import KafkaException
from rich.console import Console
from rich.table import Table
from stack import RUN, Stack

from tests.bench.ground import WITHOUT_TRANSACTIONS, Ground, follow, say, worker_of
from tests.bench.native import Native
from tests.bench.traces import Trace, encoded, publish

LEDGER_DIFFERS_MAX = 0.1
T = TypeVar("T")


class Subject(StrEnum):
    """Who does the work."""

    BARE = "bare loop"
    SERVICE = "service"
    PLAIN = "service, no transactions"


@dataclass(frozen=True, slots=True)
class Case:
    """One row: what runs, on which traffic, against which reply time."""

    subject: Subject
    trace: Trace
    reply_ms: int
    in_flight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one run showed; CPU in microseconds an event."""

    events_per_s: float
    cpu_us: float
    broker_us: float = 0.0
    server_us: float = 0.0
    peak_mb: float
    requests_per_event: float
    api_requests_per_event: float
    order_violations: int
    duplicates: int
    ledger_per_event: float = 0.0
    others: float = 0.0
    """Cores that were not ours."""


CASES = (
    Case(Subject.BARE, Trace.DISTINCT, 0, 64),
    Case(Subject.SERVICE, Trace.DISTINCT, 0, 64),
    Case(Subject.SERVICE, Trace.HOT, 0, 64),
    Case(Subject.PLAIN, Trace.DISTINCT, 0, 64),
    Case(Subject.BARE, Trace.DISTINCT, 20, 256),
    Case(Subject.SERVICE, Trace.DISTINCT, 20, 256),
    Case(Subject.SERVICE, Trace.HOT, 20, 256),
    Case(Subject.SERVICE, Trace.REALISTIC, 0, 64),
    Case(Subject.PLAIN, Trace.REALISTIC, 0, 64),
    Case(Subject.SERVICE, Trace.REALISTIC, 20, 256),
)

WARM_UP = Case(Subject.SERVICE, Trace.DISTINCT, 0, 64)
WARM_UP_EVENTS = 10_000
"""The broker's first transactions wait for its compiler."""


async def measure(ground: Ground, case: Case, events: int) -> Result:
    """Let one case drain a topic that is full already."""
    with ground.laid(delay_ms=case.reply_ms) as (stack, server):
        records = encoded(case.trace, events)
        await asyncio.to_thread(publish, stack.bootstrap_servers, stack.config.topic, records)
        match case.subject:
            case Subject.BARE:
                return await _bare(stack, server, case, events)
            case Subject.SERVICE | Subject.PLAIN:
                return await _service(stack, server, case, events)


async def _bare(stack: Stack, server: Native, case: Case, events: int) -> Result:
    command = [sys.executable, "-m", "tests.bench.bare", stack.bootstrap_servers]
    command += [stack.config.topic, server.pixel_url, str(case.in_flight), str(events)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)
    figures = json.loads(done.stdout)
    return Result(
        events_per_s=events / figures["took_s"],
        cpu_us=figures["cpu_s"] / events * 1e6,
        peak_mb=figures["peak_mb"],
        **_seen(server, events),
    )


async def _service(stack: Stack, server: Native, case: Case, events: int) -> Result:
    plain = case.subject is Subject.PLAIN
    command = WITHOUT_TRANSACTIONS if plain else RUN
    worker = worker_of(stack, command=command, WOOTRIC__IN_FLIGHT_MAX=str(case.in_flight))
    worker.start()
    course = await follow([worker], server, events)
    worker.stop()
    ledger = await asyncio.to_thread(stack.read, stack.config.ledger_topic)
    ends = sum(stack.ends(stack.config.ledger_topic).values())
    if plain is not (ends == len(ledger)):  # every transaction leaves a marker
        raise RuntimeError(f"transactions were {'on' if plain else 'off'}")
    return Result(
        events_per_s=course.rate,
        **{f"{key}_us": course.cpu[name] / course.settled * 1e6 for key, name in _CPU.items()},
        peak_mb=course.peak_mb,
        ledger_per_event=len(ledger) / events,
        others=course.others,
        **_seen(server, events),
    )


_CPU = {"cpu": "worker", "broker": "broker", "server": "server"}


def _seen(server: Native, events: int) -> dict[str, Any]:
    counts = server.counts()
    return {
        "requests_per_event": counts["requests"] / events,
        "api_requests_per_event": counts["api_requests"] / events,
        "order_violations": counts["order_violations"],
        "duplicates": counts["duplicates"],
    }


async def twice_at_most(run: Callable[[], Awaitable[T]]) -> T:
    """Run something, and once more, and say so, if Kafka was not ready for it."""
    try:
        return await run()
    except (KafkaException, AssertionError, RuntimeError) as error:
        say(f"  failed, once more: {str(error)[-500:]}")
        return await run()


async def measure_all(ground: Ground, *, events: int, rounds: int) -> dict[Case, list[Result]]:
    """Run every case once a round, to and fro, so that what changes here changes for all."""
    say("warming up")
    await twice_at_most(partial(measure, ground, WARM_UP, WARM_UP_EVENTS))
    results: dict[Case, list[Result]] = {case: [] for case in CASES}
    for number in range(rounds):
        for place, case in enumerate(CASES if number % 2 == 0 else CASES[::-1], 1):
            say(
                f"round {number + 1} of {rounds}, run {place} of {len(CASES)}: {case.subject}, "
                f"{case.trace}, {case.reply_ms} ms"
            )
            result = await twice_at_most(partial(measure, ground, case, events))
            say(f"  {result.events_per_s:,.0f} events/s")
            results[case].append(result)
    return results


def rows(results: dict[Case, list[Result]]) -> list[dict[str, Any]]:
    """Return a row a case: medians, how far the rounds lie apart, and faults of all rounds."""
    return [
        {
            **asdict(case),
            "events_per_s": median([one.events_per_s for one in rounds]),
            "spread": [min(r.events_per_s for r in rounds), max(r.events_per_s for r in rounds)],
            **{
                name: median([getattr(one, name) for one in rounds])
                for name in (
                    *("cpu_us", "broker_us", "server_us"),
                    *("requests_per_event", "api_requests_per_event", "ledger_per_event"),
                )
            },
            "peak_mb": max(one.peak_mb for one in rounds),
            "order_violations": sum(one.order_violations for one in rounds),
            "duplicates": sum(one.duplicates for one in rounds),
            "others": max(one.others for one in rounds),
            "rounds": [one.events_per_s for one in rounds],
        }
        for case, rounds in results.items()
    ]


def median(values: Sequence[float]) -> float:
    return float(statistics.median(values))


@dataclass(frozen=True, slots=True)
class Ratio:
    """Two rows of the same round, divided."""

    name: str
    over: tuple[Subject, Trace, int]
    under: tuple[Subject, Trace, int]

    def of(self, table: Sequence[dict[str, Any]]) -> list[float]:
        """Return the ratio of each round."""
        over, under = (_row(table, *one)["rounds"] for one in (self.over, self.under))
        return [a / b for a, b in zip(over, under, strict=True)]


def _row(table: Sequence[dict[str, Any]], subject: str, trace: str, ms: int) -> dict[str, Any]:
    wanted = (subject, trace, ms)
    return next(row for row in table if (row["subject"], row["trace"], row["reply_ms"]) == wanted)


RATIOS = {
    "bare_0": Ratio(
        "service to bare loop, distinct, 0 ms",
        (Subject.SERVICE, Trace.DISTINCT, 0),
        (Subject.BARE, Trace.DISTINCT, 0),
    ),
    "bare_20": Ratio(
        "service to bare loop, distinct, 20 ms",
        (Subject.SERVICE, Trace.DISTINCT, 20),
        (Subject.BARE, Trace.DISTINCT, 20),
    ),
    "hot_0": Ratio(
        "one partition to six, distinct, 0 ms",
        (Subject.SERVICE, Trace.HOT, 0),
        (Subject.SERVICE, Trace.DISTINCT, 0),
    ),
    "hot_20": Ratio(
        "one partition to six, distinct, 20 ms",
        (Subject.SERVICE, Trace.HOT, 20),
        (Subject.SERVICE, Trace.DISTINCT, 20),
    ),
    "exactly_once_distinct": Ratio(
        "exactly-once on to off, distinct, 0 ms",
        (Subject.SERVICE, Trace.DISTINCT, 0),
        (Subject.PLAIN, Trace.DISTINCT, 0),
    ),
    "exactly_once_realistic": Ratio(
        "exactly-once on to off, realistic, 0 ms",
        (Subject.SERVICE, Trace.REALISTIC, 0),
        (Subject.PLAIN, Trace.REALISTIC, 0),
    ),
}


def figures(results: dict[Case, list[Result]]) -> dict[str, Any]:
    """Return rows and ratios, for JSON and for people."""
    table = rows(results)
    return {"rows": table, "ratios": {key: ratio.of(table) for key, ratio in RATIOS.items()}}


def show(found: dict[str, Any], out: Console) -> None:
    columns = ("events/s", "spread", "µs/event", "broker µs", "server µs", "peak MB")
    table = Table(title="events from Kafka to Wootric and back into Kafka")
    for name in ("", "traffic", "reply", "in flight", *columns, "requests", "disorder", "twice"):
        table.add_column(name, justify="left" if name in ("", "traffic") else "right")
    for row in found["rows"]:
        low, high = row["spread"]
        table.add_row(
            row["subject"],
            row["trace"],
            f"{row['reply_ms']} ms",
            str(row["in_flight"]),
            f"{row['events_per_s']:,.0f}",
            f"{low:,.0f} to {high:,.0f}",
            f"{row['cpu_us']:.0f}",
            *(f"{row[name]:.0f}" if row[name] else "" for name in ("broker_us", "server_us")),
            f"{row['peak_mb']:.0f}",
            f"{row['requests_per_event']:.2f}",
            str(row["order_violations"]),
            str(row["duplicates"]),
        )
    out.print(table)
    others = [row["others"] for row in found["rows"]]
    out.print(f"cores that other processes had meanwhile, at the most: {max(others):.2f}")
    for key, ratios in found["ratios"].items():
        low, high = min(ratios), max(ratios)
        out.print(f"{RATIOS[key].name}: {median(ratios):.2f} ({low:.2f} to {high:.2f})")
    for trace in (Trace.DISTINCT, Trace.REALISTIC):
        on, off = (
            _row(found["rows"], subject, trace, 0)["ledger_per_event"]
            for subject in (Subject.SERVICE, Subject.PLAIN)
        )
        apart = abs(on - off) / on > LEDGER_DIFFERS_MAX
        out.print(
            f"ledger records an event, {trace}: {on:.2f} with exactly-once, {off:.2f} without"
            f"{': NOT THE SAME WRITES' if apart else ''}"
        )
