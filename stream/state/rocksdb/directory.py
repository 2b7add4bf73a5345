"""The stores of one worker: a folder for each partition, opened by one process at a time."""

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
from stream.state.rocksdb.database import COVERED, Database, Engine
from stream.state.rocksdb.store import (
    CoveredRange,
    RocksDbStateStore,
    UnusableStoreError,
    store_identity,
    why_not,
)
from stream.state.store import InMemoryProvider, LedgerPartitionInfo, OpenedStore

# A folder in which one process keeps a partition's store


class DirectorySlot:
    """A folder that this process has: the lock beside the database is held until it is let go,
    also while the database is made anew.
    """

    def __init__(self, folder: Path, lock: int, released: Callable[[Path], None]) -> None:
        self._folder = folder
        self._lock = lock
        self._released = released
        self.database = folder / "db"

    @classmethod
    def take(cls, folder: Path, released: Callable[[Path], None]) -> "DirectorySlot | None":
        """Take a folder; None while another process has it.

        Raises:
            OSError: it cannot be made or written.
        """
        for one in (folder.parent.parent, folder.parent, folder):
            one.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        except OSError:
            os.close(lock)
            raise
        return cls(folder, lock, released)

    @property
    def spoilt(self) -> bool:
        """Whether something in it could not be read."""
        return (self._folder / "spoilt").exists()

    def spoil(self) -> None:
        """Let nobody open it again as it is."""
        try:
            (self._folder / "spoilt").touch()
        except OSError:  # the disk is full or broken: then at least it does not begin as it is
            shutil.rmtree(self.database, ignore_errors=True)

    @property
    def identity(self) -> bytes | None:
        """Whose it is; None before it was made."""
        try:
            return (self._folder / "identity").read_bytes()
        except FileNotFoundError:
            return None

    def empty(self) -> None:
        """Remove what is in it."""
        (self._folder / "identity").unlink(missing_ok=True)
        shutil.rmtree(self.database, ignore_errors=True)
        (self._folder / "spoilt").unlink(missing_ok=True)

    def name(self, identity: bytes) -> None:
        """Say whose it is, once its database is made."""
        (self._folder / "identity").write_bytes(identity)

    def remove(self) -> None:
        """Remove the folder itself, and let it go."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self.release()

    def release(self) -> None:
        """Let it go."""
        os.close(self._lock)
        self._released(self._folder)


log = structlog.get_logger()

PLACES_MAX = 4
"""Where a partition's store may be: one place, and spare ones while another process has that."""
BULK_MIN = 100_000
"""A ledger of fewer records is read before a database could be opened twice."""
RELEASE_S_MAX = 10.0
"""How long an earlier assignment of our own may take to let a store go."""


