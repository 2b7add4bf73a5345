"""The directory for state on disk, looked at as a store will use it."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from stream.doctor.result import Diagnosis, doubtful, fine

FREE_BYTES_MIN = 1024**3
GB = 1e9


def look_at_state(directory: str) -> Iterator[Diagnosis]:
    """Yield what is found of ``STATE__DIR``: whether it can be written and locked, and its room.

    A directory that is no use is no failure: workers go on in memory.
    """
    if not directory:
        return
    path = Path(directory)
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"\0" * 4096)
            file.flush()
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        free = shutil.disk_usage(path).free
    except OSError as error:
        text = f"STATE__DIR is no use: {error.strerror}; state would be held in memory"
        yield doubtful("state", text, "let the service's user write and lock files there")
        return
    text = f"STATE__DIR can be written and locked, {free / GB:.1f} GB are free"
    if free < FREE_BYTES_MIN:
        yield doubtful("state", text, "give it more room: 1 GB holds some 10 million entries")
    else:
        yield fine("state", text)
