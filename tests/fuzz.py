"""Requests that must not be taken: forged, malformed, cut off, at any layer. None is a good one."""

import asyncio
import gzip
import random
import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from segment import sign, stringify
from waiting import STILL_S

ANSWER_S_MAX = STILL_S
PATIENCE_S = 0.2
"""For an answer to what may never end: none is due then."""
ENDLESS = 0.1
EVENT = {
    "type": "identify",
    "messageId": "must-not-arrive",
    "userId": "must-not-arrive",
    "traits": {"email": "nobody@example.com", "name": "Jürgen ☃"},
}


class Fuzzer:
    """Makes requests from a seed, as bytes on the wire."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self._makers: tuple[Callable[[], bytes], ...] = (
            self.forged,
            self.altered,
            self.unsigned,
            self.signed_garbage,
            self.signed_json,
            self.signed_event,
            self.array,
            self.packed,
            self.head,
        )
        self._endless = (self.framing, self.noise)

    def request(self) -> tuple[bytes, bool]:
        """A request, and whether an answer to it is due."""
        if self.dice.random() < ENDLESS:
            return self.dice.choice(self._endless)(), False
        return self.dice.choice(self._makers)(), True

    # Who says so

    def forged(self) -> bytes:
        return post(stringify(EVENT), sign(stringify(EVENT), self.text(12) + "x"))

    def altered(self) -> bytes:
        """Bytes changed on the way."""
        text = bytearray(stringify(EVENT))
        for _ in range(self.dice.randint(1, 4)):
            text[self.dice.randrange(len(text))] ^= self.dice.randint(1, 255)
        if bytes(text) == stringify(EVENT):
            text += b" "
        return post(bytes(text), sign(stringify(EVENT)))

    def unsigned(self) -> bytes:
        text = stringify(EVENT)
        right = sign(text)
        wrong = (None, "", right[:-1], right + "0", "sha1=" + right, self.text(40), "é" * 40)
        return post(text, self.dice.choice(wrong))

    def array(self) -> bytes:
        """The first event is signed, the others are anybody's."""
        first = {**EVENT, "messageId": self.text(8)}
        return post(stringify([first, EVENT]), sign(stringify(first)))

    # What is said

    def signed_garbage(self) -> bytes:
        text = self.dice.randbytes(self.dice.randrange(200))
        return post(text, sign(text))

    def signed_json(self) -> bytes:
        """JSON, or nearly, that is no event."""
        text = self.dice.choice(
            (
                b"null", b"17", b'"text"', b"[]", b"[[]]", b"[null]", b"{}", b"[{}]", b"NaN", b"-",
                b'{"userId":NaN}', b'{"userId":"u"', b'{"userId":"\xff"}', b'{"userId":"u",}',
                b'{"userId":{"userId":"u"}}', b'{"messageId":"m"}', b"[" * 50_000,
                b'{"userId":"u","a":' + b"[" * 300 + b"]" * 300 + b"}",
                b'{"a":' * 5_000 + b"1" + b"}" * 5_000, b'{"userId":[' + b"9" * 9_000 + b"]}",
                b'{"userId":"u"}{"userId":"u"}', b'\xef\xbb\xbf{"userId":"u"}', b'{"userId":"\n"}',
                b'{"userId":null,"anonymousId":""}', b'{"userId":true}', b'{"userId":"\\ud800',
            )
        )  # fmt: skip
        return post(text, sign(text))

    def signed_event(self) -> bytes:
        """An event with one thing wrong."""
        wrong: dict[str, Any] = self.dice.choice(
            (
                {"messageId": "m" * self.dice.randint(101, 300)},
                {"messageId": {"a": 1}},
                {"messageId": [1]},
                {"messageId": False},
                {"userId": None},
                {"userId": ""},
                {"userId": []},
                {"traits": {"x": "x" * 33_000}},
            )
        )
        text = stringify({**EVENT, **wrong})
        if self.dice.random() < 0.3:
            good = {**EVENT, "messageId": "m"}
            text = stringify([good] * self.dice.randint(1, 5) + [{**EVENT, **wrong}])
        return post(text, sign(text))

    def packed(self) -> bytes:
        text = stringify(EVENT)
        data = self.dice.choice(
            (
                text,
                gzip.compress(text)[: self.dice.randint(0, 30)],
                gzip.compress(text) + b"x",
                gzip.compress(bytes(2_000_000)),
                self.dice.randbytes(50),
                b"\x1f\x8b" + self.dice.randbytes(50),
            )
        )
        signature = sign(self.dice.choice((text, data)))
        return post(data, signature, "Content-Encoding: gzip")

    # How it is said

    def head(self) -> bytes:
        text = stringify(EVENT)
        good = post(text, sign(text))
        path, kind = b"POST /v1/events HTTP/1.1", b"application/json"
        return self.dice.choice(
            (
                good.replace(b"POST", self.dice.choice((b"GET", b"PUT", b"DELETE", b"TRACE"))),
                good.replace(b"POST", self.text(6).encode() or b"X"),
                good.replace(b"/v1/events", b"/" + self.text(20).encode()),
                good.replace(b"/v1/events", b"/v1/events/../" + b"%" * 3),
                good.replace(b"/v1/events", b"http://[::1/" + b"x" * 20),
                good.replace(path, b"POST /" + b"x" * 9_000 + b" HTTP/1.1"),
                good.replace(path, b"POST /v1/events HTTP/" + self.text(3).encode()),
                good.replace(kind, self.dice.choice((b"text/plain", b"", b'a/b;c="', b"*/*"))),
                good.replace(kind, kind + b"; charset=utf-16"),
                good.replace(b"\r\nHost", b"\r\nX-Long: " + b"x" * 9_000 + b"\r\nHost"),
                good.replace(b"\r\nHost", b"\r\nX: y" * 200 + b"\r\nHost"),
                good.replace(b"\r\nHost", b"\r\nContent-Encoding: br\r\nHost"),
                good.replace(b"\r\nHost", b"\r\n\x00\x01: " + b"\r\nHost"),
                good.replace(b"\r\nHost", b"\r\nno colon here\r\nHost"),
            )
        )

    def framing(self) -> bytes:
        """Bodies that do not end, or not where they say."""
        text = stringify(EVENT)
        good = post(text, sign(text))
        length = f"Content-Length: {len(text)}".encode()
        chunked = b"Transfer-Encoding: chunked"
        return self.dice.choice(
            (
                good.replace(length, b"Content-Length: " + self.text(4).encode() + b"x"),
                good.replace(length, b"Content-Length: -1"),
                good.replace(length, b"Content-Length: 99999999"),
                good.replace(length, b"Content-Length: 5\r\nContent-Length: 6"),
                good.replace(length, b"Content-Length: 0"),
                good.replace(length, chunked),
                good.replace(length, chunked + b"\r\n" + length),
                good.replace(length, chunked).replace(text, b"ffffffff\r\n" + text),
                good.replace(length, chunked).replace(text, b"5\r\n12345\r\n0\r\n\r\n"),
                good[: self.dice.randrange(len(good))],
            )
        )

    def noise(self) -> bytes:
        return self.dice.choice(
            (
                self.dice.randbytes(self.dice.randint(1, 400)),
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + self.dice.randbytes(80),
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                b"\r\n" * self.dice.randint(1, 50),
                b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            )
        )

    def text(self, length_max: int) -> str:
        alphabet = "abcdefghijklmnopqrstuvwxyzABCDEF0123456789-_."
        return "".join(self.dice.choices(alphabet, k=self.dice.randint(1, length_max)))


def post(body: bytes, signature: str | None, *headers: str) -> bytes:
    lines = [
        "POST /v1/events HTTP/1.1",
        "Host: bridge.example.com",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *([] if signature is None else [f"X-Signature: {signature}"]),
        *headers,
    ]
    return "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n" + body


async def assail(port: int, count: int, seed: int, *, at_once: int = 32) -> Counter[str]:
    """Send so many bad requests, each over a connection of its own; return what came back."""
    fuzzer, answers = Fuzzer(seed), Counter[str]()
    left = iter(range(count))

    async def send() -> None:
        for _ in left:
            request, is_due = fuzzer.request()
            found = await _answers(port, request, ANSWER_S_MAX if is_due else PATIENCE_S)
            answers.update(found or ["missing" if is_due else "none"])

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(send())
    return answers


async def _answers(port: int, request: bytes, wait_s: float) -> list[str]:
    """The statuses that came back before the connection ended."""
    received = b""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with suppress(ConnectionError, TimeoutError):
        writer.write(request)
        async with asyncio.timeout(wait_s):
            while piece := await reader.read(65_536):
                received += piece
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    found = re.findall(rb"^HTTP/1\.[01] (\d{3})", received, re.MULTILINE)
    return [status.decode() for status in found]
