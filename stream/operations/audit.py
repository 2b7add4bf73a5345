"""Audit: who was shown personal data or held the input, never the data."""

import getpass
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from stream.errors import StartupError
from stream.settings_loader import load_exporter
from stream.telemetry.log import audit_log


def personal_data_shown(command: str, *, records: int | None) -> None:
    """Log that a command is about to show personal data of at most N ``records``, None: of all.

    The line goes to ``LOG__AUDIT_FILE``, else to stderr.

    Raises:
        StartupError: the file cannot be written; the data must not be shown then.
    """
    with _audit_log(refusal="nothing is shown") as log:
        log.info("personal_data_shown", command=command, records=records, user=_user())


def input_changed(command: str, *, partitions: Sequence[int]) -> None:
    """Log, in the same place, that ``pause`` or ``resume`` is about to act on these partitions.

    Raises:
        StartupError: the file cannot be written; nothing must be changed then.
    """
    with _audit_log(refusal="nothing is changed") as log:
        log.info("input_changed", command=command, partitions=list(partitions), user=_user())


@contextmanager
def _audit_log(*, refusal: str) -> Iterator[FilteringBoundLogger]:
    path = load_exporter().log.audit_file
    try:
        with Path(path).open("a", encoding="utf-8") if path else nullcontext(sys.stderr) as file:
            yield audit_log(file, instance=socket.gethostname())
    except OSError as error:
        raise StartupError(
            f"LOG__AUDIT_FILE cannot be written: {error.strerror}; {refusal} without it",
            exit_code=66,
        ) from error


def _user() -> str:
    """Return the name of the operating system's user, or the number if it has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
