"""Mapping of traits to an end user's properties: flat, with values that Wootric can filter by.

| trait | property |
|---|---|
| text, number | unchanged |
| true, false | ``true``, ``false`` as text |
| a date by Segment's rule (an ISO string with year, month and day) | ``<key>_date``, seconds |
| an object | its members as ``<key>_<member>`` |
| a list of plain values | one text, joined by ``, `` |
| a list with objects or lists | its items as ``<key>_<index>`` |
| null, an empty list, NaN and infinity | omitted |

The rules for dates and numbers use the flattened key, so they apply at every depth.
If two keys become one, the later wins. An identify's ``context.traits`` count below its ``traits``,
key by key. Source: Wootric's documentation, custom properties; segmentio's integration 2.2.0 for
``_date``.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sink.delivery import Scalar
from sink.wootric.requests import INTEGER_SUFFIXES
from stream.codec.segment_time import as_seconds, read_iso_date_ms
from stream.errors import TransformError
from stream.transform.result import Rules
from stream.transform.traits import Sources, is_number, number_text, plain_name

FIELDS = frozenset({"email", "created", "createdat", "phone", "id", "userid", "anonymousid"})
"""Traits that are never properties, by their plain names: fields of the end user, and its ids."""

SIZE_MAX = 256 * 1024
"""In characters, of all flat names and texts of one event."""
_DEPTH_MAX = 32  # far beyond any profile, far below Python's own limit
_INTEGER_END = 2**63
_EXACT_END = 2**53  # from here on a float cannot represent every integer
# Wootric rejects "$", "." and NUL; brackets express nesting in a form.
_FORBIDDEN = re.compile(r"[$.\0\[\]]")


def read_properties(traits: Sources, rules: Rules) -> dict[str, Scalar]:
    """Return the properties of these traits.

    Raises:
        TransformError: the traits are nested too deeply or too large. Each flat name repeats the
            names above it, so 32 KB could become 100 MB.
    """
    properties: dict[str, Scalar] = {}
    size = 0
    for _, values, hidden in layers(traits):
        for key, value in values.items():
            if key not in hidden and plain_name(key) not in FIELDS:
                for name, leaf in flatten(key, value):
                    size += len(name)
                    if size > SIZE_MAX:
                        raise _too_large()
                    add(properties, name, leaf, rules)
    if size + sum(len(text) for text in properties.values() if isinstance(text, str)) > SIZE_MAX:
        raise _too_large()
    return properties


def layers(traits: Sources) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, str]]]:
    """Yield the path of each object, the object, and by key the path of one whose value hides it.

    The first object comes last, so that its values stay where two names become one.
    """
    for number in reversed(range(len(traits))):
        base, values = traits[number]
        hidden: dict[str, str] = {}
        for path, others in reversed(traits[:number]):
            hidden.update((key, path) for key in values if others.get(key) is not None)
        yield base, values, hidden


def _too_large() -> TransformError:
    text = f"names and values of the flat properties have more than {SIZE_MAX:,} characters"
    return TransformError("properties_too_large", text)


def flatten(
    name: str, value: Any, *, joint: str = "_", depth: int = 1
) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a value with their flat names; a list of plain values is one leaf.

    Raises:
        TransformError: the value is nested too deeply.
    """
    if depth > _DEPTH_MAX:
        raise TransformError("too_deep", f"traits are nested deeper than {_DEPTH_MAX} levels")
    match value:
        case dict():
            for key, member in value.items():
                yield from flatten(f"{name}{joint}{key}", member, joint=joint, depth=depth + 1)
        case list() if any(isinstance(item, dict | list) for item in value):
            for index, item in enumerate(value):
                yield from flatten(f"{name}{joint}{index}", item, joint=joint, depth=depth + 1)
        case _:
            yield name, value


def add(properties: dict[str, Scalar], key: str, value: Any, rules: Rules) -> None:
    """Add the property of a leaf, if it has one."""
    name = _FORBIDDEN.sub("_", key) or "_"
    match value:
        case str() if (date_ms := read_iso_date_ms(value)) is not None:
            _put(properties, _with_suffix(name, "_date"), as_seconds(date_ms))
        case int() | float() if is_number(value):
            number = _number(value)
            if rules.amount_suffix and isinstance(number, int) and not name.endswith("_date"):
                name = _with_suffix(name, "_amount")
            _put(properties, name, number)
        case list():
            texts = [text for item in value if (text := _plain_text(item)) is not None]
            if texts:
                _put(properties, name, ", ".join(texts))
        case _:
            if (text := _plain_text(value)) is not None:
                _put(properties, name, text)


def _put(properties: dict[str, Scalar], name: str, value: Scalar) -> None:
    """Set a property; a value that its name does not allow gets another name.

    Wootric refuses the whole write where a name ends in ``_date`` or ``_amount`` and the value is
    no integer (WootricSDK-iOS pull request 80; help page on property types).
    """
    if name.endswith(INTEGER_SUFFIXES) and not isinstance(value, int):
        name += "_text"
    properties[name] = value


def _with_suffix(name: str, suffix: str) -> str:
    return name if name.endswith(suffix) else name + suffix


def _number(value: float) -> Scalar:
    """Return a number that Wootric can store; integers beyond 64 bits become text."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < _EXACT_END else value
    return value if abs(value) < _INTEGER_END else str(value)


def _plain_text(value: Any) -> str | None:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float() if is_number(value):
            return number_text(value)
        case _:
            return None
