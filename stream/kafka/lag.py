"""Consumer lag of the group, measured from outside: available without any live worker.

Lag counts up to the last stable offset, because nobody can read further. What lies behind that
offset belongs to an open transaction or waits for its end, and is counted separately.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from stream.errors import KafkaUnavailableError
from stream.kafka import config as settings
from stream.kafka.config import CredentialRefresher, KafkaConfig
from stream.kafka.input_pause import PauseReader, is_denied
from stream.kafka.metadata import Group, member_names
from stream.kafka.protocol import InputPause
from stream.record import Partition

READ_TIMES_S_MAX = 5.0
"""Time limit for reading the oldest unsettled records; the rest follows in the next measurement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionLag:
    """Position of the group in one partition.

    ``committed`` is None before the first commit; ``lag_s`` is None while the time of the oldest
    unsettled record is unknown. ``blocked`` counts the offsets behind the last stable one, and
    ``blocked_s`` is for how many seconds it has not moved meanwhile, as far as was measured.
    ``pause`` is the operator's, if any.
    """

    number: int
    begin: int
    end: int
    committed: int | None
    lag: int
    lag_s: float | None = None
    blocked: int = 0
    blocked_s: float = 0.0
    pause: InputPause | None = None

    @property
    def next_offset(self) -> int:
        """Where the group continues: the first offset if it never committed."""
        return self.begin if self.committed is None else self.committed

    @property
    def is_lost(self) -> bool:
        """Whether records were deleted before the group read them, or the topic was recreated."""
        return self.committed is not None and not self.begin <= self.committed <= self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLag:
    """State and lag of the group.

    ``kept`` maps each dead-letter topic to the number of offsets that it spans. This is slightly
    more than the number of dead letters, because every transaction ends with a control record.
    ``unanswered`` are the partitions that nobody answers about.
    """

    state: str
    members: tuple[str, ...]
    partitions: tuple[PartitionLag, ...]
    retention_ms: int | None = None
    kept: Mapping[str, int] = field(default_factory=dict)
    unanswered: tuple[int, ...] = ()


