"""The demo: all of it on this machine, with a worker killed on the way, and a report.

What Wootric holds at the end is compared with what the traffic asks for; what our own
code believes is only shown beside it.
"""

import asyncio
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from confluent_kafka import Producer

from stream.avro import all_packaged
from stream.decode import Decoder
from stream.errors import StartupError
from stream.judge import Judged, judge
from stream.kafka.config import KafkaConfig, plain_producer
from stream.kafka.publish import record_of
from stream.kafka.survey import Survey
from stream.kafka.topics import create
from stream.local.broker import broker
from stream.local.expectation import compare, differences, expect, observed
from stream.local.guard import GuardedGroup
from stream.local.node import free_ports
from stream.local.progress import Progress
from stream.local.report import Report, print_report
from stream.local.traffic import traffic
from stream.record import Partition, Record
from stream.transform import Rules

PARTITIONS = 6
KILLS_AT = (0.25, 0.6)
"""Shares of the events after whose settlement the worker is killed."""
LOST_REPLIES = 0.05
DEDUPE_WINDOW_S = 7 * 86_400
FOLLOW_S = 0.25
STALL_S_MAX = 60.0
EVENTS_MAX = 10_000_000
CHUNK = 500


@dataclass(slots=True)
class Sent:
    """What was published, in order, with the wall-clock time of each record."""

    judged: list[Judged] = field(default_factory=list)
    at: list[float] = field(default_factory=list)


async def run_demo(*, events: int, seconds: float | None, seed: int) -> bool:
    """Run the demo; return whether Wootric holds exactly what went in.

    Raises:
        StartupError: Kafka, the emulator or the worker cannot be started.
    """
    folder = Path(tempfile.mkdtemp(prefix="wootric-demo-"))
    progress = Progress()
    agrees = False
    try:
        with broker(say=progress.say) as bootstrap_servers, children() as group:
            demo = Demo(bootstrap_servers, folder, group, progress, seed)
            report = await demo.run(events if seconds is None else EVENTS_MAX, seconds)
            agrees = print_report(report)
    finally:
        progress.close()
        if agrees:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            progress.say(f"the logs are in {folder}")
    return agrees


@contextmanager
def children() -> Iterator[GuardedGroup]:
    """Yield a group of processes that ends with this one, whatever happens."""
    group = GuardedGroup()
    try:
        yield group
    finally:
        group.close()


