"""The topics: required configuration, creation, and checks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
    TopicMetadata,
)

from stream.errors import StartupError
from stream.kafka import config as settings
from stream.kafka.config import KafkaConfig, as_startup_error, check_properties
from stream.kafka.metadata import broker_limits, describe

REQUEST_TIMEOUT_S = 10.0
HEADROOM_BYTES = 64 * 1024
"""Space for the headers that a dead letter adds to its record."""
LEDGER_BYTES_MIN = 2 * 1024 * 1024
"""An intent names at most 1,000 events of up to 256 characters, plus its operation."""
LEDGER_BYTES_MAX = 8 * 1024 * 1024
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
REPLICATION_MAX = 3
RECORD_BYTES_DEFAULT = 1_048_588
"""Kafka's default of max.message.bytes."""
DEFAULTS: Mapping[str, str] = {
    "cleanup.policy": "delete",
    "retention.ms": str(7 * DAY_MS),
    "retention.bytes": "-1",
    "segment.ms": "0",
    "max.message.bytes": str(RECORD_BYTES_DEFAULT),
}
"""Values of what a broker does not report: Kafka's defaults. Brokers without segments report no
segment.ms, and need no time to close one."""


Configs: TypeAlias = Mapping[str, Mapping[str, str]]
"""Configuration of topics by name."""


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """Required configuration of one topic."""

    name: str
    role: str
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of a check of a topic. Unless ``ok``, the service refuses to start."""

    topic: str
    ok: bool
    text: str


def plans(config: KafkaConfig, *, dedupe_window_s: int, record_bytes_max: int) -> list[TopicPlan]:
    """Return the four required topics; the input may hold records of ``record_bytes_max`` bytes."""
    letters = {
        "cleanup.policy": "delete",
        "retention.ms": str(30 * DAY_MS),
        "max.message.bytes": str(record_bytes_max + HEADROOM_BYTES),
    }
    return [
        TopicPlan(config.topic, "input", {"cleanup.policy": "delete"}),
        TopicPlan(
            config.ledger_topic,
            "ledger",
            {
                "cleanup.policy": "compact,delete",
                "retention.ms": str(dedupe_window_s * 1000),
                "retention.bytes": "-1",  # the cluster may have a default
                "segment.ms": str(HOUR_MS),
                "max.message.bytes": str(LEDGER_BYTES_MAX),
            },
        ),
        TopicPlan(config.dead_letter_topic, "dead letters", letters),
        TopicPlan(config.parked_topic, "parked", letters),
    ]


def create(
    config: KafkaConfig,
    *,
    partitions: int,
    replication_factor: int | None,
    dedupe_window_s: int,
) -> list[Finding]:
    """Create missing topics; return what was done once all have leaders.

    The other topics get as many partitions as the input. If the input is created here, its
    retention is set below the dedupe window.

    Raises:
        StartupError: Kafka is unavailable or rejected the request.
    """
    admin = AdminClient(settings.common(config))
    cluster = describe(admin)
    existing = cluster.topics
    if config.topic in existing:
        partitions = len(existing[config.topic].partitions)
    replication = replication_factor or min(REPLICATION_MAX, len(cluster.brokers))
    wanted = plans(
        config, dedupe_window_s=dedupe_window_s, record_bytes_max=_record_max(admin, config)
    )
    findings = []
    new = []
    for plan in wanted:
        if plan.name in existing:
            findings.append(Finding(plan.name, True, f"{plan.role}: exists, left as it is"))
            continue
        extra = dict(plan.config)
        if plan.role == "input":
            extra |= _short_retention(dedupe_window_s)
        if replication >= REPLICATION_MAX:
            extra["min.insync.replicas"] = "2"
        new.append(
            NewTopic(
                plan.name, num_partitions=partitions, replication_factor=replication, config=extra
            )
        )
        text = f"{plan.role}: created with {partitions} partitions, {replication} replicas each"
        findings.append(Finding(plan.name, True, text))
    if new:
        for name, future in admin.create_topics(new, operation_timeout=30).items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise StartupError(
                        f"topic {name} was not created: {error.args[0].str()}", exit_code=69
                    ) from error
        _await_leaders(admin, [plan.name for plan in wanted])
    return findings + [
        found for found in check(config, dedupe_window_s=dedupe_window_s) if not found.ok
    ]


def check(config: KafkaConfig, *, dedupe_window_s: int) -> list[Finding]:
    """Check the four topics.

    Raises:
        StartupError: Kafka is unavailable.
    """
    findings, _ = inspect(config, dedupe_window_s=dedupe_window_s)
    return findings


def inspect(config: KafkaConfig, *, dedupe_window_s: int) -> tuple[list[Finding], Configs]:
    """Check the four topics; return the findings and the topics' configuration.

    The configuration is empty if a topic is missing.

    Raises:
        StartupError: Kafka is unavailable.
    """
    admin = AdminClient(settings.common(config))
    topics = describe(admin).topics
    wanted = plans(config, dedupe_window_s=dedupe_window_s, record_bytes_max=0)
    missing = [plan for plan in wanted if plan.name not in topics]
    if missing:
        text = "missing; run `wootric-stream topics create`"
        return [Finding(plan.name, False, f"{plan.role}: {text}") for plan in missing], {}
    findings = [
        Finding(plan.name, True, f"{plan.role}: {len(topics[plan.name].partitions)} partitions")
        for plan in wanted
    ]
    findings += _check_counts(config, topics)
    configs = _settled_configs(admin, [plan.name for plan in wanted])
    findings += _check_configs(config, configs, dedupe_window_s)
    return findings, configs


def _check_counts(config: KafkaConfig, topics: Mapping[str, TopicMetadata]) -> list[Finding]:
    inputs = len(topics[config.topic].partitions)
    ledgers = len(topics[config.ledger_topic].partitions)
    if ledgers == inputs:
        return []
    advice = "add partitions to the ledger" if ledgers < inputs else "add partitions to the input"
    text = f"ledger: {ledgers} partitions, but the input has {inputs}; {advice}"
    return [Finding(config.ledger_topic, False, text)]


def _check_configs(config: KafkaConfig, configs: Configs, dedupe_window_s: int) -> list[Finding]:
    findings = []
    source, ledger = configs[config.topic], configs[config.ledger_topic]
    if "compact" not in ledger["cleanup.policy"]:
        text = f"ledger: cleanup.policy is {ledger['cleanup.policy']}; make it compact,delete: run "
        text += alter_command(config, config.ledger_topic, {"cleanup.policy": "compact,delete"})
        findings.append(Finding(config.ledger_topic, False, text))
    findings += _check_compaction(config, configs)
    if "compact" not in source["cleanup.policy"] and _outlives(source, dedupe_window_s):
        text = _retention_text(config, source, dedupe_window_s)
        findings.append(Finding(config.topic, False, text))
    if (
        "delete" in ledger["cleanup.policy"]
        and 0 <= int(ledger["retention.ms"]) < dedupe_window_s * 1000
    ):
        text = "ledger: retention.ms is shorter than KAFKA__DEDUPE_WINDOW_S"
        findings.append(Finding(config.ledger_topic, False, text))
    if "delete" in ledger["cleanup.policy"] and int(ledger["retention.bytes"]) >= 0:
        text = "ledger: retention.bytes may end it before KAFKA__DEDUPE_WINDOW_S; set it to -1"
        findings.append(Finding(config.ledger_topic, False, text))
    if int(ledger["max.message.bytes"]) < LEDGER_BYTES_MIN:
        text = f"ledger: max.message.bytes is below {LEDGER_BYTES_MIN}: an entry might not fit"
        findings.append(Finding(config.ledger_topic, False, text))
    required = int(source["max.message.bytes"]) + HEADROOM_BYTES
    for name in (config.dead_letter_topic, config.parked_topic):
        if int(configs[name]["max.message.bytes"]) < required:
            text = f"max.message.bytes is below {required}: too small for the largest dead letter"
            findings.append(Finding(name, False, text))
    return findings


MISSING = (
    "missing; run `wootric-stream topics create`. A topic that this user may not see is missing "
    "too: docs/reference/access.md lists the ACLs"
)
COMPACTED_INPUT = (
    "of the events with one key, that is one user, only the last survives, and answers are lost; "
    "records without a key are refused"
)
COMPACTED_LETTERS = (
    "of the records with one key, that is one user, only the last survives; those without a key "
    "would be refused, and with each the transaction"
)


def _check_compaction(config: KafkaConfig, configs: Configs) -> list[Finding]:
    """Refuse compaction, alone or with deletion, wherever each record counts."""
    findings = []
    for name, role, reason in (
        (config.topic, "input", COMPACTED_INPUT),
        (config.dead_letter_topic, "dead letters", COMPACTED_LETTERS),
        (config.parked_topic, "parked", COMPACTED_LETTERS),
    ):
        policy = configs.get(name, DEFAULTS)["cleanup.policy"]
        if "compact" in policy:
            command = alter_command(config, name, {"cleanup.policy": "delete"})
            text = f"{role}: cleanup.policy is {policy}: {reason}; run {command}"
            findings.append(Finding(name, False, text))
    return findings


def alter_command(config: KafkaConfig, topic: str, changes: Mapping[str, str]) -> str:
    """Return the command that changes a topic's configuration; a value with a comma is in
    brackets, as Kafka's tool requires.
    """
    values = ",".join(
        f"{name}=[{value}]" if "," in value else f"{name}={value}"
        for name, value in changes.items()
    )
    tool = f"kafka-configs.sh --bootstrap-server {config.bootstrap_servers}"
    return f"`{tool} --entity-type topics --entity-name {topic} --alter --add-config {values}`"


def _short_retention(dedupe_window_s: int) -> dict[str, str]:
    """Return a retention of the input that the window exceeds by a day, where it is that long."""
    window_ms = dedupe_window_s * 1000
    kept_ms = max(window_ms - DAY_MS, window_ms // 2)
    return {"retention.ms": str(kept_ms), "segment.ms": str(min(HOUR_MS, window_ms // 4))}


def _outlives(source: Mapping[str, str], dedupe_window_s: int) -> bool:
    """Return whether a record of the input may be there longer than its receipt."""
    kept_ms = int(source["retention.ms"])
    return kept_ms < 0 or kept_ms + int(source["segment.ms"]) > dedupe_window_s * 1000


def _retention_text(config: KafkaConfig, source: Mapping[str, str], dedupe_window_s: int) -> str:
    """Return what is wrong about the retention of the input, and the three ways out."""
    kept_ms, segment_ms = int(source["retention.ms"]), int(source["segment.ms"])
    shorter = alter_command(config, config.topic, _short_retention(dedupe_window_s))
    ways = [f"shorten the input: {shorter}"]
    if kept_ms >= 0:
        window_s = -(-(kept_ms + segment_ms) // DAY_MS) * 86_400 + 86_400
        longer = alter_command(config, config.ledger_topic, {"retention.ms": str(window_s * 1000)})
        ways.append(
            f"lengthen the window: KAFKA__DEDUPE_WINDOW_S={window_s} ({_days(window_s * 1000)}), "
            f"after {longer}; the ledger grows"
        )
    ways.append(
        "give the service a topic of its own: copy the events to it, and name it by KAFKA__TOPIC"
    )
    listed = "; ".join(f"({number}) {way}" for number, way in enumerate(ways, start=1))
    lasts = (
        "for ever (retention.ms=-1)"
        if kept_ms < 0
        else f"up to {_days(kept_ms + segment_ms)} (retention.ms {_days(kept_ms)} + segment.ms "
        f"{_days(segment_ms)})"
    )
    return (
        f"input: it keeps a record {lasts}, longer than KAFKA__DEDUPE_WINDOW_S "
        f"({_days(dedupe_window_s * 1000)}): one that is read again later could have a second "
        f"effect. Ways out: {listed}"
    )


def _days(duration_ms: int) -> str:
    """Return a duration in days, or in hours below two days."""
    if duration_ms < 2 * DAY_MS:
        return f"{duration_ms / HOUR_MS:.3g} h"
    return f"{duration_ms / DAY_MS:.4g} days"


def _record_max(admin: AdminClient, config: KafkaConfig) -> int:
    """Return the record size limit of the input; Kafka's default if it does not exist yet."""
    try:
        return int(_configs(admin, [config.topic])[config.topic]["max.message.bytes"])
    except KafkaException:
        return RECORD_BYTES_DEFAULT


