"""What has to be right before a worker joins the group; each message says what to do."""

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from stream.errors import StartupError
from stream.kafka import config as settings
from stream.kafka import topics
from stream.kafka.config import KafkaConfig
from stream.kafka.errors import as_startup_error


def preflight(config: KafkaConfig, *, dedupe_window_s: int) -> int:
    """Refuse to start on a cluster where the guarantee could not hold.

    Returns how many bytes of a record its dead letter may hold, however badly they compress.

    Raises:
        StartupError: with everything that is wrong; 75 when Kafka gives no answer.
    """
    try:
        findings, configs = topics.inspect(config, dedupe_window_s=dedupe_window_s)
        wrong = [f"{finding.topic}: {finding.text}" for finding in findings if not finding.ok]
        wrong += broker_limits(config)
    except KafkaException as error:
        if error.args[0].code() == KafkaError._INVALID_ARG:
            raise as_startup_error(error.args[0]) from error
        text = f"Kafka does not say how it is configured: {error.args[0].str()}"
        raise StartupError(text, exit_code=75) from error
    if wrong:
        raise StartupError("Kafka is not ready for us:\n  " + "\n  ".join(wrong), exit_code=78)
    letters = (config.dead_letter_topic, config.parked_topic)
    sizes = (int(configs[name]["max.message.bytes"]) for name in letters)
    return min(*sizes, settings.RECORD_BYTES_MAX) - topics.HEADROOM_BYTES


def preflight_bridge(config: KafkaConfig, *, source: str | None = None) -> int:
    """Refuse to bridge into topics that are not there, or could not take what comes.

    ``source`` is the topic that is read, if one is. Returns the largest record, in bytes, of the
    source, else of the input: Kafka's default where we may not ask, which only a source makes
    necessary.

    Raises:
        StartupError: with everything that is wrong; 75 when Kafka gives no answer.
    """
    admin = AdminClient(settings.common(config))
    names = [config.topic] if source is None else [config.topic, config.dead_letter_topic, source]
    there = topics.describe(admin).topics
    wrong = [f"{name}: missing" for name in names if name not in there]
    if source == config.topic:
        wrong.append(f"{source}: is the input itself; --from-topic has to name another one")
    if wrong:
        raise StartupError(_cannot(wrong), exit_code=78)
    try:
        sizes = topics.record_sizes(admin, names)
    except KafkaException as error:
        reason = error.args[0]
        if source is None and reason.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return topics.RECORD_BYTES_DEFAULT
        text = f"Kafka does not say how it is configured: {reason.str()}"
        raise StartupError(text, exit_code=75) from error
    if source is not None:
        for name, need in (
            (config.topic, sizes[source]),
            (config.dead_letter_topic, sizes[source] + topics.HEADROOM_BYTES),
        ):
            if sizes[name] < need:
                wrong.append(f"{name}: max.message.bytes is below {need}, which {source} may need")
    if wrong:
        raise StartupError(_cannot(wrong), exit_code=78)
    return sizes[source or config.topic]


def _cannot(wrong: list[str]) -> str:
    return "Kafka is not ready for the bridge:\n  " + "\n  ".join(wrong)


def broker_limits(config: KafkaConfig) -> list[str]:
    """Compare our timeouts with what the brokers allow; return what does not fit."""
    admin = AdminClient(settings.common(config))
    broker = next(iter(topics.describe(admin).brokers))
    asked = ConfigResource(ResourceType.BROKER, str(broker))
    answers = admin.describe_configs([asked], request_timeout=topics.ASK_S)
    found = {name: entry.value for name, entry in answers[asked].result().items()}
    wrong = []
    session_ms = config.session_timeout_s * 1000
    low, high = (
        int(found.get(f"group.{bound}.session.timeout.ms") or default)
        for bound, default in (("min", 6_000), ("max", 1_800_000))
    )
    if not low <= session_ms <= high:
        wrong.append(
            f"KAFKA__SESSION_TIMEOUT_S is outside of what the brokers allow: {low / 1000:g} to "
            f"{high / 1000:g} s (group.min.session.timeout.ms, group.max.session.timeout.ms)"
        )
    longest = int(found.get("transaction.max.timeout.ms") or 900_000)
    if config.transaction_timeout_s * 1000 > longest:
        wrong.append(
            f"KAFKA__TRANSACTION_TIMEOUT_S is above the brokers' {longest / 1000:g} s "
            "(transaction.max.timeout.ms)"
        )
    return wrong
