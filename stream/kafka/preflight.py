"""Checks of Kafka at the start of the service; each message says what to do."""

from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from stream.errors import StartupError
from stream.kafka import config as settings
from stream.kafka.config import KafkaConfig, as_startup_error, check_properties
from stream.kafka.metadata import CLUSTER_S, describe
from stream.kafka.topic_policies import DEFAULTS, HEADROOM_BYTES, check_compaction, letter_bytes
from stream.kafka.topics import inspect, topic_configs

log = structlog.get_logger()

MISSING = (
    "missing; run `wootric-stream topics create --yes`. A topic that this user may not see is "
    "missing too: docs/reference/access.md lists the ACLs"
)


def preflight(config: KafkaConfig, *, dedupe_window_s: int) -> int:
    """Refuse to start on a cluster where the delivery guarantee could not hold.

    Returns how many bytes of a record its dead letter may hold, whatever the compression.

    Raises:
        StartupError: with all problems; exit code 75 when Kafka does not respond.
    """
    check_properties(config)
    try:
        findings, configs = inspect(config, dedupe_window_s=dedupe_window_s)
        problems = [f"{finding.topic}: {finding.text}" for finding in findings if not finding.ok]
        limits = broker_limits(config)
        problems += limits.problems
    except KafkaException as error:
        if error.args[0].code() == KafkaError._INVALID_ARG:
            raise as_startup_error(error.args[0]) from error
        text = f"Kafka does not return its configuration: {error.args[0].str()}"
        raise StartupError(text, exit_code=75) from error
    if limits.unread:
        log.warning("broker_limits_unknown", detail=limits.unread)
    if problems:
        raise StartupError("Kafka is not ready:\n  " + "\n  ".join(problems), exit_code=78)
    letters = (config.dead_letter_topic, config.parked_topic)
    sizes = (int(configs[name]["max.message.bytes"]) for name in letters)
    return letter_bytes(min(*sizes, settings.RECORD_BYTES_MAX))


def preflight_bridge(config: KafkaConfig, *, source: str | None = None) -> int:
    """Refuse to bridge into topics that are missing or could not hold the records.

    ``source`` is the topic that is read, if any. Returns the record size limit of the source, else
    of the input, in bytes. Without a source, reading the limit needs no permission: the result is
    then Kafka's default.

    Raises:
        StartupError: with all problems; exit code 75 when Kafka does not respond.
    """
    check_properties(config, transactional=source is not None)
    admin = AdminClient(settings.common(config))
    names = [config.topic, config.dead_letter_topic, *([] if source is None else [source])]
    existing = describe(admin, topics=names).topics
    problems = [f"{name}: {MISSING}" for name in names if name not in existing]
    if source == config.topic:
        problems.append(f"{source}: is the input itself; --from-topic must name another topic")
    if problems:
        raise StartupError(_bridge_problems(problems), exit_code=78)
    configs = {name: _bridge_config(admin, name, optional=source is None) for name in names}
    sizes = {name: int(found["max.message.bytes"]) for name, found in configs.items()}
    problems += [f"{found.topic}: {found.text}" for found in check_compaction(config, configs)]
    if source is not None:
        for name, required in (
            (config.topic, sizes[source]),
            (config.dead_letter_topic, sizes[source] + HEADROOM_BYTES),
        ):
            if sizes[name] < required:
                problems.append(
                    f"{name}: max.message.bytes is below {required}, which {source} may need"
                )
    if problems:
        raise StartupError(_bridge_problems(problems), exit_code=78)
    return sizes[source or config.topic]


def _bridge_config(admin: AdminClient, topic: str, *, optional: bool) -> Mapping[str, str]:
    """Return a topic's configuration; Kafka's defaults if it is ``optional`` and not permitted."""
    try:
        return topic_configs(admin, [topic])[topic]
    except KafkaException as error:
        reason = error.args[0]
        if optional and reason.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return DEFAULTS
        text = f"Kafka does not return its configuration: {reason.str()}"
        raise StartupError(text, exit_code=75) from error


def _bridge_problems(problems: list[str]) -> str:
    return "Kafka is not ready for the bridge:\n  " + "\n  ".join(problems)


# Limits of the brokers


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """What is outside the brokers' limits. ``unread``: why they could not be read, else empty."""

    problems: tuple[str, ...] = ()
    unread: str = ""


def broker_limits(config: KafkaConfig) -> BrokerLimits:
    """Compare the configured timeouts with the brokers' limits.

    Managed clusters need not show them. The brokers themselves refuse a timeout beyond a limit: of
    the session when a worker joins, of the transaction when its producer starts.

    Raises:
        KafkaException: no response.
    """
    admin = AdminClient(settings.common(config))
    broker = next(iter(describe(admin).brokers))
    requested = ConfigResource(ResourceType.BROKER, str(broker))
    answers = admin.describe_configs([requested], request_timeout=CLUSTER_S)
    try:
        found = {name: entry.value for name, entry in answers[requested].result().items()}
    except KafkaException as error:
        reason = error.args[0]
        if reason.code() < 0:  # the client's own: there was no response
            raise
        return BrokerLimits(unread=reason.str())
    problems = []
    session_ms = config.session_timeout_s * 1000
    low, high = (
        int(found.get(f"group.{bound}.session.timeout.ms") or default)
        for bound, default in (("min", 6_000), ("max", 1_800_000))
    )
    if not low <= session_ms <= high:
        problems.append(
            f"KAFKA__SESSION_TIMEOUT_S is outside the brokers' limits: {low / 1000:g} to "
            f"{high / 1000:g} s (group.min.session.timeout.ms, group.max.session.timeout.ms)"
        )
    longest = int(found.get("transaction.max.timeout.ms") or 900_000)
    if config.transaction_timeout_s * 1000 > longest:
        problems.append(
            f"KAFKA__TRANSACTION_TIMEOUT_S is above the brokers' {longest / 1000:g} s "
            "(transaction.max.timeout.ms)"
        )
    return BrokerLimits(tuple(problems))
