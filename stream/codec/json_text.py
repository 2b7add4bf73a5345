"""JSON parsing with bounded depth; every parsed value can be written as UTF-8.

JSON's grammar allows more than common parsers accept. JavaScript may cut a string in the middle
of an emoji and send a lone surrogate; databases send numbers of thirty digits. Neither
is a reason to lose an event: a lone surrogate becomes U+FFFD, and a number beyond 64 bits is
parsed as in JavaScript, as a double, or as null beyond that.
"""

import json
from collections.abc import Mapping
from typing import Any

import orjson

DEPTH_MAX = 100
"""Allows recursion over a value. Python allows about a thousand frames; events need ten."""


def parse(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is not JSON, not UTF-8, or nested deeper than ``DEPTH_MAX``.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = _parse_all(text.decode() if isinstance(text, bytes) else text)
    if _openings(text) > DEPTH_MAX and _deeper(value, DEPTH_MAX):
        raise ValueError(f"nested more than {DEPTH_MAX} deep")
    return value


def canonical(value: Any) -> Any:
    """Return the value after a round trip through its JSON text.

    NaN and the infinities become null, as with ``JSON.stringify``.

    Raises:
        ValueError: it cannot be written as JSON, or is nested deeper than ``DEPTH_MAX``.
    """
    try:
        text = orjson.dumps(value, default=_as_dict)
    except TypeError:
        return parse(_dump_all(value))
    return parse(text)


def dump(value: Any) -> str:
    """Return the JSON text of a value returned by ``parse`` or ``canonical``."""
    return orjson.dumps(value, default=_as_dict).decode()


def well_formed(text: str) -> str:
    """Return the text with U+FFFD for every lone surrogate."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _parse_all(text: str) -> Any:
    try:
        value = json.loads(
            text, parse_int=_number, parse_float=_number, parse_constant=_refuse_constant
        )
        return orjson.loads(well_formed(json.dumps(value, ensure_ascii=False)))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _dump_all(value: Any) -> str:
    try:
        text = json.dumps(value, default=_as_dict)
        return json.dumps(json.loads(text, parse_int=_number, parse_constant=_null))
    except (TypeError, RecursionError) as error:
        raise ValueError(f"not JSON: {type(error).__name__}") from None


def _number(digits: str) -> float | None:
    """Return a number as orjson parses it, or None if it is beyond a double."""
    try:
        return orjson.loads(digits)  # type: ignore[no-any-return]
    except orjson.JSONDecodeError:
        return None


def _null(_: str) -> None:
    return None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _as_dict(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _openings(text: str | bytes) -> int:
    """Return a cheap upper bound of the depth."""
    if isinstance(text, bytes):
        return text.count(b"[") + text.count(b"{")
    return text.count("[") + text.count("{")


def _deeper(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
        ]
    return any(isinstance(node, dict | list) for node in level)
