"""The page of the commands."""

import re
from collections.abc import Iterator
from typing import Any

from scripts.docs import sources
from scripts.docs.markdown import cell, code, page, table

AS_JSON = "--json"
"""It is explained once, not with each command."""


def cli() -> str:
    """Every command with its options."""
    known = list(sources.commands())
    panels = sources.command_panels()
    commands = [
        one for names in panels.values() for name in names for one in known if _top(one) == name
    ]
    without_json = [code(name) for name, one in commands if AS_JSON not in _names(one)]
    rows = (
        (
            next(panel for panel, names in panels.items() if _top(one) in names),
            f"[`{one[0]}`](#{one[0].replace(' ', '-')})",
            cell(_summary(one[1])),
        )
        for one in commands
    )
    overview = table(("to", "command", "what it does"), rows)
    return page(
        "Commands",
        "`wootric-stream`, or `python -m stream`. Data goes to stdout, messages to stderr. With "
        f"`{AS_JSON}`, which all commands have but {_listed(without_json)}, a command prints one "
        "indented JSON document (`status --watch`: a line per "
        'measurement), and the last line of stderr is `{"error":{"message":…,"exit_code":…}}` if it '
        "fails (a wrong command line, exit 2, is text). Commands that change what exists only show the changes unless `--yes` is given; "
        "`publish`, `run` and `bridge` do at once what they are for. "
        "`-h`, or `help COMMAND`, explains a command. "
        "[Exit codes](exit-codes.md).\n\n"
        "Completion for bash, zsh, fish and PowerShell: `wootric-stream --install-completion` and a "
        "new shell. In an image or without a home directory: "
        '`eval "$(wootric-stream --show-completion)"`.',
        overview,
        *(_section(name, command) for name, command in commands),
    )


def _names(command: Any) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts}


def _listed(texts: list[str]) -> str:
    return f"{', '.join(texts[:-1])} and {texts[-1]}"


def _top(one: tuple[str, Any]) -> str:
    return one[0].split()[0]


def _section(name: str, command: Any) -> str:
    rows = list(_parameters(command))
    parts = [f"## {name}", _help(command)]
    if rows:
        parts.append(table(("argument or option", "default", "meaning"), rows))
    return "\n\n".join(parts)


def _parameters(command: Any) -> Iterator[tuple[str, str, str]]:
    for parameter in command.params:
        names = [one for one in parameter.opts if one != "--help"]
        if not names or names[0] == AS_JSON:
            continue
        is_option = names[0].startswith("-")
        metavar = f" {parameter.metavar}" if parameter.metavar else ""
        shown = (
            ", ".join(code(f"{name}{metavar}") for name in names)
            if is_option
            else code(parameter.metavar or names[0].upper())
        )
        default = parameter.default
        plain = isinstance(default, str | int | float) and not isinstance(default, bool)
        needed = "required" if parameter.required else ""
        yield shown, code(str(default)) if plain else needed, cell(parameter.help or "")


def _summary(command: Any) -> str:
    return str(command.help).splitlines()[0]


def _help(command: Any) -> str:
    """Return a command's help, one line per paragraph, and its examples in one line."""
    paragraphs = re.split(r"\n\s*\n", str(command.help).replace("\b\n", ""))
    return "\n\n".join(
        ", ".join(code(line.removeprefix("$ ")) for line in paragraph.splitlines())
        if paragraph.startswith("$ ")
        else " ".join(paragraph.split())
        for paragraph in paragraphs
    )
