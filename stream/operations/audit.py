"""Audit: who was shown personal data, never the data."""

import getpass
import os
import socket
import sys
from contextlib import nullcontext
from pathlib import Path

from stream.errors import StartupError
from stream.settings_loader import load_exporter
from stream.telemetry.log import audit_log


def personal_data_shown(command: str, *, records: int | None) -> None:
    """Log that a command is about to show personal data of at most N ``records``, None: of all.

    The line goes to ``LOG__AUDIT_FILE``, else to stderr.

    Raises:
        StartupError: the file cannot be written; the data must not be shown then.
    """
    path = load_exporter().log.audit_file
    try:
        with Path(path).open("a", encoding="utf-8") if path else nullcontext(sys.stderr) as file:
            log = audit_log(file, instance=socket.gethostname())
            log.info("personal_data_shown", command=command, records=records, user=_user())
    except OSError as error:
        raise StartupError(
            f"LOG__AUDIT_FILE cannot be written: {error.strerror}; nothing is shown without it",
            exit_code=66,
        ) from error


def _user() -> str:
    """Return the name of the operating system's user, or the number if it has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
