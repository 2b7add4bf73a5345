"""State directory: one subdirectory per partition, opened by one process at a time."""

import fcntl
import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import structlog

from stream.errors import StateStoreError
from stream.state.rocksdb.database import COVERED, Database, DatabaseFactory
from stream.state.rocksdb.store import (
    CoveredRange,
    RocksDbStateStore,
    UnusableReason,
    store_identity,
    unusable_reason,
)
from stream.state.store import InMemoryProvider, LedgerPartitionInfo, OpenedStore

# Directory of one partition


class DirectorySlot:
    """A partition's directory, locked by this process.

    The lock is held until ``release``, also while the database is rebuilt.
    """

    def __init__(self, directory: Path, lock: int, on_release: Callable[[Path], None]) -> None:
        self._directory = directory
        self._lock = lock
        self._on_release = on_release
        self.database = directory / "db"

    @classmethod
    def acquire(cls, directory: Path, on_release: Callable[[Path], None]) -> "DirectorySlot | None":
        """Lock a directory; None if another process holds it.

        Raises:
            OSError: it cannot be created or written.
        """
        for one in (directory.parent.parent, directory.parent, directory):
            one.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        except OSError:
            os.close(lock)
            raise
        return cls(directory, lock, on_release)

    @property
    def is_unreadable(self) -> bool:
        """Whether something in it could not be read or written."""
        return (self._directory / "spoilt").exists()

    def mark_unreadable(self) -> None:
        """Prevent the store from being opened again as it is."""
        try:
            (self._directory / "spoilt").touch()
        except OSError:  # the disk is full or broken: remove the database
            shutil.rmtree(self.database, ignore_errors=True)

    @property
    def identity(self) -> bytes | None:
        """Identity of the store; None before it was created."""
        try:
            return (self._directory / "identity").read_bytes()
        except FileNotFoundError:
            return None

    def clear(self) -> None:
        """Remove the contents."""
        (self._directory / "identity").unlink(missing_ok=True)
        shutil.rmtree(self.database, ignore_errors=True)
        (self._directory / "spoilt").unlink(missing_ok=True)

    def write_identity(self, identity: bytes) -> None:
        """Write the store's identity, once its database exists."""
        (self._directory / "identity").write_bytes(identity)

    def remove(self) -> None:
        """Remove the directory and release it."""
        shutil.rmtree(self._directory, ignore_errors=True)
        self.release()

    def release(self) -> None:
        """Release the lock."""
        os.close(self._lock)
        self._on_release(self._directory)


log = structlog.get_logger()

BULK_MIN = 100_000
"""A smaller ledger is read faster than a database can be opened twice."""
RELEASE_S_MAX = 10.0
"""How long to wait for an earlier assignment of this process to release a store."""


