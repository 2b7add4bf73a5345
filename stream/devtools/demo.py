"""The demo: the complete pipeline on this machine, with a worker killed twice, and a report.

The report compares the emulator's final state with the state that the traffic implies; the
service's own view is only shown in addition.
"""

import asyncio
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from confluent_kafka import KafkaException
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from sink.wootric.operations import PageView
from stream.codec.avro import all_packaged
from stream.codec.decode import Decoder
from stream.codec.json_text import escaped
from stream.devtools.demo_processes import DemoBridge, Publisher, WebhookPublisher, Worker
from stream.devtools.demo_report import (
    DemoReport,
    compare,
    differences,
    expect,
    observed,
    print_report,
)
from stream.devtools.kafka_node import GuardedGroup, free_ports
from stream.devtools.local_kafka import ADDRESS_VARIABLE, broker
from stream.devtools.traffic import Sample, traffic
from stream.engine.prepare import PreparedRecord, prepare
from stream.errors import StartupError
from stream.kafka.config import KafkaConfig
from stream.kafka.reader import TopicReader
from stream.kafka.topic_creation import create
from stream.record import Record
from stream.runtime.worker import kafka_config
from stream.settings_loader import load_kafka
from stream.transform import Deliver, Rules, transform

# Progress on stderr: a bar on a terminal, plain lines elsewhere


PLAIN_EVERY_S = 2.0


