"""What the command line explains: help with examples, choices in errors, settings, messages."""

import json
import os
import pty
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from stream.cli import app as cli
from stream.cli.help import PANELS
from stream.settings_loader import names

ROOT = Path(__file__).parents[2]
SUMMARY_MAX = 45


def run(*arguments: str, **settings: str) -> Result:
    return CliRunner().invoke(cli.app, list(arguments), env=settings, prog_name="wootric-stream")


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(cli.app)))
LEAVES = {path: one for path, one in COMMANDS.items() if not hasattr(one, "commands")}


@pytest.mark.parametrize("group", [(), ("dlq",)])
def test_help_is_given_however_it_is_asked_for(group: tuple[str, ...]) -> None:
    shown = run(*group, "--help")
    asked = [(*group, "-h"), group, (*group, "help"), ("help", *group)]
    assert {(run(*one).exit_code, run(*one).stdout) for one in asked} == {(0, shown.stdout)}
    assert run("help", "dlq", "list").stdout == run("dlq", "list", "-h").stdout
    assert run("help", "nothing").exit_code == 2


def test_commands_are_listed_by_what_they_are_for_with_whole_summaries() -> None:
    shown = run("-h").stdout
    listed = [name for names in PANELS.values() for name in names]
    assert sorted(listed) == sorted({path[0] for path in COMMANDS})
    for title in PANELS:
        assert f"\n{title}:\n" in shown
    for path, command in COMMANDS.items():
        summary = command.help.split("\n", 1)[0]
        assert len(summary) <= SUMMARY_MAX, path
        assert summary in (shown if len(path) == 1 else run(*path[:-1], "-h").stdout)


def test_the_help_of_each_command_begins_with_examples_that_it_understands() -> None:
    for path, command in LEAVES.items():
        shown = run(*path, "-h").stdout
        options = {name for parameter in command.params for name in parameter.opts}
        examples = [line[4:] for line in shown.splitlines() if line.startswith("  $ ")]
        assert command.help.split("\n\n")[1].startswith("\b\n$ wootric-stream "), path
        for example in examples:
            words = shlex.split(example.split(" | ")[-1].split(" < ")[0])
            assert tuple(words[1 : 1 + len(path)]) == path, example
            assert {word for word in words if word.startswith("--")} <= options, example
        assert not {kind for kind in ("<int", "<float", "<list", "<str", "<path") if kind in shown}


def test_an_error_names_the_choices_and_no_class() -> None:
    ran = run("in-doubt", "resolve", "--as", "forget")
    assert ran.exit_code == 2
    assert "'forget' is not one of 'resend', 'dismiss'" in ran.stderr


# Settings


def test_settings_are_listed_with_whether_they_are_set_and_never_their_values() -> None:
    ran = run("settings", "--json", WOOTRIC__CLIENT_SECRET="hunter2", LOG__LEVEL="DEBUG")
    found = {one["name"]: one for one in json.loads(ran.stdout)["settings"]}
    assert list(found) == names()
    assert {name for name, one in found.items() if one["set"]} >= {
        "WOOTRIC__CLIENT_SECRET",
        "LOG__LEVEL",
    }
    assert found["LOG__LEVEL"]["choices"] == ["DEBUG", "INFO", "WARNING", "ERROR"]
    assert found["WOOTRIC__LEASE_S"]["bounds"] == "> 0, <= 60"
    assert found["KAFKA__BOOTSTRAP_SERVERS"]["required"]
    assert "hunter2" not in ran.stdout
    for one in (run("settings"), run("settings", "WOOTRIC__CLIENT_SECRET")):
        assert one.exit_code == 0
        assert "WOOTRIC__CLIENT_SECRET" in one.stdout


def test_one_setting_is_explained_and_a_misspelt_one_is_found() -> None:
    ran = run("settings", "wootric__password_file")
    assert "Password for the OAuth password grant." in ran.stdout
    assert "WOOTRIC__PASSWORD_FILE may be the path of a file" in ran.stdout
    shown = run("settings", "HTTP__").stdout
    assert ("HTTP__PORT" in shown, "LOG__LEVEL" in shown) == (True, False)
    ran = run("settings", "KAFKA__GRUOP_ID")
    assert (ran.exit_code, "did you mean KAFKA__GROUP_ID?" in ran.stderr) == (1, True)


# Messages


def test_an_error_under_json_is_json_on_stderr() -> None:
    ran = run("settings", "KAFKA__NOTHING", "--json")
    error = json.loads(ran.stderr)["error"]
    assert (ran.exit_code, error["exit_code"], ran.stdout) == (1, 1, "")
    assert "KAFKA__NOTHING" in error["message"]


def test_transform_names_every_line_that_is_not_json(tmp_path: Path) -> None:
    events = tmp_path / "events"
    events.write_text('{"type":"page"}\nno\n{"type":"page"}\n{1\n')
    ran = run("transform", str(events))
    assert ran.exit_code == 1
    assert len(ran.stdout.splitlines()) == 4
    assert "lines 2, 4 are not JSON" in ran.stderr


def on_terminal(*arguments: str, keys: bytes = b"", **settings: str) -> str:
    """What a program prints to a terminal."""
    ours, theirs = pty.openpty()
    os.write(ours, keys)
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**environment, **settings},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # the other end is closed
        pass
    process.wait()
    os.close(ours)
    return shown.decode()


def test_who_waits_at_a_terminal_is_told_for_what() -> None:
    shown = on_terminal("-m", "stream", "transform", keys=b'{"type":"page"}\n\x04')
    assert "reading from the terminal; end with Ctrl-D" in shown
    assert '"reason":"no_url"' in shown


CONSOLE = """
from stream.telemetry.log import configure, log
configure(level="INFO", as_json=False, instance="x")
log.warning("a_line")
"""


@pytest.mark.parametrize(("settings", "colours"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_console_logs_have_colours_unless_they_are_not_wanted(
    settings: dict[str, str], colours: bool
) -> None:
    shown = on_terminal("-c", CONSOLE, **settings)
    assert "a_line" in shown
    assert ("\x1b[" in shown) is colours
