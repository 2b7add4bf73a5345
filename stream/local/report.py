"""The demo's report: what went in, what came out, what Wootric holds."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from stream.local.expectation import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that is reported; times in seconds."""

    events: int
    took_s: float
    rows: Sequence[Row]
    differences: Sequence[str]
    outcomes: dict[str, int]
    requests: int
    lost_replies: int
    ambiguous: int
    parked: int
    in_doubt: int
    down_s: Sequence[float]
    latencies_s: Sequence[float]
    exit_code: int

    @property
    def agrees(self) -> bool:
        """Whether Wootric holds what went in, and nothing is left open."""
        return all(row.agrees for row in self.rows) and self.in_doubt == 0 and self.exit_code == 0


def print_report(report: Report, console: Console | None = None) -> bool:
    """Print the report on stdout; return whether in and out agree."""
    console = console or Console(highlight=False)
    table = Table(title="What went in, and what Wootric holds")
    for name, justify in (
        ("", "left"),
        ("in", "right"),
        ("held", "right"),
        ("too many", "right"),
        ("missing", "right"),
        ("parked", "right"),
        ("", "left"),
    ):
        table.add_column(name, justify="right" if justify == "right" else "left")
    for row in report.rows:
        numbers = (row.expected, row.held, row.extra, row.missing, row.parked)
        table.add_row(row.kind, *map(str, numbers), "ok" if row.agrees else "DIFFERS")
    console.print(table)
    for line in lines(report):
        console.print(line, markup=False)
    return report.agrees


def lines(report: Report) -> list[str]:
    """Return the figures below the table."""
    outcomes = ", ".join(f"{count} {name}" for name, count in sorted(report.outcomes.items()))
    gaps = ", ".join(f"{gap:.1f} s" for gap in report.down_s) or "none"
    found = [
        (
            f"events      {report.events} in {report.took_s:.1f} s, start and restarts included: "
            f"{report.events / report.took_s:,.0f} a second"
        ),
        f"asked for   {outcomes}",
        f"requests    {report.requests}, {report.requests / report.events:.2f} an event",
        (
            f"faults      {len(report.down_s)} x kill -9, {report.lost_replies} replies lost after "
            "the effect"
        ),
        f"recovery    from kill -9 to the next effect at Wootric: {gaps}",
        f"in doubt    {report.in_doubt} left, {report.parked} page views parked",
    ]
    if report.latencies_s:
        p50, p99 = (quantile(report.latencies_s, share) for share in (0.5, 0.99))
        found.append(f"latency     page views, published to held: p50 {p50:.2f} s, p99 {p99:.2f} s")
    if report.exit_code != 0:
        found.append(f"the worker ended with {report.exit_code} after SIGTERM")
    found += [f"differs     {line}" for line in report.differences]
    found.append(
        "in and out agree: nothing lost, nothing twice"
        if report.agrees
        else "IN AND OUT DIFFER, see above"
    )
    return found


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of sorted values lies."""
    return values[min(len(values) - 1, int(share * len(values)))]
