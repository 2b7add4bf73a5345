"""Output of commands: JSON or tables on stdout, messages on stderr, exit codes."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson
import typer

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
        text = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)
        sys.stdout.buffer.write(text + b"\n")
        sys.stdout.buffer.flush()
        return
    for part in parts:
        if isinstance(part, str):
            typer.echo(part)
        elif part.rows and sys.stdout.isatty():
            _show_on_terminal(part)
        elif part.rows:
            _show_plain(part)


def _show_on_terminal(table: Table) -> None:
    from rich.console import Console  # noqa: PLC0415  slow to import
    from rich.table import Table as Rich  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    rich = Rich(title=table.title, title_justify="left")
    for column in table.columns:
        rich.add_column(column, overflow="fold")
    for row in table.rows:
        rich.add_row(*(Text(str(cell)) for cell in row))
    Console(highlight=False).print(rich)


def _show_plain(table: Table) -> None:
    """Print aligned columns without truncation, so that scripts can parse the lines."""
    lines = [list(table.columns), *([str(cell) for cell in row] for row in table.rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(table.columns))]
    typer.echo(table.title)
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        typer.echo("  " + "  ".join(cells).rstrip())


def letter_document(one: ListedDeadLetter, state: str) -> dict[str, Any]:
    """Return a dead letter without its key and value, which are personal data."""
    letter = one.letter
    return {
        "place": str(one.place),
        "state": state,
        "reason": letter.reason,
        "detail": letter.detail,
        "message_id": letter.message_id,
        "origin": f"{letter.origin.number}-{letter.offset}",
        "failed_at": format_time(letter.failed_at_ms),
        "attempts": letter.attempts,
        "http_status": letter.http_status,
        "replay_of": letter.replay,
        "app_version": letter.app_version,
        "bytes": one.size,
    }


# Messages and exit codes


EXIT_FAILED = 1
EXIT_TEMPORARY = 75


def print_message(line: str) -> None:
    """Print a line to stderr."""
    typer.echo(line, err=True)


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Turn errors into a message and an exit code.

    Raises:
        typer.Exit: after a known error.
        Exception: any other, unchanged.
    """
    try:
        yield
    except StartupError as error:
        fail(str(error), error.exit_code)
    except (FencedError, KafkaUnavailableError, StateStoreError) as error:
        fail(str(error), EXIT_TEMPORARY)
    except KeyboardInterrupt:
        fail("interrupted", 130)
    except typer.Exit:
        raise
    except Exception as error:
        from stream.kafka.config import startup_error_for  # noqa: PLC0415  needed on errors only

        known = startup_error_for(error)
        if known is None:
            raise
        fail(str(known), known.exit_code)


def fail(message: str, code: int) -> NoReturn:
    """Print a message and end the command with this exit code."""
    print_message(f"wootric-stream: {message}")
    raise typer.Exit(code)


def exit_now(code: int) -> NoReturn:
    """End the process immediately, without freeing the admin clients; all else is closed. Freeing
    them can block forever while the brokers are unavailable, until a supervisor kills the process.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
