"""Segment, as far as the bridge sees it: signed webhooks, sent again until they are taken."""

import asyncio
import hashlib
import hmac
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from stack import Stack, Worker, free_port
from waiting import SLOWNESS, Stillness

from stream.record import Partition, Record

BRIDGE = (sys.executable, "-m", "stream", "bridge")
SECRET = "a-shared-secret-of-tests"
JSON = {"Content-Type": "application/json", "User-Agent": "Segment.io/1.0"}
TIMEOUT_S = 5.0 * SLOWNESS
AGAIN_S = 0.1


def stringify(value: Any) -> bytes:
    """What ``JSON.stringify`` writes."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def sign(text: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), text, hashlib.sha1).hexdigest()


def signed(events: Any, secret: str = SECRET) -> tuple[bytes, dict[str, str]]:
    """Body and headers as Segment sends them: of an array the first event is signed."""
    first = events[0] if isinstance(events, list) else events
    return stringify(events), {**JSON, "X-Signature": sign(stringify(first), secret)}


class Bridge(Worker):
    """One `wootric-stream bridge`, as a process of its own."""

    webhook_port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.webhook_port}/v1/events"


def bridge(stack: Stack, *arguments: str, instance: str = "b1", **settings: str) -> Bridge:
    """Return a bridge into the stack's input that is not started yet."""
    port = free_port()
    environment = {
        name: value
        for name, value in stack.environment(instance).items()
        if not name.startswith("WOOTRIC__")
    }
    environment |= {
        "BRIDGE__HOST": "127.0.0.1",
        "BRIDGE__PORT": str(port),
        "BRIDGE__SHARED_SECRET": SECRET,
        **settings,
    }
    one = Bridge(environment, stack.folder / f"{instance}.log", (*BRIDGE, *arguments))
    one.webhook_port = port
    stack._workers.append(one)
    return one


@dataclass
class Segment:
    """Sends events to a bridge, several requests at once, each until it is taken."""

    url: str
    senders: int = 8
    answers: list[int] = field(default_factory=list)
    """The status of every attempt; 0 where there was no answer."""

    async def send(self, requests: Sequence[Any]) -> None:
        """Return once every request has been answered with 200."""
        queue = list(reversed(requests))
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
            for _ in range(self.senders):
                group.create_task(self._send_from(queue, session))

    async def _send_from(self, queue: list[Any], session: aiohttp.ClientSession) -> None:
        stillness = Stillness(lambda: self.answers.count(200))
        while queue:
            body, headers = signed(queue.pop())
            while await self._post(session, body, headers) != 200:
                assert self.answers[-1] in (0, 503), self.answers[-1]
                stillness.check("a bridge takes a request")
                await asyncio.sleep(AGAIN_S)

    async def _post(
        self, session: aiohttp.ClientSession, body: bytes, headers: Mapping[str, str]
    ) -> int:
        status = 0
        with suppress(aiohttp.ClientError, TimeoutError):
            async with session.post(self.url, data=body, headers=headers) as reply:
                await reply.read()
                status = reply.status
        self.answers.append(status)
        return status


def take_over(stack: Stack) -> None:
    """Let what lies in the input count as published: the judge of the tests looks there."""
    stack.published = [
        Record(
            Partition(stack.config.topic, message.partition()),
            message.offset(),
            message.timestamp()[1],
            message.key(),
            message.value(),
        )
        for message in stack.read(stack.config.topic)
    ]
