"""Creation of the topics, also on clusters that refuse some of their settings."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from stream.errors import StartupError
from stream.kafka import config as settings
from stream.kafka.config import KafkaConfig
from stream.kafka.metadata import describe
from stream.kafka.topic_policies import (
    COMPACTION_LAG,
    LETTER_RETENTION_S,
    RECORD_BYTES_DEFAULT,
    Finding,
    TopicPlan,
    plans,
    short_retention,
)
from stream.kafka.topics import REQUEST_TIMEOUT_S, check, settled_configs, topic_configs

CREATE_S = 30.0
REPLICATION_MAX = 3
REFUSALS = frozenset(
    {KafkaError.POLICY_VIOLATION, KafkaError.INVALID_CONFIG, KafkaError.INVALID_REQUEST}
)
"""How clusters refuse a topic's setting: by a policy (KIP-108), by its bounds, or altogether."""
CONSEQUENCES: Mapping[str, str] = {
    "cleanup.policy": "the cluster's default decides whether records are compacted",
    "retention.ms": "the cluster's default decides how long records are kept",
    "retention.bytes": "the cluster's default may delete records earlier",
    "segment.ms": "records are kept longer by the cluster's segment.ms, and take more space",
    "max.message.bytes": "the cluster's default decides how large a record may be",
    COMPACTION_LAG: "replaced profiles may stay for KAFKA__DEDUPE_WINDOW_S",
    "min.insync.replicas": "if the cluster's default is 1, the loss of one broker may lose records",
}
"""What follows from a setting that is left out. The check of the topics says whether it fits."""


def create(
    config: KafkaConfig,
    *,
    partitions: int,
    replication_factor: int | None,
    dedupe_window_s: int,
    letter_retention_s: int = LETTER_RETENTION_S,
    yes: bool = True,
) -> list[Finding]:
    """Create missing topics; return what was done once all have leaders.

    Without ``yes``, return what would be done. The other topics get as many partitions as the
    input. If the input is created here, its retention is set below the dedupe window. Settings
    that the cluster refuses are left out.

    Raises:
        StartupError: Kafka is unavailable or rejected the request.
    """
    admin = AdminClient(settings.common(config))
    cluster = describe(admin)
    existing = cluster.topics
    if config.topic in existing:
        partitions = len(existing[config.topic].partitions)
    replication = replication_factor or max(1, min(REPLICATION_MAX, len(cluster.brokers)))
    wanted = plans(
        config,
        dedupe_window_s=dedupe_window_s,
        letter_retention_s=letter_retention_s,
        record_bytes_max=_record_max(admin, config),
    )
    findings = [
        Finding(plan.name, True, f"{plan.role}: exists, left as it is")
        for plan in wanted
        if plan.name in existing
    ]
    new = [plan for plan in wanted if plan.name not in existing]
    shape = Shape(partitions, replication)
    if new and not yes:
        text = f"would be created {shape}"
        return findings + [Finding(plan.name, True, f"{plan.role}: {text}") for plan in new]
    settings_of = {plan.name: _settings(plan, shape, dedupe_window_s) for plan in new}
    refused = _request(admin, shape, settings_of)
    findings += [
        Finding(plan.name, True, f"{plan.role}: created {shape}")
        for plan in new
        if plan.name not in refused
    ]
    for plan in sorted(new, key=lambda one: one.role == "input"):
        if plan.name in refused:
            segment_ms = partial(_segment_ms, admin, config.ledger_topic)
            findings += _create_without_refused(
                admin, plan, shape, settings_of[plan.name], dedupe_window_s, segment_ms
            )
    if new:
        _await_leaders(admin, [plan.name for plan in wanted])
    checked = check(config, dedupe_window_s=dedupe_window_s, letter_retention_s=letter_retention_s)
    return findings + [found for found in checked if found.warning or not found.ok]


class Shape(NamedTuple):
    """What all topics have in common."""

    partitions: int
    replication: int

    def __str__(self) -> str:
        return f"with {self.partitions} partitions, {self.replication} replicas each"


def _settings(plan: TopicPlan, shape: Shape, dedupe_window_s: int) -> dict[str, str]:
    wanted = dict(plan.config)
    if shape.replication >= REPLICATION_MAX:
        wanted["min.insync.replicas"] = "2"
    if plan.role == "input":
        wanted |= short_retention(dedupe_window_s)
    return wanted


def _create_without_refused(
    admin: AdminClient,
    plan: TopicPlan,
    shape: Shape,
    wanted: Mapping[str, str],
    dedupe_window_s: int,
    cluster_segment_ms: Callable[[], int],
) -> list[Finding]:
    attempt = partial(_attempt, admin, plan.name, shape)
    accepted, refused = _accepted(wanted, attempt)
    if plan.role == "input" and "segment.ms" in refused and "retention.ms" in accepted:
        accepted |= short_retention(dedupe_window_s, segment_ms=cluster_segment_ms())
    why_not = attempt(accepted)
    if why_not:
        raise _not_created(plan.name, why_not)
    texts = [
        f"created {shape}",
        *(f"created without {name}: {why}" for name, why in refused.items()),
    ]
    return [Finding(plan.name, True, f"{plan.role}: {text}") for text in texts]


def _accepted(
    wanted: Mapping[str, str], attempt: Callable[..., str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the settings that the cluster accepts, and why it refuses the others and what follows.

    Each is validated alone: a refusal need not name the one that is refused.
    """
    accepted, refused = {}, {}
    for name, value in wanted.items():
        why = attempt({name: value}, validate_only=True)
        if why:
            refused[name] = f"the cluster refuses it ({why}); {CONSEQUENCES[name]}"
        else:
            accepted[name] = value
    return accepted, refused


def _attempt(
    admin: AdminClient,
    name: str,
    shape: Shape,
    topic_settings: Mapping[str, str],
    *,
    validate_only: bool = False,
) -> str:
    """Create a topic, or only ask whether it could be; return why the cluster refuses a setting."""
    refused = _request(admin, shape, {name: topic_settings}, validate_only=validate_only)
    return refused.get(name, "")


def _request(
    admin: AdminClient,
    shape: Shape,
    settings_of: Mapping[str, Mapping[str, str]],
    *,
    validate_only: bool = False,
) -> dict[str, str]:
    """Create topics by one request; return those of which a setting is refused, and why.

    Raises:
        StartupError: a topic is refused for another reason.
    """
    if not settings_of:
        return {}
    topics = [
        NewTopic(
            name,
            num_partitions=shape.partitions,
            replication_factor=shape.replication,
            config=dict(topic_settings),
        )
        for name, topic_settings in settings_of.items()
    ]
    answers = admin.create_topics(topics, operation_timeout=CREATE_S, validate_only=validate_only)
    refused = {}
    for name, answer in answers.items():
        try:
            answer.result()
        except KafkaException as error:
            reason = error.args[0]
            if reason.code() in REFUSALS:
                refused[name] = str(reason.str())
            elif reason.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise _not_created(name, reason.str()) from error
    return refused


def _not_created(name: str, why: str) -> StartupError:
    return StartupError(f"topic {name} was not created: {why}", exit_code=69)


def _segment_ms(admin: AdminClient, topic: str) -> int:
    return int(settled_configs(admin, [topic])[topic]["segment.ms"])


def _record_max(admin: AdminClient, config: KafkaConfig) -> int:
    """Return the record size limit of the input; Kafka's default if it does not exist yet."""
    try:
        return int(topic_configs(admin, [config.topic])[config.topic]["max.message.bytes"])
    except KafkaException:
        return RECORD_BYTES_DEFAULT


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
