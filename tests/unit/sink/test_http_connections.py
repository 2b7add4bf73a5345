"""Connections: which are kept, which are closed, and what an error leaves behind."""

import asyncio
import gzip
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp.connector import Connection
from scripted_server import NEXT, Script, scripted_server
from test_http import OK, SHORT_S, RawServer, request, send, serving
from test_http_replies import LOOPS, Reply, chunked, cuts, results_of, shown, sized
from waiting import STILL_S, Stillness
from yarl import URL

from sink.http_session import BODY_BYTES_MAX, HEADERS_MAX, HttpSession
from sink.models import HttpResponse, NoResponse, NotSent, Request

HEAD = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n"


async def still(condition: Callable[[], object], what: str) -> None:
    """Return once the condition holds."""
    stillness = Stillness()
    while not condition():
        stillness.check(what)
        await asyncio.sleep(0)


@pytest.mark.parametrize("loop", LOOPS)
def test_what_comes_after_a_reply_is_never_the_reply_to_another_request(
    loop: Callable[[], asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By itself aiohttp takes it for that. Nothing is sent where bytes wait already."""

    async def all_results() -> set[tuple[str, ...]]:
        reply = Reply(sized(b"ok") + sized(b"no", status=b"299 Unasked"))
        async with scripted_server(monkeypatch) as server:
            return {tuple(await results_of(server, reply, each)) for each in cuts(reply.data)}

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(all_results()) == {
            ("200 b'ok', closed", "200 b'next'"),
            ("200 b'ok', kept", "NotSent"),
        }


@pytest.mark.parametrize("came", [b"", HEAD, HEAD + b"o"], ids=["nothing", "head", "some body"])
@pytest.mark.parametrize("loop", LOOPS)
def test_a_cancelled_request_closes_its_connection(
    came: bytes, loop: Callable[[], asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cancel() -> tuple[int, int]:
        async with (
            scripted_server(monkeypatch) as server,
            HttpSession(in_flight_max=1, request_timeout_s=STILL_S) as session,
        ):
            url = URL(f"http://127.0.0.1:{server.port}/")
            server.scripts = [Script([came] if came else [])]
            task = asyncio.create_task(session.send(Request("first", "GET", url), {}))
            await still(lambda: server.connections and not server.scripts, "the request arrives")
            await still(lambda: server.read == len(came), "what there is of the reply arrives")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await still(lambda: server.lost, "the connection is closed")
            server.scripts = [Script([NEXT])]
            assert shown(await session.send(Request("second", "GET", url), {})) == "200 b'next'"
            return server.connections, server.lost

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(cancel()) == (2, 1)


async def test_cancelling_a_wait_for_a_connection_leaves_its_place_to_others() -> None:
    never = asyncio.Event()
    server = RawServer(*[never] * 3, OK)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    async with HttpSession(in_flight_max=1, request_timeout_s=STILL_S) as session:
        holders = [asyncio.create_task(send(session, server)) for _ in range(3)]
        await still(lambda: len(server.requests) == 3, "every place is taken")
        waiting, last = [asyncio.create_task(send(session, server)) for _ in range(2)]
        await asyncio.sleep(0)
        waiting.cancel()
        holders[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert isinstance(await last, HttpResponse)
        for task in holders:
            task.cancel()
        await asyncio.gather(*holders, return_exceptions=True)
        never.set()
    listener.close()


@pytest.mark.parametrize("loop", LOOPS)
def test_a_reply_before_the_end_of_the_request_closes_the_connection(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """The rest of the request would be read as the next one."""
    connections: list[asyncio.StreamWriter] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"POST"):
            writer.transport.pause_reading()
        writer.write(sized(b"no", status=b"413 Content Too Large"))

    async def two() -> list[str]:
        listener = await asyncio.start_server(refuse, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"
        async with HttpSession(in_flight_max=1, request_timeout_s=STILL_S) as session:
            large = request(url, "POST", bytes(32 * 1024 * 1024))
            results = [await session.send(one, {}) for one in (large, request(url))]
        for writer in connections:
            writer.transport.abort()
        listener.close()
        return [shown(one) for one in results]

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(two()) == ["413 b'no'"] * 2
    assert len(connections) == 2


@pytest.mark.parametrize(
    ("reply", "result"),
    [
        (b"", "NoResponse"),
        (b"HTTP/1.1 200 OK\r\n\r\nok", "200 b'ok'"),
        (sized(b"ok"), "200 b'ok'"),
        (sized(b"ok")[:-1], "200 None"),
    ],
    ids=["nothing", "until the end", "whole", "in the body"],
)
@pytest.mark.parametrize("loop", LOOPS)
def test_a_server_that_only_stops_writing_has_ended_its_reply(
    reply: bytes, result: str, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    ends: list[bytes] = []

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        writer.write_eof()
        ends.append(await reader.read())
        writer.close()

    async def one() -> str:
        listener = await asyncio.start_server(half, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"
        async with HttpSession(in_flight_max=1, request_timeout_s=STILL_S) as session:
            sent = await session.send(request(url), {})
            await still(lambda: ends, "the client closes")
        listener.close()
        return shown(sent)

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(one()) == result


async def test_a_small_reply_that_unpacks_to_a_large_one_is_not_kept() -> None:
    bomb = gzip.compress(bytes(BODY_BYTES_MAX + 1))
    server = RawServer(sized(bomb, b"Content-Encoding: gzip"), OK)
    async with serving(server) as session:
        results = [shown(await send(session, server)) for _ in range(2)]
    assert results == ["200 None", "200 b'ok'"]


@pytest.mark.parametrize(
    "header",
    [b"X-Y: " + b"a" * 70_000, b"\r\n".join([b"X-Y: z"] * (HEADERS_MAX + 1))],
    ids=["a long line", "many lines"],
)
async def test_a_head_beyond_the_limits_is_in_doubt(header: bytes) -> None:
    server = RawServer(sized(b"ok", header))
    async with serving(server) as session:
        assert isinstance(await send(session, server), NoResponse)


async def test_a_chunk_that_is_none_leaves_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    head, last = chunked(b"ok").removesuffix(b"0\r\n\r\n"), b"x\r\n"
    async with (
        scripted_server(monkeypatch) as server,
        HttpSession(in_flight_max=1, request_timeout_s=SHORT_S) as session,
    ):
        server.scripts = [Script([head, last], closes=True)]
        url = f"http://127.0.0.1:{server.port}/"
        assert shown(await session.send(request(url), {})) == "200 None"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ({"X-Y": "z\r\nX-Z: y"}, "/"),
        ({"X-Y": "z\n"}, "/"),
        ({"X-Y\r": "z"}, "/"),
        ({"X-Y": "\x00"}, "/"),
        ({}, "/x HTTP/1.1\r\nX-Y: z\r\n\r\nGET /"),
    ],
)
async def test_nothing_is_sent_that_would_add_to_the_head(
    method: str, headers: dict[str, str], path: str
) -> None:
    server = RawServer(OK)
    async with serving(server) as session:
        url = URL.build(scheme="http", host="127.0.0.1", port=server.port, path=path, encoded=True)
        body = b"a=1" if method == "POST" else None
        sent = await session.send(Request("test", method, url, body), headers)
        assert sent == NotSent("ValueError")
        assert isinstance(await send(session, server), HttpResponse)
    assert len(server.requests) == 1


async def test_credentials_of_a_url_are_sent_unless_there_are_others() -> None:
    server = RawServer(OK)
    async with serving(server) as session:
        url = URL(f"http://user:p%20w@127.0.0.1:{server.port}/", encoded=True)
        both = await session.send(Request("test", "GET", url), {"Authorization": "Bearer token"})
        assert both == NotSent("ValueError")
        assert isinstance(await session.send(Request("test", "GET", url), {}), HttpResponse)
    (head,) = server.requests
    assert b"\r\nAuthorization: Basic dXNlcjpwIHc=\r\n" in head
    assert head.startswith(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:")


async def test_a_handshake_without_an_answer_sent_nothing() -> None:
    never = asyncio.Event()

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await never.wait()
        writer.close()

    listener = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"
    async with HttpSession(in_flight_max=1, request_timeout_s=SHORT_S) as session:
        assert await session.send(request(url), {}) == NotSent("ConnectionTimeoutError")
    never.set()
    listener.close()


async def test_a_closed_session_sends_nothing() -> None:
    server = RawServer(OK)
    async with serving(server):
        async with HttpSession(in_flight_max=1, request_timeout_s=STILL_S) as session:
            pass
        assert isinstance(await send(session, server), NotSent)
    assert server.connections == 0


async def test_a_session_that_is_not_open_is_an_error_of_the_caller() -> None:
    session = HttpSession(in_flight_max=1, request_timeout_s=STILL_S)
    with pytest.raises(RuntimeError, match="not open"):
        await session.send(request("http://127.0.0.1:1/"), {})


async def test_each_origin_has_its_own_connections_and_headers() -> None:
    one, other = RawServer(OK, OK), RawServer(OK)
    async with serving(one) as session, serving(other):
        for server, user in ((one, "user@"), (other, ""), (one, "")):
            url = URL(f"http://{user}127.0.0.1:{server.port}/", encoded=True)
            assert isinstance(await session.send(Request("test", "GET", url), {}), HttpResponse)
    assert [b"Authorization" in head for head in one.requests + other.requests] == [
        True,
        False,
        False,
    ]
    assert b"Host: 127.0.0.1:%d\r\n" % other.port in other.requests[0]


async def test_a_connection_that_ended_before_the_request_sent_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = RawServer(OK)
    connect = HttpSession._connect

    async def ended(*arguments: Any) -> Connection:
        connection = await connect(*arguments)
        assert connection.transport is not None
        connection.transport.abort()
        return connection

    monkeypatch.setattr(HttpSession, "_connect", ended)
    async with serving(server) as session:
        assert await send(session, server) == NotSent("ServerDisconnectedError")
    assert server.requests == []
