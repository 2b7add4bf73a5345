"""Requests through an HTTP proxy have every property of direct ones."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from connect_proxy import ConnectProxy, connect_proxy
from test_http import OK, RawServer, request
from waiting import STILL_S
from yarl import URL

from sink.http_session import HttpSession
from sink.models import HttpResponse, LeaseExpired, NoResponse, NotSent, SendResult
from sink.proxy import ProxyError, proxy_for, shown

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
PASSWORD = "of-the-proxy"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of wootric.test, in one file."""
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    subject = ["-subj", "/CN=wootric.test", "-addext", "subjectAltName=DNS:wootric.test"]
    made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    out = ["-keyout", str(file), "-out", str(file.with_suffix(".crt"))]
    subprocess.run(
        ["openssl", "req", "-x509", "-days", "5", *subject, *made, *out],
        check=True,
        capture_output=True,
    )
    with file.open("a") as both:
        both.write(file.with_suffix(".crt").read_text())
    return file


class World:
    """A server with TLS behind a proxy; its name is known to nobody but the proxy."""

    def __init__(self, server: RawServer, proxy: ConnectProxy) -> None:
        self.server = server
        self.proxy = proxy

    async def send(self, session: HttpSession) -> SendResult:
        page = request("https://wootric.test/x?email=ada%40example.com")
        return await session.send(page, {"User-Agent": "test"})


@pytest.fixture
async def world(environment: pytest.MonkeyPatch, certificate: Path) -> AsyncIterator[World]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = RawServer()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    trusting = ssl.create_default_context(cafile=certificate.with_suffix(".crt"))
    environment.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", trusting)
    async with connect_proxy() as proxy:
        proxy.target = listener.sockets[0].getsockname()[1]
        environment.setenv("HTTPS_PROXY", f"http://user:{PASSWORD}@127.0.0.1:{proxy.port}")
        yield World(server, proxy)
    listener.close()


def session() -> HttpSession:
    return HttpSession(in_flight_max=4, request_timeout_s=STILL_S)


