"""Errors of Kafka's client as log events and startup errors."""

import structlog
from confluent_kafka import KafkaError, KafkaException

from stream.errors import StartupError

log = structlog.get_logger()

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
