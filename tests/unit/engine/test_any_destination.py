"""Another destination in the engine: aborts, crashes, lost replies, on simulated time."""

from collections import Counter, defaultdict
from random import Random

import pytest
from flow_driver import LIMITS
from webhook import Post, read_post

from sink.delivery import Deferred, Delivered, InDoubt, Outcome
from stream.engine.lanes import PendingRequest
from stream.engine.limits import ReleaseBudget
from stream.engine.prepare import PreparedRecord
from stream.engine.task_manager import TaskManager
from stream.record import Deliver, Partition, Record
from stream.state.store import InMemoryStateStore

PARTITION = Partition("events", 0)
EVENTS, USERS = 30, 4
ROOM = ReleaseBudget(limited=5, unlimited=0)


def prepared(offset: int) -> PreparedRecord:
    name, user = f"m{offset}", str(offset % USERS)
    post = Post(message_id=name, external_id=user)
    record = Record(PARTITION, offset, 1, None, b"")
    return PreparedRecord(record=record, event_id=name, result=Deliver(operation=post, lane=user))


class Schedule:
    """One schedule; what the webhook holds is in ``held``, by key."""

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        self.now = 0.0
        self.state = InMemoryStateStore()
        self.offset = 0
        self.held: dict[str, str] = {}
        self.start()

    def start(self) -> None:
        """A new owner: what the ledger says, and the committed offset."""
        self.tasks = TaskManager(LIMITS, read_operation=read_post)
        self.tasks.open(PARTITION, self.state, self.offset, self.now, assignment_epoch=1)
        self.read = self.offset
        self.in_flight: list[PendingRequest] = []

    def outcome(self, request: PendingRequest) -> Outcome:
        luck = self.dice.random()
        if luck < 0.1:
            return Deferred(reason="later", retry_at=self.now)
        operation = request.require_operation()
        assert isinstance(operation, Post)
        if luck > 0.2:
            self.held.setdefault(request.request_id, operation.message_id)
        if luck < 0.4:
            return InDoubt(detail="reset", sent_at=self.now)
        return Delivered()

    def step(self) -> None:
        self.now += 10
        luck = self.dice.random()
        if luck < 0.05:
            for request in self.in_flight:  # the old owner's last attempts
                self.outcome(request)
            self.start()
            return
        if self.read < EVENTS:
            self.tasks.admit([prepared(self.read)], 0)
            self.read += 1
        elif self.read == EVENTS:
            self.tasks.on_partition_end(PARTITION, EVENTS)
        self.tasks.run_timers(self.now)
        for request in [one for one in self.in_flight if self.dice.random() < 0.7]:
            self.in_flight.remove(request)
            self.tasks.settle(request, self.outcome(request), self.now, 0)
        checkpoint = self.tasks.checkpoint(0, ROOM)
        if self.dice.random() < 0.8:
            self.in_flight += self.tasks.on_committed(checkpoint, self.now)
            self.offset = checkpoint.partitions[PARTITION].offset


@pytest.mark.parametrize("seed", range(200))
def test_every_schedule_ends_with_each_event_held_once_and_in_order(seed: int) -> None:
    schedule = Schedule(seed)
    for _ in range(5_000):
        schedule.step()
        if schedule.offset == EVENTS and not schedule.in_flight:
            break
    assert schedule.offset == EVENTS
    assert Counter(schedule.held.values()) == {f"m{number}": 1 for number in range(EVENTS)}
    order: dict[int, list[int]] = defaultdict(list)
    for message_id in schedule.held.values():
        number = int(message_id[1:])
        order[number % USERS].append(number)
    assert all(numbers == sorted(numbers) for numbers in order.values())
