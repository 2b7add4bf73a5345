"""The dashboards; `make chart` writes their JSON into the chart."""

import json
from pathlib import Path

from helm.dashboards.bridge import BRIDGE
from helm.dashboards.exactly_once import EXACTLY_ONCE
from helm.dashboards.group import GROUP
from helm.dashboards.on_call import ON_CALL
from helm.dashboards.panels import render
from helm.dashboards.partitions import PARTITIONS
from helm.dashboards.runtime import RUNTIME
from helm.dashboards.sink import SINK

FOLDER = Path(__file__).parents[1] / "wootric-destination" / "files" / "dashboards"
DASHBOARDS = (ON_CALL, PARTITIONS, SINK, EXACTLY_ONCE, GROUP, BRIDGE, RUNTIME)


def files() -> dict[Path, str]:
    """Return each dashboard's JSON by its path."""
    return {
        FOLDER / f"{one.uid.removeprefix('wootric-')}.json": json.dumps(render(one), indent=1)
        + "\n"
        for one in DASHBOARDS
    }
