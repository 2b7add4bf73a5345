"""Configuration of Kafka clients."""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from stream.errors import StartupError

log = structlog.get_logger()

RECORD_BYTES_MAX = 10 * 1024 * 1024
"""The client's own limit; the topic's applies. A dead letter is slightly larger than its record."""
LETTER_BYTES_DEFAULT = 1024 * 1024
BATCH_BYTES_MAX = 1_000_000
"""A topic limits whole batches: a batch of small records must not exceed its record limit."""
SMALL_BATCH_BYTES_MAX = 64 * 1024
"""For producers that do not know the topic's limit."""

CLIENT_LOG_LEVEL = 2
"""Critical only: while the brokers are unavailable, each client of a process logs twenty lines per
second below that. ``log_client_error`` logs the same errors, less often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaConfig:
    """Topics, group and instance; times in seconds.

    ``letter_bytes_max`` is how many bytes of a record a dead letter may hold: a larger one may be
    rejected and would block everything. ``properties`` is passed to librdkafka unchanged; this
    module's own settings override it. ``login`` returns the current SASL user name and password, if
    any; it is called for each new client. ``token`` returns a token for OAUTHBEARER and when it
    expires (Unix seconds); each client calls it on a thread of its own before that time.
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
    token: Callable[[], tuple[str, float]] | None = field(default=None, repr=False, compare=False)

    @property
    def pause_group_id(self) -> str:
        """The group whose offsets say which partitions the operator pauses; it has no members."""
        return f"{self.group_id}.pause"

    @property
    def transactional_id(self) -> str:
        """One id per worker: a restart fences its predecessor."""
        return transactional_id(self.group_id, self.instance_id)


def transactional_id(group_id: str, instance_id: str) -> str:
    """Return the transactional id of an instance."""
    return f"{group_id}-{instance_id}"


def common(config: KafkaConfig) -> dict[str, Any]:
    """Return the settings of every client."""
    login = config.login()
    names = OIDC_LOGIN if _by_oidc(config) else ("sasl.username", "sasl.password")
    credentials: dict[str, Any] = {} if login is None else dict(zip(names, login, strict=True))
    token = config.token
    if token is not None:
        credentials["oauth_cb"] = lambda _: token()
    return {
        "bootstrap.servers": config.bootstrap_servers,
        "log_level": CLIENT_LOG_LEVEL,
        **config.properties,
        **credentials,
    }


OIDC_LOGIN = ("sasl.oauthbearer.client.id", "sasl.oauthbearer.client.secret")


def _by_oidc(config: KafkaConfig) -> bool:
    return config.properties.get("sasl.oauthbearer.method") == "oidc"


def consumer(config: KafkaConfig) -> dict[str, Any]:
    """Return the settings of the group consumer.

    The classic protocol is the default because a static member that was killed gets its partitions
    back in half a second; with ``group.protocol=consumer`` it waits for its previous session to
    expire (measured on Apache Kafka 4.1.1). A property can still choose that protocol; the broker
    then controls assignment and session.
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


def dynamic_member(config: KafkaConfig) -> dict[str, Any]:
    """Return the settings of a member without an instance id, which leaves when it is closed."""
    member = consumer(config)
    del member["group.instance.id"]
    return {**member, "client.id": f"{config.instance_id}-rebalance"}


def assigns_by_members(config: KafkaConfig) -> bool:
    """Return whether a member assigns the partitions (the classic protocol), not the broker."""
    return bool(config.properties.get("group.protocol") != "consumer")


def _session(config: KafkaConfig) -> dict[str, Any]:
    """Return the session settings, which only the classic protocol accepts."""
    if not assigns_by_members(config):
        return {}
    return {
        "session.timeout.ms": round(config.session_timeout_s * 1000),
        "heartbeat.interval.ms": round(min(1.0, config.session_timeout_s / 10) * 1000),
    }


def reader(config: KafkaConfig) -> dict[str, Any]:
    """Return the settings of a consumer that joins no group.

    It needs session settings anyway: the client rejects a session that is longer than the given
    ``max.poll.interval.ms``, and its default is 45 s.
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
    """Return the settings of a reader with high throughput.

    By default the client backs off for a second whenever its queue is full: 167,000 records per
    second, 600,000 without the backoff (measured, 2 cores, confluent-kafka 2.16.1). The queue is
    limited because it takes memory in addition to the state.
    """
    return {
        **reader(config),
        "fetch.queue.backoff.ms": 5,
        "queued.max.messages.kbytes": 16 * 1024,
    }