class StateDirectory:
    """Opens stores in a directory. ``on_failure`` is called when the disk fails one."""

    def __init__(
        self,
        directory: Path,
        *,
        on_failure: Callable[[StateStoreError], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._directory = directory
        self._database_factory = DatabaseFactory()
        self._on_failure = on_failure
        self._clock = clock
        self._acquired: set[Path] = set()
        self._expired_removed = False
        self._released = threading.Condition()

    def open(self, ledger_partition: LedgerPartitionInfo) -> OpenedStore:
        """Open the store of a partition; a new one if none is usable, or one in memory."""
        home = self._directory / ledger_partition.cluster_id / ledger_partition.topic_id
        self._remove_expired(ledger_partition.kept_s)
        try:
            slot = self._acquire(home / str(ledger_partition.number))
        except OSError as error:
            return self._in_memory(ledger_partition, error)
        if slot is None:
            return self._in_memory(ledger_partition, BlockingIOError("another process holds it"))
        try:
            return self._open(slot, ledger_partition)
        except Exception as error:  # noqa: BLE001  RocksDB's errors have no class of their own
            slot.release()
            return self._in_memory(ledger_partition, error)

    def _in_memory(self, ledger_partition: LedgerPartitionInfo, error: Exception) -> OpenedStore:
        log.warning("state_store_unusable", partition=ledger_partition.number, error=str(error))
        return InMemoryProvider().open(ledger_partition)

    def _acquire(self, directory: Path) -> DirectorySlot | None:
        """Lock a directory for this process; None if another one holds it."""
        with self._released:
            self._released.wait_for(lambda: directory not in self._acquired, RELEASE_S_MAX)
            if directory in self._acquired:
                return None
            slot = DirectorySlot.acquire(directory, self._release)
            if slot is not None:
                self._acquired.add(directory)
            return slot

    def _release(self, directory: Path) -> None:
        with self._released:
            self._acquired.discard(directory)
            self._released.notify_all()

    def _open(self, slot: DirectorySlot, ledger_partition: LedgerPartitionInfo) -> OpenedStore:
        bulk = False
        database, covered, reason = self._inspect(slot, ledger_partition)
        if reason is not None:
            log.warning(
                "state_store_rebuilt", partition=ledger_partition.number, reason=reason.value
            )
            if database is not None:
                database.close()
        if database is None or reason is not None:
            slot.clear()
            bulk = ledger_partition.end - ledger_partition.begin >= BULK_MIN
            database, covered = self._database_factory.open(slot.database, bulk=bulk), None
            slot.write_identity(store_identity(ledger_partition))
        warm = covered is not None
        initial = (
            CoveredRange(ledger_partition.begin, self._clock()) if covered is None else covered
        )
        state = RocksDbStateStore(
            database,
            initial,
            partition=ledger_partition.number,
            on_failure=lambda failure: self._on_unreadable(slot, failure),
            on_close=slot.release,
            reopen=partial(self._database_factory.open, slot.database) if bulk else None,
            clock=self._clock,
        )
        state.trim(ledger_partition.begin)
        return OpenedStore(state, initial.offset, warm=warm)

    def _inspect(
        self, slot: DirectorySlot, ledger_partition: LedgerPartitionInfo
    ) -> tuple[Database | None, CoveredRange | None, UnusableReason | None]:
        """Open the existing database; return what it covers, or why it is unusable."""
        if slot.identity is None:
            return None, None, None
        reason = _precheck(slot, ledger_partition)
        if reason is not None:
            return None, None, reason
        database = None
        try:
            database = self._database_factory.open(slot.database)
            covered = database.get(COVERED)
            covered = None if covered is None else CoveredRange.unpack(covered)
        except Exception:  # noqa: BLE001  RocksDB's errors have no class of their own
            return database, None, UnusableReason.CORRUPT
        if covered is None:  # killed before anything was flushed
            database.close()
            return None, None, None
        return database, covered, unusable_reason(covered, ledger_partition, self._clock())

    def _on_unreadable(self, slot: DirectorySlot, failure: StateStoreError) -> None:
        slot.mark_unreadable()
        log.error("state_unreadable", error=str(failure))
        self._on_failure(failure)

    def _remove_expired(self, age_s: float) -> None:
        """Remove, once, unused stores that are older than the ledger: they hold personal data."""
        if self._expired_removed:
            return
        self._expired_removed = True
        for directory in self._directory.glob("*/*/*"):
            with suppress(OSError):
                expired = _changed_at(directory) < self._clock() - age_s
                slot = self._acquire(directory) if expired else None
                if slot is not None:
                    slot.remove()
                    log.info("state_store_removed", place=directory.name)


def _precheck(slot: DirectorySlot, ledger_partition: LedgerPartitionInfo) -> UnusableReason | None:
    """Return why a store need not be opened at all."""
    if slot.identity != store_identity(ledger_partition):
        return UnusableReason.FOREIGN
    intact = not slot.is_unreadable and (slot.database / "CURRENT").exists()
    return None if intact else UnusableReason.CORRUPT


def _changed_at(directory: Path) -> float:
    """Return when a store was last written, in Unix seconds."""
    return max(path.stat().st_mtime for path in (directory, *directory.rglob("*")))
