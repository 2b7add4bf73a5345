"""State of one partition on disk.

Each batch holds entries and the ledger offset that they cover, so that what is left after a kill is
consistent as of some offset; the rest is read again. A value begins with the offset after its
record, or a later one: expired entries are recognised by it, without a clock.
"""

import json
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import uniform
from typing import Self

import structlog

from stream.errors import StateStoreError
from stream.state.ledger import INTENT
from stream.state.rocksdb.database import CLAIM, Database, claim_key
from stream.state.store import LedgerPartitionInfo, RawEntry

# Removal of entries that have expired from the ledger: by offset, a few with each write


OFFSET_BYTES = 8
SWEEP_FACTOR = 2
"""Entries scanned per entry written: a pass over N entries ends within N / 2 writes."""
SWEEP_MIN = 500
"""Fewer entries are not worth a seek."""


class ExpirySweeper:
    """Removes expired entries incrementally; ``start_offset`` is where the ledger starts."""

    def __init__(self) -> None:
        self.start_offset = 0
        self._swept_to = 0
        self._sweep_to = 0
        self._next_key = b""
        self._budget = 0

    def trim(self, start_offset: int) -> None:
        """Note that the ledger has expired before this offset."""
        self.start_offset = max(self.start_offset, start_offset)

    def sweep(self, database: Database, written: int) -> None:
        """Continue a pass, if there is anything to remove, after ``written`` entries were written.

        Open intents are kept: only a tombstone settles an intent.

        Raises:
            Exception: RocksDB cannot read or write.
        """
        if self.start_offset <= self._swept_to:
            return
        self._budget += written * SWEEP_FACTOR
        if self._budget < SWEEP_MIN:
            return
        budget, self._budget = self._budget, 0
        if not self._next_key:
            self._sweep_to = self.start_offset
        start_offset, intent = prefix(self._sweep_to), INTENT.encode()
        expired = []
        last = b""
        for key, value in database.items(self._next_key or CLAIM):
            last = key
            if value[:OFFSET_BYTES] < start_offset and not key.startswith(intent):
                expired.append(key)
            budget -= 1
            if budget <= 0:
                break
        if expired:
            database.delete(expired)
        if budget > 0:
            self._swept_to, last = self._sweep_to, b""
        self._next_key = last


def prefix(offset: int) -> bytes:
    """Return the prefix of values at an offset; prefixes sort by offset."""
    return offset.to_bytes(OFFSET_BYTES, "big")


# Identity and covered range of a store


FORMAT = 1
"""Version of keys, values, identity and covered range; a store of another version is rebuilt."""
AGE_S_MIN = -300.0
"""How far in the future a store may have been written, since clocks differ."""
_COVERED_FORMAT = struct.Struct(">Qd")


class UnusableReason(StrEnum):
    """Why a store is replaced by a new one."""

    CORRUPT = "corrupt"
    FOREIGN = "foreign"
    AHEAD = "ahead"
    BEHIND = "behind"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class CoveredRange:
    """What a store covers of the ledger.

    It is complete before ``offset``. Every record that it has not seen was written after
    ``as_of_s`` (Unix seconds).
    """

    offset: int
    as_of_s: float

    def pack(self) -> bytes:
        """Return the stored form."""
        return _COVERED_FORMAT.pack(self.offset, self.as_of_s)

    @classmethod
    def unpack(cls, value: bytes) -> Self:
        """Parse the stored form. Raises ``struct.error`` if it is invalid."""
        return cls(*_COVERED_FORMAT.unpack(value))


def store_identity(ledger_partition: LedgerPartitionInfo) -> bytes:
    """Return what distinguishes a store of this ledger partition from any other."""
    identity = [
        FORMAT,
        ledger_partition.cluster_id,
        ledger_partition.topic_id,
        ledger_partition.number,
    ]
    return json.dumps(identity).encode()


