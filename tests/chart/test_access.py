"""The least access to Kafka, as docs/reference/access.md has it, is enough, and less is not."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import NewTopic
from readings import wootric_for
from secured import binding, commands, grant, secured
from segment import Segment, bridge
from stack import Stack, free_port
from typer.testing import CliRunner
from waiting import STILL_S, until

from stream.cli import app as cli
from stream.devtools.wootric_emulator.faults import Drop
from stream.kafka.config import KafkaConfig

ACCESS = (Path(__file__).parents[2] / "docs" / "reference" / "access.md").read_text()
USERS = ("worker", "bridge", "exporter", "topics", "toolbox", "stranger")
PASSWORDS = {f"wootric-{name}": f"{name}-of-tests" for name in USERS}
PROGRAM = (sys.executable, "-m", "stream")
ENDING = {"doctor", "run", "status"}
"""Commands that end their process."""
EXPORTER = (*PROGRAM, "lag-exporter", "--every", "1")
EVENTS = (
    {"type": "identify", "messageId": "m1", "userId": "u1", "traits": {"email": "a@b.co"}},
    {"type": "page", "messageId": "m2", "userId": "u1", "properties": {"url": "https://b.co"}},
    {"type": "identify", "messageId": "m3", "userId": "u2", "traits": {"email": ["no"]}},
)
GRANTS = [one for words in commands(ACCESS) for one in binding(words)]


@dataclass
class Secured(Stack):
    """A stack whose programs log in."""

    users: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.config = KafkaConfig(
            bootstrap_servers=self.bootstrap_servers,
            group_id="wootric-destination",
            instance_id="test",
            topic="segment.events",
            ledger_topic="segment.events.wootric.ledger",
            dead_letter_topic="segment.events.wootric.dlq",
            parked_topic="segment.events.wootric.parked",
        )

    def properties(self, user: str) -> str:
        return json.dumps(
            {
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanism": "PLAIN",
                "sasl.username": f"wootric-{user}",
                "sasl.password": PASSWORDS[f"wootric-{user}"],
            }
        )

    def logged_in(self, user: str) -> dict[str, str]:
        return {
            "KAFKA__BOOTSTRAP_SERVERS": self.users,
            "KAFKA__PROPERTIES": self.properties(user),
        }

    async def run(self, *command: str, user: str, stdin: bytes = b"") -> tuple[int, str]:
        """Run a command of ours, in this process if it does not end it; return its exit code and
        what it said.
        """
        environment = {
            **self.environment("cli"),
            **self.logged_in(user),
            "HTTP__PORT": str(free_port()),
            "BRIDGE__SHARED_SECRET": "a-secret-of-tests",
        }
        if command[0] in ENDING:
            ended = await asyncio.to_thread(
                subprocess.run,
                [*PROGRAM, *command],
                env={**os.environ, **environment},
                capture_output=True,
                check=False,
                timeout=STILL_S,
            )
            return ended.returncode, (ended.stdout + ended.stderr).decode()
        done = await asyncio.to_thread(
            CliRunner().invoke, cli.app, list(command), env=environment, input=stdin
        )
        return done.exit_code, done.output


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Secured]:
    with secured(PASSWORDS) as (own, users):
        grant(own, GRANTS)
        async with wootric_for(tmp_path.name) as wootric:
            stack = Secured(own, wootric, tmp_path, users=users)
            yield stack
            stack.end()


async def test_the_access_that_is_written_down_is_enough_and_less_is_not(stack: Secured) -> None:
    """Each component by its own login, in the order of an installation."""
    await topics_are_created_and_checked(stack)
    await the_bridge_takes_events(stack)
    await a_bridge_copies_from_a_topic(stack)
    await a_worker_delivers(stack)
    await an_operator_works(stack)
    await others_are_refused(stack)


async def topics_are_created_and_checked(stack: Secured) -> None:
    await succeeds(stack, "topics", "create", "--partitions", "3", "--yes", user="topics")
    await succeeds(stack, "topics", "check", user="worker")
    await succeeds(stack, "doctor", user="worker")
    await succeeds(stack, "doctor", "--bridge", user="bridge")


async def the_bridge_takes_events(stack: Secured) -> None:
    said = await succeeds(stack, "publish", "-", user="bridge", stdin=lines(EVENTS))
    assert said.strip().endswith(str(len(EVENTS)))
    gate = bridge(stack, **stack.logged_in("bridge"))
    gate.start()
    await gate.until_ready()
    await Segment(gate.url).send(EVENTS[:1])
    assert await asyncio.to_thread(gate.stop) == 0


async def a_worker_delivers(stack: Secured) -> None:
    stack.wootric.on("GET", "/pixel.gif", Drop(effect=True))
    exporter = stack.worker("exporter", command=EXPORTER, **stack.logged_in("exporter"))
    exporter.start()
    await exporter.until_ready()
    behind = await exporter.metrics()
    worker = stack.worker("w1", **stack.logged_in("worker"))
    worker.start()
    await stack.until_caught_up()
    assert await asyncio.to_thread(worker.stop) == 0

    async def counted() -> bool:
        seen = await exporter.metrics()
        name = "wootric_group_dead_letters_open"
        return sum(value for key, value in seen.items() if key.startswith(name)) == 2

    await until(counted, "the exporter counts a dead letter and a parked event", exporter.said)
    assert await asyncio.to_thread(exporter.stop) == 0
    assert sum(value for name, value in behind.items() if "group_lag_records{" in name) > 0
    assert sum(value for name, value in behind.items() if "group_lag_seconds{" in name) > 0
    assert "pauses_denied" not in worker.said()
    assert [user.external_id for user in stack.wootric.state.end_users.values()] == ["u1"]
    assert len(stack.read(stack.config.dead_letter_topic)) == 1
    assert len(stack.read(stack.config.parked_topic)) == 1


async def a_bridge_copies_from_a_topic(stack: Secured) -> None:
    source, before = "segment.raw", len(stack.read(stack.config.topic))
    await asyncio.to_thread(stack.admin.create_topics([NewTopic(source, 1, 1)])[source].result)
    login = stack.logged_in("bridge")
    gate = bridge(stack, "--from-topic", source, instance="b2", **login)
    gate.start()
    stack._producer.produce(source, json.dumps(EVENTS[0]).encode())
    assert await asyncio.to_thread(stack._producer.flush, STILL_S) == 0

    async def copied() -> bool:
        gate.check()
        return len(await asyncio.to_thread(stack.read, stack.config.topic)) > before

    await until(copied, "the event is copied", gate.said)
    assert await asyncio.to_thread(gate.stop) == 0


async def an_operator_works(stack: Secured) -> None:
    """Everything that the toolbox is for, to the end."""
    operator = partial(succeeds, stack, user="toolbox")
    assert "all agrees" in await operator("verify")
    assert "delivered" in await operator("trace", "m1")
    assert "delivered" in await operator("trace", "--user", "u1")
    assert " 0 records" in await operator("status")
    (place,) = re.findall(r"\b[012]-\d+\b", await operator("dlq", "list", "--limit", "1"))[:1]
    assert "invalid" in await operator("dlq", "show", place)
    await operator("in-doubt", "list")
    await operator("in-doubt", "list", "--parked")
    await operator("in-doubt", "resolve", "--all", "--as", "resend", "--yes")
    await operator("dlq", "replay", "--yes")
    await operator("dlq", "dismiss", "--yes")
    await operator("pause", "--yes")
    assert "paused since 2" in await operator("status")
    await operator("resume", "--yes")
    await operator("offsets", "reset", "--to-earliest", "--yes")
    await operator("erase", "--user", "u1", "--delete-records", "--yes")
    assert not stack.ledger().keys() & {(number, "user/u1") for number in range(3)}


async def others_are_refused(stack: Secured) -> None:
    """A stranger by everything, and each login by what is another's."""
    for user in ("stranger", "bridge"):
        code, said = await stack.run("run", user=user)
        assert code in {69, 75, 77, 78}, said
    for user, command in (
        ("stranger", ("topics", "create", "--yes")),
        ("bridge", ("in-doubt", "list")),
        ("bridge", ("trace", "--user", "u1")),
        ("exporter", ("trace", "--user", "u1")),
        ("worker", ("pause", "--yes")),
        ("worker", ("dlq", "list")),
        ("worker", ("dlq", "replay", "--yes")),
    ):
        code, said = await stack.run(*command, user=user)
        assert code != 0, (user, command, said)


def lines(events: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


async def succeeds(stack: Secured, *command: str, user: str, stdin: bytes = b"") -> str:
    code, said = await stack.run(*command, user=user, stdin=stdin)
    assert code == 0, (command, said)
    return said
