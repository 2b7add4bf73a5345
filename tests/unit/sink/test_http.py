"""The edge to aiohttp, against a server of raw bytes."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress

import pytest
import uvloop
from waiting import STILL_S, Stillness, stretched
from yarl import URL

from sink.http_session import BODY_BYTES_MAX, SPARE_CONNECTIONS, HttpSession, _Deadlines
from sink.models import HttpResponse, LeaseExpired, NoResponse, NotSent, Request, SendResult

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PERSON = "ada%40example.com"
SHORT_S = float(stretched(0.5))
"""A deadline that is to end: the connection is made and the request written long before."""


class RawServer:
    """Answers requests with bytes, by a reset (None), or not before an event is set."""

    def __init__(self, *answers: bytes | asyncio.Event | None) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/x?email={PERSON}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
                self.requests.append(head + await reader.readexactly(int(length or 0)))
                match self.answers.pop(0):
                    case bytes(answer):
                        writer.write(answer)
                        if b"Connection: close" in answer:
                            writer.close()
                            return
                    case None:
                        return
                    case never:
                        await never.wait()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            if not writer.transport.is_closing():
                writer.transport.abort()


@asynccontextmanager
async def serving(server: RawServer, *, timeout_s: float = STILL_S) -> AsyncIterator[HttpSession]:
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    async with HttpSession(in_flight_max=4, request_timeout_s=timeout_s) as session:
        yield session
    listener.close()
    await listener.wait_closed()


def request(url: str, method: str = "GET", body: bytes | None = None) -> Request:
    return Request("test", method, URL(url, encoded=True), body, writes=True)


async def send(session: HttpSession, server: RawServer, method: str = "GET") -> SendResult:
    body = b"a=1" if method in {"POST", "PUT"} else None
    return await session.send(request(server.url, method, body), {"User-Agent": "test"})


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
async def test_a_reset_on_a_kept_connection_is_not_followed_by_a_second_request(
    method: str,
) -> None:
    """By itself aiohttp repeats a GET, PUT or DELETE: that would double a page view."""
    server = RawServer(OK, None, OK)
    async with serving(server) as session:
        first = await send(session, server, method)
        second = await send(session, server, method)
    assert isinstance(first, HttpResponse)
    assert isinstance(second, NoResponse)
    assert server.connections == 1
    assert len(server.requests) == 2


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_nothing_runs_between_the_check_and_the_bytes(
    method: str, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """A worker frozen in between sends when it wakes: not even another callback may fit in."""
    found: list[bytes] = []

    def look(connection: socket.socket) -> None:
        with suppress(BlockingIOError):
            found.append(connection.recv(4096, socket.MSG_DONTWAIT))
        connection.sendall(OK)
        connections.append(connection)

    def may_send() -> bool:
        asyncio.get_running_loop().call_soon(look, listener.accept()[0])
        return True

    async def one() -> SendResult:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        async with HttpSession(in_flight_max=1, request_timeout_s=STILL_S) as session:
            body = b"a=1" if method in {"POST", "PUT"} else None
            return await session.send(request(url, method, body), {}, may_send=may_send)

    connections: list[socket.socket] = []
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        asyncio.Runner(loop_factory=loop) as runner,
    ):
        assert isinstance(runner.run(one()), HttpResponse)
    connections[0].close()
    assert found
    assert found[0].startswith(method.encode())


async def test_a_reply_is_status_headers_and_body() -> None:
    server = RawServer(b"HTTP/1.1 201 Created\r\nX-Y: z\r\nContent-Length: 2\r\n\r\nok")
    async with serving(server) as session:
        reply = await send(session, server)
    assert isinstance(reply, HttpResponse)
    assert (reply.status, reply.headers["x-y"], reply.body) == (201, "z", b"ok")


async def test_a_refused_connection_sent_nothing() -> None:
    server = RawServer()
    async with serving(server):
        url = server.url
    async with HttpSession(in_flight_max=1, request_timeout_s=STILL_S) as session:
        evidence = await session.send(request(url), {})
    assert isinstance(evidence, NotSent)


async def test_an_unknown_name_sent_nothing() -> None:
    async with HttpSession(in_flight_max=1, request_timeout_s=STILL_S) as session:
        evidence = await session.send(request("http://nobody.invalid/"), {})
    assert isinstance(evidence, NotSent)


async def test_tls_that_fails_sent_nothing() -> None:
    server = RawServer(OK)
    async with serving(server) as session:
        url = server.url.replace("http:", "https:")
        evidence = await session.send(request(url), {})
    assert isinstance(evidence, NotSent)
    assert server.requests == []


async def test_silence_ends_at_the_deadline_in_doubt() -> None:
    never = asyncio.Event()
    server = RawServer(never)
    async with serving(server, timeout_s=SHORT_S) as session:
        evidence = await send(session, server)
        never.set()
    assert evidence == NoResponse("TimeoutError")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("blocked", ["while the answer arrives", "before the bytes leave"])
def test_a_loop_that_was_blocked_is_no_silence_of_the_server(
    blocked: str, method: str, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """What has arrived is read before the deadline is judged, however late the loop is."""
    timeout_s = SHORT_S
    answered = threading.Event()

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(OK)
            answered.set()
            connection.recv(1)

    def block() -> None:
        time.sleep(2 * timeout_s)
        assert answered.wait(STILL_S)

    def may_send() -> bool:
        if blocked == "before the bytes leave":
            time.sleep(2 * timeout_s)
        else:
            asyncio.get_running_loop().call_soon(block)
        return True

    async def one() -> SendResult:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        body = b"a=1" if method == "POST" else None
        async with HttpSession(in_flight_max=1, request_timeout_s=timeout_s) as session:
            return await session.send(request(url, method, body), {}, may_send=may_send)

    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        ThreadPoolExecutor(1) as server,
        asyncio.Runner(loop_factory=loop) as runner,
    ):
        served = server.submit(answer)
        assert isinstance(runner.run(one()), HttpResponse)
        served.result()


async def test_a_wait_for_a_place_in_the_pool_sent_nothing() -> None:
    """The deadline counts from the start, but only what left can be in doubt."""
    never = asyncio.Event()
    places = 4 + SPARE_CONNECTIONS
    server = RawServer(*[never] * places)
    async with serving(server) as session:
        patient = [asyncio.create_task(send(session, server)) for _ in range(places)]
        stillness = Stillness(lambda: len(server.requests))
        while len(server.requests) < places:
            stillness.check("every place is taken")
            await asyncio.sleep(0)
        session._deadlines = _Deadlines(SHORT_S)
        assert await send(session, server) == NotSent("TimeoutError")
        assert len(server.requests) == places
        for task in patient:
            task.cancel()
        await asyncio.gather(*patient, return_exceptions=True)
        never.set()


async def test_headers_that_break_off_are_in_doubt() -> None:
    server = RawServer(b"HTTP/1.1 200 OK\r\nContent-Le\r\nConnection: close")
    async with serving(server) as session:
        assert isinstance(await send(session, server), NoResponse)


@pytest.mark.parametrize("garbage", [b"\x00\x01\r\n\r\n", b"HTTP/9.9 abc\r\n\r\n"])
async def test_an_answer_that_is_no_http_is_in_doubt(garbage: bytes) -> None:
    server = RawServer(garbage)
    async with serving(server) as session:
        assert isinstance(await send(session, server), NoResponse)


async def test_a_body_that_breaks_off_leaves_the_status() -> None:
    server = RawServer(b"HTTP/1.1 201 Created\r\nContent-Length: 99\r\nConnection: close\r\n\r\n{")
    async with serving(server) as session:
        reply = await send(session, server)
    assert isinstance(reply, HttpResponse)
    assert (reply.status, reply.body) == (201, None)


async def test_a_body_that_drips_beyond_the_deadline_leaves_the_status() -> None:
    server = RawServer(b"HTTP/1.1 201 Created\r\nContent-Length: 99\r\n\r\n{")
    async with serving(server, timeout_s=SHORT_S) as session:
        reply = await send(session, server)
    assert isinstance(reply, HttpResponse)
    assert (reply.status, reply.body) == (201, None)


async def test_a_body_without_end_is_not_kept() -> None:
    size = BODY_BYTES_MAX + 1
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
    server = RawServer(head + bytes(size))
    async with serving(server) as session:
        reply = await send(session, server)
    assert isinstance(reply, HttpResponse)
    assert (reply.status, reply.body) == (200, None)


async def test_a_redirect_is_not_followed() -> None:
    server = RawServer(b"HTTP/1.1 302 Found\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n", OK)
    async with serving(server) as session:
        reply = await send(session, server)
    assert isinstance(reply, HttpResponse)
    assert reply.status == 302
    assert len(server.requests) == 1


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
async def test_the_lease_is_asked_when_the_connection_is_ready(method: str) -> None:
    """A lease that ends while the connection is made sends nothing."""
    server = RawServer(OK)
    asked: list[int] = []

    def may_send() -> bool:
        asked.append(server.port)
        return False

    async with serving(server) as session:
        body = b"a=1" if method in {"POST", "PUT"} else None
        withheld = request(server.url, method, body)
        assert await session.send(withheld, {}, may_send=may_send) == LeaseExpired()
        assert isinstance(await send(session, server, method), HttpResponse)
    assert len(asked) == 1
    assert len(server.requests) == 1


async def test_cancellation_passes_through() -> None:
    never = asyncio.Event()
    server = RawServer(never)
    async with serving(server) as session:
        task = asyncio.create_task(send(session, server))
        stillness = Stillness()
        while not server.requests:
            stillness.check("the request arrives")
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        never.set()


async def test_evidence_names_no_person() -> None:
    never = asyncio.Event()
    server = RawServer(None, never)
    async with serving(server, timeout_s=SHORT_S) as session:
        reset = await send(session, server)
        late = await send(session, server)
        never.set()
    assert "ada" not in repr((reset, late, request(server.url)))


async def test_only_our_own_headers_are_sent() -> None:
    server = RawServer(OK)
    async with serving(server) as session:
        await send(session, server)
    names = {line.partition(b":")[0].lower() for line in server.requests[0].splitlines()[1:-1]}
    assert names == {b"host", b"user-agent"}


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Security-Policy: " + b"a" * 64_000,
        b"\r\n".join(b"Set-Cookie: c%d=" % n + b"a" * 200 for n in range(300)),
        b"X-Long: " + b"a" * 40_000 + b"\r\nX-Other: " + b"b" * 20_000,
    ],
    ids=["one", "many", "two"],
)
async def test_a_reply_with_headers_of_64_kilobytes_is_a_reply(headers: bytes) -> None:
    """Proxies add them. A reply that cannot be read would leave each request in doubt."""
    server = RawServer(OK.replace(b"\r\n\r\n", b"\r\n" + headers + b"\r\n\r\n"))
    async with serving(server) as session:
        result = await send(session, server, "POST")
    assert isinstance(result, HttpResponse)
    assert (result.status, result.body) == (200, b"ok")


async def test_a_reply_with_a_long_reason_is_a_reply() -> None:
    server = RawServer(OK.replace(b"200 OK", b"200 " + b"O" * 60_000))
    async with serving(server) as session:
        result = await send(session, server)
    assert isinstance(result, HttpResponse)
