"""The operator's pause of the input: offsets of a group of its own, which workers look at.

A committed offset of 1 pauses the partition, 0 or none does not. The group has no members, so that
the offset can be committed while workers run, and survives them.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from sink.rate_limit import backoff_s
from stream.errors import StartupError
from stream.kafka import config as settings
from stream.kafka.config import CredentialRefresher, KafkaConfig, log_client_error
from stream.kafka.metadata import REQUEST_TIMEOUT_S, committed
from stream.kafka.protocol import Failed, InputPause, PausesKnown
from stream.record import Partition

log = structlog.get_logger()

PAUSED, RESUMED = 1, 0
FORM = "v1"
DIGITS_MAX = 14
"""Of a time in milliseconds: enough until the year 5138."""
ASK_EVERY_S = 2.0
ASK_S = 1.0
RETRY_S = 0.1


def metadata_of(pause: InputPause) -> str:
    """Return the metadata that is stored with the offset: the version of this form, since when."""
    return f"{FORM}:{pause.since_ms}"


def pause_of(offset: int, metadata: str | None) -> InputPause | None:
    """Return the pause of which this is the committed offset; None if it is none.

    A pause whose metadata cannot be read is one anyway: another version, or another tool.
    """
    if offset < PAUSED:
        return None
    form, _, since_ms = (metadata or "").partition(":")
    is_time = since_ms.isascii() and since_ms.isdecimal() and len(since_ms) <= DIGITS_MAX
    return InputPause(int(since_ms) if form == FORM and is_time else None)


class PauseReader:
    """Reads pauses. The methods block; use it on one thread at a time."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._consumer = _client(config)

    @property
    def clients(self) -> tuple[Any, ...]:
        """The consumer."""
        return (self._consumer,)

    def close(self) -> None:
        """Close the client."""
        self._consumer.close()

    def read(
        self, partitions: Iterable[Partition], *, timeout_s: float = REQUEST_TIMEOUT_S
    ) -> dict[Partition, InputPause]:
        """Return the pauses of those partitions that are paused.

        The client retries what the coordinator refuses, and reports it to ``poll`` only.

        Raises:
            KafkaException: no response in time, or access is denied.
        """
        requested = tuple(partitions)
        until = time.monotonic() + timeout_s
        while True:
            try:
                found = committed(self._consumer, requested, timeout_s=min(ASK_S, timeout_s))
            except KafkaException as error:
                self._raise_denial()
                if error.args[0].code() != KafkaError._TIMED_OUT or time.monotonic() > until:
                    raise
            else:
                break
        pauses = {
            Partition(one.topic, one.partition): pause_of(one.offset, one.metadata) for one in found
        }
        return {partition: pause for partition, pause in pauses.items() if pause is not None}

    def _raise_denial(self) -> None:
        while (message := self._consumer.poll(0)) is not None:
            error = message.error()
            if error is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                raise KafkaException(error)


def is_denied(error: KafkaException) -> bool:
    """Return whether access to the group of the pauses is missing."""
    return bool(error.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED)


class PauseWatcher(threading.Thread):
    """Asks every two seconds which assigned partitions are paused, at once after an assignment.

    ``on_event`` is called on this thread. Without an answer nothing is reported, and what is known
    stays. Without access to the group, partitions that were not known to be paused are not.
    """

    def __init__(
        self, config: KafkaConfig, *, on_event: Callable[[PausesKnown | Failed], None]
    ) -> None:
        super().__init__(name="pause-watcher", daemon=True)
        self._reader = PauseReader(config)
        self._credentials = CredentialRefresher(config)
        self._emit = on_event
        self._assignments: Mapping[Partition, int] = {}
        self._pauses: dict[Partition, InputPause] = {}
        self._failures = 0
        self._denied = False
        self._changed = threading.Event()
        self._closed = threading.Event()

    def watch(self, assignments: Mapping[Partition, int]) -> None:
        """Ask about these partitions, which have an assignment epoch each. Thread-safe."""
        self._assignments = assignments
        self._changed.set()

    def close(self) -> None:
        """Report nothing any more, and end soon. Thread-safe."""
        self._closed.set()
        self._changed.set()

    def run(self) -> None:
        """Ask until closed."""
        try:
            while not self._closed.is_set():
                self._changed.clear()
                self._credentials.refresh(self._reader.clients)
                asked = self._assignments
                self._changed.wait(self._ask(asked) if asked else ASK_EVERY_S)
        except Exception as error:  # noqa: BLE001  the thread's entry point: nothing may vanish
            self._report(Failed(error))
        self._reader.close()

    def _ask(self, asked: Mapping[Partition, int]) -> float:
        """Ask once; return for how many seconds to wait."""
        try:
            self._pauses = self._reader.read(asked, timeout_s=ASK_S)
        except KafkaException as error:
            if not is_denied(error):
                self._failures += 1
                log.warning("pauses_unknown", error=error.args[0].str(), failures=self._failures)
                return backoff_s(self._failures, initial_s=RETRY_S, max_s=ASK_EVERY_S)
            if not self._denied:
                log.warning("pauses_denied", error=error.args[0].str())
            self._denied = True
        else:
            self._denied = False
        self._failures = 0
        known = {one: self._pauses[one] for one in asked if one in self._pauses}
        self._report(PausesKnown(asked, known))
        return ASK_EVERY_S

    def _report(self, event: PausesKnown | Failed) -> None:
        if not self._closed.is_set():
            self._emit(event)


def commit_pauses(config: KafkaConfig, pauses: Mapping[Partition, InputPause | None]) -> None:
    """Pause and resume partitions, and read it back.

    Raises:
        KafkaException: no response, or access is denied.
        StartupError: the group has other offsets now.
    """
    consumer = _client(config)
    try:
        consumer.commit(
            offsets=[
                TopicPartition(*partition, RESUMED)
                if pause is None
                else TopicPartition(*partition, PAUSED, metadata=metadata_of(pause))
                for partition, pause in pauses.items()
            ],
            asynchronous=False,
        )
        found = {
            Partition(one.topic, one.partition): pause_of(one.offset, one.metadata)
            for one in committed(consumer, pauses)
        }
    finally:
        consumer.close()
    if found != dict(pauses):
        raise StartupError(
            f"the offsets of the group {config.pause_group_id} are not what was committed: run "
            "this again",
            exit_code=75,
        )


def _client(config: KafkaConfig) -> Consumer:
    return Consumer(
        {
            **settings.reader(config),
            "group.id": config.pause_group_id,
            "client.id": f"{config.instance_id}-pauses",
            "error_cb": log_client_error,
        }
    )
