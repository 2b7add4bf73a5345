"""A network that fails on request: TCP on loopback, with latency, holes and cuts by direction.

One thread carries all of it, so that a test that blocks does not slow down what it tests.
"""

import asyncio
import re
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Self

from waiting import STILL_S

from stream.devtools.kafka_node import free_ports

HOST = "127.0.0.1"
LOOK_S = 0.01
CHUNK_BYTES = 65_536
REPLIES = re.compile(rb"(?=HTTP/1\.1 \d{3} )")


@dataclass
class Way:
    """One direction of all connections, and what is wrong with it. Times are in seconds.

    ``cuts`` counts down: so many chunks are cut to ``keep_bytes``, and both sides reset.
    What ``held`` keeps back goes on later, as TCP repeats what was lost; what is held is gone
    when its sender goes, unless it ``outlives`` the sender in some queue on the way. So many
    chunks are sent twice as ``repeats`` says, as a proxy does that tries again by itself; the
    first reply is swallowed.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    drip_bytes: int = 0
    drip_s: float = 0.0
    held: bool = False
    outlives: bool = False
    cuts: int = 0
    keep_bytes: int = 0
    repeats: int = 0
    met: int = 0
    """How many chunks had something done to them."""

    def become(self, **changes: Any) -> None:
        """Be as new but for these; ``met`` begins anew."""
        self.__dict__.update(replace(Way(), **changes).__dict__)


@dataclass
class Doubled:
    """How many replies of one connection nobody asked for."""

    replies: int = 0


class Proxy:
    """Stands before one port: ``up`` is the way of requests, ``down`` that of replies."""

    def __init__(self, network: "Network", target: int) -> None:
        self.target = target
        self.port = 0
        self.up, self.down = Way(), Way()
        self.refuses = False
        self.connections = 0
        self._network = network
        self._links: set[asyncio.StreamWriter] = set()
        self._dice = Random(1)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def cut(self) -> None:
        """Reset every connection that there is."""
        self._network.call(self._abort_all)

    def hang_up(self) -> None:
        """Close every connection that there is, as a server does with idle ones."""
        self._network.call(self._close_all)

    def close(self) -> None:
        """Refuse everybody from now on, and reset who is there."""
        self.refuses = True
        self.cut()

    def heal(self) -> None:
        """Be an honest wire again."""
        self.refuses = False
        self.up.become()
        self.down.become()

    def _close_all(self) -> None:
        for writer in tuple(self._links):
            writer.close()

    def _abort_all(self) -> None:
        for writer in tuple(self._links):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        self.connections += 1
        if self.refuses:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, self.target)
        except OSError:
            writer.transport.abort()
            return
        self._links |= {writer, far_writer}
        try:
            async with asyncio.TaskGroup() as both:
                doubled = Doubled()
                both.create_task(self._carry(reader, far_writer, writer, self.up, doubled))
                both.create_task(self._carry(far_reader, writer, far_writer, self.down, doubled))
        except* OSError:
            pass
        finally:
            self._links -= {writer, far_writer}
            for one in (writer, far_writer):
                one.close()

    async def _carry(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
        way: Way,
        doubled: Doubled,
    ) -> None:
        while chunk := await source.read(CHUNK_BYTES):
            if way.latency_s or way.jitter_s:
                way.met += 1
                await asyncio.sleep(way.latency_s + way.jitter_s * self._dice.random())
            while way.held:
                await asyncio.sleep(LOOK_S)
                if source.at_eof() and not way.outlives:
                    way.met += 1
                    sink.transport.abort()
                    return
            if way.cuts > 0:
                way.cuts -= 1
                way.met += 1
                await self._cut(chunk[: way.keep_bytes], sink, back)
                return
            if way is self.down and doubled.replies > 0:
                replies = [reply for reply in REPLIES.split(chunk) if reply]
                chunk = b"".join(replies[doubled.replies :])
                doubled.replies = max(0, doubled.replies - len(replies))
                if not chunk:
                    continue
            if way.repeats > 0:
                way.repeats -= 1
                way.met += 1
                doubled.replies += 1
                await self._write(chunk, sink, way)
            await self._write(chunk, sink, way)
        sink.write_eof()

    @property
    def links(self) -> int:
        """How many connections are open, on either side."""
        return len(self._links)

    async def _write(self, chunk: bytes, sink: asyncio.StreamWriter, way: Way) -> None:
        step = way.drip_bytes or len(chunk)
        for at in range(0, len(chunk), step):
            sink.write(chunk[at : at + step])
            await sink.drain()
            if way.drip_s:
                way.met += 1
                await asyncio.sleep(way.drip_s)

    async def _cut(
        self, kept: bytes, sink: asyncio.StreamWriter, back: asyncio.StreamWriter
    ) -> None:
        """Let the beginning through, then let both sides see a reset."""
        sink.write(kept)
        await sink.drain()
        await asyncio.sleep(LOOK_S)
        sink.transport.abort()
        back.transport.abort()


class Network:
    """The thread that carries every proxy's connections. A context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._servers: list[asyncio.Server] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def proxy(self, target: int = 0) -> Proxy:
        """Return a proxy that takes connections from now on; its target may be given later."""
        proxy = Proxy(self, target)
        proxy.port = self._do(self._listen(proxy))
        return proxy

    def call(self, function: Any) -> None:
        """Let the thread call a function, and wait for it."""

        async def called() -> None:
            function()

        self._do(called())

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(STILL_S)

    async def _listen(self, proxy: Proxy) -> int:
        (port,) = free_ports(1)
        self._servers.append(await asyncio.start_server(proxy.serve, HOST, port, backlog=512))
        return port

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