async def test_requests_go_through_one_tunnel_to_the_server_itself(world: World) -> None:
    """The proxy sees the server's name, and the server nothing of the proxy."""
    world.server.answers = [OK, OK]
    async with session() as http:
        replies = [await world.send(http) for _ in range(2)]
    assert [type(one) for one in replies] == [HttpResponse] * 2
    (head,) = world.proxy.asked
    assert head.startswith("CONNECT wootric.test:443 HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic " in head
    assert "ada" not in head
    for received in world.server.requests:
        assert received.startswith(
            b"GET /x?email=ada%40example.com HTTP/1.1\r\nHost: wootric.test\r\n"
        )
        assert b"proxy" not in received.lower()


async def test_a_certificate_for_another_name_means_that_nothing_was_sent(world: World) -> None:
    world.server.answers = [OK]
    async with session() as http:
        result = await http.send(request(f"https://127.0.0.1:{world.proxy.target}/"), {})
    assert result == NotSent("ClientConnectorCertificateError")
    assert world.server.requests == []


async def test_a_certificate_that_nobody_vouches_for_means_that_nothing_was_sent(
    world: World, environment: pytest.MonkeyPatch
) -> None:
    environment.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", ssl.create_default_context())
    world.server.answers = [OK]
    async with session() as http:
        assert await world.send(http) == NotSent("ClientConnectorCertificateError")
    assert world.server.requests == []


@pytest.mark.parametrize("body", [None, b"a=1"])
async def test_the_lease_is_asked_for_behind_the_tunnel(world: World, body: bytes | None) -> None:
    """When the proxy has answered, and again on the kept tunnel; nothing is sent without it."""
    world.server.answers = [OK]
    tunnels: list[int] = []

    def may_send() -> bool:
        tunnels.append(len(world.proxy.asked))
        return len(tunnels) == 1

    write = request("https://wootric.test/x", "GET" if body is None else "POST", body)
    async with session() as http:
        first, second = [
            await http.send(write, {"User-Agent": "test"}, may_send=may_send) for _ in range(2)
        ]
    assert (type(first), type(second)) == (HttpResponse, LeaseExpired)
    assert (tunnels, len(world.server.requests)) == ([1, 1], 1)


@pytest.mark.parametrize("status", [b"407 Proxy Authentication Required", b"502 Bad Gateway"])
async def test_a_tunnel_that_is_refused_means_that_nothing_was_sent(
    world: World, status: bytes
) -> None:
    world.proxy.answer = b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n"
    asked: list[bool] = []

    def may_send() -> bool:
        asked.append(True)
        return True

    async with session() as http:
        page = request("https://wootric.test/")
        result = await http.send(page, {"User-Agent": "test"}, may_send=may_send)
    assert result == NotSent("ClientHttpProxyError")
    assert (len(world.proxy.asked), asked, world.server.requests) == (1, [], [])


async def test_a_proxy_that_is_away_means_that_nothing_was_sent(
    world: World, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("HTTPS_PROXY", f"http://user:{PASSWORD}@127.0.0.1:1")
    async with session() as http:
        result = await world.send(http)
    assert result == NotSent("ClientProxyConnectionError")


async def test_a_reset_behind_the_tunnel_is_in_doubt_and_nothing_is_repeated(world: World) -> None:
    """By itself aiohttp repeats a request on a kept connection."""
    world.server.answers = [OK, None, OK]
    async with session() as http:
        await world.send(http)
        assert isinstance(await world.send(http), NoResponse)
    assert len(world.server.requests) == 2


async def test_without_tls_no_proxy_is_asked_that_could_reply_in_the_name_of_the_server(
    environment: pytest.MonkeyPatch, world: World
) -> None:
    """A 4xx of the proxy itself would reject an event for good."""
    server = RawServer(OK)
    listener = await asyncio.start_server(server.serve, "127.0.0.2", 0)
    port = listener.sockets[0].getsockname()[1]
    for name in ("http_proxy", "all_proxy"):
        environment.setenv(name, f"http://127.0.0.1:{world.proxy.port}")
    async with session() as http:
        reply = await http.send(request(f"http://127.0.0.2:{port}/y"), {"User-Agent": "test"})
    listener.close()
    assert isinstance(reply, HttpResponse)
    assert world.proxy.asked == []


@pytest.mark.parametrize(
    ("given", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://p:3128"}, "http://p:3128"),
        ({"https_proxy": "p:3128"}, "http://p:3128"),
        ({"HTTP_PROXY": "http://p:3128"}, None),
        ({"ALL_PROXY": "http://p:3128"}, "http://p:3128"),
        ({"ALL_PROXY": "http://p:3128", "NO_PROXY": "api.wootric.com:443"}, None),
        ({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "localhost,.wootric.com"}, None),
        ({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": "http://p:3128", "no_proxy": "wootric.eu"}, "http://p:3128"),
    ],
)
def test_the_variables_mean_what_they_mean_elsewhere(
    environment: pytest.MonkeyPatch, given: dict[str, str], proxy: str | None
) -> None:
    for name, value in given.items():
        environment.setenv(name, value)
    found = proxy_for(URL("https://api.wootric.com/v1/end_users"))
    assert found == (None if proxy is None else URL(proxy))


def test_a_proxy_is_shown_without_its_credentials(environment: pytest.MonkeyPatch) -> None:
    named = URL(f"http://user:{PASSWORD}@p:3128")
    assert shown(named) == "http://p:3128"
    environment.setenv("HTTPS_PROXY", f"socks5://user:{PASSWORD}@p:1080")
    with pytest.raises(ProxyError, match="HTTPS_PROXY must be a URL") as caught:
        proxy_for(URL("https://api.wootric.com"))
    assert PASSWORD not in str(caught.value)
