"""The figures as docs/explanation/benchmarks.md has them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from tests.bench import goals

WORDS = {True: "reached", False: "**not reached**", None: "not measured"}


def tables(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table for each part that was measured, and the one of the goals."""
    writers = {"speed": _speed, "peers": _peers, "scaling": _scaling, "recovery": _recovery}
    for name, write in writers.items():
        if name in found:
            yield "\n".join(write(found[name]))
    yield "\n".join(_goals(found))


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    texts = sum(name.endswith(" ") for name in names)
    yield f"| {' | '.join(name.strip() for name in names)} |"
    yield "|" + "---|" * texts + "---:|" * (len(names) - texts)
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _speed(found: Mapping[str, Any]) -> Iterator[str]:
    names = (" ", "traffic ", "reply", "in flight", "events/s", "spread", "CPU µs/event")
    more = ("broker µs", "server µs", "peak MB", "requests/event", "out of order", "twice")
    yield from _table(
        (*names, *more),
        (
            (
                row["subject"],
                f"`{row['trace']}`",
                f"{row['reply_ms']} ms",
                str(row["in_flight"]),
                f"{row['events_per_s']:,.0f}",
                "{:,.0f} to {:,.0f}".format(*row["spread"]),
                *(f"{row[f'{name}_us']:.0f}" if row[f"{name}_us"] else "" for name in CPU),
                f"{row['peak_mb']:.0f}",
                f"{row['requests_per_event']:.2f}",
                str(row["order_violations"]),
                str(row["duplicates"]),
            )
            for row in found["rows"]
        ),
    )


CPU = ("cpu", "broker", "server")


def _peers(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    names = (" ", "reply", "events/s", "CPU µs/event", "peak MB", "out of order")
    yield from _table(
        names,
        (
            (
                row["subject"],
                f"{row['reply_ms']} ms",
                f"{row['events_per_s']:,.0f}",
                f"{row['cpu_us']:.0f}",
                f"{row['peak_mb']:.0f}",
                f"{row['order_violations']:.0f}",
            )
            for row in found
        ),
    )


def _scaling(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    names = ("workers", "in flight each", "events/s", "bound by the replies", "cores a worker")
    yield from _table(
        (*names, "cores broker", "cores server", "machine"),
        (
            (
                str(row["workers"]),
                str(row["in_flight"]),
                f"{row['events_per_s']:,.0f}",
                f"{row['waiting_bound']:,.0f}",
                *(f"{row[f'{name}_cores']:.2f}" for name in ("worker", "broker", "server")),
                f"{row['machine']:.0%}",
            )
            for row in found
        ),
    )


def _recovery(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    names = ("death ", "then ", "times", "first request: median", "slowest")
    yield from _table(
        (*names, "all partitions: median", "slowest", "out of order", "twice"),
        (
            (
                row["death"],
                row["sequel"],
                str(len(row["every_s"])),
                *(f"{of(row[f'{which}_s']):.1f} s" for which in ("first", "every") for of in BOTH),
                str(row["order_violations"]),
                str(row["duplicates"]),
            )
            for row in found
        ),
    )


BOTH = (median, max)


def _goals(found: Mapping[str, Any]) -> Iterator[str]:
    yield from _table(
        ("what ", "goal ", "measured ", " "),
        (
            (row["goal"], row["wanted"], row["figure"] or "", WORDS[row["reached"]])
            for row in goals.judged(found)
        ),
    )
