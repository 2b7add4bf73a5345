"""What our clients are told, and nothing about what they do."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

RECORD_BYTES_MAX = 10 * 1024 * 1024
"""The client's own limit; the topic's governs. A dead letter is its record and a little more."""
LETTER_BYTES_DEFAULT = 1024 * 1024
BATCH_BYTES_MAX = 1_000_000
"""A topic bounds whole batches: one of many small letters must not be larger than the largest."""
SMALL_BATCH_BYTES_MAX = 64 * 1024
"""For who does not know what the topic takes."""

CLIENT_LOG_LEVEL = 2
"""Critical lines only: while the brokers are away the client writes twenty others a second, each
client of a process its own. What they say, ``noted`` says in our log, and not as often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaConfig:
    """Where the topics are and who we are there; times in seconds.

    ``letter_bytes_max`` is how many bytes of a record a dead letter may hold: what is larger may
    not be taken, and would hold up everything. ``properties`` goes to librdkafka as it is, behind
    our own choices. ``login`` gives name and password for SASL as they are now, if there are any;
    it is asked for each client anew.
    """

    bootstrap_servers: str
    group_id: str
    instance_id: str
    topic: str
    ledger_topic: str
    dead_letter_topic: str
    parked_topic: str
    session_timeout_s: float = 10.0
    transaction_timeout_s: float = 10.0
    letter_bytes_max: int = LETTER_BYTES_DEFAULT
    properties: Mapping[str, Any] = field(default_factory=dict, repr=False)
    login: Callable[[], tuple[str, str] | None] = field(
        default=lambda: None, repr=False, compare=False
    )

    @property
    def transactional_id(self) -> str:
        """One id a worker: a restart silences its predecessor."""
        return transactional_id(self.group_id, self.instance_id)


def transactional_id(group_id: str, instance_id: str) -> str:
    """Return the transactional id of a group's instance."""
    return f"{group_id}-{instance_id}"


def common(config: KafkaConfig) -> dict[str, Any]:
    """Return what every client is told."""
    login = config.login()
    names = ("sasl.username", "sasl.password")
    credentials = {} if login is None else dict(zip(names, login, strict=True))
    return {
        "bootstrap.servers": config.bootstrap_servers,
        "log_level": CLIENT_LOG_LEVEL,
        **config.properties,
        **credentials,
    }


def consumer(config: KafkaConfig) -> dict[str, Any]:
    """Return the settings of the group member.

    The classic protocol, because a static member that was killed has its partitions back
    in half a second; under ``group.protocol=consumer`` it waits for its own ghost.
    Measured on Apache Kafka 4.1.1. That protocol can be chosen by a property all the same;
    assignment and session are the broker's business then.
    """
    strategy = {"partition.assignment.strategy": "cooperative-sticky"}
    session = _session(config)
    return {
        **common(config),
        "group.id": config.group_id,
        "group.instance.id": config.instance_id,
        "client.id": f"{config.instance_id}-member",
        **session,
        **(strategy if session else {}),
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 100,
        "queued.max.messages.kbytes": 16 * 1024,
        "fetch.message.max.bytes": 1024 * 1024,
    }


def _session(config: KafkaConfig) -> dict[str, Any]:
    """Return the session's settings under the classic protocol, which alone takes them."""
    if config.properties.get("group.protocol") == "consumer":
        return {}
    return {
        "session.timeout.ms": round(config.session_timeout_s * 1000),
        "heartbeat.interval.ms": round(min(1.0, config.session_timeout_s / 10) * 1000),
    }


def reader(config: KafkaConfig) -> dict[str, Any]:
    """Return the settings of a consumer that reads the ledger by itself and joins no group.

    It has a session all the same: the client refuses one that is longer than the given
    ``max.poll.interval.ms``, and 45 s is what it would take by itself.
    """
    return {
        **common(config),
        "group.id": config.group_id,
        "client.id": f"{config.instance_id}-reader",
        **_session(config),
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 50,
    }


