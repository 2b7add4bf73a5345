"""The service with a timer around each stage of an event's way: what each costs of its thread.

A stage's time is CPU time of the thread that it runs in, without the stages within it. Counting
begins with the first records and ends with SIGTERM; the file that BENCH_STAGES names then holds
seconds by stage. The timers themselves cost a third, spread over what is called most.
"""

import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from time import thread_time
from typing import Any

import psutil

from sink.http_session import HttpSession
from sink.wootric.sink import WootricSink
from stream.cli.app import main
from stream.codec.decode import Decoder
from stream.engine import end_user_cache, lanes, prepare, settlement
from stream.engine.task_manager import TaskManager
from stream.kafka.consumer_thread import ConsumerThread
from stream.kafka.transactions import Transactions
from stream.runtime.processor import Processor
from stream.telemetry.observer import Observer

STAGES: tuple[tuple[str, Any, str], ...] = (
    ("take records over", Processor, "_admit"),
    ("decode", Decoder, "decode"),
    ("transform", prepare, "transform"),
    ("admit: dedupe, lanes, merging", TaskManager, "admit"),
    ("release: what to send next", TaskManager, "checkpoint"),
    ("after a commit", TaskManager, "on_committed"),
    ("settle: receipts, user entries", TaskManager, "settle"),
    ("encode for the ledger", lanes, "encode"),
    ("encode for the ledger", settlement, "encode"),
    ("encode for the ledger", end_user_cache, "encode"),
    ("counters and logs", Observer, "consumed"),
    ("counters and logs", Observer, "delivered"),
    ("counters and logs", Observer, "committed"),
    ("counters and logs", Observer, "request_finished"),
    ("Kafka thread: poll, hand over", ConsumerThread, "_poll"),
    ("Kafka thread: commit", ConsumerThread, "_commit"),
    ("Kafka thread: produce", Transactions, "_produce_ledger"),
)
COROUTINES: tuple[tuple[str, Any, str], ...] = (
    ("deliver: decisions of the sink", WootricSink, "deliver"),
    ("request and reply: aiohttp", HttpSession, "send"),
)
LOOP, MEMBER, CLIENT = "the loop: tasks, sockets, timers", "Kafka thread: the rest", "Kafka client"


class Stages:
    """Seconds by stage."""

    def __init__(self) -> None:
        self._spent: Counter[str] = Counter()
        self._within = threading.local()
        self._before: dict[int, float] = {}

    def begin(self) -> None:
        """Start a stage in this thread."""
        self._open.append([thread_time(), 0.0])

    def end(self, stage: str) -> None:
        """End the stage that was started last in this thread."""
        began_at, inner = self._open.pop()
        took = thread_time() - began_at
        self._spent[stage] += took - inner
        if self._open:
            self._open[-1][1] += took

    @property
    def _open(self) -> list[list[float]]:
        if not hasattr(self._within, "open"):
            self._within.open = []
        opened: list[list[float]] = self._within.open
        return opened

    def start(self) -> None:
        """Count from here on, once."""
        if not self._before:
            self._before = _threads()
            self._spent.clear()

    def told(self) -> dict[str, float]:
        """Return all of it; what no stage has is the loop's, the Kafka thread's or the client's."""
        used = Counter(_threads())
        used.subtract(self._before)
        (member,) = (one for one in threading.enumerate() if isinstance(one, ConsumerThread))
        loop_s, member_s = used.pop(os.getpid()), used.pop(member.native_id or 0)
        ours = sum(s for name, s in self._spent.items() if name.startswith("Kafka thread"))
        rest = {
            LOOP: loop_s - (self._spent.total() - ours),
            MEMBER: member_s - ours,
            CLIENT: used.total(),
        }
        return {**self._spent, **rest}


def _threads() -> dict[int, float]:
    return {one.id: one.user_time + one.system_time for one in psutil.Process().threads()}


def timed(stages: Stages, stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **options: Any) -> Any:
        stages.begin()
        try:
            return call(*args, **options)
        finally:
            stages.end(stage)

    return wrapper


class Steps:
    """A coroutine whose steps are timed, and not what it waits for."""

    def __init__(self, stages: Stages, stage: str, coroutine: Any) -> None:
        self._stages = stages
        self._stage = stage
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        step, value = self._coroutine.send, None
        while True:
            self._stages.begin()
            try:
                waits_for = step(value)
            except StopIteration as end:
                return end.value
            finally:
                self._stages.end(self._stage)
            try:
                step, value = self._coroutine.send, (yield waits_for)
            except BaseException as error:  # noqa: BLE001  it is the coroutine's to know
                step, value = self._coroutine.throw, error


def install(stages: Stages) -> None:
    """Put the timers around the stages."""
    for stage, owner, name in STAGES:
        setattr(owner, name, timed(stages, stage, getattr(owner, name)))
    for stage, owner, name in COROUTINES:
        call = getattr(owner, name)

        def wrapper(
            *args: Any, _stage: str = stage, _call: Callable[..., Any] = call, **options: Any
        ) -> Steps:
            return Steps(stages, _stage, _call(*args, **options))

        setattr(owner, name, wrapper)
    admit, stop = Processor._admit, Processor.stop

    def first(*args: Any) -> None:
        stages.start()
        admit(*args)

    def last(processor: Processor) -> None:
        Path(os.environ["BENCH_STAGES"]).write_text(json.dumps(stages.told()), encoding="utf-8")
        stop(processor)

    Processor._admit = first  # type: ignore[method-assign]
    Processor.stop = last  # type: ignore[method-assign]


if __name__ == "__main__":
    install(Stages())
    main()
