"""Options that several commands share, and how their values are read."""

import time
from collections.abc import Callable
from typing import Annotated, TypeAlias, TypeVar

import typer

from stream.operations.analysis.time_text import read_moment

AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON document instead of tables.")
]
Yes: TypeAlias = Annotated[
    bool, typer.Option("--yes", help="Do it. Without this, only what would be done is shown.")
]
Reasons: TypeAlias = Annotated[
    list[str] | None, typer.Option("--reason", help="Of this reason; may be given again.")
]
Since: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="From then on: 2026-03-02T08:00:00Z, 15m, 2h, 3d."),
]
Until: TypeAlias = Annotated[
    str | None, typer.Option(metavar="TIME", help="Until then, in the same forms.")
]
Rate: TypeAlias = Annotated[
    float | None, typer.Option(min=0.1, help="Send at most so many a second; default: all at once.")
]
NoteText: TypeAlias = Annotated[
    str, typer.Option("--note", help="Why, for who looks later; nothing of a person.")
]

T = TypeVar("T")


def read(reading: Callable[[str], T], text: str) -> T:
    """Return what a text says; a text that says nothing is a usage error."""
    try:
        return reading(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def moment(text: str | None) -> int | None:
    """Return a moment in milliseconds since 1970, None without one."""
    now_ms = time.time_ns() // 1_000_000
    return None if text is None else read(lambda given: read_moment(given, now_ms), text)