def producer(config: KafkaConfig, *, transactional_id: str) -> dict[str, Any]:
    """Return the settings of a transactional producer.

    ``retry.backoff.ms``: the coordinator returns CONCURRENT_TRANSACTIONS until the markers of the
    previous transaction are written, and the client waits the whole backoff: 94 ms per transaction
    with the default, 5 ms with 5 (measured on Apache Kafka 4.1.1).
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
    """Return the settings of the bridge's producer.

    Records that are not acknowledged in time fail, so that nothing piles up; a broker that is
    available again is found quickly. ``record_bytes_max`` is the topic's limit: a batch must not
    exceed it either.
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

    ``record_bytes_max`` is the target topic's limit: a batch must not exceed it.
    """
    return {
        **producer(config, transactional_id=config.transactional_id),
        "client.id": f"{config.instance_id}-bridge",
        "batch.size": min(BATCH_BYTES_MAX, record_bytes_max),
    }


# Properties of the user that do not fit the settings above

SOCKET_MARGIN_MS = 100
"""How much longer than a transaction a request may last. Source: librdkafka, rdkafka_conf.c."""
FORBIDDEN: Mapping[str, str] = {
    "transactional.id": "every worker has its own, made of KAFKA__GROUP_ID and KAFKA__INSTANCE_ID",
    "delivery.report.only.error": "the service waits for the report of each record",
}


def property_problems(config: KafkaConfig, *, transactional: bool = True) -> list[str]:
    """Return what is wrong about the properties, and what to do; an unfit one would make each
    transaction, or each client, fail later. Creates clients that connect to no broker: librdkafka
    compares the properties with each other and with the settings of this module.

    Without ``transactional``, only the settings of producers without transactions are compared.
    """
    properties = config.properties
    problems = [
        f"remove {name}: {why}"
        for name, why in FORBIDDEN.items()
        if str(properties.get(name, False)).lower() != "false"
    ]
    if transactional:
        problems += _socket_timeout(config)
    return problems or _rejected_by_client(config, transactional=transactional)


def _socket_timeout(config: KafkaConfig) -> list[str]:
    given = str(config.properties.get("socket.timeout.ms", ""))
    limit = round(config.transaction_timeout_s * 1000) + SOCKET_MARGIN_MS
    if not given.isdecimal() or int(given) <= limit:
        return []
    needed_s = math.ceil((int(given) - SOCKET_MARGIN_MS) / 1000)
    text = (
        f"socket.timeout.ms is {given}, but a request must not outlive its transaction "
        f"(KAFKA__TRANSACTION_TIMEOUT_S is {config.transaction_timeout_s:g} s): remove it, set it "
        f"to {limit} or less, or set KAFKA__TRANSACTION_TIMEOUT_S={needed_s}"
    )
    return [text]


def _rejected_by_client(config: KafkaConfig, *, transactional: bool) -> list[str]:
    trials: dict[str, tuple[Any, dict[str, Any]]] = {"producer": (Producer, plain_producer(config))}
    if transactional:
        trials["consumer"] = (Consumer, consumer(config))
        trials["transactional producer"] = (Producer, producer(config, transactional_id="trial"))
    found: dict[str, str] = {}
    for kind, (client, client_settings) in trials.items():
        try:
            client({**client_settings, "bootstrap.servers": ""}).close()
        except KafkaException as error:
            found.setdefault(error.args[0].str(), kind)
        except (TypeError, ValueError) as error:  # of a property that Python's client reads itself
            found.setdefault(str(error), kind)
    return [f"Kafka's client rejects them for its {kind}: {text}" for text, kind in found.items()]


def check_properties(config: KafkaConfig, *, transactional: bool = True) -> None:
    """Refuse properties with which the service could not work.

    Raises:
        StartupError: with all problems.
    """
    problems = property_problems(config, transactional=transactional)
    if problems:
        raise StartupError(f"check KAFKA__PROPERTIES: {'; '.join(problems)}", exit_code=78)


# SASL credentials that change while clients are running

CHECK_EVERY_S = 5.0


class CredentialRefresher:
    """Passes changed credentials to running clients.

    Open connections are kept. The next connection or re-authentication uses the new credentials.
    """

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._known = config.login()
        self._next_check_at = time.monotonic() + CHECK_EVERY_S

    def refresh(self, clients: Iterable[Any]) -> None:
        """Pass changed credentials to the clients; checks at most every few seconds."""
        now = time.monotonic()
        if now < self._next_check_at:
            return
        self._next_check_at = now + CHECK_EVERY_S
        login = self._config.login()
        if login is None or login == self._known or _by_oidc(self._config):
            return  # the client of an OIDC provider cannot be changed: that needs a restart
        self._known = login
        for client in clients:
            client.set_sasl_credentials(*login)
        log.info("kafka_login_changed")


# Errors of the clients as log events and startup errors


AUTH_ERRORS = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
OFFSET_ERRORS = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})


def log_client_error(error: KafkaError) -> None:
    """Log a connection or login error of a client. Used as ``error_cb``."""
    log.warning("kafka_client_error", error=error.name(), detail=error.str())


def startup_error_for(error: Exception) -> StartupError | None:
    """Return the startup error for an exception of Kafka's client; None for other exceptions."""
    return as_startup_error(error.args[0]) if isinstance(error, KafkaException) else None


def as_startup_error(error: KafkaError) -> StartupError:
    """Return an error that says what to do, with its exit code."""
    if error.code() in AUTH_ERRORS:
        return StartupError(
            f"Kafka denies access: {error.str()}; see docs/reference/access.md for the ACLs, and "
            "KAFKA__PROPERTIES for credentials",
            exit_code=77,
        )
    if error.code() == KafkaError._INVALID_ARG:
        text = f"Kafka's client rejects its settings: {error.str()}; check KAFKA__PROPERTIES"
        return StartupError(text, exit_code=78)
    if error.code() in OFFSET_ERRORS:
        text = "records were deleted by retention while they were read: run this again"
        return StartupError(text, exit_code=75)
    return StartupError(
        f"Kafka does not respond: {error.str()}; check KAFKA__BOOTSTRAP_SERVERS and, for TLS and "
        "SASL, KAFKA__PROPERTIES: `wootric-stream doctor` shows which step fails",
        exit_code=69,
    )