def restorer(config: KafkaConfig) -> dict[str, Any]:
    """Return the settings of a reader that is in a hurry.

    By itself the client takes a second off whenever its queue is full: 167,000 records a second,
    and 600,000 without that (measured, 2 cores, confluent-kafka 2.16.1). The queue is bounded,
    because it lies beside the state.
    """
    return {
        **reader(config),
        "fetch.queue.backoff.ms": 5,
        "queued.max.messages.kbytes": 16 * 1024,
    }


def producer(config: KafkaConfig, *, transactional_id: str) -> dict[str, Any]:
    """Return the settings of a transactional producer.

    ``retry.backoff.ms``: the coordinator answers CONCURRENT_TRANSACTIONS until the markers
    of the transaction before are written, and the client waits the whole backoff: 94 ms a
    transaction with the default, 5 ms with 5. Measured on Apache Kafka 4.1.1.
    """
    return {
        **common(config),
        "transactional.id": transactional_id,
        "client.id": f"{config.instance_id}-producer",
        "transaction.timeout.ms": round(config.transaction_timeout_s * 1000),
        "message.timeout.ms": round(config.transaction_timeout_s * 800),
        "message.max.bytes": RECORD_BYTES_MAX,
        "batch.size": min(BATCH_BYTES_MAX, config.letter_bytes_max),
        "compression.type": "lz4",
        "acks": "all",
        "linger.ms": 0,
        "retry.backoff.ms": 5,
        "retry.backoff.max.ms": 100,
        "partitioner": "murmur2_random",
    }


def plain_producer(config: KafkaConfig) -> dict[str, Any]:
    """Return the settings of an idempotent producer without transactions."""
    return {
        **common(config),
        "client.id": f"{config.instance_id}-publisher",
        "enable.idempotence": True,
        "acks": "all",
        "message.max.bytes": RECORD_BYTES_MAX,
        "batch.size": SMALL_BATCH_BYTES_MAX,
        "compression.type": "lz4",
        "linger.ms": 5,
        "partitioner": "murmur2_random",
    }


def acknowledged_producer(
    config: KafkaConfig, *, record_bytes_max: int, ack_timeout_s: float
) -> dict[str, Any]:
    """Return the settings of the bridge's producer: what is not acknowledged in time is given
    up, so that nothing piles up, and what is back is found at once.

    ``record_bytes_max`` is the topic's: a batch of many records must not be larger either.
    """
    return {
        **plain_producer(config),
        "client.id": f"{config.instance_id}-bridge",
        "message.max.bytes": record_bytes_max,
        "batch.size": BATCH_BYTES_MAX,
        "message.timeout.ms": round(ack_timeout_s * 1000),
        "linger.ms": 2,
        "reconnect.backoff.max.ms": 1000,
    }


def repartition_producer(config: KafkaConfig, *, record_bytes_max: int) -> dict[str, Any]:
    """Return the settings of the transactional producer between two topics.

    ``record_bytes_max`` is the target's: a batch of many records must not be larger.
    """
    return {
        **producer(config, transactional_id=config.transactional_id),
        "client.id": f"{config.instance_id}-bridge",
        "batch.size": min(BATCH_BYTES_MAX, record_bytes_max),
    }


# Name and password for SASL that change while clients live


log = structlog.get_logger()

CHECK_EVERY_S = 5.0


class CredentialRefresher:
    """Gives clients that stay the credentials that have changed since they were made.

    Connections that are open stay open, as the brokers have it; the next one that is made, or
    that has to say again who it is, says it with the new ones.
    """

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._known = config.login()
        self._next_check_at = time.monotonic() + CHECK_EVERY_S

    def refresh(self, clients: Iterable[Any]) -> None:
        """Look whether they have changed, if some seconds went by since the last look."""
        now = time.monotonic()
        if now < self._next_check_at:
            return
        self._next_check_at = now + CHECK_EVERY_S
        login = self._config.login()
        if login is None or login == self._known:
            return
        self._known = login
        for client in clients:
            client.set_sasl_credentials(*login)
        log.info("kafka_login_changed")
