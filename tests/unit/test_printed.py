"""What strangers wrote, on a terminal: no command prints what could change how the rest shows."""

import ast
import io
import json
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream.cli import setup as setup_commands
from stream.doctor.result import as_document, failed, format_line
from stream.errors import StartupError
from stream.kafka.topic_policies import Finding
from stream.operations import status
from stream.operations.output import (
    Table,
    exit_on_error,
    json_document,
    json_line,
    print_message,
    show,
)

ROOT = Path(__file__).parents[2]
NASTY = "\x1b[2J\x1b]0;x\x07\u202egpj\u2066\x9b31m\x7f\u200f\rover"
PLAIN = "gpj"


def is_harmless(text: str, *, but: str = "\n") -> bool:
    bad = {"Cc", "Zl", "Zp", "Cs"}
    marks = {"\u061c", "\u200e", "\u200f"}
    return PLAIN in text and not [
        one
        for one in text
        if one not in but
        and (
            unicodedata.category(one) in bad
            or one in marks
            or unicodedata.bidirectional(one)
            in {"LRE", "LRO", "RLE", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
        )
    ]


def of_status() -> dict[str, Any]:
    worker = {
        "verdict": "bad", "summary": NASTY, "instance": NASTY, "in_flight": 1, "settled_per_s": 1.0,
        "settled_per_s_history": [1.0], "in_doubt": 0,
    }  # fmt: skip
    return {
        "verdict": "bad", "summary": NASTY, "group": NASTY, "topic": NASTY, "state": NASTY,
        "members": [NASTY], "lag_records": 0, "lag_seconds": 0.0, "arriving_per_s": 1.0,
        "settling_per_s": 1.0, "settling_per_s_history": [1.0], "in_doubt": 0,
        "dead_letters": 0, "parked": 0, "partitions": [], "blocked_by_transaction": [NASTY],
        "workers": [{"url": "http://w", "status": worker}, {"url": "http://x", "error": NASTY}],
    }  # fmt: skip


def print_findings(*, as_json: bool) -> None:
    with exit_on_error():
        setup_commands._print([Finding(topic=NASTY, text=NASTY, ok=True)], as_json=as_json)


DOCTOR = failed("x", NASTY, NASTY, exit_code=69)
PRINTERS: dict[str, Callable[[], object]] = {
    "a table": lambda: show({}, [Table(NASTY, ("a",), [(NASTY,)])], as_json=False),
    "a line": lambda: show({}, [NASTY], as_json=False),
    "a document": lambda: show({NASTY: [NASTY]}, [], as_json=True),
    "topics": lambda: print_findings(as_json=False),
    "topics --json": lambda: print_findings(as_json=True),
    "doctor": lambda: print(format_line(DOCTOR)),
    "doctor --json": lambda: print(json_document(as_document([DOCTOR]))),
    "status": lambda: status.watch_status(iter([{}, of_status()]), watch=False, as_json=False),
    "status --json": lambda: status.watch_status(
        iter([{}, of_status()]), watch=False, as_json=True
    ),
    "a document's line": lambda: print(json_line({"a": NASTY})),
    "a message": lambda: print_message(NASTY),
}


@pytest.mark.parametrize("name", PRINTERS)
def test_what_strangers_wrote_is_escaped(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    PRINTERS[name]()
    printed = capsys.readouterr()
    assert is_harmless(printed.out + printed.err)


def test_tables_on_a_terminal_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rich drops some control characters by itself, and no others."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("NO_COLOR", "1")
    show({}, [Table(NASTY, ("a",), [(NASTY,)])], as_json=False)
    text = terminal.getvalue()
    assert is_harmless(text.replace("\x1b[3m", "").replace("\x1b[1m", "").replace("\x1b[0m", ""))


def test_an_error_of_a_server_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exception), exit_on_error():  # noqa: B017
        raise StartupError(NASTY, exit_code=69)
    assert is_harmless(capsys.readouterr().err)


def test_json_with_what_strangers_wrote_is_the_same_value(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show({NASTY: [NASTY, "平均\n"]}, [], as_json=True)
    assert json.loads(capsys.readouterr().out) == {NASTY: [NASTY, "平均\n"]}


LOGS = """
import sys
from stream.telemetry.log import configure, log
configure(level="INFO", as_json=sys.argv[1] == "json", instance="x")
log.warning("a_line", error=sys.argv[2].encode().decode("unicode_escape"), values=["\\u202egpj"])
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_log_lines_are_escaped(form: str) -> None:
    nasty = NASTY.encode("unicode_escape").decode()
    done = subprocess.run(
        [sys.executable, "-c", LOGS, form, nasty], capture_output=True, check=True, cwd=ROOT
    )
    text = done.stderr.decode()
    assert is_harmless(text)
    assert text.count("\n") == 1


THE_PLACE = "stream/operations/output.py"
OWN_WORDS = {
    "stream/cli/app.py:_version",
    "stream/devtools/local_kafka.py:run_foreground",
    "stream/devtools/wootric_emulator/server.py:_serve",
}
"""They print a version or an address of their own."""


def printing() -> set[str]:
    """The functions of the command line that print without that place."""
    found = set()
    for folder in ("cli", "operations", "doctor", "devtools"):
        for path in sorted((ROOT / "stream" / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for function in ast.walk(tree):
                if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                    found |= {f"{name}:{function.name}" for call in calls(function) if prints(call)}
    return found


def calls(function: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(function) if isinstance(node, ast.Call)]


def prints(call: ast.Call) -> bool:
    text = ast.unparse(call.func)
    return text in {"print", "typer.echo", "typer.secho"} or text.startswith(
        ("sys.stdout.", "sys.stderr.")
    )


def test_commands_print_in_one_place() -> None:
    """Whatever prints by itself would have to escape by itself."""
    assert {one for one in printing() if not one.startswith(THE_PLACE)} == OWN_WORDS
