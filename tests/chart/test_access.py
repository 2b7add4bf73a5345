"""The least access to Kafka, as docs/reference/access.md has it, is enough, and less is not."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from readings import wootric_for
from secured import binding, commands, grant, secured
from segment import Segment, bridge
from stack import Stack, free_port
from waiting import STILL_S

from stream.devtools.wootric_emulator.faults import Drop
from stream.kafka.config import KafkaConfig

ACCESS = (Path(__file__).parents[2] / "docs" / "reference" / "access.md").read_text()
PASSWORDS = {name: f"{name}-of-tests" for name in ("wootric", "segment", "setup", "stranger")}
PROGRAM = (sys.executable, "-m", "stream")
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
                "sasl.username": user,
                "sasl.password": PASSWORDS[user],
            }
        )

    async def run(self, *command: str, user: str, stdin: bytes = b"") -> tuple[int, str]:
        environment = {
            **os.environ,
            **self.environment("cli"),
            "HTTP__PORT": str(free_port()),
            "KAFKA__BOOTSTRAP_SERVERS": self.users,
            "KAFKA__PROPERTIES": self.properties(user),
            "BRIDGE__SHARED_SECRET": "of-tests",
        }
        done = await asyncio.to_thread(
            subprocess.run,
            [*PROGRAM, *command],
            env=environment,
            input=stdin,
            capture_output=True,
            check=False,
            timeout=STILL_S,
        )
        return done.returncode, (done.stdout + done.stderr).decode()


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Secured]:
    with secured(PASSWORDS) as (own, users):
        grant(own, GRANTS)
        async with wootric_for(tmp_path.name) as wootric:
            stack = Secured(own, wootric, tmp_path, users=users)
            yield stack
            stack.end()


async def test_the_access_that_is_written_down_is_enough_and_less_is_not(stack: Secured) -> None:
    """Topics, checks, publishing, delivering, dead letters, parking: each by its own user."""
    code, said = await stack.run("topics", "create", "--partitions", "3", user="setup")
    assert code == 0, said
    code, said = await stack.run("topics", "check", user="wootric")
    assert code == 0, said
    code, said = await stack.run("doctor", user="wootric")
    assert code == 0, said
    code, said = await stack.run("doctor", "--bridge", user="segment")
    assert code == 0, said
    events = [
        {"type": "identify", "messageId": "m1", "userId": "u1", "traits": {"email": "a@b.co"}},
        {"type": "page", "messageId": "m2", "userId": "u1", "properties": {"url": "https://b.co"}},
        {"type": "identify", "messageId": "m3", "userId": "u2", "traits": {"email": ["no"]}},
    ]
    lines = b"".join(json.dumps(event).encode() + b"\n" for event in events)
    code, said = await stack.run("publish", "-", user="segment", stdin=lines)
    assert (code, said.strip()) == (0, "3")
    logged_in = {
        "KAFKA__BOOTSTRAP_SERVERS": stack.users,
        "KAFKA__PROPERTIES": stack.properties("segment"),
    }
    gate = bridge(stack, **logged_in)
    gate.start()
    await gate.until_ready()
    await Segment(gate.url).send(events[:1])
    assert await asyncio.to_thread(gate.stop) == 0
    stack.wootric.on("GET", "/pixel.gif", Drop(effect=True))
    worker = stack.worker(
        "w1",
        KAFKA__BOOTSTRAP_SERVERS=stack.users,
        KAFKA__PROPERTIES=stack.properties("wootric"),
    )
    worker.start()
    await stack.until_caught_up()
    assert await asyncio.to_thread(worker.stop) == 0
    assert [user.external_id for user in stack.wootric.state.end_users.values()] == ["u1"]
    assert len(stack.read(stack.config.dead_letter_topic)) == 1
    assert len(stack.read(stack.config.parked_topic)) == 1
    for user in ("stranger", "segment"):
        code, said = await stack.run("run", user=user)
        assert code in {69, 75, 77, 78}, said
    code, said = await stack.run("topics", "create", user="stranger")
    assert code != 0, said
