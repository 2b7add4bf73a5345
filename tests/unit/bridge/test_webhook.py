"""The webhook behind a real socket: what senders other than Segment write is understood too."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from segment import SECRET, sign, stringify
from stack import free_port
from waiting import STILL_S

from stream.bridge.http_server import HttpServer, ListenerBounds
from stream.bridge.payload import BODY_BYTES_MAX, Target
from stream.bridge.signature import Batches, Verifier
from stream.bridge.webhook import ByteBudget, Webhook
from stream.codec.avro import all_packaged
from stream.codec.dead_letter import DeadLetter
from stream.codec.decode import Decoder
from stream.codec.event import SEGMENT_EVENT
from stream.telemetry.metrics import BridgeMetrics

EVENT = {"type": "track", "messageId": "m1", "userId": "u1"}
GO_AHEAD = b"HTTP/1.1 100 Continue\r\n\r\n"


class Acknowledging:
    """A producer that has written everything at once."""

    def __init__(self) -> None:
        self.records: list[Any] = []

    async def send(self, records: Sequence[Any]) -> None:
        self.records += records

    def ids(self) -> list[str | None]:
        decoder = Decoder(all_packaged())
        return [decoder.decode(one[1]).message_id for one in self.events()]

    def events(self) -> list[tuple[bytes, bytes]]:
        return [one for one in self.records if not isinstance(one, DeadLetter)]

    def letters(self) -> list[DeadLetter]:
        return [one for one in self.records if isinstance(one, DeadLetter)]


class Gate:
    """A webhook on loopback, and what it has written."""

    def __init__(self) -> None:
        self.kafka, self.metrics, self.port = Acknowledging(), BridgeMetrics(), free_port()
        webhook = Webhook(
            verifier=Verifier(lambda: [SECRET.encode()], Batches.REJECT),
            target=Target(topic="events", header=SEGMENT_EVENT.header, bytes_max=1_000_000),
            producer=self.kafka,  # type: ignore[arg-type]
            budget=ByteBudget(10_000_000),
            body_timeout_s=STILL_S,
            metrics=self.metrics,
        )
        bounds = ListenerBounds(connections_max=10, drain_s=STILL_S)
        self.server = HttpServer(webhook.answer, bounds, self.metrics)

    def count(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"wootric_bridge_{name}", labels)


class Client:
    """One connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def head(self, body: bytes, *headers: str, signature: str = "", version: str = "1.1") -> None:
        lines = [
            f"POST /v1/events HTTP/{version}",
            "Host: bridge",
            f"Content-Length: {len(body)}",
            f"X-Signature: {signature or sign(body)}",
            *headers,
        ]
        if not any(line.startswith("Content-Type") for line in headers):
            lines.append("Content-Type: application/json")
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")

    async def answer(self) -> tuple[int, dict[str, Any], bytes]:
        """Status, document and head of the next response."""
        async with asyncio.timeout(STILL_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await self.reader.readexactly(length)
        return int(head.split()[1]), json.loads(body), head


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    one = Gate()
    await one.server.start("127.0.0.1", one.port)
    yield one
    await one.server.close()


@asynccontextmanager
async def connected(gate: Gate) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    yield Client(reader, writer)
    writer.close()


# A sender that waits for a go-ahead


@pytest.mark.parametrize("expected", ["100-continue", "100-Continue"])
async def test_a_sender_that_waits_for_a_go_ahead_gets_it(gate: Gate, expected: str) -> None:
    """One waits a second for it, others for ever. The connection serves the next request too."""
    body = stringify(EVENT)
    async with connected(gate) as client:
        for _ in range(2):
            client.head(body, f"Expect: {expected}")
            async with asyncio.timeout(STILL_S):
                assert await client.reader.readexactly(len(GO_AHEAD)) == GO_AHEAD
            assert gate.count("requests_total", code="200") == len(gate.kafka.records)
            client.writer.write(body)
            assert (await client.answer())[:2] == (200, {"accepted": 1})
    assert gate.kafka.ids() == ["m1", "m1"]


@pytest.mark.parametrize(
    ("length", "signature", "status"),
    [(10, "0" * 39, 401), (BODY_BYTES_MAX + 1, "0" * 40, 413)],
)
async def test_a_sender_whose_head_is_refused_sends_no_body(
    gate: Gate, length: int, signature: str, status: int
) -> None:
    """It may send the body anyway, or the next request: only a new connection tells which."""
    async with connected(gate) as client:
        client.head(bytes(length), "Expect: 100-continue", signature=signature)
        got, _, head = await client.answer()
        assert (got, b"connection: close" in head.lower()) == (status, True)
        async with asyncio.timeout(STILL_S):
            assert await client.reader.read() == b""


async def test_a_sender_of_before_the_go_ahead_gets_none(gate: Gate) -> None:
    """HTTP/1.0 has no interim responses."""
    body = stringify(EVENT)
    async with connected(gate) as client:
        client.head(body, "Expect: 100-continue", version="1.0")
        client.writer.write(body)
        assert (await client.answer())[0] == 200


# Other names of the same


@pytest.mark.parametrize(
    "header",
    [
        "Content-Type: application/json; charset=utf8",
        "Content-Type: application/json;charset=UTF8",
        'Content-Type: application/json; charset="utf-8"',
        "Content-Type: application/json; charset=us-ascii",
        "Content-Encoding: x-gzip",
        "Content-Encoding: X-GZIP",
        "Content-Encoding: gzip",
        "Content-Encoding: identity",
    ],
)
async def test_what_means_the_same_is_taken(gate: Gate, header: str) -> None:
    text = stringify(EVENT)
    body = gzip.compress(text) if header.lower().endswith("gzip") else text
    async with connected(gate) as client:
        client.head(body, header)
        client.writer.write(body)
        assert (await client.answer())[0] == 200
    assert gate.kafka.ids() == ["m1"]


@pytest.mark.parametrize(
    "header",
    [
        "Content-Type: application/json; charset=utf-16",
        "Content-Type: application/json; charset=latin-1",
        "Content-Type: text/plain",
        "Content-Encoding: br",
        "Content-Encoding: deflate",
    ],
)
async def test_what_means_something_else_is_refused(gate: Gate, header: str) -> None:
    body = stringify(EVENT)
    async with connected(gate) as client:
        client.head(body, header)
        client.writer.write(body)
        assert (await client.answer())[0] == 415
    assert gate.kafka.records == []


async def test_a_body_of_several_gzip_members_is_one_body(gate: Gate) -> None:
    text = stringify([EVENT, {**EVENT, "messageId": "m2"}])
    packed = b"".join(gzip.compress(part) for part in (text[:9], text[9:]))
    for signature in (sign(text), sign(packed)):
        async with connected(gate) as client:
            client.head(packed, "Content-Encoding: gzip", signature=signature)
            client.writer.write(packed)
            assert (await client.answer())[:2] == (200, {"accepted": 2})
    assert gate.kafka.ids() == ["m1", "m2"] * 2


# One event that breaks a rule, among others


async def test_one_event_that_breaks_a_rule_does_not_refuse_the_others(gate: Gate) -> None:
    """It becomes a dead letter, and the answer says which and why; each is counted."""
    large = {**EVENT, "messageId": "large", "x": "x" * 33_000}
    body = stringify([EVENT, {"type": "track", "messageId": "nobody"}, None, large])
    async with connected(gate) as client:
        client.head(body)
        client.writer.write(body)
        status, document, _ = await client.answer()
    assert (status, document) == (
        200,
        {
            "accepted": 1,
            "rejected": 3,
            "event": 1,
            "detail": "there is neither userId nor anonymousId",
        },
    )
    assert gate.kafka.ids() == ["m1"]
    assert [(one.reason, one.message_id, one.input_topic) for one in gate.kafka.letters()] == [
        ("invalid_event", "nobody", "events"),
        ("invalid_event", None, "events"),
        ("too_large", "large", "events"),
    ]
    assert gate.count("events_accepted_total", type="track") == 1
    assert gate.count("events_rejected_total", reason="invalid_event") == 2
    assert gate.count("events_rejected_total", reason="too_large") == 1
    assert gate.count("refused_total", reason="invalid_event") is None
