"""What a store says of itself: whose it is, and how far it reaches."""

import json
import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from stream.state.store import LedgerPart

FORMAT = 1
"""Of keys, values and these two; a store of another one is made anew."""
AGE_S_MIN = -300.0
"""How far in the future a store may have been written: clocks differ a little."""
_COVER = struct.Struct(">Qd")


class Unusable(StrEnum):
    """Why a store is replaced by a fresh one."""

    CORRUPT = "corrupt"
    FOREIGN = "foreign"
    AHEAD = "ahead"
    BEHIND = "behind"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Cover:
    """The ledger's offset before which a store has everything, and a time at which nothing that
    it has not seen was older (seconds since 1970).
    """

    offset: int
    as_of_s: float

    def pack(self) -> bytes:
        """Return it as a value."""
        return _COVER.pack(self.offset, self.as_of_s)

    @classmethod
    def unpack(cls, value: bytes) -> Self:
        """Return what a value says. Raises ``struct.error`` where it is none."""
        return cls(*_COVER.unpack(value))


def identity(part: LedgerPart) -> bytes:
    """Return what tells a store of this ledger's partition from any other."""
    return json.dumps([FORMAT, part.cluster_id, part.topic_id, part.number]).encode()


def why_not(cover: Cover, part: LedgerPart, now_s: float) -> Unusable | None:
    """Return why the ledger cannot be read on from where a store ends; None if it can.

    A tombstone that the store has not seen may be gone by now if it is old enough. Half of the
    time for which it is kept is a margin for clocks. Behind the last record there is one control
    record; with nothing else there is no tombstone.
    """
    if cover.offset > part.end:
        return Unusable.AHEAD
    if cover.offset < part.begin:
        return Unusable.BEHIND
    age_s = now_s - cover.as_of_s
    recent = AGE_S_MIN <= age_s <= part.tombstones_kept_s / 2
    return None if recent or part.end - cover.offset <= 1 else Unusable.STALE
