"""Schemas by id, from a real registry: written, resolved, waited for, and given up."""

import asyncio
import json
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from confluent_kafka import Producer
from local_registry import LocalRegistry
from registry_gate import PASSWORD, RegistryGate
from segment import SECRET, Segment, bridge
from stack import Stack, Worker
from test_doctor import doctor, in_thread
from waiting import STILL_S, until

from stream.codec.avro import FOLDER, confluent_header, confluent_id
from stream.kafka.producer import record_of

OURS = json.loads((FOLDER / "segment_event.avsc").read_text())


@pytest.fixture(scope="module")
def registry() -> Iterator[LocalRegistry]:
    """A real schema registry. A run without one fails, as without Kafka."""
    with LocalRegistry(say=lambda line: print(line, file=sys.stderr)) as registry:
        yield registry


@pytest.fixture
async def gate(registry: LocalRegistry, stack: Stack) -> AsyncIterator[RegistryGate]:
    """The registry, behind a password; the stack's workers and bridges know it."""
    async with RegistryGate(registry.url) as gate:
        stack.settings |= gate.settings
        yield gate


def ask(registry: LocalRegistry, method: str, path: str, body: Any) -> Any:
    request = Request(  # noqa: S310  our own registry
        registry.url + path,
        method=method,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/vnd.schemaregistry.v1+json"},
    )
    with urlopen(request) as reply:  # noqa: S310
        return json.loads(reply.read())


def register(
    registry: LocalRegistry, subject: str, definition: Any, *referenced: tuple[str, str]
) -> int:
    """Register a schema; ``referenced`` are (name, subject) of first versions."""
    body: dict[str, Any] = {"schema": json.dumps(definition)}
    if referenced:
        body["references"] = [
            {"name": name, "subject": other, "version": 1} for name, other in referenced
        ]
    return ask(registry, "POST", f"/subjects/{subject}/versions", body)["id"]


def another_version() -> Any:
    """Ours with a field more, of a name that nobody has used: a schema with an id of its own."""
    name = f"more_{uuid.uuid4().hex}"
    return {**OURS, "fields": [*OURS["fields"], {"name": name, "type": "null", "default": None}]}


def identify(user: str, message: str, **traits: object) -> dict[str, Any]:
    traits = {"email": f"{user}@example.com", **traits}
    return {"type": "identify", "messageId": message, "userId": user, "traits": traits}


def produce(stack: Stack, partition: int, *events: dict[str, Any], schema_id: int | None) -> None:
    """Write events to one partition; a field of type null has no bytes."""
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers})
    for event in events:
        _, value = record_of(json.dumps(event).encode())
        if schema_id is not None:
            value = confluent_header(schema_id) + value[10:]
        producer.produce(stack.config.topic, value, event["userId"], partition=partition)
    assert producer.flush(STILL_S) == 0


async def halted(worker: Worker, reason: str) -> float:
    return (await worker.metrics()).get(
        f'wootric_consumer_halted_partitions{{reason="{reason}"}}', 0
    )


def held(stack: Stack) -> dict[str | None, dict[str, Any]]:
    return {u.external_id: u.properties for u in stack.wootric.state.end_users.values()}


async def test_what_is_written_with_an_id_is_read_by_it(
    stack: Stack, gate: RegistryGate, tmp_path: Path
) -> None:
    """Webhooks and `publish` write Confluent's framing; a worker knows the id from the start."""
    entry, worker = bridge(stack), stack.worker()
    entry.start()
    await entry.until_ready()
    await Segment(entry.url).send([identify("u1", "m1"), identify("u2", "m2")])
    file = tmp_path / "events.jsonl"
    file.write_text(json.dumps(identify("u3", "m3")))
    command = [sys.executable, "-m", "stream", "publish", str(file)]
    environment = {k: v for k, v in entry._environment.items() if not k.startswith("HTTP__")}
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        env=environment,
        capture_output=True,
        check=False,
        timeout=STILL_S,
    )
    assert done.returncode == 0, done.stderr
    command = [sys.executable, "-m", "stream", "run", "--dry-run"]
    environment = {**worker._environment}
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        env=environment,
        capture_output=True,
        check=False,
        timeout=STILL_S,
    )
    assert b"3 events; nothing was sent" in done.stderr, done.stderr
    assert b"reject" not in done.stdout + done.stderr
    gate.asked.clear()
    worker.start()
    await stack.until_caught_up()
    values = [message.value() for message in stack.read(stack.config.topic)]
    assert len({confluent_id(value) for value in values} - {None}) == 1
    assert set(held(stack)) == {"u1", "u2", "u3"}
    assert not any(path.startswith("/schemas/ids/") for path in gate.asked)
    assert await asyncio.to_thread(worker.stop) == await asyncio.to_thread(entry.stop) == 0
    logs = entry.log.read_text() + worker.log.read_text()
    assert PASSWORD not in logs


