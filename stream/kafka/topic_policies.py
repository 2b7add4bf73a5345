"""The four topics: required configuration, and what is wrong about an existing one. Pure."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from confluent_kafka.admin import TopicMetadata

from stream.kafka.config import KafkaConfig

HEADROOM_BYTES = 64 * 1024
"""Space for the headers that a dead letter adds to its record."""
LEDGER_BYTES_MIN = 2 * 1024 * 1024
"""An intent names at most 1,000 events of up to 256 characters, plus its operation."""
LEDGER_BYTES_MAX = 8 * 1024 * 1024
DEDUPE_WINDOW_S_MIN = 3_600
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
LETTER_RETENTION_S = 30 * DAY_MS // 1000
COMPACTION_LAG = "max.compaction.lag.ms"
COMPACTION_LAG_MS = DAY_MS
"""After it a replaced or erased profile is compacted away. Some providers do not let it be set."""
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
    """Result of a check of a topic. Unless ``ok``, the service refuses to start.

    With ``warning`` it starts, but data is kept for another time than the settings name.
    """

    topic: str
    ok: bool
    text: str
    warning: bool = False


def plans(
    config: KafkaConfig,
    *,
    dedupe_window_s: int,
    record_bytes_max: int,
    letter_retention_s: int = LETTER_RETENTION_S,
) -> list[TopicPlan]:
    """Return the four required topics; the input may hold records of ``record_bytes_max`` bytes."""
    letters = {
        "cleanup.policy": "delete",
        "retention.ms": str(letter_retention_s * 1000),
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
                COMPACTION_LAG: str(min(COMPACTION_LAG_MS, dedupe_window_s * 1000)),
                "max.message.bytes": str(LEDGER_BYTES_MAX),
            },
        ),
        TopicPlan(config.dead_letter_topic, "dead letters", letters),
        TopicPlan(config.parked_topic, "parked", letters),
    ]


def check_counts(config: KafkaConfig, topics: Mapping[str, TopicMetadata]) -> list[Finding]:
    """Return what is wrong about the numbers of partitions."""
    inputs = len(topics[config.topic].partitions)
    ledgers = len(topics[config.ledger_topic].partitions)
    if ledgers == inputs:
        return []
    advice = "add partitions to the ledger" if ledgers < inputs else "add partitions to the input"
    text = f"ledger: {ledgers} partitions, but the input has {inputs}; {advice}"
    return [Finding(config.ledger_topic, False, text)]


def check_configs(config: KafkaConfig, configs: Configs, dedupe_window_s: int) -> list[Finding]:
    """Return what is wrong about the configuration; with any of it the guarantee may not hold."""
    findings = []
    source, ledger = configs[config.topic], configs[config.ledger_topic]
    if "compact" not in ledger["cleanup.policy"]:
        text = f"ledger: cleanup.policy is {ledger['cleanup.policy']}; make it compact,delete: run "
        text += alter_command(config, config.ledger_topic, {"cleanup.policy": "compact,delete"})
        findings.append(Finding(config.ledger_topic, False, text))
    findings += check_compaction(config, configs)
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


def check_privacy(
    config: KafkaConfig, configs: Configs, letter_retention_s: int
) -> Iterator[Finding]:
    """Yield a warning where personal data is kept for another time than the settings name."""
    wanted_ms = letter_retention_s * 1000
    for name, role in ((config.dead_letter_topic, "dead letters"), (config.parked_topic, "parked")):
        kept_ms = int(configs.get(name, {}).get("retention.ms", wanted_ms))
        if kept_ms != wanted_ms:
            kept = "for ever" if kept_ms < 0 else f"for {_days(kept_ms)}"
            text = f"{role}: kept {kept}, but KAFKA__DEAD_LETTER_RETENTION_S is {_days(wanted_ms)}"
            command = alter_command(config, name, {"retention.ms": str(wanted_ms)})
            yield Finding(name, True, f"{text}; run {command}", warning=True)
    lag_ms = int(configs.get(config.ledger_topic, {}).get(COMPACTION_LAG, COMPACTION_LAG_MS))
    if lag_ms > COMPACTION_LAG_MS:
        command = alter_command(
            config, config.ledger_topic, {COMPACTION_LAG: str(COMPACTION_LAG_MS)}
        )
        text = f"ledger: replaced profiles may stay for KAFKA__DEDUPE_WINDOW_S; run {command}"
        yield Finding(config.ledger_topic, True, text, warning=True)


AUTO_CREATED = (
    "no setting of its own, like a topic that a broker has created automatically "
    "(auto.create.topics.enable): delete it and run `wootric-stream topics create --yes`; if it "
    "replaces a ledger that was lost, see docs/how-to/operate/disaster.md first"
)
COMPACTED_INPUT = (
    "of the events with one key, that is one user, only the last survives, and answers are lost; "
    "records without a key are refused"
)
COMPACTED_LETTERS = (
    "of the records with one key, that is one user, only the last survives; those without a key "
    "would be refused, and with each the transaction"
)


def check_compaction(config: KafkaConfig, configs: Configs) -> list[Finding]:
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


def letter_bytes(record_bytes_max: int) -> int:
    """Return how many bytes of an event a dead letter has room for beside its headers, in a record
    of at most ``record_bytes_max`` bytes.
    """
    return max(0, record_bytes_max - HEADROOM_BYTES)
