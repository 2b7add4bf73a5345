"""Options that several commands share, and their parsers."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeAlias, TypeVar

import typer

from stream.operations.analysis.time_text import parse_time

AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print JSON; an error is JSON on stderr.")
]
Yes: TypeAlias = Annotated[
    bool, typer.Option("--yes", help="Execute. Without this, only show what would be done.")
]
Reasons: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--reason", metavar="REASON", help="Select only this reason; may be repeated."),
]
Since: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="Start at this time: 2026-03-02T08:00:00Z, or an age: 15m, 2h, 3d."
    ),
]
Until: TypeAlias = Annotated[
    str | None, typer.Option(metavar="TIME", help="End before this time, in the same formats.")
]
Rate: TypeAlias = Annotated[
    float | None,
    typer.Option(min=0.1, metavar="N", help="Send at most N per second. Default: no limit."),
]
NoteText: TypeAlias = Annotated[
    str,
    typer.Option(
        "--note", metavar="TEXT", help="Reason to store with the decision; no personal data."
    ),
]
EventsFile: TypeAlias = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="Segment events: one JSON object per line, objects over several lines, or arrays of "
        "objects; - for stdin.",
    ),
]

T = TypeVar("T")


def read(reading: Callable[[str], T], text: str) -> T:
    """Return ``reading(text)``; its ValueError becomes a usage error."""
    try:
        return reading(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def moment(text: str | None) -> int | None:
    """Return a time option in milliseconds since 1970; None if it was not given."""
    now_ms = time.time_ns() // 1_000_000
    return None if text is None else read(lambda given: parse_time(given, now_ms), text)
