"""`make simulate`: seeded schedules of faults on simulated time, on all cores.

With ``--seed`` one schedule is run again, and told step by step.
"""

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

sys.path.append(str(Path(__file__).parents[1] / "fixtures"))

from interleavings import KINDS, run, silent
from world import Settings

SCHEDULES = 100_000
SHARE = 10
"""One schedule of each other kind for so many of the core."""
SAY_EVERY_S = 10.0

out = Console(highlight=False, soft_wrap=True)
talk = Console(stderr=True, highlight=False)


def simulate(kind: str, seeds: range) -> bool:
    """Run many schedules; return whether all hold."""
    began_at = said_at = time.monotonic()
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=talk, transient=True) as progress:
        task = progress.add_task(f"{kind} schedules", total=len(seeds))

        def done(number: int) -> None:
            nonlocal said_at
            progress.advance(task, number)
            now = time.monotonic()
            completed = progress.tasks[task].completed
            rate = f"{completed / (now - began_at):,.0f}/s"
            progress.update(task, description=f"{kind} schedules, {rate}")
            if not talk.is_terminal and now - said_at > SAY_EVERY_S:
                said_at = now
                talk.print(f"{completed:,.0f} of {len(seeds):,} {kind} schedules, {rate}")

        failure = run(kind, seeds, done=done)
    took_s = time.monotonic() - began_at
    if failure is not None:
        out.print(f"FAILED: {failure}", markup=False)
        return False
    rate = f"{took_s:.0f} s, {len(seeds) / took_s:,.0f}/s"
    held = f"{kind}: {len(seeds):,} schedules from seed {seeds.start}, none violates the guarantee"
    out.print(f"{held} ({rate})")
    return True


def tell(kind: str, seed: int) -> bool:
    """Run one schedule and print its steps; return whether it holds."""
    world = KINDS[kind](seed, Settings(traced=True))
    for event in world.script.events:
        place = f"{event.record.partition.number}-{event.record.offset}"
        out.print(
            f"{event.record.timestamp_ms / 1000:8.3f}  event {place} {event.event_id}: "
            f"{event.result}",
            markup=False,
        )
    failed = None
    try:
        with silent():
            world.run()
    except Exception as error:  # noqa: BLE001  whatever it is, its steps are told first
        failed = error
    for line in world.trace or ():
        out.print(line, markup=False)
    out.print(f"FAILED: {failed!r}" if failed else "the guarantee holds", markup=False)
    return failed is None


def main() -> None:
    """Read the options, run, and end with 1 if a schedule violates the guarantee."""
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--schedules", type=int, default=SCHEDULES, help="how many of the core")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="run this schedule alone and tell its steps")
    kinds = parser.add_mutually_exclusive_group()
    for kind in KINDS:
        kinds.add_argument(f"--{kind}", dest="kind", action="store_const", const=kind)
    options = parser.parse_args()
    if options.seed is not None:
        sys.exit(0 if tell(options.kind or "core", options.seed) else 1)
    counts = dict.fromkeys(KINDS, options.schedules // SHARE) | {"core": options.schedules}
    if options.kind is not None:
        counts = {options.kind: options.schedules}
    held = [
        simulate(kind, range(options.first, options.first + count))
        for kind, count in counts.items()
    ]
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
