"""The topics as the cluster has them: their configuration, and checks."""

from collections.abc import Collection, Sequence

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    ResourceType,
)

from stream.kafka import config as settings
from stream.kafka.config import KafkaConfig
from stream.kafka.metadata import describe
from stream.kafka.topic_policies import (
    AUTO_CREATED,
    DEFAULTS,
    LETTER_RETENTION_S,
    Configs,
    Finding,
    check_configs,
    check_counts,
    check_privacy,
    plans,
)

REQUEST_TIMEOUT_S = 10.0


def check(
    config: KafkaConfig, *, dedupe_window_s: int, letter_retention_s: int = LETTER_RETENTION_S
) -> list[Finding]:
    """Check the four topics.

    Raises:
        StartupError: Kafka is unavailable.
    """
    findings, configs = inspect(config, dedupe_window_s=dedupe_window_s)
    return [*findings, *check_privacy(config, configs, letter_retention_s)]


def inspect(config: KafkaConfig, *, dedupe_window_s: int) -> tuple[list[Finding], Configs]:
    """Check the four topics; return the findings and the topics' configuration.

    The configuration is empty if a topic is missing.

    Raises:
        StartupError: Kafka is unavailable.
    """
    admin = AdminClient(settings.common(config))
    wanted = plans(config, dedupe_window_s=dedupe_window_s, record_bytes_max=0)
    topics = describe(admin, topics=[plan.name for plan in wanted]).topics
    missing = [plan for plan in wanted if plan.name not in topics]
    if missing:
        text = "missing; run `wootric-stream topics create --yes`"
        return [Finding(plan.name, False, f"{plan.role}: {text}") for plan in missing], {}
    findings = [
        Finding(plan.name, True, f"{plan.role}: {len(topics[plan.name].partitions)} partitions")
        for plan in wanted
    ]
    findings += check_counts(config, topics)
    configs = settled_configs(admin, [plan.name for plan in wanted])
    findings += check_configs(config, configs, dedupe_window_s)
    own = {config.ledger_topic, config.dead_letter_topic, config.parked_topic}
    wrong = own & {finding.topic for finding in findings if not finding.ok}
    findings += [
        Finding(name, False, AUTO_CREATED) for name in sorted(_without_own_settings(admin, wrong))
    ]
    return findings, configs


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
