"""Help of the commands: examples first, commands by what they are for."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import typer
from typer.core import TyperGroup

PANELS: Mapping[str, Sequence[str]] = {
    "Run": ("run", "bridge", "lag-exporter"),
    "Set up": ("topics", "doctor", "settings", "transform", "publish"),
    "Look": ("status", "trace", "verify"),
    "Fix": ("pause", "resume", "dlq", "in-doubt", "offsets", "erase"),
    "Try": ("demo", "broker", "emulator"),
}
"""The commands by the reader's intention."""
_EXAMPLES = re.compile(r"(?<=\n\n)(?=\$ )")


class Commands(TyperGroup):
    """A group of commands.

    ``help`` and no arguments print the help. In the help of a command, a paragraph of lines that
    begin with ``$`` is printed as it is.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for command in (self, *self.commands.values()):
            command.help = _EXAMPLES.sub("\b\n", command.help or "")
            for parameter in command.params:
                if parameter.param_type_name == "argument":  # its type says less than its name
                    parameter.display_type_rich = _no_type  # type: ignore[attr-defined]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; without any, or after ``help``, print help and exit with 0."""
        if not ctx.resilient_parsing and (not args or args[0] == "help"):
            args = [*args[1:], "--help"]
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  Typer's signature
        """Write the commands with their whole summaries."""
        width = max(map(len, self.commands))
        for title, names in self._panels():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), self._summary(name)) for name in names])

    def _panels(self) -> Iterator[tuple[str, Sequence[str]]]:
        if "run" in self.commands:
            yield from PANELS.items()
        else:
            yield "Commands", list(self.commands)

    def _summary(self, name: str) -> str:
        return (self.commands[name].help or "").split("\n", 1)[0]


def group(about: str | None = None) -> typer.Typer:
    """Return a group of commands, with its description."""
    return typer.Typer(cls=Commands, rich_markup_mode=None, help=about)


def _no_type(ctx: Any) -> str:  # noqa: ARG001  Typer's signature
    return ""
