"""A dashboard's panels as one HTML page: what a real Prometheus answers, drawn without Grafana."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

COLOURS = ("#3274d9", "#e0752d", "#3f9b4f", "#a352cc", "#c4162a", "#8a8d19", "#1f9aa8", "#7c5b3c")
WIDTH, HEIGHT, LEFT, BOTTOM = 560, 150, 52, 18
STYLE = """
body { margin: 0; padding: 14px; background: #f4f5f5; color: #24292e; width: 1252px;
       font: 12px/1.35 "DejaVu Sans", sans-serif; }
h1 { font-size: 16px; margin: 0 0 10px; }
main { display: grid; grid-template-columns: repeat(24, 1fr); gap: 8px; }
section { background: #fff; border: 1px solid #dcdfe3; border-radius: 3px; padding: 6px 8px; }
h2 { font-size: 12px; margin: 0 0 4px; }
.stat { font-size: 30px; text-align: center; padding: 8px 0; color: #3f9b4f; }
.red { color: #c4162a; }
svg { width: 100%; display: block; }
text { font-size: 10px; fill: #6a7075; }
.legend span { margin-right: 10px; white-space: nowrap; }
.legend i { display: inline-block; width: 10px; height: 3px; margin: 0 4px 3px 0; }
"""

Series = tuple[str, Sequence[tuple[float, float]]]
"""A legend and points: seconds from the beginning, value."""


def page(board: Mapping[str, Any], answers: Mapping[str, Sequence[Series]], span_s: float) -> str:
    """Return the page; ``answers`` by the panels' titles."""
    cards = "".join(_card(panel, answers[panel["title"]], span_s) for panel in board["panels"])
    title = html.escape(board["title"])
    return (
        f"<!doctype html><meta charset=utf-8><style>{STYLE}</style>"
        f"<h1>{title}</h1><main>{cards}</main>"
    )


def _card(panel: Mapping[str, Any], series: Sequence[Series], span_s: float) -> str:
    inner = _stat(panel, series) if panel["type"] == "stat" else _plot(panel, series, span_s)
    place = f"grid-column: span {panel['gridPos']['w']}"
    return f'<section style="{place}"><h2>{html.escape(panel["title"])}</h2>{inner}</section>'


def _stat(panel: Mapping[str, Any], series: Sequence[Series]) -> str:
    value = series[0][1][-1][1]
    steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", ())
    red = any(s["color"] == "red" and s["value"] is not None and value >= s["value"] for s in steps)
    unit = panel["fieldConfig"]["defaults"]["unit"]
    return f'<div class="stat{" red" if red else ""}">{_said(value, unit)}</div>'


def _plot(panel: Mapping[str, Any], series: Sequence[Series], span_s: float) -> str:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    highest = max((v for _, points in series for _, v in points), default=0.0) or 1.0
    lines, legend = [], []
    for number, (name, points) in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        scale = (WIDTH - LEFT) / span_s
        path = " ".join(
            f"{LEFT + at * scale:.1f},{HEIGHT - value / highest * HEIGHT * 0.95:.1f}"
            for at, value in points
        )
        lines.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
        )
        legend.append(f'<span><i style="background:{colour}"></i>{html.escape(name)}</span>')
    for share in (0.0, 0.5, 1.0):
        y = HEIGHT - share * HEIGHT * 0.95
        lines.append(f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y}" y2="{y}" stroke="#e6e9ec"/>')
        label = _said(highest * share, unit)
        lines.append(f'<text x="{LEFT - 6}" y="{y + 3}" text-anchor="end">{label}</text>')
    for share in (0.0, 0.5, 1.0):
        anchor = {0.0: "start", 1.0: "end"}.get(share, "middle")
        x = LEFT + share * (WIDTH - LEFT)
        at = f"{span_s * share:.0f} s"
        lines.append(f'<text x="{x}" y="{HEIGHT + 13}" text-anchor="{anchor}">{at}</text>')
    box = f"0 -6 {WIDTH} {HEIGHT + BOTTOM + 6}"
    svg = f'<svg viewBox="{box}">{"".join(lines)}</svg>'
    return f'{svg}<div class="legend">{"".join(legend[:8])}</div>'


def _said(value: float, unit: str) -> str:
    """Return a value with its unit, as Grafana shows it or nearly so."""
    if not math.isfinite(value):
        return "none"
    if unit == "percentunit":
        return f"{value * 100:.4g} %"
    number = f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2g}"
    return number + {"s": " s", "reqps": "/s"}.get(unit, "")
