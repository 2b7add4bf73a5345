"""Checks of Kafka as the service uses it: login, permissions, topics, group, transactions."""

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

from confluent_kafka import (
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
)
from confluent_kafka.admin import AclOperation, AdminClient

from stream.doctor.result import (
    CONFIGURATION,
    PERMISSION,
    UNAVAILABLE,
    CheckResult,
    CheckStatus,
    failed,
    ok,
    warning,
)
from stream.errors import KafkaUnavailableError, StartupError
from stream.kafka import config as settings
from stream.kafka import topics
from stream.kafka.config import AUTH_ERRORS, KafkaConfig, property_problems, transactional_id
from stream.kafka.input_pause import PauseReader, is_denied
from stream.kafka.lag import LagMeter, transaction_command
from stream.kafka.metadata import describe_group
from stream.kafka.preflight import broker_limits, preflight_bridge
from stream.record import Partition
from stream.telemetry.status import paused_by_operator

ASK_S = 10.0
BLOCKED_S = 2.0
"""A transaction that does not end meanwhile is no ordinary one."""
LOGIN_FIX = (
    "check security.protocol, sasl.mechanism, sasl.username and sasl.password in "
    "KAFKA__PROPERTIES, or KAFKA__SASL_USERNAME and KAFKA__SASL_PASSWORD"
)
READ, WRITE = AclOperation.READ, AclOperation.WRITE
DESCRIBE, CONFIGS = AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS


def check_kafka(config: KafkaConfig, *, dedupe_window_s: int) -> Iterator[CheckResult]:
    """Yield the results for a worker; stops where further checks would repeat a failure."""
    needs = {
        config.topic: {READ, DESCRIBE, CONFIGS},
        config.ledger_topic: {READ, WRITE, DESCRIBE, CONFIGS},
        config.dead_letter_topic: {WRITE, DESCRIBE, CONFIGS},
        config.parked_topic: {WRITE, DESCRIBE, CONFIGS},
    }
    allowed = yield from _entry(config, needs, groups=[config.group_id])
    if not allowed:
        return
    yield from _catch_errors("kafka rights", lambda: [_pauses(config)])
    yield from _catch_errors("kafka topics", lambda: list(_topics(config, dedupe_window_s)))
    yield from _catch_errors("kafka limits", lambda: list(_limits(config)))
    yield from _catch_errors("kafka transactions", lambda: list(_transactions(config)))
    yield from _catch_errors("kafka group", lambda: list(_group(config)))


def check_kafka_for_bridge(config: KafkaConfig) -> Iterator[CheckResult]:
    """Yield the results for the bridge, which writes to the input and to the dead letters."""
    needs = {config.topic: {WRITE, DESCRIBE}, config.dead_letter_topic: {WRITE, DESCRIBE}}
    allowed = yield from _entry(config, needs, groups=[])
    if allowed:
        yield from _catch_errors("kafka topics", lambda: [_input(config)])


def _entry(
    config: KafkaConfig, needs: Mapping[str, set[AclOperation]], *, groups: Sequence[str]
) -> Generator[CheckResult, None, bool]:
    """Yield the results for properties, login and permissions; return whether all of them passed.

    Who is in no group uses no transactions.
    """
    problems = property_problems(config, transactional=bool(groups))
    for problem in problems:
        fix = "correct KAFKA__PROPERTIES: librdkafka's CONFIGURATION.md lists names and values"
        yield failed("kafka client", problem, fix, exit_code=CONFIGURATION)
    if problems:
        return False
    errors: list[KafkaError] = []
    client_config: dict[str, Any] = {**settings.common(config), "error_cb": errors.append}
    admin = AdminClient(client_config)
    login = _login(admin, errors)
    yield login
    if login.state is CheckStatus.FAIL:
        return False
    rights = list(_rights(admin, needs, groups))
    yield from rights
    return all(one.state is not CheckStatus.FAIL for one in rights)


def _input(config: KafkaConfig) -> CheckResult:
    largest = preflight_bridge(config)
    return ok("kafka topics", f"{config.topic}: accepts records of {largest} bytes")


