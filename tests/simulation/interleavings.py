"""Many schedules, one after the other and on all cores, until one violates the guarantee."""

import gc
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

import structlog
from core_simulation import CoreSimulation
from service_simulation import ServiceSimulation
from webhook_simulation import WebhookSimulation
from world import Settings, World

CHUNK = 50
DEFAULT = Settings()

KINDS: Mapping[str, Callable[[int, Settings], World]] = MappingProxyType(
    {"core": CoreSimulation, "webhook": WebhookSimulation, "service": ServiceSimulation}
)
"""What a schedule may be of: the pure core alone, before Wootric or before another destination, or
processor, core and sink together."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A schedule that violates the guarantee, or that the code did not survive."""

    kind: str
    seed: int
    why: str

    def __str__(self) -> str:
        again = f'make simulate ARGS="--{self.kind} --seed {self.seed}"'
        return f"{self.kind} schedule {self.seed}: {self.why}\nto see it again: {again}"


def first_failure(kind: str, seeds: Iterable[int], settings: Settings = DEFAULT) -> Failure | None:
    """Run schedules one after the other, until one fails."""
    with silent():
        for seed in seeds:
            try:
                KINDS[kind](seed, settings).run()
            except Exception as error:  # noqa: BLE001  the code must not break either
                return Failure(kind, seed, f"{type(error).__name__}: {error}")
    return None


def run(
    kind: str,
    seeds: range,
    *,
    done: Callable[[int], None] = lambda _: None,
    processes: int | None = None,
) -> Failure | None:
    """Run schedules on all cores until one fails; ``done`` hears how many more have passed."""
    left = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)][::-1]
    processes = processes or os.cpu_count() or 1
    # Started anew: a copy of this process would have its threads' locks and not its threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_settle) as pool:
        running: dict[Future[Failure | None], int] = {}
        while left or running:
            while left and len(running) < 2 * processes:
                chunk = left.pop()
                running[pool.submit(first_failure, kind, chunk)] = len(chunk)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                failure = future.result()
                if failure is not None:
                    pool.shutdown(cancel_futures=True)
                    return failure
                done(running.pop(future))
    return None


@contextmanager
def silent() -> Iterator[None]:
    """Keep the service from logging what a schedule does to it."""
    before = structlog.get_config()
    quiet = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=quiet)
    try:
        yield
    finally:
        structlog.configure(**before)


def _settle() -> None:
    """Let what is loaded be no work for the collector: schedules make objects, few cycles."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
