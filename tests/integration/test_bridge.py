"""The bridge as a process, on a real Kafka: what it takes, and what it does not."""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import psutil
import pytest
from fuzz import assail
from segment import JSON, SECRET, Bridge, bridge, sign, signed, stringify
from stack import Stack
from waiting import SLOWNESS, slowness, stretched, until

from stream.codec.avro import all_packaged
from stream.codec.decode import Decoder
from stream.codec.event import event_from_json

PATIENT = {"BRIDGE__ACK_TIMEOUT_S": "60", "BRIDGE__BODY_TIMEOUT_S": stretched(60)}
"""For a test that holds nothing back: Kafka and the test may be held up."""
FORMER = "the-secret-of-before"
EVENT = {"type": "track", "messageId": "m1", "userId": "u1", "event": "☃", "beyond": {"a": [1]}}


@asynccontextmanager
async def running(gate: Bridge) -> AsyncIterator[Bridge]:
    gate.start()
    await gate.until_ready()
    yield gate
    assert await asyncio.to_thread(gate.stop) == 0


async def post(
    gate: Bridge, body: bytes, *, address: str = "127.0.0.1", **headers: str
) -> tuple[int, dict[str, Any]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(local_addr=(address, 0)),
            skip_auto_headers=("Content-Type",),
        ) as session,
        session.post(gate.url, data=body, headers={**JSON, **named}) as reply,
    ):
        return reply.status, json.loads(await reply.read() or b"{}")


def held(stack: Stack) -> list[Any]:
    decoder = Decoder(all_packaged())
    return [decoder.decode(message.value()) for message in stack.read(stack.config.topic)]


async def test_what_is_signed_is_in_kafka_when_it_is_acknowledged(stack: Stack) -> None:
    """Alone, in an array, packed, with the secret of before; keyed by user, and as it came."""
    events = [{**EVENT, "messageId": f"m{n}"} for n in range(7)]
    text, packed = stringify(events[3]), gzip.compress(stringify(events[4]))
    async with running(bridge(stack, BRIDGE__PREVIOUS_SECRET=FORMER, **PATIENT)) as gate:
        for body, signature, count in (
            (stringify(events[0]), sign(stringify(events[0])), 1),
            (stringify(events[1:2]), sign(stringify(events[1])), 1),
            (stringify(events[1:3]), sign(stringify(events[1:3])), 2),
            (text, sign(text, FORMER), 1),
        ):
            assert await post(gate, body, X_Signature=signature) == (200, {"accepted": count})
        for signature in (sign(stringify(events[4])), sign(packed)):
            answer = await post(gate, packed, X_Signature=signature, Content_Encoding="gzip")
            assert answer == (200, {"accepted": 1})
        metrics = await gate.metrics()
    assert metrics['wootric_bridge_requests_total{code="200"}'] == 6
    assert metrics['wootric_bridge_events_accepted_total{type="track"}'] == 7
    assert {event.message_id for event in held(stack)} == {f"m{n}" for n in range(5)}
    assert event_from_json(events[0]) in held(stack)
    assert {message.key() for message in stack.read(stack.config.topic)} == {b"u1"}


async def test_what_is_wrong_is_answered_and_not_in_kafka(stack: Stack) -> None:
    """Each answer says what to do, and quotes nothing of the request."""
    text = stringify(EVENT)
    good = sign(text)
    first_only, headers = signed([EVENT, {**EVENT, "messageId": "forged"}])
    large = stringify({**EVENT, "x": "x" * 600_000})
    many = stringify([EVENT] * 2_501)
    cases: list[tuple[int, bytes, dict[str, str]]] = [
        (401, text, {}),
        (401, text, {"X_Signature": "0" * 40}),
        (401, text, {"X_Signature": sign(text, "another")}),
        (401, text + b" ", {"X_Signature": good}),
        (401, first_only, {"X_Signature": headers["X-Signature"]}),
        (413, large, {"X_Signature": sign(large)}),
        (413, many, {"X_Signature": sign(many)}),
        (415, text, {"X_Signature": good, "Content_Type": "text/plain"}),
        (415, text, {"X_Signature": good, "Content_Encoding": "br"}),
        (400, b"{", {"X_Signature": sign(b"{")}),
        (400, b"[]", {"X_Signature": sign(b"[]")}),
        (400, b"17", {"X_Signature": sign(b"17")}),
        (400, text, {"X_Signature": good, "Content_Encoding": "gzip"}),
    ]
    async with running(bridge(stack, **PATIENT)) as gate:
        for status, body, named in cases:
            answer = await post(gate, body, **named)
            assert (answer[0], set(answer[1])) == (status, {"error", "detail"}), answer
        async with aiohttp.ClientSession() as session:
            assert (await session.get(gate.url)).status == 405
            assert (await session.get(gate.url + "/more")).status == 404
        log = gate.log.read_text()
    assert held(stack) == []
    assert SECRET not in log
    assert "☃" not in log


