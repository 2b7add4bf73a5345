"""What is wrong about topics, by their configuration."""

import pytest
from kafka_settings import CONFIG

from stream.kafka.topics import HOUR_MS, _check_configs, plans

WINDOW_S = 7 * 24 * 3600
BROKERS = {
    "cleanup.policy": "delete",
    "retention.ms": str(6 * 24 * HOUR_MS),
    "retention.bytes": "-1",
    "segment.ms": str(HOUR_MS),
    "max.message.bytes": "1048588",
}


def made(**changed: str) -> dict[str, dict[str, str]]:
    """The topics as they are made, where the cluster has these defaults."""
    defaults = BROKERS | {name.replace("_", "."): value for name, value in changed.items()}
    made = plans(CONFIG, dedupe_window_s=WINDOW_S, record_bytes_max=1_048_588)
    return {plan.name: defaults | plan.config for plan in made}


@pytest.mark.parametrize("changed", [{}, {"retention_bytes": "1000000000"}])
def test_topics_are_made_so_that_nothing_is_wrong_about_them(changed: dict[str, str]) -> None:
    assert _check_configs(CONFIG, made(**changed), WINDOW_S) == []


@pytest.mark.parametrize(
    ("setting", "value"), [("retention.bytes", "1000000000"), ("max.message.bytes", "1048588")]
)
def test_a_ledger_that_does_not_keep_or_take_all_is_refused(setting: str, value: str) -> None:
    """Receipts would go before the records that they stand for, or the largest would not fit."""
    topics = made()
    topics["ledger"][setting] = value
    (found,) = _check_configs(CONFIG, topics, WINDOW_S)
    assert (found.topic, found.ok) == ("ledger", False)
    assert setting in found.text
