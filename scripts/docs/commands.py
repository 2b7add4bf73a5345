"""The page of the commands."""

import re
from collections.abc import Iterator
from typing import Any

from scripts.docs import sources
from scripts.docs.markdown import cell, code, page, table


def cli() -> str:
    """Every command with its options."""
    commands = list(sources.commands())
    overview = table(
        ("command", "what it does"),
        (
            (f"[`{name}`](#{name.replace(' ', '-')})", cell(_summary(command)))
            for name, command in commands
        ),
    )
    return page(
        "Commands",
        "`wootric-stream`, or `python -m stream`. Data goes to stdout, messages to stderr. With "
        "`--json` a command prints one JSON document (`status --watch`: one per measurement). "
        "Commands that change something only show the changes unless `--yes` is given. "
        "[Exit codes](exit-codes.md).\n\n"
        "Completion for bash, zsh, fish and PowerShell: `wootric-stream --install-completion` and a "
        "new shell. In an image or without a home directory: "
        '`eval "$(wootric-stream --show-completion)"`.',
        overview,
        *(_section(name, command) for name, command in commands),
    )


def _section(name: str, command: Any) -> str:
    rows = list(_parameters(command))
    parts = [f"## {name}", _help(command)]
    if rows:
        parts.append(table(("argument or option", "default", "meaning"), rows))
    return "\n\n".join(parts)


def _parameters(command: Any) -> Iterator[tuple[str, str, str]]:
    for parameter in command.params:
        names = [one for one in parameter.opts if one != "--help"]
        if not names:
            continue
        is_option = names[0].startswith("-")
        shown = ", ".join(map(code, names)) if is_option else code(names[0].upper())
        default = parameter.default
        plain = isinstance(default, str | int | float) and not isinstance(default, bool)
        needed = "required" if parameter.required else ""
        yield shown, code(str(default)) if plain else needed, cell(parameter.help or "")


def _summary(command: Any) -> str:
    return str(command.help).splitlines()[0]


def _help(command: Any) -> str:
    """Return a command's help, one line per paragraph."""
    paragraphs = re.split(r"\n\s*\n", str(command.help).replace("\b", ""))
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
