"""Facts read from the source code: log lines, exit codes, HTTP paths."""

import ast
import re
from collections.abc import Iterator

from scripts.docs import sources
from scripts.docs.reasons import texts

LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def _nodes() -> Iterator[ast.AST]:
    for path in sources.code():
        yield from ast.walk(ast.parse(sources.read(path)))


def logged() -> set[tuple[str, str]]:
    """Return (event, level) of every log line in the code."""
    found = set()
    for node in _nodes():
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="log"), attr=level), args=[event, *_]
            ) if level in LEVELS:
                level = "error" if level == "exception" else level
                found |= {(text, level) for text in texts(event)}
    return found


def exit_codes() -> set[int]:
    """Return every exit code in the code, and those of the command line's library."""
    found = {0, 2}
    for node in _nodes():
        match node:
            case ast.keyword(arg="exit_code", value=value):
                found |= set(_numbers(value))
            case ast.Call(func=ast.Name(id="fail"), args=[_, ast.Constant(value=int(number))]):
                found.add(number)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=int(number))) if (
                re.fullmatch(r"EXIT_\w+|UNAVAILABLE|PERMISSION|CONFIGURATION", name)
            ):
                found.add(number)
    return found


def _numbers(node: ast.expr) -> Iterator[int]:
    match node:
        case ast.Constant(value=int(number)):
            yield number
        case ast.IfExp(body=body, orelse=orelse):
            yield from _numbers(body)
            yield from _numbers(orelse)
        case _:
            pass


def http_paths() -> set[str]:
    """Return every path of a server of metrics and health."""
    found = set()
    for path in sources.code():
        text = sources.read(path)
        if "HealthServer" in text:
            found |= set(re.findall(r'"(/[a-z]*)": (?:self|health_state)\.', text))
    return found
