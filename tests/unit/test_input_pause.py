"""The operator's pause: what its offset says, who asks, and what holds until there is an answer."""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import Mock

import pytest
from confluent_kafka import KafkaError, KafkaException
from flow_driver import LIMITS, PARTITION, Driver, identify, response
from waiting import until_now

from stream.engine.limits import ReleaseBudget
from stream.engine.task_manager import TaskManager
from stream.kafka import input_pause
from stream.kafka.config import KafkaConfig
from stream.kafka.input_pause import PauseWatcher, metadata_of, pause_of
from stream.kafka.protocol import Failed, InputPause, Pause, PausesKnown, StartReading
from stream.record import Partition
from stream.runtime.flow_control import FlowController
from stream.telemetry.observer import Observer

SINCE = InputPause(1_767_323_045_000)


def test_an_offset_of_one_is_a_pause_whatever_its_metadata_say() -> None:
    assert pause_of(1, metadata_of(SINCE)) == SINCE
    assert SINCE.since == "2026-01-02T03:04:05Z"
    for metadata in (None, "", "v2:12", "v1:", "v1:-1", "v1:1e9", f"v1:{10**14}", "v1:²"):
        assert pause_of(1, metadata) == InputPause(None), metadata
    assert InputPause(None).since == "an unknown time"
    for offset in (-1001, -1, 0):
        assert pause_of(offset, metadata_of(SINCE)) is None


class Reading:
    """The reader, and what it is told."""

    def __init__(self) -> None:
        self.fetch_budget = 0
        self.commands: list[Pause | StartReading] = []

    def command(self, command: Pause | StartReading) -> None:
        self.commands.append(command)

    @property
    def is_read(self) -> bool:
        return bool(self.commands) and isinstance(self.commands[-1], StartReading)


@dataclass
class Held:
    """A partition that was opened, and its control."""

    driver: Driver = field(default_factory=Driver)
    watches: bool = True

    def __post_init__(self) -> None:
        self.control = control(self.driver.flow)
        self.asked: list[dict[Partition, int]] = []
        if self.watches:
            self.control.watch_pauses = lambda found: self.asked.append(dict(found))
        self.control.reader = self.reader = Reading()
        self.control.open(PARTITION)

    def answer(self, pause: InputPause | None) -> None:
        self.control.on_pauses({PARTITION: pause})


def control(tasks: TaskManager) -> FlowController:
    return FlowController(
        tasks,
        Mock(spec=Observer),
        in_flight_records_max=10,
        in_flight_bytes_max=1_000_000,
        dead_letter_pause_s=60,
        missing_schema=None,
        clock=lambda: 0.0,
    )


def test_a_partition_is_read_once_it_is_known_that_nobody_pauses_it() -> None:
    assert Held(watches=False).reader.is_read
    held = Held()
    held.control.update(leaving=False)
    assert held.reader.commands == []
    held.answer(None)
    assert held.reader.commands == [StartReading(PARTITION, 0, 1)]
    held.control.update(leaving=False)
    assert len(held.reader.commands) == 1
    paused = Held()
    paused.answer(SINCE)
    assert paused.reader.commands == []


def test_what_was_known_of_an_earlier_assignment_is_forgotten() -> None:
    held = Held()
    held.answer(None)
    held.control.forget(PARTITION)
    held.reader.commands.clear()
    held.control.open(PARTITION)
    assert held.reader.commands == []


def test_a_pause_holds_what_was_read_and_resume_releases_it_in_order() -> None:
    held = Held()
    held.answer(None)
    held.driver.feed(response("ann"))
    in_flight = held.driver.one()
    for user in ("ann", "bob", "cid"):
        held.driver.feed(response(user))
    held.answer(SINCE)
    assert not held.reader.is_read
    assert held.driver.turn() == []
    held.driver.settle(in_flight)
    assert held.driver.turn() == []
    assert not held.driver.flow.has_changes(ReleaseBudget(limited=9, unlimited=9))
    held.answer(SINCE)
    held.answer(None)
    assert held.reader.commands[-1] == StartReading(PARTITION, 4, 1)
    assert [one.events[0].record.offset for one in held.driver.turn()] == [1, 2, 3]