def unusable_reason(
    covered: CoveredRange, ledger_partition: LedgerPartitionInfo, now_s: float
) -> UnusableReason | None:
    """Return why a store cannot be continued from its covered range; None if it can.

    An old tombstone that the store has not seen may be gone by now. Half of the tombstones'
    retention is a margin for clock differences. A single offset after the covered range is a
    control record, so there is no tombstone.
    """
    if covered.offset > ledger_partition.end:
        return UnusableReason.AHEAD
    if covered.offset < ledger_partition.begin:
        return UnusableReason.BEHIND
    age_s = now_s - covered.as_of_s
    recent = AGE_S_MIN <= age_s <= ledger_partition.tombstones_kept_s / 2
    return None if recent or ledger_partition.end - covered.offset <= 1 else UnusableReason.STALE


log = structlog.get_logger()

SAVE_S_MAX = 60.0
"""Without changes, the covered range is written at this interval."""
FLUSH_S = (150.0, 300.0)
"""A kill loses what was not flushed: it is read from the ledger again. Each flush adds a small
table, and a few of them are merged with everything. Random, so that the buffers of all partitions
are not flushed together."""
BEHIND_WAIT_S = 0.005
STALL_S_MAX = 60.0
"""A disk that takes nothing for longer counts as one that refuses writes."""
STALLED = "Write stall"
"""RocksDB's message for a write that it would have blocked."""


