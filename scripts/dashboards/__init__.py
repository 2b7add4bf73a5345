"""Dashboards; `make chart` writes their JSON into the chart."""

import json
from pathlib import Path

from scripts.dashboards.bridge import BRIDGE
from scripts.dashboards.exactly_once import EXACTLY_ONCE
from scripts.dashboards.group import GROUP
from scripts.dashboards.on_call import ON_CALL
from scripts.dashboards.others import others
from scripts.dashboards.panels import Dashboard, render
from scripts.dashboards.partitions import PARTITIONS
from scripts.dashboards.runtime import RUNTIME
from scripts.dashboards.sink import SINK

FILES = Path(__file__).parents[2] / "helm" / "wootric-destination" / "files"
PLACED = (ON_CALL, PARTITIONS, SINK, EXACTLY_ONCE, GROUP, BRIDGE, RUNTIME)


def dashboards() -> list[Dashboard]:
    """Return all dashboards, including the one of remaining metrics."""
    rules = "".join(path.read_text(encoding="utf-8") for path in FILES.glob("rules/*.yaml"))
    rest = others(PLACED, rules)
    return [*PLACED, *([rest] if rest else [])]


def files() -> dict[Path, str]:
    """Return each dashboard's JSON by its path."""
    return {
        FILES / "dashboards" / f"{one.uid.removeprefix('wootric-')}.json": json.dumps(
            render(one), indent=1
        )
        + "\n"
        for one in dashboards()
    }
