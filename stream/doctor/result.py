"""What a look at one thing found, and how to fix it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

import orjson


class CheckStatus(StrEnum):
    """How a thing stands; only ``FAIL`` keeps the service from working."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One finding. ``exit_code`` is what the command ends with if this is the first failure."""

    check: str
    state: CheckStatus
    text: str
    fix: str = ""
    exit_code: int = 0


def ok(check: str, text: str) -> CheckResult:
    """Return a finding that all is well."""
    return CheckResult(check, CheckStatus.OK, text)


def warning(check: str, text: str, fix: str) -> CheckResult:
    """Return a finding that somebody should look at some day."""
    return CheckResult(check, CheckStatus.WARN, text, fix)


def failed(check: str, text: str, fix: str, *, exit_code: int) -> CheckResult:
    """Return a finding that keeps the service from working; the code follows sysexits."""
    return CheckResult(check, CheckStatus.FAIL, text, fix, exit_code)


UNAVAILABLE = 69
TEMPORARY = 75
PERMISSION = 77
CONFIGURATION = 78


# What the doctor found, in words for people and for programs


MARK = {CheckStatus.OK: "ok  ", CheckStatus.WARN: "warn", CheckStatus.FAIL: "FAIL"}


def format_line(one: CheckResult) -> str:
    """Return a finding as a line, its fix below it."""
    line = f"{MARK[one.state]}  {one.check:<18}  {one.text}"
    return f"{line}\n{'':<26}→ {one.fix}" if one.fix else line


def to_json(found: Sequence[CheckResult]) -> str:
    """Return all findings as one JSON object."""
    code = next((one.exit_code for one in found if one.exit_code), 0)
    document = {"ok": code == 0, "exit_code": code, "findings": [asdict(one) for one in found]}
    return orjson.dumps(document).decode()
