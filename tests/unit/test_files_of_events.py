"""Files that people have: one event per line, over several lines, in arrays; and a reader that
leaves.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from stream.cli.app import app

ROOT = Path(__file__).parents[2]
EVENTS = [
    {"type": "identify", "messageId": f"m{number}", "userId": "u", "traits": {"n": number}}
    for number in range(3)
]
FORMS = {
    "lines.jsonl": "\n".join(map(json.dumps, EVENTS)),
    "lines.json": "\r\n".join(map(json.dumps, EVENTS)) + "\r\n",
    "marked.json": "\ufeff" + "\n".join(map(json.dumps, EVENTS)),
    "pretty.jsonl": "\n".join(json.dumps(event, indent=2) for event in EVENTS),
    "array.json": json.dumps(EVENTS),
    "pretty array.json": "\ufeff" + json.dumps(EVENTS, indent=4),
}


def transform(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["transform", *arguments], input=stdin)


@pytest.mark.parametrize("name", FORMS)
def test_events_are_read_however_they_are_written(name: str, tmp_path: Path) -> None:
    """By what the file holds, whatever it is called; from stdin too."""
    file = tmp_path / name
    file.write_text(FORMS[name], encoding="utf-8", newline="")
    done = transform(str(file))
    assert (done.exit_code, done.stderr) == (0, "")
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["message_id"] for one in shown] == ["m0", "m1", "m2"]
    assert {one["outcome"] for one in shown} == {"deliver"}


def test_a_file_without_an_array_is_read_from_stdin_too() -> None:
    done = transform(stdin=FORMS["pretty array.json"])
    assert (done.exit_code, len(done.stdout.splitlines())) == (0, 3)


def test_what_is_no_json_is_named_by_its_line() -> None:
    done = transform("--explain", stdin='{"type":"page","userId":"u"}\nnot json\n42\n{"a":\n')
    assert done.exit_code == 1
    assert done.stderr == "wootric-stream: lines 2, 4 are not JSON\n"
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["reason"] for one in lines] == [
        "no_url",
        "invalid_json",
        "not_an_object",
        "invalid_json",
    ]
    assert [one["explain"].get("reject") for one in lines[1:]] == [
        "line 2 is not JSON, or nested too deeply",
        "line 3 is JSON, but not an object",
        "line 4 is not JSON, or nested too deeply",
    ]


def test_what_a_payload_holds_cannot_change_the_terminal() -> None:
    event = {"type": "identify", "userId": "\u202eu", "traits": {"\x9b31m": "\u2066x\x7f"}}
    done = transform("--explain", stdin=json.dumps(event))
    assert not set(done.stdout) & {"\u202e", "\u2066", "\x9b", "\x7f"}
    assert json.loads(done.stdout)["operation"]["external_id"] == "\u202eu"


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    """``transform FILE | head -1``."""
    file = tmp_path / "many.jsonl"
    file.write_text((json.dumps(EVENTS[0]) + "\n") * 20_000, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "-m", "stream", "transform", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["message_id"] == "m0"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


SHOWS = """
import sys, typer
from stream.operations.output import Table, exit_on_error, show
code = 0
try:
    with exit_on_error():
        sys.stdin.readline()
        show({"a": "x" * 100_000}, [Table("t", ("a",), [("x" * 100_000,)] * 10)], as_json=%s)
        raise typer.Exit(3)
except typer.Exit as end:
    code = end.exit_code
sys.exit(code)
"""


@pytest.mark.parametrize("as_json", [False, True])
def test_the_exit_code_stays_where_nobody_reads_the_rest(as_json: bool) -> None:
    """``verify | head``: what does not agree fails anyway."""
    with subprocess.Popen(
        [sys.executable, "-c", SHOWS % as_json],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait() == 3
