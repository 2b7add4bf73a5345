"""The webhook behind a real socket: what senders other than Segment write is understood too."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from segment import SECRET, sign, stringify
from stack import free_port
from structlog.testing import capture_logs
from waiting import STILL_S, until

from stream.bridge.admission import REFUSALS_AT_ONCE, Admission
from stream.bridge.http_server import HEAD_BYTES_MAX, HttpServer
from stream.bridge.payload import BODY_BYTES_MAX, Target
from stream.bridge.signature import Batches, Verifier
from stream.bridge.webhook import Webhook
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

    def __init__(
        self, *, connections_max: int = 10, head_timeout_s: float = STILL_S, max_age_s: int = 0
    ) -> None:
        self.kafka, self.metrics, self.port = Acknowledging(), BridgeMetrics(), free_port()
        self.admission = Admission(
            connections_max=connections_max, bytes_max=10_000_000, clock=lambda: 0.0
        )
        webhook = Webhook(
            verifier=Verifier(lambda: [SECRET.encode()], Batches.REJECT),
            target=Target(topic="events", header=SEGMENT_EVENT.header, bytes_max=1_000_000),
            producer=self.kafka,  # type: ignore[arg-type]
            admission=self.admission,
            body_timeout_s=STILL_S,
            max_age_s=max_age_s,
            metrics=self.metrics,
        )
        self.server = HttpServer(
            webhook.answer,
            self.admission,
            self.metrics,
            head_timeout_s=head_timeout_s,
            drain_s=STILL_S,
        )

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Gate"]:
        await self.server.start("127.0.0.1", self.port)
        yield self
        await self.server.close()

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

    async def ends(self) -> bytes:
        """What comes until the bridge closes the connection."""
        async with asyncio.timeout(STILL_S):
            with suppress(ConnectionError):
                return await self.reader.read()
        return b""


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    async with Gate().serving() as one:
        yield one


@asynccontextmanager
async def connected(gate: Gate, address: str = "127.0.0.1") -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port, local_addr=(address, 0))
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
    assert gate.count("refused_total", reason="invalid_event") == 0


# Senders that have proved nothing

HOSTILE, OTHER = "127.0.0.2", "127.0.0.3"


async def refused(client: Client) -> int:
    """The status of a request with a wrong signature."""
    body = stringify(EVENT)
    client.head(body, signature="0" * 40)
    client.writer.write(body)
    return (await client.answer())[0]


async def taken(client: Client) -> int:
    body = stringify(EVENT)
    client.head(body)
    client.writer.write(body)
    return (await client.answer())[0]


@pytest.mark.parametrize("begun", [b"", b"POST /v1/ev"])
async def test_a_head_that_does_not_end_costs_its_connection_and_no_other(begun: bytes) -> None:
    """Between requests nobody has to hurry."""
    async with (
        Gate(head_timeout_s=0.1).serving() as gate,
        connected(gate) as waits,
        connected(gate, HOSTILE) as slow,
    ):
        assert await taken(waits) == 200
        slow.writer.write(begun)
        assert await slow.ends() == b""
        assert gate.count("connections_closed_total", cause="slow_head") == 1
        assert await taken(waits) == 200


async def test_a_second_head_has_no_more_time_than_the_first() -> None:
    async with Gate(head_timeout_s=0.1).serving() as gate, connected(gate) as client:
        assert await taken(client) == 200
        client.writer.write(b"POST")
        assert await client.ends() == b""
        assert gate.count("connections_closed_total", cause="slow_head") == 1


async def test_a_head_that_never_ends_is_not_kept(gate: Gate) -> None:
    """Sixty-four headers of eight kilobytes would be half a megabyte of each connection."""
    async with connected(gate) as client:
        client.writer.write(b"POST /v1/events HTTP/1.1\r\n")
        for number in range(HEAD_BYTES_MAX // 4_000 + 1):
            client.writer.write(b"X-%d: " % number + b"x" * 4_000 + b"\r\n")
            await asyncio.sleep(0)
        assert await client.ends() == b""
        assert gate.count("connections_closed_total", cause="long_head") == 1


async def test_one_address_that_holds_all_it_gets_leaves_places_for_another(gate: Gate) -> None:
    async with AsyncExitStack() as opened:
        for _ in range(30):
            await opened.enter_async_context(connected(gate, HOSTILE))
        async with connected(gate) as client:
            assert await taken(client) == 200
        assert gate.count("connections_closed_total", cause="capacity") == 25
    connections = gate.admission.connections
    await until(lambda: connections.used == 0, "all are given back", lambda: connections.used)
    async with connected(gate, HOSTILE) as client:
        assert await taken(client) == 200


async def test_whatever_becomes_of_a_request_its_bytes_are_free_again(gate: Gate) -> None:
    """Of a sender that goes away, of a body without a length that is too long, of one unsigned."""
    memory, body = gate.admission.memory, b" " * 1_000

    async def all_free() -> None:
        await until(lambda: memory.used == 0, "all is given back", lambda: memory.used)

    async with connected(gate) as client:
        client.head(body)
        client.writer.write(body[1:])
        await until(lambda: memory.used == len(body) - 1, "held", lambda: memory.used)
        client.writer.transport.abort()
    await all_free()
    async with connected(gate) as client:
        head = [
            b"POST /v1/events HTTP/1.1",
            b"Host: bridge",
            b"Content-Type: application/json",
            b"X-Signature: " + sign(body).encode(),
            b"Transfer-Encoding: chunked",
        ]
        client.writer.write(b"\r\n".join(head) + b"\r\n\r\n")
        for _ in range(BODY_BYTES_MAX // len(body) + 1):
            client.writer.write(b"%x\r\n%b\r\n" % (len(body), body))
        assert (await client.answer())[0] == 413
    await all_free()
    async with connected(gate) as client:
        assert await refused(client) == 401
    await all_free()


async def test_an_address_with_refusals_only_is_let_in_no_more(gate: Gate) -> None:
    """The log says so once, and not who."""
    with capture_logs() as logs:
        async with connected(gate, HOSTILE) as client:
            for _ in range(REFUSALS_AT_ONCE):
                assert await refused(client) == 401
            assert await client.ends() == b""
        async with connected(gate, HOSTILE) as client:
            assert await client.ends() == b""
    async with connected(gate) as client:
        assert await taken(client) == 200
    assert gate.count("connections_closed_total", cause="refusals") == 2
    assert logs == [{"event": "connections_closed", "log_level": "warning", "refusals": 1}]


async def test_an_address_with_two_refusals_left_opens_two_connections(gate: Gate) -> None:
    """What comes over more of them would be read before the second refusal counts."""
    async with connected(gate, HOSTILE) as first:
        for _ in range(REFUSALS_AT_ONCE - 2):
            assert await refused(first) == 401
        async with connected(gate, HOSTILE) as second, connected(gate, HOSTILE) as third:
            assert await third.ends() == b""
            assert gate.count("connections_closed_total", cause="refusals") == 1
            assert await refused(second) == 401


async def test_what_is_no_http_counts_as_a_refusal(gate: Gate) -> None:
    for _ in range(REFUSALS_AT_ONCE):
        async with connected(gate, HOSTILE) as client:
            client.writer.write(b"\x16\x03\x01 no HTTP\r\n\r\n")
            assert (await client.ends()).startswith(b"HTTP/1.0 400")
    async with connected(gate, HOSTILE) as client:
        assert await client.ends() == b""


async def test_of_an_address_that_signs_nothing_is_closed(gate: Gate) -> None:
    """All senders behind a proxy have its address."""
    async with connected(gate) as segment, connected(gate) as hostile:
        assert await taken(segment) == 200
        for _ in range(REFUSALS_AT_ONCE + 1):
            assert await refused(hostile) == 401
        assert await taken(segment) == 200


# Events of long ago


def sent_before(age_s: float, **named: str) -> dict[str, Any]:
    moment = datetime.now(UTC) - timedelta(seconds=age_s)
    return {**EVENT, "sentAt": moment.isoformat(), **named}


def received_before(age_s: float) -> dict[str, Any]:
    return {**EVENT, "sentAt": None, "receivedAt": sent_before(age_s)["sentAt"]}


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (lambda: sent_before(0), 200),
        (lambda: sent_before(3_000), 200),
        (lambda: sent_before(4_000), 400),
        (lambda: received_before(0), 200),
        (lambda: received_before(4_000), 400),
        (lambda: EVENT, 400),
        (lambda: [sent_before(4_000), sent_before(5_000)], 400),
    ],
)
async def test_a_recorded_request_is_refused_when_it_is_too_old(
    event: Callable[[], Any], status: int
) -> None:
    async with Gate(max_age_s=3_600).serving() as gate, connected(gate) as client:
        body = stringify(event())
        client.head(body)
        client.writer.write(body)
        got, answer, _ = await client.answer()
    assert (got, answer.get("error")) == (status, "too_old" if status == 400 else None)
    assert len(gate.kafka.records) == (status == 200)


async def test_an_old_event_among_younger_ones_is_a_dead_letter() -> None:
    body = stringify([sent_before(0), sent_before(4_000, messageId="old")])
    async with Gate(max_age_s=3_600).serving() as gate, connected(gate) as client:
        client.head(body)
        client.writer.write(body)
        assert (await client.answer())[0] == 200
    letters = [(one.reason, one.message_id) for one in gate.kafka.letters()]
    assert (gate.kafka.ids(), letters) == (["m1"], [("too_old", "old")])
