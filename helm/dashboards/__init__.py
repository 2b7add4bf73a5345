"""The dashboards; `make chart` writes their JSON into the chart."""

import json
from pathlib import Path

from helm.dashboards.bridge import BRIDGE
from helm.dashboards.exactly_once import EXACTLY_ONCE
from helm.dashboards.group import GROUP
from helm.dashboards.on_call import ON_CALL
from helm.dashboards.others import others
from helm.dashboards.panels import Dashboard, render
from helm.dashboards.partitions import PARTITIONS
from helm.dashboards.runtime import RUNTIME
from helm.dashboards.sink import SINK

FILES = Path(__file__).parents[1] / "wootric-destination" / "files"
PLACED = (ON_CALL, PARTITIONS, SINK, EXACTLY_ONCE, GROUP, BRIDGE, RUNTIME)


def dashboards() -> list[Dashboard]:
    """Return all of them, with what no panel was made for by hand."""
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
