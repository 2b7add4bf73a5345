"""A server that plays replies piece by piece: each piece is read before the next one is sent."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from aiohttp.client_proto import ResponseHandler
from waiting import Stillness

NEXT = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext"


@dataclass
class Script:
    """The pieces of a reply; after the last one the server closes, or waits for a request."""

    pieces: Iterable[bytes]
    closes: bool = False


class ScriptedServer:
    """Plays ``scripts`` in order, one a request.

    ``connections`` counts those accepted, ``read`` the bytes that the client has taken, ``lost``
    the connections of which the client knows that they ended.
    """

    def __init__(self) -> None:
        self.scripts: list[Script] = []
        self.connections = 0
        self.port = 0
        self.plays = 0
        self.read = 0
        self.lost = 0
        self._sent = 0

    async def played(self, *, ends: bool = False) -> None:
        """Return when every script is played and, if it ``ends``, the client's connection is."""
        stillness = Stillness(lambda: (self._sent, self.lost))
        while self.scripts or self.plays or (ends and self.lost < self.connections):
            stillness.check("the reply is sent")
            await asyncio.sleep(0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await reader.readuntil(b"\r\n\r\n") and self.scripts:
                script = self.scripts.pop(0)
                self.plays += 1
                try:
                    await self._play(script, reader, writer)
                finally:
                    self.plays -= 1
                if script.closes:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def _play(
        self, script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        stillness = Stillness(lambda: self._sent)
        for piece in script.pieces:
            if writer.transport.is_closing():
                return
            before = self.read
            self._sent += len(piece)
            writer.write(piece)
            while self.read < before + len(piece) and not writer.transport.is_closing():
                stillness.check("the client reads")
                await asyncio.sleep(0)


@asynccontextmanager
async def scripted_server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ScriptedServer]:
    """Yield a server on loopback."""
    server = ScriptedServer()
    read, lose = ResponseHandler.data_received, ResponseHandler.connection_lost

    def counted(protocol: ResponseHandler, data: bytes) -> None:
        read(protocol, data)
        server.read += len(data)

    def lost(protocol: ResponseHandler, error: BaseException | None) -> None:
        lose(protocol, error)
        server.lost += 1

    monkeypatch.setattr(ResponseHandler, "data_received", counted)
    monkeypatch.setattr(ResponseHandler, "connection_lost", lost)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    yield server
    listener.close()
    await listener.wait_closed()