class RocksDbStateStore:
    """State in a database. Each method raises ``StateStoreError`` if the disk fails, but ``close``.

    ``on_failure`` is called before that, ``on_close`` when the database was closed. What a commit
    wrote is in the ledger, so nothing is lost with a store.
    """

    def __init__(
        self,
        database: Database,
        covered: CoveredRange,
        *,
        partition: int,
        on_failure: Callable[[StateStoreError], None],
        on_close: Callable[[], None],
        reopen: Callable[[], Database] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``reopen`` opens a database again that was opened for a bulk restore."""
        self._reopen = reopen
        self._database = database
        self._covered = covered
        self._partition = partition
        self._on_failure = on_failure
        self._on_close = on_close
        self._clock = clock
        self._opened_at = clock()
        self._saved_at = 0.0
        self._flush_at = 0.0
        self._restoring = True
        self._closed = False
        self._pending: dict[bytes, bytes | None] = {}
        self._claims: set[int] = set()
        self._failed = False
        self._stalled_at: float | None = None
        self._sweeper = ExpirySweeper()

    # Reads

    def get(self, key: str) -> bytes | None:
        """Return the last value of a key, or None."""
        name = key.encode()
        if self._pending and name in self._pending:
            return self._pending[name]
        try:
            value = self._database.get(name)
        except Exception as error:
            raise self._failure(error) from error
        return None if value is None else value[OFFSET_BYTES:]

    def claims(self, remote_id: int) -> bool:
        """Return whether a receipt names this response or decline; False once closed."""
        if remote_id in self._claims:
            return True
        if self._closed:
            return False
        try:
            return self._database.get(claim_key(remote_id)) is not None
        except Exception as error:
            raise self._failure(error) from error

    def intents(self) -> dict[str, bytes]:
        """Return the open intents by lane."""
        found: dict[bytes, bytes | None] = {}
        first = INTENT.encode()
        try:
            for key, value in self._database.items(first):
                if not key.startswith(first):
                    break
                found[key] = value[OFFSET_BYTES:]
        except Exception as error:
            raise self._failure(error) from error
        found.update((key, held) for key, held in self._pending.items() if key.startswith(first))
        return {
            key.decode().removeprefix(INTENT): value
            for key, value in found.items()
            if value is not None
        }

    def __len__(self) -> int:
        """Return the estimated number of keys."""
        return 0 if self._closed else self._database.entries() + len(self._pending)

    @property
    def disk_bytes(self) -> int:
        """Size on disk in bytes."""
        return 0 if self._closed else self._database.disk_bytes()

    # Updates

    def apply_changelog(self, entries: Sequence[RawEntry], covered: int) -> None:
        """Apply committed ledger records as they are read, in order."""
        self._advance(covered, self._covered.as_of_s)
        try:
            self._write_throttled(entries)
        except Exception as error:
            raise self._failure(error) from error

    def put(self, key: str, value: bytes | None, remote_id: int | None = None) -> None:
        """Apply one committed ledger record, in order; None deletes."""
        self._pending[key.encode()] = value
        if remote_id is not None:
            self._claims.add(remote_id)

    def save(self, covered: int | None) -> None:
        """Write what was put and the covered ledger offset, in one batch."""
        now = self._clock()
        previous_offset = self._covered.offset
        # Records written after the restore's end offset have not been seen since it began.
        self._advance(previous_offset if covered is None else covered, now)
        if self._restoring:
            self._restoring = False
            self._covered = CoveredRange(self._covered.offset, self._opened_at)
        if self._reopen is not None:
            self._end_bulk(self._reopen)
        changed = self._pending or self._claims or self._covered.offset != previous_offset
        if changed or self._stalled_at is not None or abs(now - self._saved_at) >= SAVE_S_MAX:
            self._write()

    def trim(self, start_offset: int) -> None:
        """Note that the ledger has expired before this offset."""
        self._sweeper.trim(start_offset)

    def close(self) -> None:
        """Flush and close the database; it may be opened again.

        A disk that fails now costs a longer restore only: what is on it is complete as of its own
        offset.
        """
        if self._closed:
            return
        steps: list[Callable[[], object]] = [self._database.close]
        if not self._failed:
            steps.insert(0, self._database.flush)
            if not self._restoring:
                self._advance(self._covered.offset, self._clock())
                steps.insert(0, self._write_pending)
        self._closed = True
        for step in steps:
            try:
                step()
            except Exception as error:  # noqa: BLE001  RocksDB's errors have no class of their own
                log.warning("state_not_written", partition=self._partition, error=str(error))
        self._on_close()

    # Writes

    def _advance(self, covered: int, as_of_s: float) -> None:
        self._covered = CoveredRange(max(covered, self._covered.offset), as_of_s)

    def _prefix(self) -> bytes:
        """Return the prefix for values written now: an offset not before that of their records.

        If that is unknown, the ledger's start offset is used: expired records are certainly older.
        """
        return prefix(max(self._covered.offset, self._sweeper.start_offset))

    def _write_throttled(self, entries: Sequence[RawEntry]) -> None:
        """Limit a restore to the speed of the disk; raise if the disk stalls for too long."""
        until = time.monotonic() + STALL_S_MAX
        while True:
            while self._database.is_behind() and time.monotonic() < until:
                time.sleep(BEHIND_WAIT_S)
            try:
                self._database.write(entries, self._prefix(), self._covered.pack())
            except Exception as error:
                if STALLED not in str(error) or time.monotonic() >= until:
                    raise
                time.sleep(BEHIND_WAIT_S)
            else:
                return

    def _end_bulk(self, reopen: Callable[[], Database]) -> None:
        """Reopen the database for normal use."""
        self._reopen = None
        try:
            self._database.flush()
            self._database.close()
            self._database = reopen()
        except Exception as error:
            raise self._failure(error) from error

    def _write(self) -> None:
        """Write what was put since the last write; while the disk stalls, it waits for the next."""
        count = len(self._pending) + len(self._claims)
        try:
            self._write_pending()
            self._flush_if_due()
            self._sweeper.sweep(self._database, count)
        except Exception as error:
            now = time.monotonic()
            self._stalled_at = now if self._stalled_at is None else self._stalled_at
            if STALLED not in str(error) or now - self._stalled_at > STALL_S_MAX:
                raise self._failure(error) from error
        else:
            self._stalled_at = None

    def _write_pending(self) -> None:
        entries: list[RawEntry] = [(key, value, None) for key, value in self._pending.items()]
        entries += [(claim_key(remote_id), b"", None) for remote_id in self._claims]
        self._database.write(entries, self._prefix(), self._covered.pack())
        self._saved_at = self._clock()
        self._pending.clear()
        self._claims.clear()

    def _flush_if_due(self) -> None:
        now = time.monotonic()
        if now >= self._flush_at and not self._database.is_behind():
            self._flush_at = now + uniform(*FLUSH_S)  # noqa: S311
            self._database.flush(wait=False)

    def _failure(self, error: Exception) -> StateStoreError:
        """Report a disk that fails. A write that was refused leaves the store as it was before."""
        self._failed = True
        failure = StateStoreError(
            f"the state of partition {self._partition} cannot be read from disk or written to it: "
            f"{error}; it is rebuilt from the ledger"
        )
        self._on_failure(failure)
        return failure
