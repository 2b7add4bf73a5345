"""Panels and dashboards, and their JSON for Grafana.

Each panel has a title, a description, a unit, and its queries; `$scope` is
replaced by the selected namespace and job.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

WIDTH = 24
SCOPE = 'namespace=~"$namespace",job=~"$job"'
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A panel; ``queries`` by the legend of their series. ``red_above`` colours a stat."""

    title: str
    says: str
    unit: str
    queries: dict[str, str]
    kind: str = "timeseries"
    red_above: float | None = None
    stacked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """A dashboard; its uid never changes."""

    uid: str
    title: str
    rows: Sequence[Sequence[Panel]]
    links: Sequence[str] = field(default=())


def stat(title: str, says: str, unit: str, query: str, *, red_above: float | None = None) -> Panel:
    """Return a panel with one number."""
    return Panel(
        title=title, says=says, unit=unit, queries={"": query}, kind="stat", red_above=red_above
    )


def quantiles(metric: str, by: str = "") -> dict[str, str]:
    """Return the queries for p50, p95 and p99 of a histogram."""
    group = f"le, {by}" if by else "le"
    label = f" {{{{{by}}}}}" if by else ""
    return {
        f"p{round(q * 100)}{label}": f"histogram_quantile({q}, sum by ({group}) "
        f"(rate({metric}_bucket{{$scope}}[$__rate_interval])))"
        for q in (0.5, 0.95, 0.99)
    }


def rate(metric: str, by: str, matchers: str = "") -> str:
    """Return the query for a counter's rate by a label."""
    inside = f"$scope,{matchers}" if matchers else "$scope"
    return f"sum by ({by}) (rate({metric}{{{inside}}}[$__rate_interval]))"


def scoped(query: str) -> str:
    """Return a query with the selected namespace and job."""
    return query.replace("$scope", SCOPE)


def render(dashboard: Dashboard) -> dict[str, Any]:
    """Return the JSON that Grafana imports."""
    panels, top = [], 0
    for row in dashboard.rows:
        height = 4 if all(panel.kind == "stat" for panel in row) else 8
        width = WIDTH // len(row)
        for place, panel in enumerate(row):
            box = {"h": height, "w": width, "x": place * width, "y": top}
            panels.append(_panel(panel, len(panels) + 1, box))
        top += height
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["wootric"],
        "editable": False,
        "schemaVersion": 39,
        "version": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "utc",
        "annotations": {"list": []},
        "links": [
            {
                "title": "Wootric",
                "type": "dashboards",
                "tags": ["wootric"],
                "asDropdown": False,
                "keepTime": True,
                "includeVars": True,
            }
        ],
        "templating": {"list": [_source(), _variable("namespace"), _variable("job")]},
        "panels": panels,
    }


def _source() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
    }


def _variable(label: str) -> dict[str, Any]:
    within = "" if label == "namespace" else '{namespace=~"$namespace"}'
    query = f"label_values(wootric_build_info{within}, {label})"
    return {
        "name": label,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": label},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panel(panel: Panel, number: int, box: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.red_above is not None:
        steps.append({"color": "red", "value": panel.red_above})
    custom = {"fillOpacity": 10, "stacking": {"mode": "normal" if panel.stacked else "none"}}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": SOURCE,
        "gridPos": box,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": steps},
                **({"custom": custom} if panel.kind == "timeseries" else {}),
            },
            "overrides": [],
        },
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": SOURCE,
                "expr": scoped(query),
                "legendFormat": legend,
                **({"instant": True, "format": "table"} if panel.kind == "table" else {}),
            }
            for place, (legend, query) in enumerate(panel.queries.items())
        ],
    }
