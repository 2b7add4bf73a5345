"""What is wrong about topics, by their configuration."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka.admin import ConfigResource
from kafka_settings import CONFIG as ANYWHERE

from stream.kafka.metadata import describe
from stream.kafka.topic_policies import (
    COMPACTION_LAG,
    DAY_MS,
    HOUR_MS,
    check_configs,
    check_privacy,
    least_window_s,
    plans,
    short_retention,
)
from stream.kafka.topics import topic_configs

CONFIG = replace(ANYWHERE, bootstrap_servers="kafka:9092")

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
    assert check_configs(CONFIG, made(**changed), WINDOW_S) == []


@pytest.mark.parametrize(
    ("setting", "value"), [("retention.bytes", "1000000000"), ("max.message.bytes", "1048588")]
)
def test_a_ledger_that_does_not_keep_or_take_all_is_refused(setting: str, value: str) -> None:
    """Receipts would go before the records that they stand for, or the largest would not fit."""
    topics = made()
    topics["ledger"][setting] = value
    (found,) = check_configs(CONFIG, topics, WINDOW_S)
    assert (found.topic, found.ok) == ("ledger", False)
    assert setting in found.text


def test_how_long_personal_data_is_kept_is_compared_and_refuses_nothing() -> None:
    topics = made()
    assert list(check_privacy(CONFIG, topics, 30 * 86_400)) == []
    topics["ledger"][COMPACTION_LAG] = str(2**63 - 1)
    found = {one.topic: one for one in check_privacy(CONFIG, topics, 14 * 86_400)}
    assert {(one.ok, one.warning) for one in found.values()} == {(True, True)}
    for name in ("dlq", "parked"):
        assert changed_by(found[name].text, name) == {"retention.ms": str(14 * DAY_MS)}
    assert changed_by(found["ledger"].text, "ledger") == {COMPACTION_LAG: str(DAY_MS)}


def changed_by(text: str, topic: str) -> dict[str, str]:
    """What the command in a message sets on a topic; fails without a complete command."""
    begin = (
        "`kafka-configs.sh --bootstrap-server kafka:9092 --entity-type topics "
        f"--entity-name {topic} --alter --add-config "
    )
    assert begin in text
    values = text.partition(begin)[2].partition("`")[0]
    return dict(value.split("=", 1) for value in values.split(","))


@pytest.mark.parametrize("policy", ["compact", "compact,delete", "delete,compact"])
@pytest.mark.parametrize("topic", ["events", "dlq", "parked"])
def test_compaction_is_refused_wherever_each_record_counts(topic: str, policy: str) -> None:
    """With the reason, and with the command that ends it."""
    topics = made()
    topics[topic]["cleanup.policy"] = policy
    (found,) = check_configs(CONFIG, topics, WINDOW_S)
    assert (found.topic, found.ok) == (topic, False)
    assert f"cleanup.policy is {policy}" in found.text
    assert "one user, only the last survives" in found.text
    assert "without a key" in found.text
    topics[topic] |= changed_by(found.text, topic)
    assert check_configs(CONFIG, topics, WINDOW_S) == []


def test_a_ledger_that_is_not_compacted_has_its_command() -> None:
    topics = made()
    topics["ledger"]["cleanup.policy"] = "delete"
    (found,) = check_configs(CONFIG, topics, WINDOW_S)
    assert "--alter --add-config cleanup.policy=[compact,delete]`" in found.text


def test_an_input_at_kafkas_defaults_has_three_ways_out_and_each_is_one() -> None:
    """7 days and the 7 days of a segment, while receipts are kept for 7."""
    topics = made(retention_ms=str(7 * DAY_MS), segment_ms=str(7 * DAY_MS))
    (found,) = check_configs(CONFIG, topics, WINDOW_S)
    assert "up to 14 days (retention.ms 7 days + segment.ms 7 days)" in found.text
    assert "KAFKA__DEDUPE_WINDOW_S (7 days)" in found.text
    assert "(3) give the service a topic of its own" in found.text

    shorter = {**topics, "events": topics["events"] | changed_by(found.text, "events")}
    assert shorter["events"]["retention.ms"] == "518400000"
    assert check_configs(CONFIG, shorter, WINDOW_S) == []

    window_s = int(found.text.partition("KAFKA__DEDUPE_WINDOW_S=")[2].split()[0])
    assert window_s == 1_296_000
    longer = {**topics, "ledger": topics["ledger"] | changed_by(found.text, "ledger")}
    assert check_configs(CONFIG, longer, window_s) == []
    least_s = least_window_s(topics["events"])
    assert least_s == 14 * 86_400
    assert check_configs(CONFIG, longer, least_s) == []
    assert check_configs(CONFIG, longer, least_s - 1) != []


def test_an_input_without_an_end_has_the_two_ways_that_end() -> None:
    (found,) = check_configs(CONFIG, made(retention_ms="-1"), WINDOW_S)
    assert "for ever (retention.ms=-1)" in found.text
    assert "KAFKA__DEDUPE_WINDOW_S=" not in found.text
    assert least_window_s(made(retention_ms="-1")["events"]) is None
    assert "(2) give the service a topic of its own" in found.text


@pytest.mark.parametrize("window_s", [3_600, 86_400, 2 * 86_400, WINDOW_S])
def test_the_retention_of_a_new_input_fits_every_window(window_s: int) -> None:
    """Of an hour, it was once negative: without any end."""
    topics = made(**{n.replace(".", "_"): v for n, v in short_retention(window_s).items()})
    topics["ledger"]["retention.ms"] = str(window_s * 1000)
    assert int(topics["events"]["retention.ms"]) > 0
    assert check_configs(CONFIG, topics, window_s) == []


class Reporting:
    """An admin client of brokers that report this configuration for every topic."""

    def __init__(self, **reported: str | None) -> None:
        self._reported = {name.replace("_", "."): value for name, value in reported.items()}

    def describe_configs(self, resources: list[ConfigResource], **_: object) -> dict[Any, Any]:
        entries = {name: SimpleNamespace(value=value) for name, value in self._reported.items()}
        return {resource: SimpleNamespace(result=lambda: entries) for resource in resources}


@pytest.mark.parametrize(
    ("reported", "problems"),
    [
        ({}, 0),
        ({"segment_ms": None, "retention_ms": str(6 * DAY_MS)}, 0),
        ({"retention_ms": str(8 * DAY_MS)}, 1),
        ({"retention_ms": str(6 * DAY_MS), "segment_ms": str(2 * DAY_MS)}, 1),
    ],
)
def test_what_a_broker_does_not_report_is_no_error(reported: Any, problems: int) -> None:
    """Brokers without segments have no segment.ms: their retention is the whole time."""
    found = topic_configs(Reporting(**reported), ["events"])["events"]  # type: ignore[arg-type]
    topics = {**made(), "events": found}
    assert len(check_configs(CONFIG, topics, WINDOW_S)) == problems


class Slow:
    """A broker that hears of its topics one answer after the other."""

    def __init__(self, *names: str) -> None:
        self._names, self._answers = names, 0

    def list_topics(self, **_: Any) -> Any:
        self._answers += 1
        return SimpleNamespace(topics=dict.fromkeys(self._names[: self._answers]))


def test_a_topic_that_a_broker_has_not_heard_of_yet_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And one that does not exist is missing in the end."""
    names = ["events", "ledger", "dead letters"]
    assert [*describe(Slow(*names), topics=names).topics] == names  # type: ignore[arg-type]
    monkeypatch.setattr("stream.kafka.metadata.PROPAGATION_S", 0.0)
    assert [*describe(Slow("events"), topics=names).topics] == ["events"]  # type: ignore[arg-type]
