"""Version N is killed with requests open, N+1 takes over, is killed too, and N comes back."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import launcher
import orjson
import pytest
from stack import Stack, Worker
from waiting import stretched, until

from stream.codec.avro import FOLDER, Schema, packaged
from stream.state.ledger import INTENT

pytestmark = pytest.mark.kafka

COMMAND = [sys.executable, str(Path(launcher.__file__))]
FAST = {
    "WOOTRIC__REQUEST_TIMEOUT_S": stretched(1),
    "WOOTRIC__QUIET_PERIOD_S": stretched(0.2),
    "WOOTRIC__LEASE_S": stretched(1),
}
# How N+1 renders profiles: a body of before must not become one of these.
NEWER = {"WOOTRIC__AMOUNT_SUFFIX": "true", "LEDGER_WRITES": "yes"}
OLDER = {"WOOTRIC__AMOUNT_SUFFIX": "false"}


def schema_of_the_next_version(folder: Path) -> Path:
    """The ledger's schema with a field more in each entry, with a default, as our rules ask."""
    definition = orjson.loads((FOLDER / "ledger_entry.avsc").read_bytes())
    entry = next(field for field in definition["fields"] if field["name"] == "entry")
    for record in entry["type"]:
        record["fields"].append({"name": "by", "type": ["null", "string"], "default": None})
    file = folder / "ledger_entry.next.avsc"
    file.write_bytes(orjson.dumps(definition))
    return file


def of(user: str) -> list[dict[str, Any]]:
    """A profile, a page view and a response of one end user."""
    head = {"userId": user, "timestamp": "2026-01-02T03:04:05.000Z"}
    traits = {"email": f"{user}@example.com"}
    return [
        {**head, "type": "identify", "messageId": f"{user}1", "traits": {**traits, "seats": 3}},
        {
            **head,
            "type": "page",
            "messageId": f"{user}2",
            "properties": {"url": f"https://example.com/{user}"},
            "context": {"traits": traits},
        },
        {
            **head,
            "type": "track",
            "messageId": f"{user}3",
            "event": "Survey",
            "properties": {"score": 9, "text": user},
            "context": {"traits": traits},
            "integrations": {"Wootric": {"eventType": "create response"}},
        },
    ]


def version(
    stack: Stack, schema: Path, *, kill: tuple[str, int] | None = None, **how: str
) -> Worker:
    """A worker of one of the two versions; both can read what N+1 writes."""
    faults = {} if kill is None else {kill[0]: (kill[1], "kill")}
    return stack.worker(
        "w1",
        command=COMMAND,
        FAULTS=json.dumps(faults),
        LEDGER_SCHEMA=str(schema),
        **FAST,
        **how,
    )


async def death(worker: Worker) -> None:
    assert await worker.until_ended() == -signal.SIGKILL, worker.log.read_text()[-3000:]


def open_intents(stack: Stack) -> dict[str, bytes]:
    """The values of the open intents, by lane."""
    found: dict[str, bytes] = {}
    for message in stack.read(stack.config.ledger_topic):
        key = message.key().decode()
        if key.startswith(INTENT):
            found[key.removeprefix(INTENT)] = message.value()
    return {lane: value for lane, value in found.items() if value is not None}


async def test_open_requests_survive_an_upgrade_and_a_rollback(
    stack: Stack, tmp_path: Path
) -> None:
    """Entries of both versions are resolved by either, and a frozen body goes as it was frozen:
    ann's by N is sent by N+1, cid's by N+1 is sent by N. An N that does not know the newer
    schema stands still and says so.
    """
    schema = schema_of_the_next_version(tmp_path)
    new, old = Schema.of(orjson.loads(schema.read_bytes())), packaged("ledger_entry")
    assert new.header != old.header

    worker = version(stack, schema, kill=("before create_end_user", 1), **OLDER)
    worker.start()
    stack.publish([event for user in ("ann", "bob") for event in of(user)])
    await death(worker)
    by_old = open_intents(stack)
    assert by_old
    assert all(value.startswith(old.header) for value in by_old.values())

    worker = version(stack, schema, kill=("before create_end_user", 3), **NEWER)
    worker.start()
    responses = stack.wootric.state.responses
    await until(lambda: len(responses) >= 2, "two responses arrive", stack.moved)
    stack.publish(of("cid"))
    await death(worker)
    left = open_intents(stack)
    assert set(left) == {"cid"}
    assert left["cid"].startswith(new.header)

    ignorant = stack.worker("w1", **FAST)
    ignorant.start()
    await ignorant.until_logged("ledger_unreadable")
    await asyncio.to_thread(ignorant.kill)
    assert open_intents(stack) == left

    stack.publish(of("dee"))
    worker = version(stack, schema, **OLDER)
    worker.start()
    await stack.until_caught_up()
    assert await asyncio.to_thread(worker.stop) == 0
    assert open_intents(stack) == {}

    state = stack.wootric.state
    users = {user.external_id: user.properties for user in state.end_users.values()}
    assert sorted(one.text for one in state.responses.values()) == ["ann", "bob", "cid", "dee"]
    names = {user: next(iter(properties)) for user, properties in users.items()}
    newly = {"ann", "bob"} - by_old.keys()  # what N had not frozen is N+1's to render
    assert names == {
        **dict.fromkeys(by_old, "seats"),
        **dict.fromkeys(newly, "seats_amount"),
        "cid": "seats_amount",
        "dee": "seats",
    }
    seen = [str(view.url).rpartition("/")[2] for view in state.page_views]
    parked = [message.key().decode() for message in stack.read(stack.config.parked_topic)]
    assert sorted(seen + parked) == ["ann", "bob", "cid", "dee"]
