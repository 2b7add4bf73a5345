"""Parameters as Rails reads them: ``properties[plan]=pro`` is a hash in a form."""

from collections.abc import Iterator
from functools import lru_cache
from typing import TypeAlias
from urllib.parse import unquote

Value: TypeAlias = "str | list[Value] | dict[str, Value]"
Parameters: TypeAlias = dict[str, Value]


class MalformedForm(ValueError):  # noqa: N818  (named by what was sent)
    """One name is used both for a value and for a hash of values."""


def parse(*encoded: str) -> Parameters:
    """Return the parameters of URL-encoded texts, the later text winning.

    Raises:
        MalformedForm: a name is a value in one place and a hash in another.
    """
    parameters: Parameters = {}
    for text in encoded:
        for name, value in pairs(text):
            if "[" in name:
                _put(parameters, _parts(name), value)
            else:
                parameters[name] = value
    return parameters


def pairs(encoded: str) -> Iterator[tuple[str, str]]:
    """Yield the names and values of a URL-encoded text, empty values too."""
    for part in encoded.split("&"):
        if part:
            name, _, value = part.partition("=")
            yield _decoded(name), _decoded(value)


@lru_cache(maxsize=4096)
def _decoded(text: str) -> str:
    text = text.replace("+", " ")
    return unquote(text) if "%" in text else text


def _parts(name: str) -> list[str]:
    """Split ``a[b][c]`` into a, b and c; the last is empty for ``a[]``."""
    head, _, rest = name.partition("[")
    return [head, *rest.removesuffix("]").split("][")]


def _put(parameters: Parameters, parts: list[str], value: str) -> None:
    here: dict[str, Value] = parameters
    is_list = parts[-1] == ""
    if is_list:
        parts = parts[:-1]
    for part in parts[:-1]:
        inner = here.setdefault(part, {})
        if not isinstance(inner, dict):
            raise MalformedForm(f"{parts[0]} is both a value and a hash")
        here = inner
    if not is_list:
        here[parts[-1]] = value
        return
    values = here.setdefault(parts[-1], [])
    if not isinstance(values, list):
        raise MalformedForm(f"{parts[0]} is both a value and a list")
    values.append(value)
