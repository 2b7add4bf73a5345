"""The producers of docs/how-to/install/own-producer.md: what they write is read and delivered."""

import asyncio
import re
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from readings import wootric_for
from stack import Stack
from toolchains import go, java, node, output_of

from stream.codec.avro import FOLDER

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "install" / "own-producer.md"
LIBRARIES = ROOT / "tests" / "fixtures" / "producers"
PROGRAMS = dict(re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE))
USERS = ("ada", "grace", "größe")
PARTITIONS = 24
"""So many that two partitioners hardly agree for all users."""

pytestmark = pytest.mark.kafka


@pytest.fixture
async def wide(bootstrap_servers: str, tmp_path: Path) -> AsyncIterator[Stack]:
    async with wootric_for(tmp_path.name) as wootric:
        stack = Stack(bootstrap_servers, wootric, tmp_path, partitions=PARTITIONS)
        await asyncio.to_thread(stack.create_topics)
        yield stack
        stack.end()


def run_java(program: Path) -> list[str]:
    return [*java(LIBRARIES / "pom.xml"), str(program)]


def run_go(program: Path) -> list[str]:
    return [str(go(program, LIBRARIES / "go.mod", LIBRARIES / "go.sum"))]


def run_node(program: Path) -> list[str]:
    variables = node(LIBRARIES / "package.json")
    settings = [f"{name}={value}" for name, value in variables.items()]
    return ["env", *settings, shutil.which("node") or "node", str(program)]


def run_python(program: Path) -> list[str]:
    return [sys.executable, str(program)]


@pytest.mark.parametrize(
    ("language", "file", "run"),
    [
        pytest.param("python", "produce.py", run_python, id="python"),
        pytest.param("java", "Produce.java", run_java, id="java", marks=pytest.mark.slow),
        pytest.param("go", "main.go", run_go, id="go", marks=pytest.mark.slow),
        pytest.param("javascript", "produce.js", run_node, id="node", marks=pytest.mark.slow),
    ],
)
async def test_a_producer_of_the_page_is_understood(
    language: str, file: str, run: Callable[[Path], list[str]], wide: Stack, tmp_path: Path
) -> None:
    """Its events are delivered, from the partitions that the bridge would have chosen."""
    folder = tmp_path / "producer"
    folder.mkdir()
    shutil.copy(FOLDER / "segment_event.avsc", folder)
    (folder / file).write_text(PROGRAMS[language])
    command = await asyncio.to_thread(run, folder / file)
    variables = {
        "KAFKA__BOOTSTRAP_SERVERS": wide.bootstrap_servers,
        "KAFKA__TOPIC": wide.config.topic,
    }
    in_folder = ["sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", str(folder), *command]
    await asyncio.to_thread(output_of, in_folder, **variables)
    wide.worker().start()
    await wide.until_caught_up()
    theirs = {
        message.key().decode(): message.partition() for message in wide.read(wide.config.topic)
    }
    wide.publish({"type": "group", "userId": user, "messageId": f"g-{user}"} for user in USERS)
    ours = {(record.key or b"").decode(): record.partition.number for record in wide.published}
    assert theirs == ours
    held = {user.external_id: user for user in wide.wootric.state.end_users.values()}
    assert {name: user.email for name, user in held.items()} == {
        user: f"{user}@example.com" for user in USERS
    }
    assert {user.properties["plan"] for user in held.values()} == {"pro"}
    assert wide.read(wide.config.dead_letter_topic) == []


def test_the_page_has_a_program_in_each_language() -> None:
    assert set(PROGRAMS) >= {"python", "java", "go", "javascript"}
