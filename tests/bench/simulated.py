"""The service on a simulated clock: its own loop, flow and sink; Kafka and the network beside it.

What takes an hour at Wootric's pace takes seconds here. Wootric is the emulator's own rules,
called without a socket; Kafka hands records over as there is room, and commits in 5 ms.
"""

import asyncio
import selectors
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self
from zlib import crc32

from multidict import CIMultiDict

from sink.delivery import SinkListener
from sink.models import HttpResponse, LeaseExpired, Request, SendResult
from sink.wootric.operations import PageView, read_operation
from sink.wootric.sink import WootricSink
from stream.devtools.wootric_emulator.api import Api, Call
from stream.devtools.wootric_emulator.behaviour import Behaviour
from stream.engine.lanes import PendingEvent
from stream.engine.task_manager import TaskManager
from stream.kafka.protocol import (
    Assigned,
    Closed,
    Commit,
    Committed,
    ConsumerEvent,
    Leave,
    Records,
    Restored,
)
from stream.record import Partition
from stream.runtime.processor import Processor
from stream.runtime.worker import engine_config, processor_config
from stream.settings_loader import Settings
from stream.state.store import InMemoryStateStore
from stream.telemetry.metrics import Metrics
from stream.telemetry.observer import Observer
from stream.telemetry.status import StatusGauges, WorkerStatus
from stream.wootric import wootric_account, wootric_preparer

PARTITIONS = [Partition("events", number) for number in range(6)]
COMMIT_S = 0.005
REPLY_S = 0.05
UNIX_AT_START = 1_772_438_400.0
CHUNK_RECORDS_MAX = 250
LOOK_S = 0.25


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits: its clock jumps to the next timer."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Jump(self))

    def time(self) -> float:
        return self.now

    def unix(self) -> float:
        return UNIX_AT_START + self.now


class _Jump(selectors.SelectSelector):
    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("nothing is left to happen")
        self._loop.now += max(0.0, timeout)
        return super().select(0)


@dataclass(frozen=True, slots=True)
class Message:
    """A record as Kafka's client gives it; ``at`` is when it is there (seconds)."""

    place: Partition
    number: int
    at: float
    its_key: bytes | None
    its_value: bytes | None

    def topic(self) -> str:
        return self.place.topic

    def partition(self) -> int:
        return self.place.number

    def offset(self) -> int:
        return self.number

    def timestamp(self) -> tuple[int, int]:
        return (1, int((UNIX_AT_START + self.at) * 1000))

    def key(self) -> bytes | None:
        return self.its_key

    def value(self) -> bytes | None:
        return self.its_value

    def headers(self) -> None:
        return None

    def error(self) -> None:
        return None


class SimulatedMember:
    """What the loop knows of Kafka: records as there is room, commits that succeed."""

    def __init__(self, world: "World", messages: Iterable[Message]) -> None:
        self._world = world
        self._loop = world.loop
        self._tell: Callable[[ConsumerEvent], None] = lambda _: None
        self._ahead = deque(messages)
        self._room = 0
        self._handed = 0
        self._pumping = False
        self.accepted = 0
        self.has_work = False

    def connect(self, tell: Callable[[ConsumerEvent], None]) -> None:
        self._tell = tell

    def start(self) -> None:
        self._tell(Assigned(PARTITIONS, 1))
        for partition in PARTITIONS:
            restored = Restored(
                partition=partition,
                assignment_epoch=1,
                state=self._world.states[partition],
                next_offset=self._world.begins[partition],
                entries=0,
                took_s=0.0,
            )
            self._tell(restored)

    @property
    def fetch_budget(self) -> int:
        return self._room

    @fetch_budget.setter
    def fetch_budget(self, room: int) -> None:
        self._room = room
        self._pump_soon()

    def command(self, command: Any) -> None:
        if isinstance(command, Commit):
            committed = Committed(
                checkpoint=command.checkpoint, started_at=self._loop.time(), took_s=COMMIT_S
            )
            self._loop.call_later(COMMIT_S, self._tell, committed)
        elif isinstance(command, Leave):
            self._tell(Closed())

    def _pump_soon(self) -> None:
        if not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        room = min(self._room - (self._handed - self.accepted), CHUNK_RECORDS_MAX)
        chunk: list[Message] = []
        while self._ahead and self._ahead[0].at <= self._loop.time() and len(chunk) < room:
            chunk.append(self._ahead.popleft())
        if chunk:
            self._handed += len(chunk)
            self._tell(Records(chunk))
        elif self._ahead and self._ahead[0].at > self._loop.time():
            self._pumping = True
            self._loop.call_at(self._ahead[0].at, self._pump)


