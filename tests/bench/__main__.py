"""`make bench`: speed beside a bare loop, economy beside RudderStack's sequence, and the bridge."""

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from stream.local.broker import broker
from tests.bench import economy, speed, state, webhooks

PARTS = ("speed", "idle", "economy", "bridge", "state")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", choices=PARTS, help="run this part alone; economy needs no Kafka")
    parser.add_argument("--events", type=int, default=20_000, help="events of each run for speed")
    parser.add_argument("--entries", type=int, default=1_000_000, help="of the ledger for state")
    parser.add_argument("--rounds", type=int, default=1, help="rounds, for medians; 3 or more")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    return parser.parse_args()


async def on_kafka(wanted: argparse.Namespace, out: Console) -> dict[str, Any]:
    """Run what needs a Kafka; each part is shown as soon as it is there."""
    found: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        broker(say=lambda line: speed.talk.print(line, markup=False)) as servers,
    ):
        if wanted.only in (None, "speed"):
            results = await speed.measure_all(
                servers, Path(folder), events=wanted.events, rounds=wanted.rounds
            )
            speed.show(results, out)
            found["rows"] = speed.as_json(results)
        if wanted.only in (None, "idle"):
            speed.talk.print("one event at a time")
            idle = partial(speed.measure_idle, servers, Path(folder))
            found["idle_ms"] = await speed.twice_at_most(idle)
            speed.show_idle(found["idle_ms"], out)
        if wanted.only == "state":
            measured = await state.measure(servers, Path(folder), wanted.entries)
            state.show(measured, out)
            found["state"] = state.as_json(measured)
    return found


def main() -> None:
    wanted = options()
    out = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    found: dict[str, Any] = {
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}"
    }
    speed.talk.print(f"{found['machine']}; broker and servers run beside the worker")
    if wanted.only in (None, "economy"):
        rows = economy.run(speed.talk)
        economy.show(rows, out)
        found["economy"] = economy.as_json(rows)
    if wanted.only in (None, "speed", "idle", "state"):
        found |= asyncio.run(on_kafka(wanted, out))
    if wanted.only in (None, "bridge"):
        found["webhooks"] = asyncio.run(webhooks.main(wanted.events))
    if wanted.json:
        wanted.json.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
