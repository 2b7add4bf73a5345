"""The schema registry is reached through the proxy of the environment."""

import pytest
from connect_proxy import connect_proxy

from stream.schema_registry.client import RegistryClient, RegistryUnavailableError


async def test_the_registry_is_reached_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose own answer is none of the registry."""
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with connect_proxy() as proxy:
        proxy.answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        async with RegistryClient("https://registry.test") as client:
            with pytest.raises(RegistryUnavailableError, match="ClientHttpProxyError"):
                await client.versions("events-value")
    assert proxy.asked[0].startswith("CONNECT registry.test:443 ")


async def test_a_proxy_of_an_unknown_kind_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://user:of-the-proxy@p:1")
    async with RegistryClient("https://registry.test") as client:
        with pytest.raises(RegistryUnavailableError, match="ProxyError") as caught:
            await client.versions("events-value")
    assert "of-the-proxy" not in str(caught.value)
