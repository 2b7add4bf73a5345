"""Forgetting what the ledger has forgotten, by offset: with each write a little, by no clock."""

from stream.state.ledger import INTENT
from stream.state.rocksdb.database import CLAIM, Database

OFFSET_BYTES = 8
FACTOR = 2
"""Entries that are looked at for each that is written: a pass is over before half as many came."""
DUE_MIN = 500
"""A few would not be worth the seek."""


class Sweeper:
    """A pass through a database; ``begin`` is where the ledger begins, as far as is known."""

    def __init__(self) -> None:
        self.begin = 0
        self._swept_to = 0
        self._sweep_to = 0
        self._from = b""
        self._due = 0

    def trim(self, begin: int) -> None:
        """Note that the ledger has nothing before this offset any more."""
        self.begin = max(self.begin, begin)

    def go_on(self, database: Database, written: int) -> None:
        """Go on with a pass, if there is anything to forget, for so many entries written.

        An open intent is kept: only its tombstone says that it is settled.

        Raises:
            Exception: RocksDB cannot read, or write.
        """
        if self.begin <= self._swept_to:
            return
        self._due += written * FACTOR
        if self._due < DUE_MIN:
            return
        due, self._due = self._due, 0
        if not self._from:
            self._sweep_to = self.begin
        begin, intent = prefix(self._sweep_to), INTENT.encode()
        gone = []
        last = b""
        for key, value in database.items(self._from or CLAIM):
            last = key
            if value[:OFFSET_BYTES] < begin and not key.startswith(intent):
                gone.append(key)
            due -= 1
            if due <= 0:
                break
        if gone:
            database.delete(gone)
        if due > 0:
            self._swept_to, last = self._sweep_to, b""
        self._from = last


def prefix(offset: int) -> bytes:
    """Return an offset as values begin with it, in the order of their bytes."""
    return offset.to_bytes(OFFSET_BYTES, "big")