class Demo:
    """One run of the demo."""

    def __init__(
        self,
        bootstrap_servers: str,
        folder: Path,
        group: GuardedGroup,
        progress: Progress,
        seed: int,
    ) -> None:
        name = f"demo-{time.time_ns() // 1_000_000}"
        topic = f"{name}.events"
        self._config = KafkaConfig(
            bootstrap_servers=bootstrap_servers,
            group_id=name,
            instance_id="demo-1",
            topic=topic,
            ledger_topic=f"{topic}.wootric.ledger",
            dead_letter_topic=f"{topic}.wootric.dlq",
            parked_topic=f"{topic}.wootric.parked",
        )
        self._folder = folder
        self._group = group
        self._progress = progress
        self._seed = seed
        emulator_port, self._http_port = free_ports(2)
        self._wootric = f"http://127.0.0.1:{emulator_port}"
        self._port = emulator_port
        self._survey = Survey(self._config)
        self._down_s: list[float] = []

    async def run(self, events: int, seconds: float | None) -> Report:
        """Start everything, let the events flow, kill, compare."""
        await self._start_emulator()
        await asyncio.to_thread(self._create_topics)
        began_at = time.monotonic()
        worker = self._start_worker()
        sent = Sent()
        publishing = asyncio.create_task(asyncio.to_thread(self._publish, sent, events, seconds))
        try:
            expected_total = events if seconds is None else None
            worker = await self._follow(worker, sent, publishing, expected_total)
        finally:
            await asyncio.gather(publishing, return_exceptions=True)
        took_s = time.monotonic() - began_at
        metrics = await self._worker_metrics()
        self._progress.say("stopping the worker with SIGTERM")
        worker.terminate()
        code = await asyncio.to_thread(worker.wait, 60)
        return await self._compare(sent, took_s, code, metrics)

    # Starting

    async def _start_emulator(self) -> None:
        command = [sys.executable, "-m", "stream", "emulator", "--port", str(self._port)]
        self._group.start(command, log=self._folder / "emulator.log")
        fault = {"type": "lost_replies", "probability": LOST_REPLIES, "seed": self._seed}
        for _ in range(100):
            try:
                await self._ask("POST", "/_emulator/faults", {"random": [fault]})
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.1)
            else:
                self._progress.say(
                    f"Wootric's emulator is up at {self._wootric}, "
                    f"{LOST_REPLIES:.0%} of its replies get lost after the effect"
                )
                return
        raise StartupError("the emulator did not start", exit_code=69)

    def _create_topics(self) -> None:
        create(
            self._config,
            partitions=PARTITIONS,
            replication_factor=None,
            dedupe_window_s=DEDUPE_WINDOW_S,
        )

    def _start_worker(self) -> Any:
        environment = {
            "KAFKA__BOOTSTRAP_SERVERS": self._config.bootstrap_servers,
            "KAFKA__GROUP_ID": self._config.group_id,
            "KAFKA__INSTANCE_ID": self._config.instance_id,
            "KAFKA__TOPIC": self._config.topic,
            "WOOTRIC__ACCOUNT_TOKEN": "NPS-demodemo",
            "WOOTRIC__CLIENT_ID": "demo",
            "WOOTRIC__CLIENT_SECRET": "demo",
            "WOOTRIC__API_URL": self._wootric,
            "WOOTRIC__PIXEL_URL": f"{self._wootric}/pixel.gif",
            "WOOTRIC__REQUEST_TIMEOUT_S": "2",
            "WOOTRIC__QUIET_PERIOD_S": "0.5",
            "WOOTRIC__LEASE_S": "2",
            "HTTP__HOST": "127.0.0.1",
            "HTTP__PORT": str(self._http_port),
        }
        pairs = [f"{name}={value}" for name, value in environment.items()]
        command = ["env", *pairs, sys.executable, "-m", "stream", "run"]
        return self._group.start(command, log=self._folder / "worker.log")

    # While it runs

    def _publish(self, sent: Sent, events: int, seconds: float | None) -> None:
        """Publish the traffic; stop after ``seconds`` if that comes first."""
        producer = Producer(plain_producer(self._config))
        judging = partial(judge, decoder=Decoder(all_packaged()), rules=Rules())
        samples = traffic(events=events, seed=self._seed, users=None if seconds is None else 2_000)
        deadline = None if seconds is None else time.monotonic() + seconds
        while chunk := list(islice(samples, CHUNK)):
            for sample in chunk:
                key, value = None, sample.value
                if isinstance(value, dict):
                    key, value = record_of(orjson.dumps(value))
                producer.produce(self._config.topic, key=key, value=value)
                now = time.time()
                record = Record(
                    Partition(self._config.topic, 0), len(sent.at), int(now * 1000), key, value
                )
                sent.judged.append(judging(record))
                sent.at.append(now)
            producer.poll(0)
            if deadline is not None:
                if time.monotonic() > deadline:
                    break
                time.sleep(CHUNK / 2_500)  # a steady rate that the service can follow
        if producer.flush(60):
            raise StartupError("Kafka did not take the events", exit_code=69)

    async def _follow(
        self,
        worker: Any,
        sent: Sent,
        publishing: "asyncio.Task[None]",
        total: int | None,
    ) -> Any:
        """Show the progress and kill the worker on the way, until all is settled."""
        kills = list(KILLS_AT)
        moved_at, before = time.monotonic(), -1
        while True:
            settled = await asyncio.to_thread(self._survey.settled)
            published = len(sent.at)
            self._progress.show(settled, total or published, kills=len(KILLS_AT) - len(kills))
            if publishing.done():
                publishing.result()
                if not kills and await asyncio.to_thread(self._survey.caught_up):
                    return worker
            if kills and settled >= kills[0] * (total or max(published, 5_000)):
                kills.pop(0)
                worker = await self._kill(worker)
            elif kills and publishing.done() and settled >= published:
                kills.clear()
            if settled != before:
                moved_at, before = time.monotonic(), settled
            if worker.poll() is not None or time.monotonic() - moved_at > STALL_S_MAX:
                raise StartupError(f"the worker stands still:\n{self._tail()}", exit_code=69)
            await asyncio.sleep(FOLLOW_S)

    async def _kill(self, worker: Any) -> Any:
        """Kill the worker with -9, start it again and time the gap until it sends."""
        worker.kill()
        await asyncio.to_thread(worker.wait)
        killed_at = time.monotonic()
        effects = await self._effect_count()
        self._progress.say("killed the worker with -9 and started it again")
        worker = self._start_worker()
        while await self._effect_count() == effects and worker.poll() is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        self._down_s.append(time.monotonic() - killed_at)
        return worker

    # At the end

    async def _compare(
        self, sent: Sent, took_s: float, code: int, metrics: Mapping[str, float]
    ) -> Report:
        state = await self._ask("GET", "/_emulator/state")
        expectation = expect(sent.judged)
        held = observed(state)
        letters, parked = await asyncio.to_thread(self._survey.letters)
        rows = compare(expectation, held, dead_letters=Counter(letters), parked_pages=len(parked))
        requests = [c for c in state["counters"] if not c["route"].startswith("/_emulator")]
        lost = sum(c["count"] for c in requests if c["status"] == "dropped")
        return Report(
            events=len(sent.at),
            took_s=took_s,
            rows=rows,
            differences=differences(expectation, held),
            outcomes=dict(expectation.outcomes),
            requests=sum(c["count"] for c in requests),
            lost_replies=lost,
            parked=len(parked),
            down_s=self._down_s,
            latencies_s=_latencies(sent, state["page_views"]),
            exit_code=code,
            in_doubt=await asyncio.to_thread(self._survey.open_intents),
            ambiguous=int(sum(v for k, v in metrics.items() if "ambiguous" in k)),
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

    async def _worker_metrics(self) -> dict[str, float]:
        url = f"http://127.0.0.1:{self._http_port}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as reply:
            lines = [line for line in (await reply.text()).splitlines() if line[:1] != "#"]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    def _tail(self) -> str:
        lines = (self._folder / "worker.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-15:])


def _latencies(sent: Sent, page_views: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the seconds from publishing to Wootric of each page view, sorted."""
    published: dict[str, float] = {}
    for event, at in zip(sent.judged, sent.at, strict=True):
        random = getattr(getattr(event.verdict, "operation", None), "random", None)
        if random is not None:
            published.setdefault(random, at)
    return sorted(
        view["at"] - published[view["random"]] for view in page_views if view["random"] in published
    )