class StateDirectory:
    """Opens stores below a directory; ``failed`` is told when one cannot be read any more."""

    def __init__(
        self,
        directory: Path,
        *,
        failed: Callable[[StateStoreError], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._directory = directory
        self._engine = Engine()
        self._failed = failed
        self._clock = clock
        self._ours: set[Path] = set()
        self._cleared = False
        self._released = threading.Condition()

    def open(self, part: LedgerPartitionInfo) -> OpenedStore:
        """Open the store of a partition; a fresh one if there is none that fits, or memory."""
        home = self._directory / part.cluster_id / part.topic_id
        self._clear_old(part.kept_s)
        for place in range(PLACES_MAX):
            folder = home / (f"{part.number}.{place}" if place else f"{part.number}")
            try:
                store = self._take(folder)
            except OSError as error:
                return self._in_memory(part, error)
            if store is None:
                log.warning("state_store_locked", partition=part.number, place=place)
                continue
            try:
                opened = self._open(store, part)
            except Exception as error:  # noqa: BLE001  RocksDB's errors have no class of their own
                store.release()
                return self._in_memory(part, error)
            if place == 0:
                self._clear_spares(home, part.number)
            return opened
        return self._in_memory(part, OSError("all places are taken"))

    def _in_memory(self, part: LedgerPartitionInfo, error: Exception) -> OpenedStore:
        log.warning("state_store_unusable", partition=part.number, error=str(error))
        return InMemoryProvider().open(part)

    def _take(self, folder: Path) -> DirectorySlot | None:
        """Take a folder for this process; None while another one has it."""
        with self._released:
            self._released.wait_for(lambda: folder not in self._ours, RELEASE_S_MAX)
            if folder in self._ours:
                return None
            store = DirectorySlot.take(folder, self._release)
            if store is not None:
                self._ours.add(folder)
            return store

    def _release(self, folder: Path) -> None:
        with self._released:
            self._ours.discard(folder)
            self._released.notify_all()

    def _open(self, store: DirectorySlot, part: LedgerPartitionInfo) -> OpenedStore:
        bulk = False
        database, cover, reason = self._look(store, part)
        if reason is not None:
            log.warning("state_store_rebuilt", partition=part.number, reason=reason.value)
            if database is not None:
                database.close()
        if database is None or reason is not None:
            store.empty()
            bulk = part.end - part.begin >= BULK_MIN
            database, cover = self._engine.open(store.database, bulk=bulk), None
            store.name(store_identity(part))
        warm = cover is not None
        began = CoveredRange(part.begin, self._clock()) if cover is None else cover
        state = RocksDbStateStore(
            database,
            began,
            partition=part.number,
            failed=lambda failure: self._give_up(store, failure),
            closed=store.release,
            reopen=partial(self._engine.open, store.database) if bulk else None,
            clock=self._clock,
        )
        state.trim(part.begin)
        return OpenedStore(state, began.offset, warm=warm)

    def _look(
        self, store: DirectorySlot, part: LedgerPartitionInfo
    ) -> tuple[Database | None, CoveredRange | None, UnusableStoreError | None]:
        """Open the database, if there is one, and judge it: what it covers, or why it is no use."""
        if store.identity is None:
            return None, None, None
        reason = _unfit(store, part)
        if reason is not None:
            return None, None, reason
        database = None
        try:
            database = self._engine.open(store.database)
            covered = database.get(COVERED)
            cover = None if covered is None else CoveredRange.unpack(covered)
        except Exception:  # noqa: BLE001  RocksDB's errors have no class of their own
            return database, None, UnusableStoreError.CORRUPT
        if cover is None:  # killed before anything was flushed
            database.close()
            return None, None, None
        return database, cover, why_not(cover, part, self._clock())

    def _give_up(self, store: DirectorySlot, failure: StateStoreError) -> None:
        store.spoil()
        log.error("state_unreadable", error=str(failure))
        self._failed(failure)

    def _clear_old(self, age_s: float) -> None:
        """Remove, once, what nobody has and the ledger would not have either: it is people's."""
        if self._cleared:
            return
        self._cleared = True
        for folder in self._directory.glob("*/*/*"):
            with suppress(OSError):
                old = _changed_at(folder) < self._clock() - age_s
                found = self._take(folder) if old else None
                if found is not None:
                    found.remove()
                    log.info("state_store_removed", place=folder.name)

    def _clear_spares(self, home: Path, number: int) -> None:
        """Remove spare stores that nobody has: the partition is back where it belongs."""
        for place in range(1, PLACES_MAX):
            folder = home / f"{number}.{place}"
            if folder.exists():
                spare = self._take(folder)
                if spare is not None:
                    spare.remove()


def _unfit(store: DirectorySlot, part: LedgerPartitionInfo) -> UnusableStoreError | None:
    """Return why a store need not even be opened."""
    if store.identity != store_identity(part):
        return UnusableStoreError.FOREIGN
    fine = not store.spoilt and (store.database / "CURRENT").exists()
    return None if fine else UnusableStoreError.CORRUPT


def _changed_at(folder: Path) -> float:
    """Return when a store was last written to, in seconds since 1970."""
    return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
