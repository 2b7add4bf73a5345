"""Records of which most are no events: random bytes, broken framings, events that were bitten,
cut or filled with anything. Between them are good ones.
"""

import json
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

from stream.avro import CONFLUENT, SINGLE_OBJECT
from stream.kafka.publish import record_of
from stream.local.traffic import Document, traffic
from stream.segment import SEGMENT_EVENT
from tests.bench.traces import Encoded

GOOD = 0.01
BASES = 5_000
"""So many events are there to be bitten, cut and changed."""
LENGTH_MAX = 400
SURVEYS = ("create response", "create decline", "update end user", "delete")
DEPTH_MAX = 3
ODD: tuple[Any, ...] = (
    *(None, True, False, "", " ", [], {}, json.loads("[" * 40 + "]" * 40)),
    *(0, -1, 10, 11, 2**31, 2**63, -(2**64), 10**40, 0.5, -0.0, 1e308, 5e-324, 1e22, math.inf),
    *("2026-13-45", "1970-01-01T00:00:00Z", "0000-00-00T25:61:61Z", "now", "NaN"),
    *("a@b", "@", "+1", "+999999999999999", "%00", "\r\nX: y"),
)
TYPES = ("identify", "page", "track", "screen", "group", "alias", "delete", "Identify", "", "\0")


class Noise:
    """Makes records from a seed."""

    def __init__(self, seed: int, good: Iterator[Document]) -> None:
        self.dice = random.Random(f"{seed}/noise")
        self.good: list[Document] = []
        """The good ones so far."""
        self._coming = good
        # Of the same seed, their ids would be those of some good ones, which were duplicates then.
        self._bases = [
            json.dumps({**sample.value, "messageId": f"noise-{number}"})
            for number, sample in enumerate(traffic(events=BASES, seed=seed))
            if isinstance(sample.value, dict)
        ]
        self._encoded = [record_of(one.encode()) for one in self._bases]
        self._makers: tuple[Callable[[], Encoded], ...] = (
            self.any_bytes,
            self.framed,
            self.foreign,
            self.registered,
            self.bitten,
            self.cut,
            self.anything,
            self.anything,
            self.nothing,
        )

    def record(self) -> Encoded:
        """Return the next record."""
        if self.dice.random() < GOOD and (document := next(self._coming, None)):
            self.good.append(document)
            return Encoded(*record_of(json.dumps(document).encode()))
        return self.dice.choice(self._makers)()

    # What is no event

    def any_bytes(self) -> Encoded:
        return Encoded(self._noise(40), self._noise(LENGTH_MAX))

    def framed(self) -> Encoded:
        """Anything behind the fingerprint of our schema."""
        return Encoded(self._noise(40), SEGMENT_EVENT.header + self._noise(LENGTH_MAX))

    def foreign(self) -> Encoded:
        return Encoded(None, SINGLE_OBJECT + self._noise(LENGTH_MAX))

    def registered(self) -> Encoded:
        return Encoded(None, CONFLUENT + self._noise(LENGTH_MAX))

    def nothing(self) -> Encoded:
        return Encoded(self._noise(40), self.dice.choice((None, b"")))

    # What was one

    def bitten(self) -> Encoded:
        """An event with some of its bits turned over."""
        key, value = self.dice.choice(self._encoded)
        changed = bytearray(value)
        for _ in range(self.dice.randint(1, 8)):
            changed[self.dice.randrange(len(changed))] ^= 1 << self.dice.randrange(8)
        return Encoded(key, bytes(changed))

    def cut(self) -> Encoded:
        """An event that ends too early, or too late."""
        key, value = self.dice.choice(self._encoded)
        if self.dice.random() < 0.5:
            return Encoded(key, value[: self.dice.randrange(len(value))])
        return Encoded(key, value + self._noise(LENGTH_MAX))

    # What is one, of a kind

    def anything(self) -> Encoded:
        """An event of which some fields have any value, or other names, or are not there."""
        document: Document = json.loads(self.dice.choice(self._bases))
        document["messageId"] = self.dice.randbytes(8).hex()
        for _ in range(self.dice.randint(1, 4)):
            self._change(self._part(document))
        if self.dice.random() < 0.2:
            document["type"] = self.dice.choice(TYPES)
        if self.dice.random() < 0.1:
            wanted = self.dice.choice((*SURVEYS, self._value()))
            document["integrations"] = {"Wootric": {"eventType": wanted}}
        line = json.dumps(document).encode()
        try:
            return Encoded(*record_of(line))
        except ValueError:  # what no producer can encode
            return Encoded(None, line)

    def _part(self, document: Document) -> Document:
        """Return the document, or an object within."""
        while inner := [one for one in document.values() if isinstance(one, dict) and one]:
            if self.dice.random() < 0.4:
                break
            document = self.dice.choice(inner)
        return document

    def _change(self, part: Document) -> None:
        name = self.dice.choice(list(part)) if part else "x"
        match self.dice.randrange(4):
            case 0:
                part.pop(name, None)
            case 1:
                part[self._text()] = part.pop(name, None)
            case _:
                part[name] = self._value()

    def _value(self, depth: int = 0) -> Any:
        roll = self.dice.random()
        if roll < 0.3 and depth < DEPTH_MAX:
            inner = [self._value(depth + 1) for _ in range(self.dice.randrange(5))]
            return inner if roll < 0.15 else {self._text(): one for one in inner}
        return self._text() if roll < 0.5 else self.dice.choice(ODD)

    def _text(self) -> str:
        """Return any text, half a surrogate pair now and then."""
        ends = self.dice.choices((0x7F, 0x7FF, 0xFFFF, 0x10FFFF), k=self.dice.randrange(12))
        return "".join(chr(self.dice.randrange(end)) for end in ends)

    def _noise(self, length_max: int) -> bytes:
        return self.dice.randbytes(self.dice.randrange(length_max))
