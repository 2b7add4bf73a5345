"""Results of checks, as values, text and JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from stream.codec.json_text import escaped


class CheckStatus(StrEnum):
    """Only ``FAIL`` keeps the service from working."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Result of one check. ``fix`` says how to fix a warning or failure, and is empty if ok.

    ``exit_code`` ends the command if this is the first failure.
    """

    check: str
    state: CheckStatus
    text: str
    fix: str = ""
    exit_code: int = 0


def ok(check: str, text: str) -> CheckResult:
    """Return the result of a check that passed."""
    return CheckResult(check, CheckStatus.OK, text)


def warning(check: str, text: str, fix: str) -> CheckResult:
    """Return the result of a check whose problem does not stop the service."""
    return CheckResult(check, CheckStatus.WARN, text, fix)


def failed(check: str, text: str, fix: str, *, exit_code: int) -> CheckResult:
    """Return the result of a check whose problem stops the service; exit codes are sysexits."""
    return CheckResult(check, CheckStatus.FAIL, text, fix, exit_code)


UNAVAILABLE = 69
PERMISSION = 77
CONFIGURATION = 78


MARK = {CheckStatus.OK: "ok  ", CheckStatus.WARN: "warn", CheckStatus.FAIL: "FAIL"}


def format_line(one: CheckResult) -> str:
    """Return a result as one line, with its fix on a second line."""
    line = f"{MARK[one.state]}  {one.check:<18}  {escaped(one.text)}"
    return f"{line}\n{'':<26}→ {escaped(one.fix)}" if one.fix else line


def as_document(found: Sequence[CheckResult]) -> dict[str, Any]:
    """Return all results as one JSON document."""
    code = next((one.exit_code for one in found if one.exit_code), 0)
    return {"ok": code == 0, "exit_code": code, "findings": [asdict(one) for one in found]}
