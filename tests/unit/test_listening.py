"""Which addresses the servers listen on: pods have IPv4, IPv6 or both."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

import pytest
import uvloop
from aiohttp import web
from prometheus_client import CollectorRegistry
from waiting import STILL_S

from stream.bridge.admission import Admission
from stream.bridge.http_server import HttpServer
from stream.devtools.kafka_node import free_ports
from stream.settings import BridgeSettings, HttpSettings
from stream.telemetry.http import HealthServer
from stream.telemetry.metrics import BridgeMetrics


def addresses() -> list[str]:
    """The loopback addresses of this machine."""
    found = ["127.0.0.1"]
    with suppress(OSError), socket.socket(socket.AF_INET6) as six:
        six.bind(("::1", 0))
        found.append("::1")
    return found


async def answered(host: str, port: int, *, webhook: bool) -> list[str]:
    """The addresses that answer while a server listens on this host."""
    found = []
    if webhook:
        admission = Admission(connections_max=10, bytes_max=2**21, by_address=True)
        server: HttpServer | HealthServer = HttpServer(
            _hello, admission, BridgeMetrics(), head_timeout_s=STILL_S, drain_s=0
        )
    else:
        server = HealthServer(CollectorRegistry(), {})
    await server.start(host, port)
    for address in addresses():
        with suppress(ConnectionError):
            reader, writer = await asyncio.open_connection(address, port)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            writer.close()
            found.append(address)
    await server.close()
    return found


async def _hello(_: web.BaseRequest) -> web.Response:
    return web.Response()


@pytest.mark.parametrize("webhook", [True, False], ids=["webhook", "health"])
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_the_servers_listen_on_both_kinds_of_addresses_unless_told_otherwise(
    loop: Callable[[], asyncio.AbstractEventLoop], *, webhook: bool
) -> None:
    default = BridgeSettings().host if webhook else HttpSettings().host
    six = [address for address in addresses() if ":" in address]
    with asyncio.Runner(loop_factory=loop) as runner:
        for host, expected in (
            (default, addresses()),
            ("0.0.0.0", ["127.0.0.1"]),  # noqa: S104  what others set
            *[("::", six)] * len(six),
        ):
            (port,) = free_ports(1)
            assert runner.run(answered(host, port, webhook=webhook)) == expected
