"""The service under one schedule: processor, flow and the real sink, before the real emulator.

Only Kafka, the way to Wootric and the time are simulated.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from core_simulation import judge
from invariants import ViolationError
from scenario import Person, Survey, wootric_operation
from simulated_http import UNDER_WAY, UNIX_AT_START, Server, SimulatedHttp
from simulated_member import SimulatedMember
from simulated_operator import Operator, SimulatedPauseWatcher
from worker_loop import WorkerLoop
from world import QUEUE_MAX_S, REQUEST_TIMEOUT_S, Settings, Token, World

from sink.delivery import Delivery, Outcome, SinkListener
from sink.http_session import HttpSession
from sink.wootric.auth import WootricAccount
from sink.wootric.operations import CreateDecline, CreateResponse, read_operation
from sink.wootric.sink import WootricSink
from stream.devtools.wootric_emulator.behaviour import Behaviour
from stream.engine.prepare import PreparedRecord
from stream.engine.task_manager import TaskManager
from stream.kafka.consumer_thread import ConsumerThread
from stream.kafka.input_pause import PauseWatcher
from stream.record import Record
from stream.runtime.processor import Processor, ProcessorConfig
from stream.telemetry.metrics import Metrics
from stream.telemetry.observer import Observer
from stream.telemetry.status import StatusGauges, WorkerStatus

METRICS = Metrics()
PACE = ProcessorConfig(
    commit_interval_s=0.5,
    in_flight_records_max=50,
    in_flight_bytes_max=1_000_000,
    dead_letter_pause_s=1.0,
    revoke_timeout_s=2.0,
    drain_wait_s=3.0,
)
ACCOUNT = WootricAccount(
    account_token="NPS-0a1b2c3d",
    api_url="http://wootric",
    pixel_url="http://wootric/pixel.gif",
    client_id="id",
    client_secret="secret",
    request_timeout_s=REQUEST_TIMEOUT_S,
    in_flight_max=3,
    probe_interval_s=3.0,
)


class NamingSink(WootricSink):
    """The sink; what it sends can be told to belong to a delivery."""

    say: Callable[..., None]

    async def deliver(self, delivery: Delivery) -> Outcome:
        UNDER_WAY.set(delivery)
        outcome = await super().deliver(delivery)
        self.say(delivery.operation.type, delivery.request_id[:6], outcome)
        return outcome


class ServiceWorker:
    """One process: the service as it is wired, but for its clients."""

    def __init__(self, world: "ServiceSimulation", name: str) -> None:
        self._world = world
        self.name = name
        self.dead = False
        self.asleep_until = 0.0
        self.loop = WorkerLoop(world, self.later)
        self.vitals = WorkerStatus(started_at=0.0, loop_at=0.0)
        self.loop.inside(self._wire)

    def _wire(self) -> None:
        world = self._world
        self.flow = TaskManager(world.limits, read_operation=read_operation)
        gauges = StatusGauges(
            METRICS,
            self.vitals,
            self.flow,
            records_limit=PACE.in_flight_records_max,
            bytes_limit=PACE.in_flight_bytes_max,
            polled_at=lambda: world.now,
        )
        observer = Observer(METRICS, self.vitals, gauges)
        http = SimulatedHttp(world, world.server, self.name, self.later)
        sink = NamingSink(
            ACCOUNT,
            session=cast(HttpSession, http),
            clock=lambda: world.now,
            wall_clock=lambda: UNIX_AT_START + world.now,
            random=world.dice.random,
            hooks=SinkListener(circuit_changed=partial(world.say, self.name, "circuit")),
        )
        sink.say = partial(world.say, self.name, "ends")
        self.processor = Processor(
            task_manager=self.flow,
            sink=sink,
            prepare=world.judged,
            config=PACE,
            observer=observer,
            clock=lambda: world.now,
            wall_clock=lambda: world.now,
        )
        self.member = SimulatedMember(world, self, self.later, self.processor.on_event)
        self.watcher = SimulatedPauseWatcher(
            world, world.operator, self.name, self.later, self.processor.on_event
        )
        self.task = self.loop.create_task(self._run(sink))

    async def _run(self, sink: WootricSink) -> None:
        await sink.start()
        try:
            await self.processor.run(
                cast(ConsumerThread, self.member), cast(PauseWatcher, self.watcher)
            )
        finally:
            await sink.close()
        self._world.say(self.name, "has left")
        self._world.gone(self)

    @property
    def busy(self) -> bool:
        """Whether something is under way."""
        return bool(self.flow.under_way)

    def later(self, wait_s: float, step: Callable[[], None]) -> None:
        """Do something after a while: not if dead by then, and not while asleep."""
        world = self._world

        def run() -> None:
            if self.dead:
                return
            if world.now < self.asleep_until:
                world.at(self.asleep_until - world.now, run)
                return
            step()
            self._check()

        world.at(wait_s, run)

    def revoke(self, token: Token, until: float) -> None:
        """Give a partition away in good order."""
        self.member.revoke(token)

    def leave(self) -> None:
        """End as after a SIGTERM."""
        self.loop.inside(self.processor.stop)

    def _check(self) -> None:
        """Nothing has gone wrong unseen, and the counters add up."""
        for error in self.loop.errors:
            raise error
        vitals = self.vitals
        settled = vitals.settled.total()
        found = settled + vitals.relinquished + self.flow.unsettled
        if vitals.consumed != found:
            raise ViolationError(
                f"counters do not add up [25]: {vitals.consumed} consumed, {settled} settled, "
                f"{self.flow.unsettled} under way, {vitals.relinquished} relinquished"
            )


class ServiceSimulation(World):
    """One schedule of the service."""

    def __init__(self, seed: int, settings: Settings) -> None:
        super().__init__(seed, settings, wootric_operation)
        dice = self.dice
        self.operator = Operator(seed)
        behaviour = Behaviour(
            put_properties=dice.choice(("merge", "replace")),
            response_properties=dice.choice(("merge", "replace")),
            duplicate_external_id=dice.choice(("allow", "refuse")),
            duplicate_phone_number=dice.choice(("allow", "refuse")),
            lookup_absent=dice.choice(("404", "list")),
            survey_reply=dice.choice(("empty", "record")),
            survey_delay_s=dice.choice((0.0, QUEUE_MAX_S)),
            unique_link=dice.choice(("ignore", "merge")),
            list_shows=dice.choice(("surveyed", "all")),
            write_reply=dice.choice(("full", "2015")),
            delete_delay_s=0.0,
            expires_in_s=dice.choice((10.0, 7200.0)),
        )
        self.server = Server(self, behaviour)
        self._events: dict[Any, PreparedRecord] = {
            (event.record.partition, event.record.offset): event for event in self.script.events
        }
        self._started: list[ServiceWorker] = []
        self.begin(settings.workers)

    def new_worker(self, name: str) -> ServiceWorker:
        """Return a worker that has just started."""
        worker = ServiceWorker(self, name)
        self._started.append(worker)
        return worker

    def judged(self, record: Record) -> PreparedRecord:
        """Return what the script says of a record."""
        return self._events[record.partition, record.offset]

    def run(self) -> None:
        """Run the schedule; let no task of any worker be left behind."""
        try:
            super().run()
        finally:
            for worker in self._started:
                worker.loop.finish(worker.task)

    def judge(self) -> None:
        """Compare what Wootric holds with what the events say."""
        state = self.server.api.account.state
        names = {
            effect.id: effect.fields["external_id"]
            for effect in state.effects
            if effect.kind == "create_end_user"
        }
        users: dict[str, object] = {}
        for user in state.end_users.values():
            if user.external_id in users:
                raise ViolationError(f"two end users {user.external_id} [2]")
            users[user.external_id or ""] = Person(user.email, dict(user.properties))
        surveys: list[Survey] = [
            CreateResponse(score=9, external_id=names[one.end_user_id], created_at=one.created_at)
            for one in state.responses.values()
        ]
        surveys += [
            CreateDecline(external_id=names[one.end_user_id], created_at=one.created_at)
            for one in state.declines.values()
        ]
        judge(self, users, surveys)
