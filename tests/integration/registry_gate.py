"""What stands before the real registry in tests: it asks for a password, and can be shut."""

import asyncio
import base64
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web

PIECE_BYTES = 1_400
USERNAME, PASSWORD = "an-api-key", "an-api-secret"


class RegistryGate:
    """Passes requests on to a registry, with basic authentication, until it is told otherwise.

    ``away`` breaks every connection off; ids in ``hidden`` are not known (yet).
    """

    def __init__(self, registry_url: str) -> None:
        self.away = False
        self.hidden: set[int] = set()
        self.asked: list[str] = []
        self._registry_url = registry_url
        token = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
        self._authorization = f"Basic {token}"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._session = aiohttp.ClientSession()
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()
        await self._runner.cleanup()

    @property
    def settings(self) -> dict[str, str]:
        return {
            "SCHEMA_REGISTRY__URL": self.url,
            "SCHEMA_REGISTRY__USERNAME": USERNAME,
            "SCHEMA_REGISTRY__PASSWORD": PASSWORD,
        }

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        if self.away:
            assert request.transport is not None
            request.transport.close()
        if request.headers.get("Authorization") != self._authorization:
            return web.json_response({"error_code": 401, "message": "who?"}, status=401)
        if request.path in {f"/schemas/ids/{number}" for number in self.hidden}:
            return web.json_response({"error_code": 40403, "message": "none"}, status=404)
        kinds = {"Content-Type": request.headers.get("Content-Type", "application/json")}
        url = f"{self._registry_url}{request.rel_url}"
        body = await request.read()
        async with self._session.request(request.method, url, data=body, headers=kinds) as reply:
            return await _in_pieces(request, reply.status, await reply.read())


async def _in_pieces(request: web.Request, status: int, body: bytes) -> web.StreamResponse:
    """Answer as over a network, where a schema does not come in one segment."""
    response = web.StreamResponse(status=status)
    await response.prepare(request)
    for start in range(0, len(body), PIECE_BYTES):
        await response.write(body[start : start + PIECE_BYTES])
        await asyncio.sleep(0.01)
    return response
