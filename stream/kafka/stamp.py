"""What the metadata of a committed offset says, and how far the ledger is known to reach.

``instance:epoch:sequence@end``: the worker, its life, its transaction, and where the partition's
ledger ended at the least when that was committed. A ledger that ends before this has lost records,
receipts and intents among them: whoever restores it would repeat what they stand for.
"""

from dataclasses import dataclass
from typing import Any, Self

OFFSET_BEHIND = "the ledger's partition {} took a record at offset {}, but it reached {} before"


@dataclass(frozen=True, slots=True)
class Stamp:
    """Who committed an offset, in which transaction, and where the ledger ended."""

    instance: str
    epoch: int
    sequence: int
    ledger_end: int = 0

    def __str__(self) -> str:
        """Return it as an offset's metadata."""
        return f"{self.instance}:{self.epoch}:{self.sequence}@{self.ledger_end}"

    @classmethod
    def read(cls, metadata: str | None) -> Self | None:
        """Return what an offset's metadata says; None where somebody else wrote it."""
        instance, *rest = (metadata or "").rsplit(":", 2)
        if len(rest) != 2:
            return None
        sequence, _, end = rest[1].partition("@")
        try:
            return cls(instance, int(rest[0]), int(sequence), int(end or 0))
        except ValueError:
            return None

    def same_commit(self, other: "Stamp | None") -> bool:
        """Whether both are of one transaction."""
        mine = (self.instance, self.epoch, self.sequence)
        return other is not None and mine == (other.instance, other.epoch, other.sequence)


class LedgerEnds:
    """Where each partition of the ledger ends at the least, and whether one fell behind that."""

    def __init__(self) -> None:
        self._ends: dict[int, int] = {}
        self.lost: str | None = None
        """What has shown that records of the ledger are gone."""

    def of(self, number: int) -> int:
        """Return where the partition ends at the least."""
        return self._ends.get(number, 0)

    def reached(self, number: int, end: int) -> None:
        """Note that the partition was seen to end here, or later."""
        self._ends[number] = max(end, self.of(number))

    def delivered(self, error: object, message: Any) -> None:
        """Take a delivery report over: a record below the known end means that the end was lost.

        The offset of a record that was sent twice may be unknown.
        """
        if error is not None:
            return
        offset = message.offset()
        if offset is None or offset < 0:
            return
        number = message.partition()
        if offset < self.of(number):
            self.lost = OFFSET_BEHIND.format(number, offset, self.of(number))
        self.reached(number, offset + 1)
