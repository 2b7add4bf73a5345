"""Metrics and status with a bearer token: who has none gets 401, probes need none."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from stack import free_port

from stream.operations.status import Workers
from stream.settings import HttpSettings
from stream.telemetry.http import Handler, HealthServer

TOKEN = "a-token-of-the-tests"


class StatusOnly(HealthServer):
    """A server with a status that says nothing."""

    def routes(self) -> dict[str, Handler]:
        async def status(_: web.Request) -> web.Response:
            return web.json_response({"verdict": "ok"})

        return {**super().routes(), "/status": status}


@pytest.fixture
async def in_effect() -> list[str]:
    """The token, which a test may change."""
    return [TOKEN]


@pytest.fixture
async def url(in_effect: list[str]) -> AsyncIterator[str]:
    server = StatusOnly(
        CollectorRegistry(),
        {"/livez": list, "/readyz": list},
        bearer_token=lambda: SecretStr(in_effect[0]),
    )
    port = free_port()
    await server.start("127.0.0.1", port)
    yield f"http://127.0.0.1:{port}"
    await server.close()


async def asked(url: str, authorization: str | None = None) -> int:
    headers = {} if authorization is None else {"Authorization": authorization}
    async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as reply:
        text = await reply.text()
    if reply.status == 401:
        assert reply.headers["WWW-Authenticate"] == "Bearer"
        assert "HTTP__BEARER_TOKEN" in json.loads(text)["error"]
        assert TOKEN not in text
    return reply.status


@pytest.mark.parametrize("path", ["/metrics", "/status", "/nowhere"])
async def test_whoever_has_no_token_or_another_gets_401(url: str, path: str) -> None:
    for wrong in (None, "", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}"):
        assert await asked(url + path, wrong) == 401, wrong
    assert await asked(url + path, f"Bearer {TOKEN}") in {200, 404}


async def test_probes_need_no_token(url: str) -> None:
    assert await asked(f"{url}/livez") == await asked(f"{url}/readyz") == 200


async def test_a_new_token_is_in_effect_at_once(url: str, in_effect: list[str]) -> None:
    in_effect[0] = "another-token-of-the-tests"
    assert await asked(f"{url}/metrics", f"Bearer {TOKEN}") == 401
    assert await asked(f"{url}/metrics", f"Bearer {in_effect[0]}") == 200


async def test_the_status_command_sends_the_token(url: str) -> None:
    async def ask(token: str | None) -> dict[str, object]:
        secret = None if token is None else SecretStr(token)
        workers = Workers([url], guessed=False, http=HttpSettings(bearer_token=secret))
        (answer,) = await asyncio.to_thread(workers.ask)
        return answer

    assert await ask(TOKEN) == {"url": url, "status": {"verdict": "ok"}}
    assert await ask(None) == {"url": url, "error": "HTTPError"}


async def test_without_an_address_each_family_of_the_host_is_served() -> None:
    server, port = HealthServer(CollectorRegistry(), {"/livez": list}), free_port()
    await server.start("", port)
    for host in ("127.0.0.1", *(["[::1]"] if has_ipv6() else [])):
        assert await asked(f"http://{host}:{port}/livez") == 200
    await server.close()


def has_ipv6() -> bool:
    """A container may have none."""
    try:
        with socket.socket(socket.AF_INET6) as found:
            found.bind(("::1", 0))
    except OSError:
        return False
    return True
