"""What the doctor found, in words for people and for programs."""

from collections.abc import Sequence
from dataclasses import asdict

import orjson

from stream.doctor.result import Diagnosis, State

MARK = {State.OK: "ok  ", State.WARN: "warn", State.FAIL: "FAIL"}


def as_line(one: Diagnosis) -> str:
    """Return a finding as a line, its mend below it."""
    line = f"{MARK[one.state]}  {one.check:<18}  {one.text}"
    return f"{line}\n{'':<26}→ {one.mend}" if one.mend else line


def as_document(found: Sequence[Diagnosis]) -> str:
    """Return all findings as one JSON object."""
    code = next((one.exit_code for one in found if one.exit_code), 0)
    document = {"ok": code == 0, "exit_code": code, "findings": [asdict(one) for one in found]}
    return orjson.dumps(document).decode()
