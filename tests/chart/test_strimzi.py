"""The objects of the page about Strimzi are those that the service needs."""

import re
from pathlib import Path

import yaml
from confluent_kafka.admin import AclOperation, ResourceType
from secured import binding, commands

from scripts.docs.sources import topic_plans
from stream.kafka.topic_policies import short_retention

REFERENCE = Path(__file__).parents[2] / "docs"
PAGE = (REFERENCE / "how-to" / "install" / "kafka" / "strimzi.md").read_text()
ACCESS = (REFERENCE / "reference" / "access.md").read_text()
OBJECTS = [
    one
    for block in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    for one in yaml.safe_load_all(block)
    if "kind" in one
]
TYPES = {
    ResourceType.TOPIC: "topic",
    ResourceType.GROUP: "group",
    ResourceType.TRANSACTIONAL_ID: "transactionalId",
    ResourceType.BROKER: "cluster",
}
OPERATIONS = {
    "Read": AclOperation.READ,
    "Describe": AclOperation.DESCRIBE,
    "Write": AclOperation.WRITE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
}


def test_the_user_has_the_least_access_of_a_worker() -> None:
    granted = {
        (TYPES[one.restype], None if TYPES[one.restype] == "cluster" else one.name, one.operation)
        for words in commands(ACCESS)
        if "User:wootric-worker" in words
        for one in binding(words)
    }
    (user,) = (one for one in OBJECTS if one["kind"] == "KafkaUser")
    assert {
        (acl["resource"]["type"], acl["resource"].get("name"), OPERATIONS[operation])
        for acl in user["spec"]["authorization"]["acls"]
        for operation in acl["operations"]
    } == granted


def test_the_topics_are_those_that_the_command_creates() -> None:
    topics = {
        one["metadata"]["name"]: one["spec"] for one in OBJECTS if one["kind"] == "KafkaTopic"
    }
    assert len(topics) == 4
    for plan in topic_plans():
        wanted = {**plan.config, "min.insync.replicas": "2"}
        if plan.role == "input":
            wanted |= short_retention(7 * 86_400)
        assert {name: str(value) for name, value in topics[plan.name]["config"].items()} == wanted
