"""A real Kafka with its authorizer on: what is not granted is refused."""

import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import acls
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from stream.devtools.kafka_node import HOST, free_ports
from stream.devtools.local_kafka import LocalBroker

LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule"


@contextmanager
def secured(passwords: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the addresses of a Kafka for its master (no login) and for users (SASL/PLAIN)."""
    own, users = free_ports(2)
    local = LocalBroker(port=own)
    known = " ".join(f'user_{name}="{password}"' for name, password in passwords.items())
    endpoint = local._cluster[0]
    local._properties = {
        "listeners": f"PLAINTEXT://{HOST}:{own},USERS://{HOST}:{users},"
        f"CONTROLLER://{HOST}:{endpoint.controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{own},USERS://{HOST}:{users}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,"
        "USERS:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.users.plain.sasl.jaas.config": f"{LOGIN} required {known};",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    with local:
        yield local.bootstrap_servers, f"{HOST}:{users}"


def commands(text: str) -> list[list[str]]:
    """Return the kafka-acls.sh commands of a document, by their words."""
    return [
        shlex.split(line) for line in re.findall(r"^\$ kafka-acls\.sh (.*)$", text, re.MULTILINE)
    ]


def binding(words: list[str]) -> list[AclBinding]:
    """Return what such a command grants."""
    assert words[0] == "--add"
    options = words[1:]
    kind = ResourcePatternType.LITERAL
    operations, principal, resource = [], "", None
    while options:
        match options:
            case ["--allow-principal", name, *rest]:
                principal = name
            case ["--operation", name, *rest]:
                operations.append(AclOperation[re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper()])
            case ["--topic", name, *rest]:
                resource = (ResourceType.TOPIC, name)
            case ["--group", name, *rest]:
                resource = (ResourceType.GROUP, name)
            case ["--transactional-id", name, *rest]:
                resource = (ResourceType.TRANSACTIONAL_ID, name)
            case ["--cluster", *rest]:
                resource = (ResourceType.BROKER, "kafka-cluster")
            case ["--resource-pattern-type", "prefixed", *rest]:
                kind = ResourcePatternType.PREFIXED
            case _:
                raise AssertionError(options)
        options = rest
    assert resource
    allow = AclPermissionType.ALLOW
    return [
        AclBinding(*resource, kind, principal, "*", operation, allow) for operation in operations
    ]


def grant(address: str, bindings: list[AclBinding]) -> None:
    acls.grant(AdminClient({"bootstrap.servers": address}), bindings)