class LagMeter:
    """Measures repeatedly. Every method may block; use it from one thread at a time."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self.group = Group(config)
        self._time_reader = Consumer(
            {**settings.reader(config), "client.id": "lag-times", "queued.min.messages": 1}
        )
        self._pauses = PauseReader(config)
        self._credentials = CredentialRefresher(config)
        self._times: dict[int, tuple[int, float | None]] = {}
        self._stable_ends = StableEnds[int]()

    def close(self) -> None:
        """Close the clients."""
        self._time_reader.close()
        self._pauses.close()
        self.group.close()

    def measure(self) -> GroupLag:
        """Return the group's lag. Partitions without a leader are ``unanswered``.

        Raises:
            KafkaUnavailableError: Kafka did not respond.
        """
        clients = (self._time_reader, *self.group.clients, *self._pauses.clients)
        self._credentials.refresh(clients)
        try:
            return self._measure()
        except KafkaException as error:
            text = f"Kafka does not respond: {error.args[0].str()}; run `wootric-stream doctor`"
            raise KafkaUnavailableError(text) from error

    def _measure(self) -> GroupLag:
        config = self._config
        numbers = self.group.partitions(config.topic)
        if not numbers:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
        begins = self.group.offsets(config.topic, numbers, earliest=True)
        # Before the stable ends: what is written between the two requests is not blocked.
        log_ends = self.group.offsets(config.topic, begins)
        ends = self.group.offsets(config.topic, log_ends, stable=True)
        found = self.group.committed([Partition(config.topic, number) for number in numbers])
        position = {one.partition: None if one.offset < 0 else one.offset for one in found}
        pauses = self._read_pauses(numbers)
        reachable = [
            PartitionLag(
                number=number,
                begin=begins[number],
                end=ends[number],
                committed=position[number],
                lag=max(0, ends[number] - max(position[number] or 0, begins[number])),
                blocked=max(0, log_ends[number] - ends[number]),
                blocked_s=self._stable_ends.note(number, ends[number], log_ends[number]),
                pause=pauses.get(Partition(config.topic, number)),
            )
            for number in numbers
            if number in ends
        ]
        group = self.group.description()
        return GroupLag(
            state=group.state.name.lower(),
            members=tuple(member_names(group)),
            partitions=tuple(self._with_age(reachable)),
            retention_ms=self._retention_ms(),
            unanswered=tuple(sorted(set(numbers) - {one.number for one in reachable})),
            kept=self._kept((config.dead_letter_topic, config.parked_topic)),
        )

    def _read_pauses(self, numbers: Iterable[int]) -> dict[Partition, InputPause]:
        """Return the operator's pauses; none without access to them."""
        try:
            return self._pauses.read(Partition(self._config.topic, number) for number in numbers)
        except KafkaException as error:
            if is_denied(error):
                return {}
            raise

    def _retention_ms(self) -> int | None:
        try:
            return int(self.group.topic_config(self._config.topic).get("retention.ms", -1))
        except KafkaException:  # not authorized: report the rest anyway
            return None

    def _kept(self, topics: Iterable[str]) -> dict[str, int]:
        kept = {}
        for topic in topics:
            numbers = self.group.partitions(topic)
            begins = self.group.offsets(topic, numbers, earliest=True) if numbers else {}
            ends = self.group.offsets(topic, begins, stable=True) if begins else {}
            kept[topic] = sum(ends[number] - begins[number] for number in ends)
        return kept

    # Age of unsettled records

    def _with_age(self, partitions: Iterable[PartitionLag]) -> list[PartitionLag]:
        """Add the age of the oldest unsettled record; it is read once per position."""
        now = time.time()
        behind = {one.number: max(one.next_offset, one.begin) for one in partitions if one.lag}
        self._times = {
            number: (position, time_s)
            for number, (position, time_s) in self._times.items()
            if behind.get(number) == position and time_s is not None
        }
        self._read_times({n: position for n, position in behind.items() if n not in self._times})
        aged = []
        for one in partitions:
            lag, lag_s = one.lag, 0.0 if one.lag == 0 else None
            if one.number in self._times:
                timestamp = self._times[one.number][1]
                # Only control records lie before the end: the group has caught up.
                lag, lag_s = (0, 0.0) if timestamp is None else (lag, max(0.0, now - timestamp))
            aged.append(replace(one, lag=lag, lag_s=lag_s))
        return aged

    def _read_times(self, positions: dict[int, int]) -> None:
        """Read the record at each position; a partition end means that there is none."""
        if not positions:
            return
        topic = self._config.topic
        self._time_reader.assign(
            [TopicPartition(topic, n, position) for n, position in positions.items()]
        )
        deadline = time.monotonic() + READ_TIMES_S_MAX
        left = dict(positions)
        while left and time.monotonic() < deadline:
            for message in self._time_reader.consume(100, 0.1):
                number, error = message.partition(), message.error()
                if number is None or number not in left:
                    continue
                if error is None:
                    self._times[number] = (left.pop(number), message.timestamp()[1] / 1000)
                elif error.code() == KafkaError._PARTITION_EOF:
                    self._times[number] = (left.pop(number), None)
                else:
                    continue
                self._time_reader.incremental_unassign([TopicPartition(topic, number)])
        self._time_reader.unassign()


# Open transactions of others on the input


N = TypeVar("N")


class StableEnds(Generic[N]):
    """Last stable offsets of partitions, and since when each has not moved while the log is longer.

    A producer that transacts continuously has an open transaction at almost any moment; blocked is
    a partition whose stable offset stays where it is.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[N, tuple[int, float]] = {}

    def note(self, name: N, stable: int, log_end: int) -> float:
        """Note the offsets of a partition; return for how many seconds it has been blocked."""
        now = self._clock()
        end, since = self._since.get(name, (stable, now))
        if log_end <= stable:
            self._since.pop(name, None)
            return 0.0
        if end != stable:
            since = now
        self._since[name] = (stable, since)
        return now - since

    def forget(self, name: N) -> None:
        """Forget a partition."""
        self._since.pop(name, None)


def blocked_text(config: KafkaConfig, topic: str, partition: int, records: int) -> str:
    """Return what an open transaction blocks, and the commands that find it."""
    return (
        f"partition {partition} of {topic} is blocked by an open transaction: {records} offsets "
        f"behind it cannot be read. Find it with {transaction_command(config, topic, partition)}"
    )


def transaction_command(config: KafkaConfig, topic: str, partition: int) -> str:
    """Return the commands that list the transactions of a partition and those left open."""
    tool = f"kafka-transactions.sh --bootstrap-server {config.bootstrap_servers}"
    where = f"--topic {topic} --partition {partition}"
    return f"`{tool} describe-producers {where}` or `{tool} find-hanging {where}`"