async def test_of_an_array_what_is_wrong_is_a_dead_letter_and_the_rest_is_in_kafka(
    stack: Stack,
) -> None:
    """The answer names the first and the rule; all of it is acknowledged before."""
    body = stringify([EVENT, {**EVENT, "messageId": "x" * 101}, {"type": "page"}, [EVENT]])
    token = {"HTTP__BEARER_TOKEN": "a-token-of-the-tests"}
    async with running(bridge(stack, **PATIENT, **token)) as gate:
        assert await post(gate, body, X_Signature=sign(body)) == (
            200,
            {
                "accepted": 1,
                "rejected": 3,
                "event": 1,
                "detail": "messageId is longer than 100 characters",
            },
        )
        metrics = await gate.metrics()
        assert (await gate.get("/metrics", authorized=False))[0] == 401
    assert metrics['wootric_bridge_events_rejected_total{reason="invalid_event"}'] == 3
    assert metrics['wootric_bridge_events_accepted_total{type="track"}'] == 1
    assert [event.message_id for event in held(stack)] == ["m1"]
    letters = {
        message.value(): dict(message.headers())
        for message in stack.read(stack.config.dead_letter_topic)
    }
    assert set(letters) == {
        stringify({**EVENT, "messageId": "x" * 101}),
        stringify({"type": "page"}),
        stringify([EVENT]),
    }
    assert {one["x-input-topic"].decode() for one in letters.values()} == {stack.config.topic}


