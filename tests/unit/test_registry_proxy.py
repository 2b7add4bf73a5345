"""The schema registry is reached through the proxy of the environment."""

import asyncio

import pytest
from connect_proxy import connect_proxy

from stream.schema_registry.client import RegistryClient, RegistryUnavailableError

REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n[1]"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(REPLY)
    await reader.read()
    writer.close()


async def test_the_registry_is_reached_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with connect_proxy() as proxy:
        proxy.target = listener.sockets[0].getsockname()[1]
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        async with RegistryClient("http://registry.test") as client:
            assert await client.versions("events-value") == [1]
    listener.close()
    assert proxy.asked[0].startswith("GET http://registry.test/subjects/events-value/versions ")


async def test_a_proxy_of_an_unknown_kind_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "socks5://user:of-the-proxy@p:1")
    async with RegistryClient("http://registry.test") as client:
        with pytest.raises(RegistryUnavailableError, match="ProxyError") as caught:
            await client.versions("events-value")
    assert "of-the-proxy" not in str(caught.value)
