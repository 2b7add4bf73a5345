"""Properties that the user passes to Kafka's client, and that do not fit the service's settings."""

from dataclasses import replace

import pytest
from kafka_settings import CONFIG

from stream.errors import StartupError
from stream.kafka.config import check_properties, property_problems


def problems(transactional: bool = True, **properties: object) -> list[str]:
    named = {name.replace("_", "."): value for name, value in properties.items()}
    return property_problems(replace(CONFIG, properties=named), transactional=transactional)


def test_what_people_set_is_no_problem() -> None:
    assert problems() == []
    assert (
        problems(
            security_protocol="PLAINTEXT",
            socket_timeout_ms=10_000,
            socket_keepalive_enable=True,
            client_id="mine",
            acks=1,
            isolation_level="read_uncommitted",
            transaction_timeout_ms=60_000,
            group_protocol="consumer",
            delivery_report_only_error=False,
        )
        == []
    )


@pytest.mark.parametrize("given", [60_000, "60000", 10_101])
def test_a_request_that_may_outlive_its_transaction_is_named_with_the_ways_out(
    given: object,
) -> None:
    """Kafka's client refuses to make a transactional producer so; others may have it."""
    (found,) = problems(socket_timeout_ms=given)
    assert f"socket.timeout.ms is {given}" in found
    assert "KAFKA__TRANSACTION_TIMEOUT_S is 10 s" in found
    assert "set it to 10100 or less" in found
    longer_s = float(found.partition("KAFKA__TRANSACTION_TIMEOUT_S=")[2])
    longer = replace(
        CONFIG, transaction_timeout_s=longer_s, properties={"socket.timeout.ms": given}
    )
    assert property_problems(longer) == []
    assert problems(transactional=False, socket_timeout_ms=given) == []


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("transactional.id", "mine", "KAFKA__INSTANCE_ID"),
        ("delivery.report.only.error", True, "the report of each record"),
        ("delivery.report.only.error", "true", "the report of each record"),
    ],
)
@pytest.mark.parametrize("transactional", [True, False])
def test_what_would_fail_later_without_a_word_is_refused(
    name: str, value: object, says: str, transactional: bool
) -> None:
    (found,) = property_problems(
        replace(CONFIG, properties={name: value}), transactional=transactional
    )
    assert f"remove {name}: " in found
    assert says in found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("enable.idempotence", "false"),
        ("max.in.flight", 10),
        ("retries", 0),
        ("queuing.strategy", "lifo"),
        ("max.poll.interval.ms", 5_000),
        ("sasl.mecanism", "PLAIN"),
        ("socket.timeout.ms", "soon"),
        ("delivery.report.only.error", "false"),
        ("error_cb", "mine"),
    ],
)
def test_what_the_client_itself_rejects_is_named(name: str, value: object) -> None:
    """Before anything is read; all clients' complaints at once, each once."""
    with pytest.raises(StartupError) as caught:
        check_properties(replace(CONFIG, properties={name: value}))
    assert caught.value.exit_code == 78
    text = str(caught.value)
    assert text.startswith("check KAFKA__PROPERTIES: Kafka's client rejects them for its ")
    assert text.count(name) == 1
    assert "\n" not in text


def test_no_value_is_quoted() -> None:
    """Of a secret."""
    text = str(problems(sasl_mechanism="PLAIN", sasl_pasword="hunter2"))
    assert "sasl.pasword" in text
    assert "hunter2" not in text
