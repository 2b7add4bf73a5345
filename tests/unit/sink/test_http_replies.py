"""Replies of servers, good ones, strange ones and broken ones, cut into pieces in every way."""

import asyncio
import gzip
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pytest
import uvloop
from scripted_server import NEXT, Script, ScriptedServer, scripted_server
from waiting import STILL_S
from yarl import URL

from sink.http_session import HttpSession
from sink.models import HttpResponse, Request, SendResult


@dataclass(frozen=True)
class Reply:
    """The bytes of a reply to ``method``; ``closes`` marks one that ends with the connection."""

    data: bytes
    method: str = "GET"
    closes: bool = False


ZIPPED = gzip.compress(b"zipped", mtime=0)
DEFLATED = zlib.compress(b"deflated")
OK = b"HTTP/1.1 200 OK\r\n"


def sized(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    lines = [b"HTTP/1.1 " + status, *headers, b"Content-Length: %d" % len(body)]
    return b"\r\n".join([*lines, b"", body])


def chunked(*chunks: bytes, more: bytes = b"") -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return OK + more + b"Transfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"


REPLIES: dict[str, Reply] = {
    "sized": Reply(sized(b"ok")),
    "empty": Reply(sized(b"")),
    "not found": Reply(sized(b"{}", status=b"404 Not Found")),
    "error": Reply(sized(b"oh", status=b"500 Internal Server Error")),
    "redirect": Reply(sized(b"", b"Location: /y", status=b"302 Found")),
    "without a reason": Reply(sized(b"ok", status=b"200 ")),
    "without a reason or blank": Reply(sized(b"ok", status=b"200")),
    "chunked": Reply(chunked(b"o", b"k")),
    "chunked, empty": Reply(chunked()),
    "chunk extensions": Reply(chunked(b"ok").replace(b"2\r\n", b"2;a=b\r\n")),
    "trailers": Reply(chunked(b"ok").replace(b"0\r\n\r\n", b"0\r\nX-Y: z\r\n\r\n")),
    "until the end": Reply(OK + b"\r\nok", closes=True),
    "until the end, empty": Reply(OK + b"\r\n", closes=True),
    "close, and it closes": Reply(sized(b"ok", b"Connection: close"), closes=True),
    "close, and it does not": Reply(sized(b"ok", b"Connection: close")),
    "keep-alive, and it closes": Reply(sized(b"ok"), closes=True),
    "HTTP/1.0": Reply(sized(b"ok").replace(b"1.1", b"1.0")),
    "HTTP/1.0 keep-alive": Reply(sized(b"ok", b"Connection: keep-alive").replace(b"1.1", b"1.0")),
    "no content": Reply(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "no content with a length": Reply(b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n"),
    "not modified": Reply(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n"),
    "to HEAD": Reply(OK + b"Content-Length: 2\r\n\r\n", method="HEAD"),
    "to HEAD, chunked": Reply(OK + b"Transfer-Encoding: chunked\r\n\r\n", method="HEAD"),
    "continue": Reply(b"HTTP/1.1 100 Continue\r\n\r\n" + sized(b"ok")),
    "early hints": Reply(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + sized(b"ok")),
    "two informational ones": Reply(b"HTTP/1.1 102 Processing\r\n\r\n" * 2 + sized(b"ok")),
    "informational only": Reply(b"HTTP/1.1 102 Processing\r\n\r\n", closes=True),
    "another protocol": Reply(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nxyz"
    ),
    "gzip": Reply(sized(ZIPPED, b"Content-Encoding: gzip")),
    "gzip, chunked": Reply(chunked(ZIPPED[:9], ZIPPED[9:], more=b"Content-Encoding: gzip\r\n")),
    "gzip that is none": Reply(sized(b"not zipped", b"Content-Encoding: gzip")),
    "gzip that breaks off": Reply(sized(ZIPPED[:-9], b"Content-Encoding: gzip")),
    "deflate": Reply(sized(DEFLATED, b"Content-Encoding: deflate")),
    "an unknown encoding": Reply(sized(b"ok", b"Content-Encoding: x-y")),
    "breaks off before the head": Reply(b"", closes=True),
    "breaks off in the head": Reply(OK + b"Content-Le", closes=True),
    "breaks off in the body": Reply(OK + b"Content-Length: 3\r\n\r\nok", closes=True),
    "breaks off in a chunk": Reply(chunked(b"ok")[:-8], closes=True),
    "breaks off before the last chunk": Reply(chunked(b"ok")[:-5], closes=True),
    "a line end after it": Reply(sized(b"ok") + b"\r\n"),
    "a line end before it": Reply(b"\r\n" + sized(b"ok")),
    "no HTTP": Reply(b"SSH-2.0-OpenSSH\r\n", closes=True),
    "HTTP/2": Reply(sized(b"ok").replace(b"HTTP/1.1", b"HTTP/2.0"), closes=True),
    "lower case": Reply(sized(b"ok").replace(b"HTTP", b"http"), closes=True),
    "a status of two digits": Reply(sized(b"ok", status=b"20 OK"), closes=True),
    "a status of four digits": Reply(sized(b"ok", status=b"2000 OK"), closes=True),
    "a status below 100": Reply(sized(b"ok", status=b"099 OK"), closes=True),
    "a status above 599": Reply(sized(b"ok", status=b"999 OK")),
    "line feeds only": Reply(sized(b"ok").replace(b"\r\n", b"\n")),
    "a folded header": Reply(sized(b"ok", b"X-Y: a\r\n b")),
    "a header without a colon": Reply(sized(b"ok", b"X-Y"), closes=True),
    "a blank before the colon": Reply(sized(b"ok", b"X-Y : z"), closes=True),
    "a null byte in a header": Reply(sized(b"ok", b"X-Y: \0"), closes=True),
    "bytes that are no UTF-8": Reply(sized(b"ok", b"X-Y: \xe4")),
    "no number for a length": Reply(OK + b"Content-Length: two\r\n\r\nok", closes=True),
    "a negative length": Reply(OK + b"Content-Length: -2\r\n\r\nok", closes=True),
    "two lengths": Reply(OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok", closes=True),
    "a length and chunks": Reply(chunked(b"ok", more=b"Content-Length: 2\r\n"), closes=True),
    "no number for a chunk": Reply(chunked(b"ok").replace(b"2\r\n", b"x\r\n"), closes=True),
    "a chunk longer than said": Reply(chunked(b"ok").replace(b"ok", b"okay"), closes=True),
    "chunks that are not last": Reply(
        OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", closes=True
    ),
}

RESULTS = {
    "sized": "200 b'ok', kept",
    "empty": "200 b'', kept",
    "not found": "404 b'{}', kept",
    "error": "500 b'oh', kept",
    "redirect": "302 b'', kept",
    "without a reason": "200 b'ok', kept",
    "without a reason or blank": "200 b'ok', kept",
    "chunked": "200 b'ok', kept",
    "chunked, empty": "200 b'', kept",
    "chunk extensions": "200 b'ok', kept",
    "trailers": "200 b'ok', kept",
    "until the end": "200 b'ok', closed",
    "until the end, empty": "200 b'', closed",
    "close, and it closes": "200 b'ok', closed",
    "close, and it does not": "200 b'ok', closed",
    "keep-alive, and it closes": "200 b'ok', closed",
    "HTTP/1.0": "200 b'ok', closed",
    "HTTP/1.0 keep-alive": "200 b'ok', kept",
    "no content": "204 b'', kept",
    "no content with a length": "204 b'', kept",
    "not modified": "304 b'', kept",
    "to HEAD": "200 b'', kept",
    "to HEAD, chunked": "200 b'', kept",
    "continue": "200 b'ok', kept",
    "early hints": "200 b'ok', kept",
    "two informational ones": "200 b'ok', kept",
    "informational only": "NoResponse, closed",
    "another protocol": "101 b'', closed",
    "gzip": "200 b'zipped', kept",
    "gzip, chunked": "200 b'zipped', kept",
    "gzip that is none": "200 None, closed",
    "gzip that breaks off": "200 b'zipped', kept",
    "deflate": "200 b'deflated', kept",
    "an unknown encoding": "200 b'ok', kept",
    "breaks off before the head": "NoResponse, closed",
    "breaks off in the head": "NoResponse, closed",
    "breaks off in the body": "200 None, closed",
    "breaks off in a chunk": "200 None, closed",
    "breaks off before the last chunk": "200 None, closed",
    "a line end after it": "200 b'ok', kept",
    "a line end before it": "200 b'ok', kept",
    "no HTTP": "NoResponse, closed",
    "HTTP/2": "200 b'ok', closed",
    "lower case": "NoResponse, closed",
    "a status of two digits": "NoResponse, closed",
    "a status of four digits": "NoResponse, closed",
    "a status below 100": "99 b'ok', closed",
    "a status above 599": "999 b'ok', kept",
    "line feeds only": "200 b'ok', kept",
    "a folded header": "200 b'ok', kept",
    "a header without a colon": "NoResponse, closed",
    "a blank before the colon": "NoResponse, closed",
    "a null byte in a header": "NoResponse, closed",
    "bytes that are no UTF-8": "200 b'ok', kept",
    "no number for a length": "NoResponse, closed",
    "a negative length": "NoResponse, closed",
    "two lengths": "NoResponse, closed",
    "a length and chunks": "NoResponse, closed",
    "chunks that are not last": "200 b'0\\r\\n\\r\\n', closed",
    "no number for a chunk": "NoResponse, closed",
    "a chunk longer than said": "NoResponse, closed",
}

"""What the session said when it was one of aiohttp's, and whether it kept the connection."""

IN_ONE_PIECE = {"no number for a chunk", "a chunk longer than said"}
"""In pieces, aiohttp's parser leaves their bodies open until the deadline."""
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


def cuts(data: bytes) -> Iterable[list[bytes]]:
    """Yield it in one piece, byte by byte, and in two pieces, cut at each position."""
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    for at in range(1, len(data)):
        yield [data[:at], data[at:]]


def shown(result: SendResult) -> str:
    if isinstance(result, HttpResponse):
        return f"{result.status} {result.body!r}"
    return type(result).__name__


async def results_of(server: ScriptedServer, reply: Reply, pieces: list[bytes]) -> list[str]:
    """Return the result of a request, and that of another one after all pieces have arrived."""
    url = URL(f"http://127.0.0.1:{server.port}/")
    async with HttpSession(in_flight_max=1, request_timeout_s=STILL_S) as session:
        server.scripts = [Script(pieces, closes=reply.closes)]
        first = await session.send(Request("first", reply.method, url), {})
        await server.played(ends=reply.closes)
        before = server.connections
        server.scripts = [Script([NEXT])]
        second = await session.send(Request("second", "GET", url), {})
        kept = "kept" if server.connections == before else "closed"
    return [f"{shown(first)}, {kept}", shown(second)]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", RESULTS)
def test_a_reply_means_the_same_in_any_pieces(
    name: str, loop: Callable[[], asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def all_results() -> set[tuple[str, ...]]:
        reply = REPLIES[name]
        all_pieces = [[reply.data]] if name in IN_ONE_PIECE else cuts(reply.data)
        async with scripted_server(monkeypatch) as server:
            return {tuple(await results_of(server, reply, pieces)) for pieces in all_pieces}

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(all_results()) == {(RESULTS[name], "200 b'next'")}


@pytest.mark.parametrize("loop", LOOPS)
def test_bytes_after_a_reply_that_are_none_close_the_connection(
    loop: Callable[[], asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one piece with the head they make it unreadable, as aiohttp's parser has it."""

    async def result_of(*pieces: bytes) -> list[str]:
        async with scripted_server(monkeypatch) as server:
            return await results_of(server, Reply(b""), list(pieces))

    head = sized(b"ok").removesuffix(b"ok")
    with asyncio.Runner(loop_factory=loop) as runner:
        one, two = (
            runner.run(result_of(head + b"ok bytes")),
            runner.run(result_of(head, b"ok bytes")),
        )
    assert one == ["NoResponse, closed", "200 b'next'"]
    assert two == ["200 b'ok', closed", "200 b'next'"]
