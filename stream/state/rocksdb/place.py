"""A folder in which one process keeps a partition's store."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path


class Place:
    """A folder that this process has: the lock beside the database is held until it is let go,
    also while the database is made anew.
    """

    def __init__(self, folder: Path, lock: int, released: Callable[[Path], None]) -> None:
        self._folder = folder
        self._lock = lock
        self._released = released
        self.database = folder / "db"

    @classmethod
    def take(cls, folder: Path, released: Callable[[Path], None]) -> "Place | None":
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