async def test_who_is_slow_or_holds_too_much_is_let_go_and_others_are_served(stack: Stack) -> None:
    """A head that does not end, a body that does not come, a connection beyond the limit."""
    gate = bridge(
        stack,
        BRIDGE__HEAD_TIMEOUT_S=stretched(3),
        BRIDGE__BODY_TIMEOUT_S=stretched(3),
        BRIDGE__ACK_TIMEOUT_S="60",
        BRIDGE__CONNECTIONS_MAX="40",
    )
    body, headers = signed(EVENT)
    head = (
        f"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        f"X-Signature: {headers['X-Signature']}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    async with running(gate):
        began_at = time.monotonic()
        opened = []
        for number in range(24):
            opened.append(
                await asyncio.open_connection(
                    "127.0.0.1", gate.webhook_port, local_addr=("127.0.0.2", 0)
                )
            )
            opened[-1][1].write(head[:50] if number % 2 else head + body[:10])
        assert (await post(gate, body, X_Signature=headers["X-Signature"]))[0] == 200
        answers = []
        for reader, writer in opened:
            with suppress(ConnectionError):
                answers.append(await reader.read(-1))
            writer.close()
        # by these settings: by itself it would wait 10 s for a head and 10 s for a body
        assert time.monotonic() - began_at < 8 * max(SLOWNESS, slowness())
        assert sum(answer.startswith(b"HTTP/1.1 408") for answer in answers) == 10
        assert (await post(gate, body, X_Signature=headers["X-Signature"]))[0] == 200
        metrics = await gate.metrics()
        log = gate.log.read_text()
    closed = 'wootric_bridge_connections_closed_total{cause="%s"}'
    assert metrics[closed % "capacity"] == 4
    assert metrics[closed % "slow_head"] == 10
    assert log.count('"connections_closed"') == 1
    assert "127.0.0.2" not in log + "".join(metrics)
    assert len(held(stack)) == 2


async def test_nothing_that_is_malformed_or_forged_gets_in_or_does_harm(stack: Stack) -> None:
    """No 5xx, no crash, nothing in Kafka, no memory that stays; the log quotes nothing."""
    async with running(bridge(stack, BRIDGE__ACK_TIMEOUT_S="60")) as gate:
        await assail(gate.webhook_port, 100, seed=1)
        memory = psutil.Process(gate.running.pid).memory_info
        before = memory().rss
        answers = await assail(gate.webhook_port, 1_200, seed=2)
        assert memory().rss - before < 20e6
        body, headers = signed(EVENT)
        assert (await post(gate, body, X_Signature=headers["X-Signature"]))[0] == 200
        log = gate.log.read_text()
    # What is signed and breaks a rule is a dead letter.
    assert all(answer in ("none", "200") or answer.startswith("4") for answer in answers), answers
    assert set(answers) >= {"200", "400", "401", "404", "405", "413", "415"}
    assert answers["none"] < 200, answers
    assert len(held(stack)) == 1
    assert stack.read(stack.config.dead_letter_topic)
    assert "must-not-arrive" not in log
    assert "Traceback" not in log


async def test_a_request_beyond_the_budget_is_told_to_come_again(stack: Stack) -> None:
    """What is under way is bounded in bytes: of one address, and of all."""
    gate = bridge(stack, BRIDGE__IN_FLIGHT_BYTES_MAX=str(2 * 1024 * 1024), **PATIENT)
    text = stringify({**EVENT, "x": "x" * 400_000})
    head = (
        "POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        f"X-Signature: {'0' * 40}\r\nContent-Length: {len(text)}\r\n\r\n"
    ).encode()
    async with running(gate):
        slow = [await asyncio.open_connection("127.0.0.1", gate.webhook_port) for _ in range(2)]
        for _, writer in slow:
            writer.write(head + text[:-1])
        in_flight = 0.0

        async def both() -> bool:
            nonlocal in_flight
            in_flight = (await gate.metrics())["wootric_bridge_in_flight_bytes"]
            return in_flight >= 2 * (len(text) - 1)

        await until(both, "both bodies are under way", lambda: in_flight)
        for address, expected in (("127.0.0.1", 503), ("127.0.0.2", 200)):
            status, answer = await post(gate, text, address=address, X_Signature=sign(text))
            assert status == expected, answer
        for reader, writer in slow:
            writer.write(text[-1:])
            assert (await reader.readline()).startswith(b"HTTP/1.1 401")
            writer.close()
        body, headers = signed(EVENT)
        assert (await post(gate, body, X_Signature=headers["X-Signature"]))[0] == 200


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"BRIDGE__SHARED_SECRET": None}, 78, "BRIDGE__SHARED_SECRET"),
        ({"BRIDGE__SHARED_SECRET": "fifteen-letters"}, 78, "at least 16 characters: make one with"),
        (
            {"BRIDGE__SHARED_SECRET": "", "BRIDGE__UNSIGNED_BATCH_ITEMS": "some"},
            78,
            "BRIDGE__UNSIGNED_BATCH_ITEMS",
        ),
        ({"KAFKA__TOPIC": "nowhere"}, 78, "nowhere: missing"),
        ({"KAFKA__DEAD_LETTER_TOPIC": "nowhere"}, 78, "nowhere: missing"),
        (
            {"KAFKA__PROPERTIES": '{"delivery.report.only.error":true}'},
            78,
            "remove delivery.report.only.error",
        ),
        ({"SCHEMA_REGISTRY__URL": "http://127.0.0.1:1"}, 69, "the schema registry"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
async def test_it_refuses_to_start_with_a_message_that_says_what_to_do(
    stack: Stack, changes: dict[str, str | None], code: int, says: str
) -> None:
    gate = bridge(stack)
    for name, value in changes.items():
        gate._environment.pop(name) if value is None and name in gate._environment else None
        if value is not None:
            gate._environment[name] = value
    gate.start()
    assert await gate.until_ended() == code
    assert says in gate.log.read_text()
    assert SECRET not in gate.log.read_text()