def _catch_errors(check: str, run: Any) -> Iterator[CheckResult]:
    """Yield the results of ``run``; an error of Kafka becomes a failed result."""
    try:
        yield from run()
    except KafkaException as error:
        reason = error.args[0]
        denied = reason.code() in AUTH_ERRORS
        fix = "grant the permissions in docs/reference/access.md" if denied else "retry later"
        code = PERMISSION if denied else UNAVAILABLE
        yield failed(check, reason.str(), fix, exit_code=code)
    except StartupError as error:
        yield failed(check, str(error), "fix this first", exit_code=error.exit_code)


def _login(admin: AdminClient, errors: list[KafkaError]) -> CheckResult:
    answer = admin.describe_cluster(request_timeout=ASK_S)
    denied: KafkaError | None = None
    while not answer.done() and denied is None:
        admin.poll(0.05)  # the client's own errors say more than a timeout does
        denied = next((one for one in errors if one.code() in AUTH_ERRORS), None)
    if denied is not None:
        text = f"refused: {denied.str()}"
        return failed("kafka login", text, LOGIN_FIX, exit_code=PERMISSION)
    try:
        cluster = answer.result()
    except KafkaException as error:
        reason = errors[0] if errors else error.args[0]
        fix = f"{LOGIN_FIX}; and that the brokers' advertised.listeners are reachable from here"
        return failed("kafka login", reason.str(), fix, exit_code=UNAVAILABLE)
    count = len(cluster.nodes)
    return ok("kafka login", f"cluster {cluster.cluster_id}, {count} broker{'s'[: count > 1]}")


def _rights(
    admin: AdminClient, needs: Mapping[str, set[AclOperation]], groups: Sequence[str]
) -> Iterator[CheckResult]:
    """Compare permissions with needs; brokers report one's own without the right to list ACLs."""
    answers = admin.describe_topics(
        TopicCollection(list(needs)), include_authorized_operations=True, request_timeout=ASK_S
    )
    for name, answer in answers.items():
        error = answer.exception()
        if isinstance(error, KafkaException) and error.args[0].code() in AUTH_ERRORS:
            yield _missing(f"topic {name}", needs[name])
        elif error is None:
            yield from _compared(f"topic {name}", answer.result(), needs[name])
    for group in groups:
        try:
            description = describe_group(admin, group, timeout_s=ASK_S, rights=True)
        except KafkaException as refusal:
            if refusal.args[0].code() in AUTH_ERRORS:
                yield _missing(f"group {group}", {READ, DESCRIBE})
        else:
            yield from _compared(f"group {group}", description, {READ, DESCRIBE})


def _compared(what: str, description: Any, needed: set[AclOperation]) -> Iterator[CheckResult]:
    granted = description.authorized_operations
    if granted is None:  # no authorizer, or brokers that do not report permissions
        return
    lacking = needed - set(granted)
    if lacking:
        yield _missing(what, lacking)
    else:
        yield ok("kafka rights", f"{what}: {_names(needed)}")


def _missing(what: str, lacking: set[AclOperation]) -> CheckResult:
    fix = f"grant {_names(lacking)} on {what}"
    return failed("kafka rights", f"{what}: not allowed", fix, exit_code=PERMISSION)


def _names(operations: set[AclOperation]) -> str:
    return ", ".join(sorted(operation.name.lower() for operation in operations))


def _pauses(config: KafkaConfig) -> CheckResult:
    """Read the pauses as a worker does, which works without them."""
    what = f"group {config.pause_group_id}"
    reader = PauseReader(config)
    try:
        reader.read([Partition(config.topic, 0)])
    except KafkaException as error:
        if not is_denied(error):
            raise
        text = f"{what}: not allowed; `wootric-stream pause` has no effect"
        return warning("kafka rights", text, f"grant {_names({DESCRIBE})} on {what}")
    finally:
        reader.close()
    return ok("kafka rights", f"{what}: {_names({DESCRIBE})}")


