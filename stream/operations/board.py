"""The overview, drawn for a terminal."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stream.telemetry.status import lasting

TONES = {"ok": "green", "warn": "yellow", "bad": "bold red"}
BARS = "▁▂▃▄▅▆▇█"


def show(looks: Iterator[dict[str, Any]], *, watch: bool, as_json: bool) -> None:
    """Print the second look, which knows the rates; or every look."""
    console = Console()
    if not watch:
        looks = itertools.islice(looks, 1, 2)
    if as_json:
        for found in looks:
            console.file.write(orjson.dumps(found).decode() + "\n")
            console.file.flush()
    elif watch and console.is_terminal:
        with Live(console=console, screen=True) as live:
            for found in looks:
                live.update(board(found), refresh=True)
    else:
        for found in looks:
            console.print(board(found))


def sparkline(values: Sequence[float]) -> str:
    """Return the values as bars; the highest is full."""
    top = max(values, default=0.0)
    return "".join(BARS[round(value / top * (len(BARS) - 1)) if top else 0] for value in values)


def board(found: dict[str, Any]) -> RenderableType:
    """Return the overview as a drawing."""
    head = Text(found["says"], style=TONES[found["verdict"]])
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(found):
        facts.add_row(Text(name, style="dim"), value)
    parts: list[RenderableType] = [head, facts, _partitions(found["partitions"])]
    if found["workers"]:
        parts.append(_workers(found["workers"]))
    return Group(*parts)


def _facts(found: dict[str, Any]) -> list[tuple[str, str]]:
    members = ", ".join(found["members"]) or "none"
    doubt = "ask a worker with --url" if found["in_doubt"] is None else f"{found['in_doubt']:,}"
    return [
        ("group", f"{found['group']} on {found['topic']}: {found['state']}, members {members}"),
        ("behind", f"{found['lag_records']:,} records, {lasting(found['lag_seconds'])}"),
        ("arriving", _rate(found["arriving_per_s"])),
        (
            "settling",
            f"{_rate(found['settling_per_s'])}  {sparkline(found['settling_per_s_history'])}",
        ),
        ("in doubt", doubt),
        ("letters", f"dead about {found['dead_letters']:,}, parked about {found['parked']:,}"),
    ]


def _rate(per_s: float | None) -> str:
    return "not known yet" if per_s is None else f"{per_s:,.0f}/s"


def _partitions(partitions: Sequence[dict[str, Any]]) -> Table:
    table = Table("partition", box=None, header_style="dim", pad_edge=False)
    for name in ("committed", "end", "behind", "oldest"):
        table.add_column(name, justify="right")
    for one in partitions:
        oldest = "?" if one["lag_seconds"] is None else lasting(one["lag_seconds"])
        committed = "never" if one["committed"] is None else f"{one['committed']:,}"
        style = "bold red" if one["offset_out_of_range"] else ""
        row = (committed, f"{one['end']:,}", f"{one['lag_records']:,}", oldest)
        table.add_row(str(one["partition"]), *row, style=style)
    return table


def _workers(workers: Sequence[dict[str, Any]]) -> Table:
    table = Table("worker", "says", "in flight", "settles", box=None, header_style="dim")
    table.pad_edge = False
    for worker in workers:
        if "error" in worker:
            table.add_row(worker["url"], Text(f"no answer: {worker['error']}", style="red"), "", "")
            continue
        one = worker["status"]
        said = Text(one["says"], style=TONES[one["verdict"]])
        line = sparkline(one["settled_per_s_history"])
        table.add_row(
            one["instance"], said, f"{one['in_flight']:,}", f"{_rate(one['settled_per_s'])} {line}"
        )
    return table
