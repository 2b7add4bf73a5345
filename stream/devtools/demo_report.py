"""The demo's report: what went in, what came out, what Wootric holds."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import orjson
from rich.console import Console
from rich.table import Table

from stream.devtools.expectation import Row

WIDTH = 100
"""Columns where the report goes to no terminal."""

COLUMNS = ("", "in", "out", "expected", "held", "too many", "missing", "parked", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that is reported; times in seconds.

    ``recovery_s`` is the time from each kill to the next effect, None where none was seen.
    """

    events: int
    took_s: float
    rows: Sequence[Row]
    differences: Sequence[str]
    outcomes: Mapping[str, int]
    skips: Mapping[str, int]
    requests: int
    lost_replies: int
    parked: int
    in_doubt: int
    recovery_s: Sequence[float | None]
    latencies_s: Sequence[float]
    exit_code: int | None

    @property
    def agrees(self) -> bool:
        """Whether Wootric holds what went in, and nothing is left open."""
        return (
            all(row.agrees for row in self.rows)
            and not self.differences
            and self.in_doubt == 0
            and self.exit_code == 0
        )


def print_report(report: Report, console: Console | None = None) -> bool:
    """Print the report on stdout; return whether in and out agree."""
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    table = Table(title="What went in, what came out, what Wootric holds")
    for name in COLUMNS:
        table.add_column(name, justify="right" if name else "left")
    for row in report.rows:
        numbers = (
            row.asked, row.receipts, row.expected, row.held, row.extra, row.missing, row.parked
        )  # fmt: skip
        table.add_row(row.kind, *map(str, numbers), "ok" if row.agrees else "DIFFERS")
    console.print(table)
    for line in lines(report):
        console.print(line, markup=False, soft_wrap=True)
    return report.agrees


def print_document(report: Report) -> bool:
    """Print the report on stdout as one JSON object; return whether in and out agree."""
    latencies = report.latencies_s
    document = {
        **asdict(report),
        "outcomes": dict(report.outcomes),  # asdict makes another Counter's keys of the pairs
        "skips": dict(report.skips),
        "agrees": report.agrees,
        "verdict": verdict(report),
        "latencies_s": {f"p{p}": quantile(latencies, p / 100) for p in (50, 99) if latencies},
    }
    sys.stdout.buffer.write(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
    sys.stdout.buffer.flush()
    return report.agrees


def lines(report: Report) -> list[str]:
    """Return the figures below the table, and at the end one line that says whether it agrees."""
    gaps = ", ".join("none seen" if gap is None else f"{gap:.1f} s" for gap in report.recovery_s)
    found = [
        (
            f"events      {report.events} in {report.took_s:.1f} s, start and restarts included: "
            f"{report.events / report.took_s:,.0f} a second"
        ),
        f"asked for   {_listed(report.outcomes)}",
        f"skipped     {_listed(report.skips)}",
        f"requests    {report.requests}, {report.requests / max(1, report.events):.2f} an event",
        (
            f"faults      {len(report.recovery_s)} x kill -9, {report.lost_replies} replies lost "
            "after the effect"
        ),
        f"recovery    from kill -9 to the next effect at Wootric: {gaps or 'no kill'}",
        f"in doubt    {report.in_doubt} left, {report.parked} page views parked",
    ]
    if report.latencies_s:
        p50, p99 = (quantile(report.latencies_s, share) for share in (0.5, 0.99))
        found.append(f"latency     page views, published to held: p50 {p50:.2f} s, p99 {p99:.2f} s")
    if report.exit_code is None:
        found.append("the worker did not end after SIGTERM")
    elif report.exit_code != 0:
        found.append(f"the worker ended with {report.exit_code} after SIGTERM")
    found += [f"differs     {line}" for line in report.differences]
    found.append(verdict(report))
    return found


def verdict(report: Report) -> str:
    """Return the one line that counts."""
    if report.agrees:
        return f"in and out agree: {report.events} events, nothing lost, nothing twice"
    kinds = [row.kind for row in report.rows if not row.agrees]
    if report.in_doubt:
        kinds.append("requests left in doubt")
    if report.exit_code != 0:
        kinds.append("the worker's exit")
    return f"IN AND OUT DIFFER: {', '.join(kinds) or 'see above'}"


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of sorted values lies."""
    return values[min(len(values) - 1, int(share * len(values)))]


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "nothing"