async def test_while_the_registry_is_away_its_records_wait_and_others_flow(
    stack: Stack, registry: LocalRegistry, gate: RegistryGate
) -> None:
    """Through a kill and a rebalance: nothing is lost, nothing overtakes, nothing is a letter."""
    schema_id = register(registry, f"{stack.config.topic}-other", another_version())
    gate.away = True
    first, second = stack.worker("w1"), stack.worker("w2")
    first.start()
    await first.until_ready()
    waiting = [identify(f"w{n % 5}", f"w{n}", n=n) for n in range(60)]
    produce(stack, 0, *waiting[:30], schema_id=schema_id)
    produce(stack, 0, *waiting[30:], schema_id=None)
    produce(stack, 1, identify("free", "f1"), schema_id=None)

    async def one_waits() -> bool:
        return await halted(first, "registry_away") == 1 and "free" in held(stack)

    await until(one_waits, "one partition waits, another flows", stack.moved)
    await asyncio.to_thread(first.kill)
    first.start()
    second.start()
    await second.until_logged('"partition_opened"')
    produce(stack, 2, identify("also free", "f2"), schema_id=None)
    await until(lambda: "also free" in held(stack), "others flow", stack.moved)
    assert set(held(stack)) == {"free", "also free"}
    assert not stack.caught_up()
    gate.away = False
    await stack.until_caught_up()
    for worker in (first, second):
        assert await halted(worker, "registry_away") == 0
        assert await asyncio.to_thread(worker.stop) == 0
    assert {name: held(stack)[name] for name in ("w0", "w4")} == {
        "w0": {"n": "55"},
        "w4": {"n": "59"},
    }
    assert stack.read(stack.config.dead_letter_topic) == []


async def test_an_id_that_nobody_knows_is_waited_for_then_given_up(
    stack: Stack, registry: LocalRegistry, gate: RegistryGate
) -> None:
    """What becomes known in time is delivered; what does not becomes dead letters, together."""
    late = register(registry, f"{stack.config.topic}-late", another_version())
    gate.hidden = {late}
    worker = stack.worker("w1", SCHEMA_REGISTRY__UNKNOWN_ID_TIMEOUT_S="3600")
    worker.start()
    await worker.until_ready()
    produce(stack, 0, identify("late", "l1"), schema_id=late)

    async def waits() -> bool:
        return await halted(worker, "unknown_schema") == 1

    await until(waits, "the record waits", worker.said)
    gate.hidden = set()
    await stack.until_caught_up()
    assert set(held(stack)) == {"late"}
    assert await asyncio.to_thread(worker.stop) == 0

    worker = stack.worker("w1", SCHEMA_REGISTRY__UNKNOWN_ID_TIMEOUT_S="1")
    worker.start()
    await worker.until_ready()
    began_at = time.monotonic()
    for number in range(2):
        produce(stack, 0, identify(f"never{number}", f"n{number}"), schema_id=900_000 + number)
    produce(stack, 0, identify("after", "a1"), schema_id=late)
    await stack.until_caught_up()
    assert time.monotonic() - began_at > 1
    letters = [dict(m.headers())["x-reason"] for m in stack.read(stack.config.dead_letter_topic)]
    assert letters == [b"unknown_schema"] * 2
    assert set(held(stack)) == {"late", "after"}
    produce(stack, 0, identify("never0", "n2"), schema_id=900_000)
    await stack.until_caught_up()
    assert len(stack.read(stack.config.dead_letter_topic)) == 3
    assert await halted(worker, "unknown_schema") == 0
    assert await asyncio.to_thread(worker.stop) == 0


async def test_a_union_of_references_is_decided_by_record(
    stack: Stack, registry: LocalRegistry, gate: RegistryGate
) -> None:
    """An event is delivered, a null is a tombstone, another record is a letter that names it."""
    topic = stack.config.topic
    place = {"type": "record", "name": "Place", "namespace": "com.acme.geo", "fields": [
        {"name": "city", "type": "string"},
    ]}  # fmt: skip
    order = {"type": "record", "name": "Order", "namespace": "com.acme", "fields": [
        {"name": "to", "type": "com.acme.geo.Place"},
    ]}  # fmt: skip
    event = {**OURS, "namespace": "com.acme"}
    register(registry, f"{topic}-place", place)
    register(registry, f"{topic}-order", order, ("com.acme.geo.Place", f"{topic}-place"))
    register(registry, f"{topic}-event", event)
    schema_id = register(
        registry,
        f"{topic}-value",
        ["null", "com.acme.Order", "com.acme.SegmentEvent"],
        ("com.acme.Order", f"{topic}-order"),
        ("com.acme.SegmentEvent", f"{topic}-event"),
    )
    worker = stack.worker("w1")
    worker.start()
    await worker.until_ready()
    header = confluent_header(schema_id)
    _, value = record_of(json.dumps(identify("ada", "m1")).encode())
    stack.publish(
        [header + b"\x04" + value[10:], header + b"\x00", header + b"\x02\x06Ulm"], partition=0
    )
    await stack.until_caught_up()
    assert set(held(stack)) == {"ada"}
    (letter,) = stack.read(stack.config.dead_letter_topic)
    headers = dict(letter.headers())
    assert headers["x-reason"] == b"unresolvable"
    assert headers["x-detail"] == b"the record is com.acme.Order, not SegmentEvent"
    tombstones = 'wootric_records_settled_total{outcome="skipped",reason="tombstone"}'
    assert (await worker.metrics())[tombstones] == 1
    assert await asyncio.to_thread(worker.stop) == 0