def _topics(config: KafkaConfig, dedupe_window_s: int) -> Iterator[CheckResult]:
    for finding in topics.check(config, dedupe_window_s=dedupe_window_s):
        text = f"{finding.topic}: {finding.text}"
        if finding.warning:
            yield warning("kafka topics", text, "change the topic, or the setting")
        elif finding.ok:
            yield ok("kafka topics", text)
        else:
            fix = "create missing topics with `wootric-stream topics create --yes`; alter others"
            yield failed("kafka topics", text, fix, exit_code=CONFIGURATION)


def _limits(config: KafkaConfig) -> Iterator[CheckResult]:
    limits = broker_limits(config)
    for text in limits.problems:
        yield failed("kafka limits", text, "change the setting", exit_code=CONFIGURATION)
    if limits.unread:
        text = f"the brokers do not show their limits: {limits.unread}"
        fix = (
            "grant describe_configs on the cluster where that is possible; otherwise compare "
            "KAFKA__SESSION_TIMEOUT_S and KAFKA__TRANSACTION_TIMEOUT_S with the provider's limits"
        )
        yield warning("kafka limits", text, fix)
    elif not limits.problems:
        yield ok("kafka limits", "session and transaction timeouts are within the brokers' limits")


def _transactions(config: KafkaConfig) -> Iterator[CheckResult]:
    """Start a producer with a separate transactional id: it fences no worker and writes nothing."""
    name = transactional_id(config.group_id, "doctor")
    producer = Producer(settings.producer(config, transactional_id=name))
    try:
        producer.init_transactions(ASK_S)
    except KafkaException as error:
        reason = error.args[0]
        if reason.code() in AUTH_ERRORS:
            fix = f"grant write, describe on transactional ids with the prefix {config.group_id}-"
            text = f"{name}: not allowed"
            yield failed("kafka transactions", text, fix, exit_code=PERMISSION)
            return
        if reason.code() == KafkaError._UNSUPPORTED_FEATURE:
            fix = "use Apache Kafka 2.5 or newer, with transactions"
            yield failed("kafka transactions", reason.str(), fix, exit_code=CONFIGURATION)
            return
        fix = (
            "on a small cluster check transaction.state.log.replication.factor and "
            "transaction.state.log.min.isr"
        )
        yield failed("kafka transactions", reason.str(), fix, exit_code=UNAVAILABLE)
    else:
        yield ok("kafka transactions", "the coordinator accepts the transactional ids")


def _group(config: KafkaConfig) -> Iterator[CheckResult]:
    meter = LagMeter(config)
    try:
        group = meter.measure()
        if any(one.blocked for one in group.partitions):
            time.sleep(BLOCKED_S)
            group = meter.measure()
    except KafkaUnavailableError as error:
        yield failed("kafka group", str(error), "retry later", exit_code=UNAVAILABLE)
        return
    finally:
        meter.close()
    lost = [one.number for one in group.partitions if one.is_lost]
    lag = sum(one.lag for one in group.partitions)
    text = f"{config.group_id}: {group.state}, {len(group.members)} members, {lag} records behind"
    if lost:
        fix = (
            "check the input's retention, then run `wootric-stream offsets reset --to-earliest` "
            "for these partitions"
        )
        text = f"{config.group_id}: committed offsets are outside the topic in partitions {lost}"
        yield failed("kafka group", text, fix, exit_code=CONFIGURATION)
    elif len(group.members) > len(group.partitions):
        fix = "add partitions to the input and its ledger, or run fewer workers"
        yield warning("kafka group", f"{text}; more members than partitions", fix)
    else:
        yield ok("kafka group", text)
    if pauses := [one.pause for one in group.partitions if one.pause is not None]:
        text = paused_by_operator(pauses)
        yield warning("kafka group", text, "run `wootric-stream resume --yes` if it is over")
    for one in group.partitions:
        if one.blocked_s:
            text = (
                f"partition {one.number} is blocked by an open transaction: {one.blocked} offsets"
            )
            fix = f"find it with {transaction_command(config, config.topic, one.number)}, abort it"
            yield warning("kafka group", text, fix)