def test_what_a_pause_holds_leaves_the_room_to_other_partitions() -> None:
    held = Held()
    held.answer(None)
    for number in range(9):
        held.driver.feed(response(f"u{number}"))
    held.control.update(leaving=False)
    assert held.reader.fetch_budget == 1
    held.answer(SINCE)
    held.control.update(leaving=False)
    assert held.reader.fetch_budget == 10


def test_an_intent_that_lacks_its_event_is_read_on_for() -> None:
    """What is in doubt is resolved in a pause; the events behind it are held."""
    driver = Driver()
    driver.feed(identify())
    driver.one()
    heir = Held(driver.after_crash())
    assert heir.driver.part.awaiting_replay
    heir.answer(SINCE)
    assert heir.reader.is_read
    heir.driver.feed(identify())
    heir.driver.feed(response("bob"))
    heir.control.update(leaving=False)
    assert not heir.reader.is_read
    heir.driver.now += LIMITS.takeover_wait_s
    heir.driver.flow.run_timers(heir.driver.now)
    (request,) = heir.driver.turn()
    assert request.in_doubt


CONFIG = KafkaConfig(
    bootstrap_servers="",
    group_id="g",
    instance_id="w-0",
    topic=PARTITION.topic,
    ledger_topic="l",
    dead_letter_topic="d",
    parked_topic="p",
)
DENIED = KafkaException(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))
SILENT = KafkaException(KafkaError(KafkaError._TIMED_OUT))


class Answers:
    """What Kafka answers to one request after another."""

    clients: tuple[Any, ...] = ()

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[Partition, ...]] = []
        self.closed = threading.Event()

    def read(self, partitions: Iterable[Partition], *, timeout_s: float) -> Any:
        self.asked.append(tuple(partitions))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self.closed.set()


@dataclass
class Watched:
    """A watcher that asks at once, and what it reports."""

    answers: Answers
    told: list[PausesKnown | Failed] = field(default_factory=list)


@pytest.fixture
def watching(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    watchers = []
    monkeypatch.setattr(input_pause, "ASK_EVERY_S", 0.001)
    monkeypatch.setattr(input_pause, "RETRY_S", 0.001)

    def begin(*answers: Any) -> Watched:
        watched = Watched(Answers(*answers))
        monkeypatch.setattr(input_pause, "PauseReader", lambda _: watched.answers)
        watcher = PauseWatcher(CONFIG, on_event=watched.told.append)
        watchers.append(watcher)
        watcher.start()
        watcher.watch({PARTITION: 4})
        return watched

    yield begin
    for watcher in watchers:
        watcher.close()
        watcher.join()


def test_a_watcher_reports_what_was_asked_for_which_assignment(watching: Any) -> None:
    watched = watching({PARTITION: SINCE}, {})
    until_now(lambda: len(watched.told) >= 2, "it has asked twice")
    assert watched.told[:2] == [
        PausesKnown({PARTITION: 4}, {PARTITION: SINCE}),
        PausesKnown({PARTITION: 4}, {}),
    ]


def test_without_an_answer_nothing_is_reported(watching: Any) -> None:
    watched = watching(SILENT, SILENT, {PARTITION: SINCE})
    until_now(lambda: watched.told, "there is an answer")
    assert len(watched.answers.asked) >= 3
    assert watched.told[0] == PausesKnown({PARTITION: 4}, {PARTITION: SINCE})


def test_without_access_only_a_known_pause_goes_on(watching: Any) -> None:
    watched = watching(DENIED)
    until_now(lambda: watched.told, "there is an answer")
    assert watched.told[0] == PausesKnown({PARTITION: 4}, {})
    known = watching({PARTITION: SINCE}, DENIED)
    until_now(lambda: len(known.told) >= 3, "access was taken away")
    assert all(one == PausesKnown({PARTITION: 4}, {PARTITION: SINCE}) for one in known.told)


def test_a_watcher_that_fails_ends_the_worker(watching: Any) -> None:
    watched = watching(ZeroDivisionError())
    until_now(lambda: watched.told, "it is reported")
    assert isinstance(watched.told[0], Failed)
    assert watched.answers.closed.wait(5)
