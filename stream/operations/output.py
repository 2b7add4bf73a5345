"""Input and output of commands: files, JSON or tables on stdout, messages on stderr, exit codes.

Text from events, brokers and servers is escaped here, for all commands.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import orjson
import typer

from stream.codec.json_text import escaped
from stream.errors import FencedError, KafkaUnavailableError, StartupError, StateStoreError
from stream.operations.analysis.dead_letters import ListedDeadLetter
from stream.operations.analysis.time_text import format_time


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a title; a table without rows is not printed."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


def show(document: Any, parts: Sequence[Table | str], *, as_json: bool) -> None:
    """Print the document as JSON, or the parts as text."""
    if as_json:
        print_data(json_document(document))
        return
    for part in parts:
        if isinstance(part, str):
            print_data(escaped(part))
        elif part.rows and sys.stdout.isatty():
            _show_on_terminal(part)
        elif part.rows:
            _show_plain(part)


def _show_on_terminal(table: Table) -> None:
    from rich.console import Console  # noqa: PLC0415  slow to import
    from rich.table import Table as Rich  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    title = Text(escaped(table.title), style="table.title")
    rich = Rich(title=title, title_justify="left")
    for column in table.columns:
        rich.add_column(column, overflow="fold")
    for row in table.rows:
        rich.add_row(*(Text(escaped(str(cell))) for cell in row))
    Console(highlight=False).print(rich)


def _show_plain(table: Table) -> None:
    """Print aligned columns without truncation, so that scripts can parse the lines."""
    lines = [list(table.columns), *([escaped(str(cell)) for cell in row] for row in table.rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(table.columns))]
    print_data(escaped(table.title))
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print_data("  " + "  ".join(cells).rstrip())


def json_document(document: Any) -> str:
    """Return a document as indented JSON: the form of all commands that print only one."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
    return escaped(orjson.dumps(document, option=options).decode(), lines=True)


def json_line(document: Any) -> str:
    """Return a document as one line of JSON, for commands that print many."""
    return escaped(orjson.dumps(document).decode(), lines=True)


def print_data(text: str, *, flush: bool = True) -> bool:
    """Print a line to stdout; return whether stdout is still open.

    A reader such as ``head`` may close the pipe, which is no error: the rest is discarded.
    """
    try:
        sys.stdout.buffer.write(text.encode() + b"\n")
    except BrokenPipeError:
        _discard_data()
        return False
    return flush_data() if flush else True


def flush_data() -> bool:
    """Write what ``print_data`` has not written yet; return whether stdout is still open."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_data()
        return False
    return True


def _discard_data() -> None:
    """Let stdout lead nowhere: what is buffered would fail again when the process ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def letter_document(one: ListedDeadLetter, state: str) -> dict[str, Any]:
    """Return a dead letter without its key and value, which are personal data."""
    letter = one.letter
    return {
        "place": str(one.place),
        "state": state,
        "reason": letter.reason,
        "detail": letter.detail,
        "message_id": letter.message_id,
        "origin": origin_text(one),
        "failed_at": format_time(letter.failed_at_ms),
        "attempts": letter.attempts,
        "http_status": letter.http_status,
        "replay_of": letter.replay,
        "app_version": letter.app_version,
        "bytes": one.size,
    }


def origin_text(one: ListedDeadLetter) -> str:
    """Return where a letter's event comes from: its place in the input, or what the bridge read."""
    letter = one.letter
    place = f"{letter.origin.number}-{letter.offset}"
    return place if letter.input_topic is None else f"{letter.origin.topic} {place}"


# Files of events


PART_BYTES = 64 * 1024
"""A longer line is read in parts: a file may be one line."""


@contextmanager
def open_input(file: Path) -> Iterator[BinaryIO]:
    """Yield a file, or stdin for ``-``.

    Raises:
        StartupError: it cannot be opened.
    """
    if str(file) == "-":
        if sys.stdin.isatty():
            print_message("reading from the terminal; end with Ctrl-D, or name a file")
        yield sys.stdin.buffer
        return
    try:
        opened = file.open("rb")
    except OSError as error:
        raise StartupError(f"{file} cannot be read: {error.strerror}", exit_code=66) from error
    with opened:
        yield opened


def parts(source: BinaryIO) -> Iterator[bytes]:
    """Yield the lines from here on, with their line feeds; a long one in several parts.

    Raises:
        StartupError: they cannot be read.
    """
    try:
        yield from iter(partial(source.readline, PART_BYTES), b"")
    except OSError as error:
        text = f"{source.name} cannot be read: {error.strerror}"
        raise StartupError(text, exit_code=66) from error


# Messages and exit codes


EXIT_FAILED = 1
EXIT_UNAVAILABLE = 69
EXIT_TEMPORARY = 75


def print_message(line: str) -> None:
    """Print a line, or several, to stderr."""
    typer.echo(escaped(line, lines=True), err=True)


@contextmanager
def exit_on_error(*, as_json: bool = False, unavailable: int = EXIT_UNAVAILABLE) -> Iterator[None]:
    """Turn errors into a message, or JSON, and an exit code; ``unavailable`` if Kafka fails.

    Raises:
        typer.Exit: after a known error.
        Exception: any other, unchanged.
    """
    try:
        yield
    except StartupError as error:
        fail(str(error), error.exit_code, as_json=as_json)
    except KafkaUnavailableError as error:
        fail(str(error), unavailable, as_json=as_json)
    except (FencedError, StateStoreError) as error:
        fail(str(error), EXIT_TEMPORARY, as_json=as_json)
    except KeyboardInterrupt:
        fail("interrupted", 130, as_json=as_json)
    except typer.Exit:
        raise
    except Exception as error:
        from stream.kafka.config import startup_error_for  # noqa: PLC0415  needed on errors only

        known = startup_error_for(error)
        if known is None:
            raise
        fail(str(known), known.exit_code, as_json=as_json)


def fail(message: str, code: int, *, as_json: bool = False) -> NoReturn:
    """Print a message, or one line of JSON, to stderr; end the command with this exit code."""
    document = {"error": {"message": message, "exit_code": code}}
    print_message(json_line(document) if as_json else f"wootric-stream: {message}")
    raise typer.Exit(code)


def exit_now(code: int) -> NoReturn:
    """End the process immediately, without freeing the admin clients; all else is closed. Freeing
    them can block forever while the brokers are unavailable, until a supervisor kills the process.
    """
    flush_data()
    sys.stderr.flush()
    os._exit(code)