async def test_a_value_in_another_framing_holds_nobody(
    stack: Stack, registry: LocalRegistry, gate: RegistryGate
) -> None:
    """Those that begin with a zero byte too: they are no ids that one could wait for."""
    worker = stack.worker("w1", SCHEMA_REGISTRY__UNKNOWN_ID_TIMEOUT_S="3600")
    worker.start()
    await worker.until_ready()
    _, value = record_of(json.dumps({"type": "identify", "userId": "bare"}).encode())
    strange = {
        b'{"type":"identify"}': b"this is JSON: use `bridge --from-topic`",
        b"\x00" + (7).to_bytes(8, "big") + value[10:]: b"an id of 8 bytes",
        b"\x03\x00" + bytes(range(16)) + value[10:]: b"AWS Glue",
        value[10:]: b"Avro without a framing",
        confluent_header(900_000) + b'{"type":"identify"}': b"JSON behind a schema id",
    }
    stack.publish([*strange, identify("after", "a1")], partition=0)
    await stack.until_caught_up()
    assert set(held(stack)) == {"after"}
    letters = stack.read(stack.config.dead_letter_topic)
    assert {letter.value() for letter in letters} == set(strange)
    for letter in letters:
        headers = dict(letter.headers())
        assert headers["x-reason"] == b"undecodable"
        assert strange[letter.value()] in headers["x-detail"]
    assert await asyncio.to_thread(worker.stop) == 0


async def test_a_schema_that_does_not_fit_stops_the_start(
    stack: Stack, registry: LocalRegistry, gate: RegistryGate
) -> None:
    """The writer by the subject's own rule, the reader by what it could not read."""
    subject = f"{stack.config.topic}-value"
    cases: list[tuple[Worker, int, str]] = []
    only_looking = {"SCHEMA_REGISTRY__REGISTER_SCHEMA": "false"}
    cases.append((bridge(stack, instance="b1", **only_looking), 78, "REGISTER_SCHEMA=true"))
    wrong = {"SCHEMA_REGISTRY__PASSWORD": "wrong"}
    cases.append((bridge(stack, instance="b2", **wrong), 69, "refuses the credentials"))
    await refused(cases)

    times = {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-micros"}}
    micros = {**OURS, "fields": [times]}
    register(registry, subject, micros)
    await refused([(stack.worker("w1"), 78, "cannot be read")])

    register(registry, subject, {"type": "record", "name": "Another", "fields": []})
    ask(registry, "PUT", f"/config/{subject}", {"compatibility": "FULL"})
    await refused([(bridge(stack, instance="b3"), 78, "not compatible")])


async def refused(cases: list[tuple[Worker, int, str]]) -> None:
    """Each process ends by itself, with this code, and says this."""
    for process, code, says in cases:
        process.start()
        assert await process.until_ended() == code, process.log.read_text()
        assert says in process.log.read_text()


async def test_the_doctor_looks_at_the_registry_too(
    registry: LocalRegistry, gate: RegistryGate, stack: Stack
) -> None:
    """Whether it answers, lets us in, and has schemas that fit; nothing is registered."""

    def look(*flags: str, **settings: str) -> tuple[int, list[tuple[str, str]]]:
        environment = {**stack.environment("w1"), **settings}
        code, found = doctor(environment, *flags)
        return code, [(one["state"], one["text"]) for one in found.get("registry schema", ())]

    subject, secret = f"{stack.config.topic}-value", {"BRIDGE__SHARED_SECRET": SECRET}
    assert await in_thread(look) == (0, [("ok", f"{subject} has no version yet")])
    code, found = await in_thread(partial(look, "--bridge", **secret))
    assert (code, "will register" in found[1][1]) == (0, True)
    kept = {**secret, "SCHEMA_REGISTRY__REGISTER_SCHEMA": "false"}
    assert (await in_thread(partial(look, "--bridge", **kept)))[0] == 78
    register(registry, subject, OURS)
    code, found = await in_thread(partial(look, "--bridge", **kept))
    assert (code, "schema is registered" in found[1][1]) == (0, True)
    assert (await in_thread(partial(look, SCHEMA_REGISTRY__PASSWORD="wrong")))[0] == 77
    unreadable = f"{stack.config.topic}-other"
    register(registry, unreadable, {"type": "record", "name": "Other", "fields": []})
    code, found = await in_thread(partial(look, SCHEMA_REGISTRY__SUBJECT=unreadable))
    assert (code, found[0][0]) == (78, "fail")
    gate.away = True
    assert (await in_thread(look))[0] == 69
    assert (await in_thread(partial(look, "--tolerate-outages")))[0] == 0
