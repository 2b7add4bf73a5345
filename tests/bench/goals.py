"""What the product is to reach, and what was measured of it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench.economy import OWN_PACE
from tests.bench.random_records import RECORDS, astray
from tests.bench.speed import Subject, median
from tests.bench.traces import Trace

Found = Mapping[str, Any]

ORDERED_PEER_20_MS = 277.0
"""Events a second of the fastest tool that keeps the order, Apache Camel, with replies of 20 ms;
measured once, on two cores. What this run has measured takes its place."""


@dataclass(frozen=True, slots=True)
class Goal:
    """One figure and its bound. ``figure`` raises KeyError where nothing was measured."""

    name: str
    wanted: str
    figure: Callable[[Found], float]
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""
    digits: int = 0

    def judged(self, found: Found) -> dict[str, Any]:
        """Return the goal with its figure, and whether it is reached; None: not measured."""
        try:
            figure = self.figure(found)
        except (KeyError, IndexError, StopIteration):
            return {"goal": self.name, "wanted": self.wanted, "figure": None, "reached": None}
        rounded = round(figure, self.digits + 3)
        reached = (self.at_least is None or rounded >= self.at_least) and (
            self.at_most is None or rounded <= self.at_most
        )
        text = f"{figure:,.{self.digits}f}{self.unit}"
        return {"goal": self.name, "wanted": self.wanted, "figure": text, "reached": reached}


def _rate(found: Found, trace: Trace, reply_ms: int) -> float:
    wanted = (Subject.SERVICE, trace, reply_ms)
    rows = found["speed"]["rows"]
    row = next(r for r in rows if (r["subject"], r["trace"], r["reply_ms"]) == wanted)
    return float(row["events_per_s"])


def _beside_peers(found: Found) -> float:
    peers = [row["events_per_s"] for row in found.get("peers", ()) if row["reply_ms"] == 20]
    return _rate(found, Trace.DISTINCT, 20) / max(peers, default=ORDERED_PEER_20_MS)


def _ratio(found: Found, name: str) -> float:
    return median(found["speed"]["ratios"][name])


def _slowest(found: Found, sequel: str) -> float:
    times = [max(row["every_s"]) for row in found["recovery"] if row["sequel"].startswith(sequel)]
    return float(max(times or [float("nan")]))


def _frugal(found: Found) -> float:
    """Of the service, where twice as much comes in as the limit would take one by one."""
    wanted = ("this service", f"{2 * OWN_PACE:g} events/s")
    row = next(row for row in found["economy"] if (row["policy"], row["traffic"]) == wanted)
    return float(row["api"] / row["events"])


def _hour(found: Found) -> dict[str, float]:
    """Return what endurance has shown, if it was long enough."""
    endurance: dict[str, float] = found["endurance"]
    if endurance["minutes"] < 60:
        raise KeyError("minutes")
    return endurance


def _astray(found: Found) -> float:
    """Return how many random records are astray, if there were enough of them."""
    if found["random"]["records"] < RECORDS:
        raise KeyError("records")
    return float(astray(found["random"]))


def _violations(found: Found) -> float:
    """Wherever the service ran; the bare loop keeps no order."""
    seen: list[int] = []
    for row in found["speed"]["rows"]:
        if row["subject"] != Subject.BARE:
            seen += [row["order_violations"], row["duplicates"]]
    others = [found[name] for name in ("endurance",) if name in found]
    for row in (*found.get("scaling", ()), *found.get("recovery", ()), *others):
        seen += [row["order_violations"], row["duplicates"]]
    return float(sum(seen))


def _goals() -> Iterator[Goal]:
    yield Goal(
        "replies of 20 ms, every event a request",
        "at least 5,400 events/s",
        lambda found: _rate(found, Trace.DISTINCT, 20),
        at_least=5400,
        unit=" events/s",
    )
    yield Goal(
        "the same, beside the fastest ordered peer",
        "20 times",
        _beside_peers,
        at_least=20,
        unit=" times",
        digits=1,
    )
    yield Goal(
        "replies of 0 ms, every event a request, beside the bare loop",
        "at least 0.6",
        lambda found: _ratio(found, "bare_0"),
        at_least=0.6,
        digits=2,
    )
    yield Goal(
        "realistic traffic, replies of 0 ms",
        "at least 14,000 events/s",
        lambda found: _rate(found, Trace.REALISTIC, 0),
        at_least=14_000,
        unit=" events/s",
    )
    yield Goal(
        "all events in one of six partitions, beside all six",
        "no slower: at least 0.95",
        lambda found: min(_ratio(found, "hot_0"), _ratio(found, "hot_20")),
        at_least=0.95,
        digits=2,
    )
    yield Goal(
        "exactly-once, beside the same writes without transactions",
        "costs at most 5 %",
        lambda found: (
            100
            * (
                1
                - min(_ratio(found, f"exactly_once_{trace}") for trace in ("distinct", "realistic"))
            )
        ),
        at_most=5,
        unit=" %",
    )
    yield Goal(
        "one event at a time, record to Wootric, p99",
        "at most 50 ms",
        lambda found: float(found["idle"]["p99_ms"]),
        at_most=50,
        unit=" ms",
    )
    yield Goal(
        "kill -9 and restart, until all partitions are sent from again, slowest",
        "at most 2 s",
        lambda found: _slowest(found, "restarted"),
        at_most=2,
        unit=" s",
        digits=1,
    )
    yield Goal(
        "never back: until another worker sends from all its partitions, slowest",
        "at most 12 s",
        lambda found: _slowest(found, "never back"),
        at_most=12,
        unit=" s",
        digits=1,
    )
    yield Goal(
        "API requests an event, realistic traffic, 10 events/s under 100 requests/min",
        "at most 0.2",
        _frugal,
        at_most=0.2,
        digits=2,
    )
    yield Goal(
        "events out of order at one user, or twice",
        "none",
        _violations,
        at_most=0,
    )
    yield Goal(
        "80 % of capacity for an hour: memory, once its caches are full",
        "at most 1 MB a minute",
        lambda found: _hour(found)["slope_mb"],
        at_most=1,
        unit=" MB a minute",
        digits=2,
    )
    yield Goal(
        "80 % of capacity for an hour: in doubt at the end",
        "none",
        lambda found: _hour(found)["in_doubt"],
        at_most=0,
    )
    yield Goal(
        "10 million random records: lost, or there twice",
        "none",
        _astray,
        at_most=0,
    )
    yield from _of_state()


STATE_ENTRIES = 10_000_000


def _starts(found: Found, how: str) -> list[dict[str, Any]]:
    """Return the starts with a store of ten million entries, cold, warm or both."""
    starts = found["state"]["starts"]
    if max(one["entries"] for one in starts) < STATE_ENTRIES:
        raise KeyError(how)
    return [one for one in starts if one["what"].startswith(how) and one["what"] != "in memory"]


def _of_state() -> Iterator[Goal]:
    yield Goal(
        "10 million entries: resident",
        "at most 512 MB",
        lambda found: max(float(one["rss_mb"]) for one in _starts(found, "")),
        at_most=512,
        unit=" MB",
    )
    yield Goal(
        "10 million entries: warm restart",
        "at most 5 s",
        lambda found: max(float(one["seconds"]) for one in _starts(found, "warm")),
        at_most=5,
        unit=" s",
        digits=1,
    )
    yield Goal(
        "10 million entries: cold restore",
        "at least 200,000 entries/s",
        lambda found: min(one["entries"] / one["seconds"] for one in _starts(found, "cold")),
        at_least=200_000,
        unit=" entries/s",
    )


GOALS = tuple(_goals())


def judged(found: Found) -> list[dict[str, Any]]:
    """Return every goal, whether it was measured or not."""
    return [goal.judged(found) for goal in GOALS]


def show(found: Found, out: Console, *, measured_only: bool) -> None:
    rows = [row for row in judged(found) if row["figure"] or not measured_only]
    if not rows:
        return
    table = Table(title="goals")
    for name in ("", "goal", "measured", ""):
        table.add_column(name, justify="right" if name == "measured" else "left")
    words = {True: "reached", False: "not reached", None: "not measured in this run"}
    for row in rows:
        table.add_row(row["goal"], row["wanted"], row["figure"] or "", words[row["reached"]])
    out.print(table)
