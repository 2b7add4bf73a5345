"""Dashboard of the metrics that no other dashboard and no rule uses.

`make chart` adds every new metric here until it is placed in another dashboard manually.
"""

import importlib
import importlib.util
import json
import re
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.metrics import MetricWrapperBase

from scripts.dashboards.panels import Dashboard, Panel, quantiles, rate

CATALOGUES = (
    ("stream.telemetry.metrics", "Metrics"),
    ("stream.telemetry.lag_exporter", "LagMetrics"),
    ("stream.telemetry.metrics", "BridgeMetrics"),
)
ROW = 3


def exported() -> Iterator[MetricWrapperBase]:
    """Yield the metrics of every scraped program."""
    for module, name in CATALOGUES:
        if importlib.util.find_spec(module):
            catalogue = getattr(importlib.import_module(module), name)()
            for metric in vars(catalogue).values():
                if isinstance(metric, MetricWrapperBase):
                    yield metric


def series(metric: MetricWrapperBase) -> set[str]:
    """Return the names under which a metric is stored."""
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
    return {f"{metric._name}{suffix}" for suffix in suffixes.get(metric._type, ("",))}


def others(placed: Iterable[Dashboard], rules: str) -> Dashboard | None:
    """Return the dashboard of the remaining metrics; None if there are none."""
    asked = rules + json.dumps(
        [panel.queries for board in placed for row in board.rows for panel in row]
    )
    names = set(re.findall(r"\bwootric_\w+", asked))
    panels = [_panel(metric) for metric in exported() if not series(metric) & names]
    rows: Sequence[Sequence[Panel]] = [panels[at : at + ROW] for at in range(0, len(panels), ROW)]
    if not rows:
        return None
    return Dashboard(uid="wootric-others", title="Wootric: everything else", rows=rows)


def _panel(metric: MetricWrapperBase) -> Panel:
    name, labels = metric._name, list(metric._labelnames)
    match metric._type:
        case "counter":
            by = ", ".join(labels or ["instance"])
            queries, unit = {"": rate(f"{name}_total", by)}, "reqps"
        case "histogram":
            queries, unit = quantiles(name), "s"
        case _:
            queries, unit = {"": f"{name}{{$scope}}"}, "s" if name.endswith("_seconds") else "short"
    title = name.removeprefix("wootric_").replace("_", " ").capitalize()
    return Panel(title=title, says=metric._documentation, unit=unit, queries=queries)
