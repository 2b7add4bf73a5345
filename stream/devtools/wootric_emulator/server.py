"""The emulator as an HTTP server on loopback."""

import asyncio
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, assert_never
from urllib.parse import urlencode

import orjson
import uvloop
from aiohttp import web

from stream.devtools.wootric_emulator import faults, views
from stream.devtools.wootric_emulator.api import Api, Call, EmulatorReply, route_of
from stream.devtools.wootric_emulator.behaviour import Behaviour
from stream.devtools.wootric_emulator.faults import (
    Answer,
    Delay,
    Drop,
    Fault,
    Faults,
    LateEffect,
    Order,
    RandomFault,
    Truncate,
)
from stream.devtools.wootric_emulator.journal import Entry, Journal, Status, effect_fields
from stream.devtools.wootric_emulator.parameters import parse
from stream.devtools.wootric_emulator.state import EmulatorState

GRACE_S = 0.05
"""Seconds for a reply in progress when the server stops; 0 would mean no limit."""
BEAT_S = 0.02
BEATS = 6
"""A request is accepted, read and answered within 6 turns of the event loop."""


class Lateness:
    """How long requests wait while this process gets no processor.

    Wootric's delays count from the arrival of a request, and a client counts from its last byte.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beats = deque([clock()], maxlen=BEATS)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Observe the running event loop."""
        self._beats.append(self._clock())
        self._task = asyncio.create_task(self._observe())

    def stop(self) -> None:
        """End the observation."""
        if self._task is not None:
            self._task.cancel()

    def beat(self) -> None:
        """Record a turn of the event loop, which takes ``BEAT_S`` where nothing is late."""
        self._beats.append(self._clock())

    def waited_s(self) -> float:
        """Return how long a request that is answered now may have waited; 0 if nothing is late."""
        return max(0.0, self._clock() - self._beats[0] - BEATS * BEAT_S)

    async def _observe(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            self.beat()


class Emulator:
    """Wootric on one port: state, journal and faults.

    It listens on ``host``. ``clock`` returns Unix seconds. Without ``journal`` only effects and
    counts are kept.
    """

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        *,
        journal: bool = True,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._initial = behaviour or Behaviour()
        self._keep = journal
        self._host = host
        self._port = port
        self._clock = clock
        self._runner: web.ServerRunner | None = None
        self._late: set[asyncio.TimerHandle] = set()
        self._lateness = Lateness()
        self.reset()

    @property
    def url(self) -> str:
        """The API's URL, without ``/v1``."""
        return f"http://{self._host}:{self._port}"

    @property
    def pixel_url(self) -> str:
        """The pixel's URL."""
        return f"{self.url}/pixel.gif"

    @property
    def state(self) -> EmulatorState:
        """The current state; its ``effects`` are the oracle."""
        return self._api.account.state

    @property
    def behaviour(self) -> Behaviour:
        """The readings in effect; may be assigned at runtime."""
        return self._api.account.behaviour

    @behaviour.setter
    def behaviour(self, behaviour: Behaviour) -> None:
        self._api.account.behaviour = behaviour

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; port 0 selects a free one."""
        server = web.Server(self._handle, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=GRACE_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port, backlog=1024).start()
        self._port = self._runner.addresses[0][1]
        self._lateness.start()

    async def stop(self) -> None:
        """Close every connection; pending effects are dropped."""
        self._cancel_late()
        self._lateness.stop()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def reset(self) -> None:
        """Reset state, tokens, faults and journal, and restore the initial behaviour."""
        self._cancel_late()
        self._api = Api(self._initial, self._clock)
        self.faults = Faults()
        self.journal = Journal(keep=self._keep)

    def on(
        self, method: str, path: str, fault: Fault, *, times: int = 1, always: bool = False
    ) -> None:
        """Order a fault for the next ``times`` matching requests, or for all of them.

        ``{...}`` in ``path`` matches one part of a path, ``*`` any number of them; ``*`` as
        ``method`` matches any. Of two matching orders, the earlier one applies first.
        """
        self.faults.order(Order(method, path, fault, None if always else times))

    def at_random(self, fault: RandomFault) -> None:
        """Add a seeded random fault."""
        self.faults.scatter(fault)

    def unused_faults(self) -> list[Order]:
        """Return the orders that are not used up."""
        return self.faults.unused()

    def revoke_tokens(self) -> None:
        """Revoke all access tokens issued so far."""
        self._api.tokens.revoke_all()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        call = await read(request)
        if call.path.startswith(PREFIX):
            return respond(answer(self, call, await request.read()))
        entry = self.journal.open(call, at=self._clock(), started=time.monotonic())
        fault = self.faults.meet(call)
        if fault is None:
            reply = self._perform(call, entry)
            if self.behaviour.reply_delay_s:
                await asyncio.sleep(self.behaviour.reply_delay_s)
            self._close(call, entry, reply)
            return respond(reply)
        entry.fault = type(fault).__name__
        return await self._fail(request, call, entry, fault)

    async def _fail(
        self, request: web.BaseRequest, call: Call, entry: Entry, fault: Fault
    ) -> web.StreamResponse:
        match fault:
            case Answer():
                if fault.effect:
                    self._perform(call, entry)
                await asyncio.sleep(fault.delay_s)
                reply = EmulatorReply(fault.status, fault.body.encode(), fault.headers)
            case Delay():
                await asyncio.sleep(fault.before_s)
                reply = self._perform(call, entry)
                await asyncio.sleep(fault.after_s)
            case Drop():
                if fault.effect:
                    self._perform(call, entry)
                await asyncio.sleep(fault.delay_s)
                return self._drop(request, call, entry)
            case LateEffect():
                self._perform_later(call, entry, fault.after_s)
                return self._drop(request, call, entry)
            case Truncate():
                reply = self._perform(call, entry)
                self._close(call, entry, reply)
                if not reply.body:  # nothing of it can be cut off
                    return respond(reply)
                return await cut(request, reply, fault.keep_bytes)
            case _:
                assert_never(fault)
        self._close(call, entry, reply)
        return respond(reply)

    def _perform(self, call: Call, entry: Entry) -> EmulatorReply:
        effects = self.state.effects
        before = len(effects)
        self._api.account.waited_s = self._lateness.waited_s()
        reply = self._api.answer(call)
        if len(effects) > before:
            entry.effect = effects[before]
        return reply

    def _perform_later(self, call: Call, entry: Entry, after_s: float) -> None:
        def perform() -> None:
            self._late.discard(handle)
            self._perform(call, entry)

        left_s = max(0.0, after_s - self._lateness.waited_s())
        handle = asyncio.get_running_loop().call_later(left_s, perform)
        self._late.add(handle)

    def _cancel_late(self) -> None:
        for handle in self._late:
            handle.cancel()
        self._late.clear()

    def _drop(self, request: web.BaseRequest, call: Call, entry: Entry) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        self._close(call, entry, None)
        return web.Response()

    def _close(self, call: Call, entry: Entry, reply: EmulatorReply | None) -> None:
        status: Status = "dropped" if reply is None else reply.status
        self.journal.close(entry, status, route=route_of(call), now=time.monotonic())


def serve(port: int, behaviour: Behaviour | None = None, *, journal: bool = True) -> None:
    """Run an emulator until SIGTERM or SIGINT; print its URL on stderr."""
    uvloop.run(_serve(Emulator(behaviour, journal=journal, port=port)))


async def _serve(emulator: Emulator) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with emulator:
        sys.stderr.write(f"Wootric emulator on {emulator.url}\n")
        sys.stderr.flush()
        await stopped.wait()


# The emulator's control API, with which other processes order faults and read the state.
#
# It has no authentication: the command line's emulator listens only on loopback.


PREFIX = "/_emulator/"


def answer(emulator: "Emulator", call: Call, body: bytes) -> EmulatorReply:
    """Return the reply to one control request."""
    control = CONTROLS.get((call.method, call.path.removeprefix(PREFIX)))
    if control is None:
        return EmulatorReply.of(404, {"error": "no such control"})
    try:
        return EmulatorReply.of(200, control(emulator, call, body))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return EmulatorReply.of(400, {"error": f"{type(error).__name__}: {error}"})


def _state(emulator: "Emulator", _: Call, __: bytes) -> object:
    state = emulator.state
    state.advance()
    return {
        "end_users": [
            views.end_user(user, state.responses_of(user.id)) for user in state.end_users.values()
        ],
        "responses": [
            views.response(one, state.by_id(one.end_user_id)) for one in state.responses.values()
        ],
        "declines": [
            views.decline(one, state.by_id(one.end_user_id)) for one in state.declines.values()
        ],
        "page_views": list(state.page_views),
        "counters": [
            {"method": method, "route": route, "status": status, "count": count}
            for (method, route, status), count in emulator.journal.counters.items()
        ],
    }


def _count(emulator: "Emulator", _: Call, __: bytes) -> object:
    return {"effects": len(emulator.state.effects)}


def _effects(emulator: "Emulator", call: Call, _: bytes) -> object:
    return [effect_fields(effect) for effect in emulator.state.effects[_from(call) :]]


def _journal(emulator: "Emulator", call: Call, _: bytes) -> object:
    return [entry.to_fields() for entry in emulator.journal.since(_from(call))]


def _unused(emulator: "Emulator", _: Call, __: bytes) -> object:
    return {
        "unused": [
            {"method": one.method, "path": one.path, "fault": type(one.fault).__name__}
            for one in emulator.unused_faults()
        ]
    }


def _order(emulator: "Emulator", call: Call, body: bytes) -> object:
    """Apply everything in a document, or nothing if a part of it is invalid."""
    document: dict[str, Any] = orjson.loads(body)
    unknown = document.keys() - {"faults", "random", "behaviour"}
    if unknown:
        raise ValueError(f"no such part: {', '.join(sorted(unknown))}")
    behaviour = emulator.behaviour.changed(document.get("behaviour", {}))
    scattered = [faults.random_fault(one) for one in document.get("random", ())]
    orders = [faults.order(one) for one in document.get("faults", ())]
    emulator.behaviour = behaviour
    for fault in scattered:
        emulator.at_random(fault)
    for order in orders:
        emulator.faults.order(order)
    return _unused(emulator, call, body)


def _revoke(emulator: "Emulator", _: Call, __: bytes) -> object:
    emulator.revoke_tokens()
    return {}


def _reset(emulator: "Emulator", _: Call, __: bytes) -> object:
    emulator.reset()
    return {}


CONTROLS: dict[tuple[str, str], Callable[["Emulator", Call, bytes], object]] = {
    ("GET", "state"): _state,
    ("GET", "count"): _count,
    ("GET", "effects"): _effects,
    ("GET", "journal"): _journal,
    ("GET", "faults"): _unused,
    ("POST", "faults"): _order,
    ("POST", "revoke"): _revoke,
    ("POST", "reset"): _reset,
}


def _from(call: Call) -> int:
    return int(str(parse(call.query).get("from", "0")))


# Conversion between aiohttp's requests and responses and the emulator's calls and replies


REGIONAL_BASE = "/api"
FORM = "application/x-www-form-urlencoded"


async def read(request: web.BaseRequest) -> Call:
    """Return the request as a call; a multipart form becomes a URL-encoded one."""
    path, _, query = request.raw_path.partition("?")
    base = REGIONAL_BASE if path.startswith(f"{REGIONAL_BASE}/v1/") else ""
    content_type = request.headers.get("Content-Type", "")
    form = ""
    if request.body_exists:
        if content_type.startswith("multipart/form-data"):
            fields = await request.post()
            form = urlencode([(name, str(value)) for name, value in fields.items()])
        else:
            body = await request.read()
            if content_type.startswith(FORM):
                form = body.decode("utf-8", "replace")
    authorization = request.headers.get("Authorization")
    return Call(request.method, path.removeprefix(base), query, form, authorization, base)


def respond(reply: EmulatorReply) -> web.Response:
    """Return the reply as an aiohttp response."""
    headers = {"Content-Type": reply.content_type, **reply.headers}
    return web.Response(status=reply.status, body=reply.body, headers=headers)


async def cut(
    request: web.BaseRequest, reply: EmulatorReply, keep_bytes: int
) -> web.StreamResponse:
    """Send the full Content-Length with a part of the body, and close the connection."""
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    response.headers["Content-Type"] = reply.content_type
    response.content_length = len(reply.body)
    await response.prepare(request)
    await response.write(reply.body[:keep_bytes])
    if request.transport is not None:
        request.transport.close()
    return response