def _settled_configs(admin: AdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the configuration of topics; retries while a new topic is not known everywhere."""
    for _ in range(50):
        try:
            return _configs(admin, names)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
            admin.poll(0.1)
    return _configs(admin, names)


def _configs(admin: AdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    answers = admin.describe_configs(resources, request_timeout=REQUEST_TIMEOUT_S)
    return {
        resource.name: {
            **DEFAULTS,
            **{
                name: str(entry.value)
                for name, entry in answer.result().items()
                if entry.value is not None
            },
        }
        for resource, answer in answers.items()
    }


def _await_leaders(admin: AdminClient, names: Sequence[str]) -> None:
    """Return once every partition has a leader: clients can then start immediately."""
    for _ in range(100):
        topics = admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics
        if all(
            name in topics
            and topics[name].partitions
            and all(part.leader >= 0 for part in topics[name].partitions.values())
            for name in names
        ):
            return
        admin.poll(0.1)
    raise StartupError("the new topics have no leaders yet; try again", exit_code=75)


# Startup checks; each message says what to do


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
        problems += broker_limits(config)
    except KafkaException as error:
        if error.args[0].code() == KafkaError._INVALID_ARG:
            raise as_startup_error(error.args[0]) from error
        text = f"Kafka does not return its configuration: {error.args[0].str()}"
        raise StartupError(text, exit_code=75) from error
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
    existing = describe(admin).topics
    problems = [f"{name}: {MISSING}" for name in names if name not in existing]
    if source == config.topic:
        problems.append(f"{source}: is the input itself; --from-topic must name another topic")
    if problems:
        raise StartupError(_bridge_problems(problems), exit_code=78)
    configs = {name: _bridge_config(admin, name, optional=source is None) for name in names}
    sizes = {name: int(found["max.message.bytes"]) for name, found in configs.items()}
    problems += [f"{found.topic}: {found.text}" for found in _check_compaction(config, configs)]
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


def letter_bytes(record_bytes_max: int) -> int:
    """Return how many bytes of an event a dead letter has room for beside its headers, in a record
    of at most ``record_bytes_max`` bytes.
    """
    return max(0, record_bytes_max - HEADROOM_BYTES)


def _bridge_config(admin: AdminClient, topic: str, *, optional: bool) -> Mapping[str, str]:
    """Return a topic's configuration; Kafka's defaults if it is ``optional`` and not permitted."""
    try:
        return _configs(admin, [topic])[topic]
    except KafkaException as error:
        reason = error.args[0]
        if optional and reason.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return DEFAULTS
        text = f"Kafka does not return its configuration: {reason.str()}"
        raise StartupError(text, exit_code=75) from error


def _bridge_problems(problems: list[str]) -> str:
    return "Kafka is not ready for the bridge:\n  " + "\n  ".join(problems)
