"""The topics: required configuration and checks."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    ResourceType,
    TopicMetadata,
)

from stream.kafka import config as settings
from stream.kafka.config import KafkaConfig
from stream.kafka.metadata import describe

REQUEST_TIMEOUT_S = 10.0
HEADROOM_BYTES = 64 * 1024
"""Space for the headers that a dead letter adds to its record."""
LEDGER_BYTES_MIN = 2 * 1024 * 1024
"""An intent names at most 1,000 events of up to 256 characters, plus its operation."""
LEDGER_BYTES_MAX = 8 * 1024 * 1024
DEDUPE_WINDOW_S_MIN = 3_600
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
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
    configs = settled_configs(admin, [plan.name for plan in wanted])
    findings += _check_configs(config, configs, dedupe_window_s)
    own = {config.ledger_topic, config.dead_letter_topic, config.parked_topic}
    wrong = own & {finding.topic for finding in findings if not finding.ok}
    findings += [
        Finding(name, False, AUTO_CREATED) for name in sorted(_without_own_settings(admin, wrong))
    ]
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
    findings += compaction_findings(config, configs)
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


AUTO_CREATED = (
    "no setting of its own, like a topic that a broker has created automatically "
    "(auto.create.topics.enable): delete it and run `wootric-stream topics create`; if it replaces "
    "a ledger that was lost, see docs/how-to/operate/disaster.md first"
)
COMPACTED_INPUT = (
    "of the events with one key, that is one user, only the last survives, and answers are lost; "
    "records without a key are refused"
)
COMPACTED_LETTERS = (
    "of the records with one key, that is one user, only the last survives; those without a key "
    "would be refused, and with each the transaction"
)


def compaction_findings(config: KafkaConfig, configs: Configs) -> list[Finding]:
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


def short_retention(dedupe_window_s: int, *, segment_ms: int | None = None) -> dict[str, str]:
    """Return a retention of the input that the window exceeds by a day, where it is that long.

    ``segment_ms``: what the cluster prescribes, if it does. A window that is not longer than that
    fits no retention.
    """
    window_ms = dedupe_window_s * 1000
    if segment_ms is not None:
        room_ms = max(window_ms - segment_ms, HOUR_MS)
        return {"retention.ms": str(max(room_ms - DAY_MS, room_ms // 2))}
    kept_ms = max(window_ms - DAY_MS, window_ms // 2)
    return {"retention.ms": str(kept_ms), "segment.ms": str(min(HOUR_MS, window_ms // 4))}


def least_window_s(source: Mapping[str, str]) -> int | None:
    """Return the least KAFKA__DEDUPE_WINDOW_S that outlives the records of an input with this
    configuration; None if they are kept for ever.
    """
    kept_ms = int(source["retention.ms"])
    if kept_ms < 0:
        return None
    return max(DEDUPE_WINDOW_S_MIN, math.ceil((kept_ms + int(source["segment.ms"])) / 1000))


def _outlives(source: Mapping[str, str], dedupe_window_s: int) -> bool:
    """Return whether a record of the input may be there longer than its receipt."""
    least_s = least_window_s(source)
    return least_s is None or least_s > dedupe_window_s


def _retention_text(config: KafkaConfig, source: Mapping[str, str], dedupe_window_s: int) -> str:
    """Return what is wrong about the retention of the input, and the three ways out."""
    kept_ms, segment_ms = int(source["retention.ms"]), int(source["segment.ms"])
    shorter = alter_command(config, config.topic, short_retention(dedupe_window_s))
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


def settled_configs(admin: AdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the configuration of topics; retries while a new topic is not known everywhere."""
    for _ in range(50):
        try:
            return topic_configs(admin, names)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
            admin.poll(0.1)
    return topic_configs(admin, names)


def topic_configs(admin: AdminClient, names: Collection[str]) -> dict[str, dict[str, str]]:
    """Return the configuration of topics, with Kafka's defaults for what the brokers do not report.

    Raises:
        KafkaException: no response, or the configuration may not be read.
    """
    return {
        name: {
            **DEFAULTS,
            **{name: str(one.value) for name, one in entries.items() if one.value is not None},
        }
        for name, entries in _entries(admin, names).items()
    }


def _without_own_settings(admin: AdminClient, names: Collection[str]) -> set[str]:
    """Return the topics to which only the brokers' defaults apply."""
    own = ConfigSource.DYNAMIC_TOPIC_CONFIG
    return {
        name
        for name, entries in _entries(admin, names).items()
        if all(ConfigSource(entry.source) is not own for entry in entries.values())
    }


def _entries(admin: AdminClient, names: Collection[str]) -> dict[str, dict[str, ConfigEntry]]:
    if not names:
        return {}
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    answers = admin.describe_configs(resources, request_timeout=REQUEST_TIMEOUT_S)
    return {resource.name: answer.result() for resource, answer in answers.items()}