class Progress:
    """Shows the progress on stderr."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bar: Bar | None = None
        self._said_at = 0.0
        self._began: tuple[float, int] | None = None

    def say(self, line: str) -> None:
        """Print a line, above the bar if there is one."""
        self._console.print(escaped(line, lines=True), markup=False)

    def show(self, settled: int, total: int, *, kills: int) -> None:
        """Show the number of settled events."""
        now = time.monotonic()
        if self._began is None and settled:
            self._began = (now, settled)
        if self._console.is_terminal:
            self._show_bar(settled, total, kills)
        elif now - self._said_at >= PLAIN_EVERY_S:
            self._said_at = now
            self.say(f"{settled} of {total} events settled{self._rate(settled, now)}")

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _rate(self, settled: int, now: float) -> str:
        if self._began is None or now - self._began[0] < 1:
            return ""
        return f", {(settled - self._began[1]) / (now - self._began[0]):,.0f}/s"

    def _show_bar(self, settled: int, total: int, kills: int) -> None:
        if self._bar is None:
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._bar.add_task("settled", total=total)
            self._bar.start()
        task = self._bar.task_ids[0]
        description = f"settled, {kills} x kill -9" if kills else "settled"
        self._bar.update(task, completed=settled, total=total, description=description)


PARTITIONS = 6
KILLS_AT = (0.25, 0.6)
"""Fractions of the events, or of the time, after which the worker is killed."""

AHEAD = 0.3
"""Fraction of the events published beyond the next kill, so that work is left after it."""

LOST_REPLIES = 0.05
DEDUPE_WINDOW_S = 7 * 86_400
USERS_OF_A_LENGTH = 2_000
EVENTS_MAX = 10_000_000
FOLLOW_S = 0.25
STALL_S_MAX = 60.0
RECOVERY_S_MAX = 30.0


async def run_demo(
    *,
    events: int,
    seconds: float | None,
    seed: int,
    webhooks: bool = False,
    show: Callable[[DemoReport], bool] = print_report,
) -> bool:
    """Run the demo, with events published to Kafka or sent as webhooks, and show the report.
    Return whether Wootric holds exactly the expected state.

    Raises:
        StartupError: Kafka, the emulator or the worker cannot be started, or make no progress.
    """
    folder = Path(tempfile.mkdtemp(prefix="wootric-demo-"))
    progress = Progress()
    agrees = False
    try:
        with broker(say=progress.say) as bootstrap_servers, children() as group:
            config = _config(bootstrap_servers, seed)
            demo = Demo(config, folder, group, progress, seed, webhooks=webhooks)
            try:
                report = await demo.run(events, seconds)
            finally:
                demo.close()
            progress.close()
            agrees = show(report)
    except (aiohttp.ClientError, KafkaException) as error:
        raise StartupError(f"a part of the demo is unavailable: {error}", exit_code=69) from error
    finally:
        progress.close()
        if agrees:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            progress.say(f"the logs are in {folder}")
    return agrees


@contextmanager
def children() -> Iterator[GuardedGroup]:
    """Yield a group of processes that always ends with this one."""
    group = GuardedGroup()
    try:
        yield group
    finally:
        group.close()


def _config(bootstrap_servers: str, seed: int) -> KafkaConfig:
    """Return a configuration with unique names, since the cluster may be shared."""
    name = f"demo-{seed}-{secrets.token_hex(4)}"
    topic = f"{name}.events"
    access = kafka_config(load_kafka()) if os.environ.get(ADDRESS_VARIABLE) else None
    return KafkaConfig(
        bootstrap_servers=bootstrap_servers,
        group_id=name,
        instance_id="demo-1",
        topic=topic,
        ledger_topic=f"{topic}.wootric.ledger",
        dead_letter_topic=f"{topic}.wootric.dlq",
        parked_topic=f"{topic}.wootric.parked",
        properties={} if access is None else access.properties,
        login=(lambda: None) if access is None else access.login,
        token=None if access is None else access.token,
    )


class Demo:
    """One run of the demo."""

    def __init__(
        self,
        config: KafkaConfig,
        folder: Path,
        group: GuardedGroup,
        progress: Progress,
        seed: int,
        *,
        webhooks: bool,
    ) -> None:
        self._config = config
        self._folder = folder
        self._webhooks = webhooks
        self._group = group
        self._progress = progress
        self._seed = seed
        self._emulator_log = folder / "emulator.log"
        self._port, worker_port = free_ports(2)
        self._wootric = f"http://127.0.0.1:{self._port}"
        self._worker = Worker(config, self._wootric, worker_port, group, folder / "worker.log")
        self._survey = TopicReader(config)
        self._recovery_s: list[float | None] = []

    def close(self) -> None:
        """Close the clients, before Kafka stops."""
        self._survey.close()

    async def run(self, events: int, seconds: float | None) -> DemoReport:
        """Start all parts, publish, kill the worker twice, and return the comparison."""
        await self._start_emulator()
        await asyncio.to_thread(
            create,
            self._config,
            partitions=PARTITIONS,
            replication_factor=None,
            dedupe_window_s=DEDUPE_WINDOW_S,
        )
        count, users = (events, None) if seconds is None else (EVENTS_MAX, USERS_OF_A_LENGTH)
        samples = traffic(events=count, seed=self._seed, users=users)
        publisher = self._publisher(samples, events, seconds)
        began_at = time.monotonic()
        self._worker.start()
        publishing = asyncio.create_task(asyncio.to_thread(publisher.run))
        try:
            await self._follow(publisher, publishing, events, seconds)
        finally:
            publisher.stop()
            await asyncio.gather(publishing, return_exceptions=True)
        took_s = time.monotonic() - began_at
        self._progress.say("all settled; stopping the worker with SIGTERM")
        code = await asyncio.to_thread(self._worker.stop)
        return await self._compare(publisher.records, took_s, code)

    def _publisher(
        self, samples: Iterator[Sample], events: int, seconds: float | None
    ) -> Publisher | WebhookPublisher:
        if not self._webhooks:
            return Publisher(self._config, samples, events=events, seconds=seconds)
        bridge = DemoBridge(self._config, free_ports(2), self._group, self._folder / "bridge.log")
        self._progress.say("the events are sent as signed webhooks")
        return WebhookPublisher(self._config, samples, bridge, events=events, seconds=seconds)

    async def _start_emulator(self) -> None:
        command = [sys.executable, "-m", "stream", "emulator", "--port", str(self._port)]
        process = self._group.start(command, log=self._emulator_log)
        fault = {"type": "lost_replies", "probability": LOST_REPLIES, "seed": self._seed}
        for _ in range(100):
            try:
                await self._ask("POST", "/_emulator/faults", {"random": [fault]})
            except aiohttp.ClientConnectionError:
                if process.poll() is not None:
                    break
                await asyncio.sleep(0.1)
            else:
                self._progress.say(
                    f"Wootric's emulator is up; {LOST_REPLIES:.0%} of its replies are lost"
                )
                return
        raise StartupError("the emulator did not start", exit_code=69)

    # While it runs

    async def _follow(
        self,
        publisher: Publisher | WebhookPublisher,
        publishing: "asyncio.Task[None]",
        events: int,
        seconds: float | None,
    ) -> None:
        """Show the progress and kill the worker at ``KILLS_AT``, until all events are settled."""
        kills = list(KILLS_AT)
        began_at = moved_at = time.monotonic()
        before = -1
        while True:
            publisher.limit = round(events * min(1.0, kills[0] + AHEAD)) if kills else events
            settled = await asyncio.to_thread(self._survey.settled)
            total = events if seconds is None else publisher.count
            self._progress.show(settled, total, kills=len(self._recovery_s))
            now = time.monotonic()
            done = settled / events if seconds is None else (now - began_at) / seconds
            if publishing.done():
                publishing.result()
                if await asyncio.to_thread(self._survey.caught_up):
                    return
            if kills and done >= kills[0]:
                kills.pop(0)
                publisher.limit = round(events * min(1.0, kills[0] + AHEAD)) if kills else events
                await self._kill()
            if settled != before:
                moved_at, before = time.monotonic(), settled
            if not self._worker.running or time.monotonic() - moved_at > STALL_S_MAX:
                raise StartupError(
                    f"the worker makes no progress:\n{self._worker.tail()}", exit_code=69
                )
            await asyncio.sleep(FOLLOW_S)

    async def _kill(self) -> None:
        """Kill the worker with -9, restart it and measure the time until its next effect."""
        await asyncio.to_thread(self._worker.kill)
        killed_at = time.monotonic()
        self._worker.start()
        effects = await self._effect_count()  # the new process cannot have sent yet
        self._progress.say("killed the worker with -9 and restarted it")
        while self._worker.running and time.monotonic() - killed_at < RECOVERY_S_MAX:
            if await self._effect_count() > effects:
                self._recovery_s.append(time.monotonic() - killed_at)
                return
            await asyncio.sleep(0.02)
        self._recovery_s.append(None)

    # At the end

    async def _compare(
        self, records: Sequence[Record], took_s: float, code: int | None
    ) -> DemoReport:
        state = await self._ask("GET", "/_emulator/state")
        letters, parked = await asyncio.to_thread(self._survey.letters)
        receipts = await asyncio.to_thread(self._survey.receipts)
        judged = judge_all(records)
        expectation, held = expect(judged), observed(state)
        dead_letters = Counter(letters)
        parked_pixels = pixels_of(judged, parked)
        rows = compare(
            expectation,
            held,
            dead_letters=dead_letters,
            parked_pixels=parked_pixels,
            receipts=receipts,
        )
        requests = [c for c in state["counters"] if not c["route"].startswith("/_emulator")]
        return DemoReport(
            events=len(records),
            took_s=took_s,
            rows=rows,
            differences=differences(
                expectation, held, parked_pixels=parked_pixels, dead_letters=dead_letters
            ),
            outcomes=expectation.outcomes,
            skips=expectation.skips,
            requests=sum(c["count"] for c in requests),
            lost_replies=sum(c["count"] for c in requests if c["status"] == "dropped"),
            parked=len(parked),
            recovery_s=self._recovery_s,
            latencies_s=latencies(judged, state["page_views"]),
            exit_code=code,
            in_doubt=await asyncio.to_thread(self._survey.open_intents),
        )

    async def _effect_count(self) -> int:
        return int((await self._ask("GET", "/_emulator/count"))["effects"])

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"{self._wootric}{path}", json=body) as reply,
        ):
            reply.raise_for_status()
            return await reply.json()


def judge_all(records: Sequence[Record]) -> list[PreparedRecord]:
    """Return the prepared records in Kafka's order."""
    judging = partial(
        prepare, decoder=Decoder(all_packaged()), transform=partial(transform, rules=Rules())
    )
    ordered = sorted(records, key=lambda record: (record.partition, record.offset))
    return [judging(record) for record in ordered]


def pixels_of(judged: Sequence[PreparedRecord], values: Collection[bytes]) -> Collection[str]:
    """Return the cache breakers of the page views with these values."""
    wanted = set(values)
    return {
        event.result.operation.random
        for event in judged
        if event.record.value in wanted
        and isinstance(event.result, Deliver)
        and isinstance(event.result.operation, PageView)
    }


def latencies(
    judged: Sequence[PreparedRecord], page_views: Sequence[Mapping[str, Any]]
) -> list[float]:
    """Return the sorted latencies of page views in seconds, from publishing to Wootric."""
    published: dict[str, float] = {}
    for event in judged:
        if isinstance(event.result, Deliver) and isinstance(event.result.operation, PageView):
            at = event.record.timestamp_ms / 1000
            published.setdefault(event.result.operation.random, at)
    return sorted(
        view["at"] - published[view["random"]] for view in page_views if view["random"] in published
    )
