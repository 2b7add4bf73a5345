"""`make bench`: speed and where it goes, scaling, recovery, endurance, random records,
state, economy, bridge.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console

from stream.devtools.local_kafka import broker
from tests.bench import (
    against,
    economy,
    endurance,
    goals,
    idle,
    markdown,
    peers,
    profile,
    random_records,
    recovery,
    scaling,
    speed,
    state,
    webhooks,
)
from tests.bench.ground import Ground, interpreter, say, talk

Figures: TypeAlias = Any
Found: TypeAlias = dict[str, Figures]


async def _speed(ground: Ground, wanted: argparse.Namespace) -> Figures:
    results = await speed.measure_all(ground, events=wanted.events, rounds=wanted.rounds)
    return speed.figures(results)


async def _profile(ground: Ground, _: argparse.Namespace) -> Figures:
    return await profile.measure(ground)


async def _idle(ground: Ground, _: argparse.Namespace) -> Figures:
    say("one event at a time")
    return await idle.measure(ground)


async def _scaling(ground: Ground, _: argparse.Namespace) -> Figures:
    return await scaling.measure(ground)


async def _recovery(ground: Ground, wanted: argparse.Namespace) -> Figures:
    return await recovery.measure(ground, wanted.trials)


async def _endurance(ground: Ground, wanted: argparse.Namespace) -> Figures:
    return await endurance.measure(ground, wanted.minutes)


async def _random(ground: Ground, wanted: argparse.Namespace) -> Figures:
    return await random_records.measure(ground, wanted.records)


async def _state(ground: Ground, wanted: argparse.Namespace) -> Figures:
    found = await state.measure(ground.bootstrap_servers, ground.folder, wanted.entries)
    return state.as_json(found)


def _show_state(found: Figures, out: Console) -> None:
    state.show({**found, "starts": [state.Start(**one) for one in found["starts"]]}, out)


async def _peers(ground: Ground, wanted: argparse.Namespace) -> Figures:
    return await peers.measure(ground, wanted.rounds)


Measure: TypeAlias = Callable[[Ground, argparse.Namespace], Awaitable[Figures]]
Show: TypeAlias = Callable[[Figures, Console], None]

ON_KAFKA: dict[str, tuple[Measure, Show]] = {
    "speed": (_speed, speed.show),
    "profile": (_profile, profile.show),
    "peers": (_peers, peers.show),
    "idle": (_idle, idle.show),
    "scaling": (_scaling, scaling.show),
    "recovery": (_recovery, recovery.show),
    "endurance": (_endurance, endurance.show),
    "random": (_random, random_records.show),
    "state": (_state, _show_state),
}
PARTS = (*ON_KAFKA, "economy", "bridge")
USUAL = ("speed", "idle", "scaling", "economy", "bridge")
"""The others take long, and run when they are asked for."""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "--only", choices=PARTS, action="append", help="this part; more than one may be given"
    )
    parser.add_argument("--events", type=int, default=20_000, help="events of each run for speed")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, for medians")
    parser.add_argument("--trials", type=int, default=recovery.TRIALS, help="deaths of each kind")
    parser.add_argument("--entries", type=int, default=1_000_000, help="of the ledger for state")
    parser.add_argument("--records", type=int, default=random_records.RECORDS, help="random ones")
    parser.add_argument("--minutes", type=float, default=60, help="how long endurance takes")
    parser.add_argument(
        "--json", type=Path, help="write the figures here; parts that are in it already stay"
    )
    parser.add_argument("--plot", type=Path, help="draw them, as SVG or PNG")
    parser.add_argument("--peers", action="store_true", help="Apache Camel too, from Maven Central")
    parser.add_argument("--markdown", action="store_true", help="and the tables of the documents")
    parser.add_argument(
        "--set", action="append", default=[], help="a setting of every worker, as NAME=VALUE"
    )
    parser.add_argument(
        "--against", metavar="REV", help="speed of this tree and of a commit, in turn, as ratios"
    )
    parser.add_argument(
        "--no-run", action="store_true", help="measure nothing, show what --json FILE has"
    )
    return parser.parse_args()


class Book:
    """The figures so far; kept after each part, so that an end ahead of time costs one part."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        kept = file is not None and file.exists()
        self.found: Found = json.loads(file.read_text()) if file and kept else {}

    def keep(self, **parts: Figures) -> None:
        self.found |= parts
        if self._file is not None:
            self._file.write_text(json.dumps({**self.found, "goals": goals.judged(self.found)}))


async def on_kafka(
    names: Sequence[str], wanted: argparse.Namespace, book: Book, out: Console
) -> None:
    """Run what needs a Kafka; each part is shown as soon as it is there."""
    with tempfile.TemporaryDirectory() as folder, broker(say=say) as servers:
        ground = Ground(servers, Path(folder), dict(one.split("=", 1) for one in wanted.set))
        for name in names:
            measure, show = ON_KAFKA[name]
            book.keep(**{name: await measure(ground, wanted)})
            show(book.found[name], out)


def run(chosen: Sequence[str], wanted: argparse.Namespace, book: Book, out: Console) -> None:
    book.keep(machine=f"{os.cpu_count()} cores, {interpreter()}")
    say(f"{book.found['machine']}; broker and servers run beside the worker")
    if "economy" in chosen:
        rows = economy.run(talk)
        economy.show(rows, out)
        book.keep(economy=economy.as_json(rows))
    if on := [name for name in ON_KAFKA if name in chosen]:
        asyncio.run(on_kafka(on, wanted, book, out))
    if "bridge" in chosen:
        book.keep(webhooks=asyncio.run(webhooks.main(wanted.events)))


def main() -> None:
    wanted = options()
    out = Console(highlight=False, width=None if sys.stdout.isatty() else 170)
    book = Book(wanted.json)
    if wanted.against:
        both = [f"--events={wanted.events}", *(f"--set={one}" for one in wanted.set)]
        rows = against.run(wanted.against, rounds=wanted.rounds, options=both, out=out)
        book.keep(against=rows)
        return
    if wanted.no_run:
        for name in ON_KAFKA:
            if name in book.found:
                ON_KAFKA[name][1](book.found[name], out)
    else:
        chosen = [*(wanted.only or USUAL), *(["peers"] if wanted.peers else [])]
        run(chosen, wanted, book, out)
    goals.show(book.found, out, measured_only=bool(wanted.only))
    if wanted.markdown:
        print(*markdown.tables(book.found), sep="\n\n")
    if wanted.plot:
        from tests.bench import plot  # noqa: PLC0415  it takes a second to load

        plot.draw(book.found, wanted.plot)


if __name__ == "__main__":
    main()
