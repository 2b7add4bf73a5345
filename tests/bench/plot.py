"""The figures as one picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.bench.recovery import Death, Sequel
from tests.bench.speed import Subject

COLOURS = {Subject.BARE: "#9aa0a6", Subject.SERVICE: "#1f6feb", Subject.PLAIN: "#8fb8f6"}
BAR = 0.26
SEQUELS = {Sequel.RESTART: "restart", Sequel.TAKE_OVER: "take-over"}
DEATHS = {
    Death.KILLED: "killed",
    Death.IN_TRANSACTION: "killed in\ntransaction",
    Death.FROZEN: "frozen in\ntransaction",
}
PANELS = {"speed": 2.2, "scaling": 1.0, "recovery": 1.2}


def draw(found: Mapping[str, Any], file: Path) -> None:
    """Draw what was measured of speed, scaling and recovery, as SVG or PNG by the name.

    Raises:
        ValueError: none of them was.
    """
    panels = [name for name in PANELS if name in found]
    if not panels:
        raise ValueError("nothing to draw: neither speed nor scaling nor recovery was measured")
    style = {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": "bench",  # the same figures give the same file
    }
    with mpl.rc_context(style):
        widths = [PANELS[name] for name in panels]
        figure = Figure(figsize=(2.9 * sum(widths), 3.6), layout="constrained")
        axes = figure.subplots(1, len(panels), width_ratios=widths, squeeze=False)[0]
        for name, place in zip(panels, axes, strict=True):
            {"speed": _speed, "scaling": _scaling, "recovery": _recovery}[name](place, found[name])
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None, dpi=110)


def _speed(axes: Axes, speed: Mapping[str, Any]) -> None:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in speed["rows"]:
        groups.setdefault(f"{row['trace']}\n{row['reply_ms']} ms", []).append(row)
    labelled = set()
    for place, rows in enumerate(groups.values()):
        width = BAR
        for number, row in enumerate(rows):
            low, high = row["spread"]
            rate = row["events_per_s"]
            axes.bar(
                place + (number - (len(rows) - 1) / 2) * width,
                rate,
                width * 0.92,
                color=COLOURS[Subject(row["subject"])],
                label=None if row["subject"] in labelled else row["subject"],
                yerr=[[rate - low], [high - rate]],
                error_kw={"elinewidth": 0.8, "capsize": 2},
            )
            labelled.add(row["subject"])
    axes.set_xticks(range(len(groups)), list(groups))
    axes.set_title("events/s, median and spread")
    axes.legend(frameon=False, fontsize=8)


def _scaling(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    for in_flight in sorted({row["in_flight"] for row in rows}):
        some = [row for row in rows if row["in_flight"] == in_flight]
        workers = [row["workers"] for row in some]
        rates = [row["events_per_s"] for row in some]
        (line,) = axes.plot(workers, rates, "o-", label=f"{in_flight} in flight each")
        if some[0]["waiting_bound"] < 2 * max(rates):
            bound = [row["waiting_bound"] for row in some]
            axes.plot(workers, bound, ":", color=line.get_color(), label="bound by replies")
    axes.set_xticks(sorted({row["workers"] for row in rows}))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("workers")
    axes.set_title("events/s, replies of 20 ms")
    axes.legend(frameon=False, fontsize=8)


def _recovery(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    names = [f"{SEQUELS[row['sequel']]},\n{DEATHS[row['death']]}" for row in rows]
    for place, row in enumerate(rows):
        times = row["every_s"]
        axes.plot([place] * len(times), times, "o", color="#1f6feb", alpha=0.45, markersize=4)
        goal = 2 if row["sequel"] == Sequel.RESTART else 12
        axes.hlines(goal, place - 0.35, place + 0.35, color="#d1242f", linewidth=1.2)
    axes.plot([], [], color="#d1242f", label="goal")
    axes.set_xticks(range(len(rows)), names, fontsize=7)
    axes.set_ylim(bottom=0)
    axes.set_title("seconds until all is sent again")
    axes.legend(frameon=False, fontsize=8, loc="center left")
