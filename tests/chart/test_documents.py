"""What the documents say of the topics is how they are made."""

import re
from pathlib import Path

from stream.kafka.config import KafkaConfig
from stream.kafka.topic_policies import HOUR_MS, plans

ROOT = Path(__file__).parents[2]


def test_what_is_kept_is_as_the_topics_are_made():
    config = KafkaConfig(
        bootstrap_servers="",
        group_id="",
        instance_id="",
        topic="segment.events",
        ledger_topic="segment.events.wootric.ledger",
        dead_letter_topic="segment.events.wootric.dlq",
        parked_topic="segment.events.wootric.parked",
    )
    text = (ROOT / "docs" / "explanation" / "privacy.md").read_text()
    for plan in plans(config, dedupe_window_s=7 * 86_400, record_bytes_max=0):
        row = re.search(rf"^\| `{re.escape(plan.name)}` \|.*$", text, re.MULTILINE)
        assert row, plan.name
        days = int(plan.config.get("retention.ms", 6 * 24 * HOUR_MS)) // (24 * HOUR_MS)
        assert f"{days} days" in row[0]


def test_the_operators_versions_are_those_of_the_tests():
    text = (ROOT / "docs" / "reference" / "compatibility.md").read_text()
    modules = (ROOT / "tests" / "deploy" / "operators" / "modules.mod").read_text()
    written = re.findall(r"definitions of (\d+\.\d+\.\d+)", text)
    assert sorted(written) == sorted(re.findall(r" v(\d+\.\d+\.\d+)$", modules, re.MULTILINE))