class SimulatedHttp:
    """The way to Wootric: a round trip, and the emulator's own answer."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def send(
        self, request: Request, headers: Any, *, may_send: Callable[[], bool] = lambda: True
    ) -> SendResult:
        if not may_send():
            return LeaseExpired()
        await asyncio.sleep(REPLY_S / 2)
        call = Call(
            request.method,
            request.url.raw_path,
            request.url.raw_query_string,
            (request.body or b"").decode(),
            headers.get("Authorization"),
        )
        reply = self._api.answer(call)
        await asyncio.sleep(REPLY_S / 2)
        return HttpResponse(reply.status, CIMultiDict(reply.headers), reply.body)


@dataclass
class Figures:
    """What a run came to. ``requests`` by name and verdict, waits in seconds."""

    took_s: float = 0.0
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    api_waits_s: list[float] = field(default_factory=list)
    pixel_waits_s: list[float] = field(default_factory=list)

    def named(self, *names: str) -> int:
        return sum(count for (name, _), count in self.requests.items() if name in names)


@dataclass
class World:
    """What outlives a run: Wootric, the ledger, the input's offsets, the clock."""

    loop: SimulatedLoop = field(default_factory=SimulatedLoop)
    begins: Counter[Partition] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.states = {partition: InMemoryStateStore() for partition in PARTITIONS}
        self.api = Api(Behaviour(), self.loop.unix)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.close()

    def run(
        self,
        records: Iterable[tuple[float, bytes | None, bytes | None]],
        *,
        per_minute: int | None = None,
        **wootric: Any,
    ) -> Figures:
        """Run the service until all records are settled: when each is there, key and value.

        ``per_minute`` is what Wootric allows, ``wootric`` are settings of the service.
        """
        self.api.account.behaviour = Behaviour(rate_limit_per_minute=per_minute)
        ends, messages = self.begins.copy(), []
        for number, (after_s, key, value) in enumerate(records):
            partition = PARTITIONS[crc32(key or bytes([number % 251])) % len(PARTITIONS)]
            at = self.loop.time() + after_s
            messages.append(Message(partition, ends[partition], at, key, value))
            ends[partition] += 1
        figures = self.loop.run_until_complete(self._run(messages, wootric))
        self.begins = ends
        return figures

    async def _run(self, messages: list[Message], wootric: dict[str, Any]) -> Figures:
        loop, figures = self.loop, Figures()
        settings = Settings(kafka={"bootstrap_servers": "-"}, wootric={**ACCOUNT, **wootric})

        def settled(event: PendingEvent, outcome: str, reason: str) -> None:
            figures.outcomes[outcome, reason] += 1
            wait_s = loop.unix() - event.record.timestamp_ms / 1000
            if isinstance(event.operation, PageView):
                figures.pixel_waits_s.append(wait_s)
            elif event.operation is not None:
                figures.api_waits_s.append(wait_s)

        def finished(name: str, word: str, *_: object) -> None:
            figures.requests[name, word] += 1

        metrics, vitals = Metrics(), WorkerStatus()
        flow = TaskManager(
            engine_config(settings), on_settled=settled, read_operation=read_operation
        )
        gauges = StatusGauges(
            metrics, vitals, flow, records_limit=0, bytes_limit=0, polled_at=loop.time
        )
        sink = WootricSink(
            wootric_account(settings.wootric),
            session=SimulatedHttp(self.api),
            clock=loop.time,
            wall_clock=loop.unix,
            random=lambda: 0.5,
            hooks=SinkListener(request_finished=finished),
        )
        processor = Processor(
            task_manager=flow,
            sink=sink,
            prepare=wootric_preparer(settings.wootric),
            config=processor_config(settings),
            observer=Observer(metrics, vitals, gauges),
            clock=loop.time,
            wall_clock=loop.unix,
        )
        member = SimulatedMember(self, messages)
        member.connect(processor.on_event)
        began_at = loop.time()
        await sink.authorize()
        await sink.start()
        running = loop.create_task(processor.run(member))  # type: ignore[arg-type]
        while figures.outcomes.total() < len(messages) and not running.done():
            await asyncio.sleep(LOOK_S)
        figures.took_s = loop.time() - began_at
        processor.stop()
        await running
        await sink.close()
        return figures


ACCOUNT = {
    "account_token": "NPS-0a1b2c3d",
    "client_id": "id",
    "client_secret": "secret",
    "api_url": "http://wootric.test",
    "pixel_url": "http://wootric.test/pixel.gif",
}
