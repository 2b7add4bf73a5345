"""Finding a value by its name, in any spelling."""

import re
from collections.abc import Mapping
from typing import Any

from stream.errors import TransformError

_PUNCTUATION = re.compile(r"[^a-zA-Z0-9.]+")


def plain_name(name: str) -> str:
    """Return the name without case and punctuation: ``Created_At`` is ``createdat``.

    Source: segmentio/obj-case 0.2.1, by which Segment finds traits.
    """
    if name.isascii() and name.isalnum():  # most names, at a third of the cost
        return name.lower()
    return _PUNCTUATION.sub("", name).lower()


def find(values: Mapping[str, Any], name: str) -> Any:
    """Return the first value whose plain name is ``name``, None if there is none."""
    key = find_key(values, name)
    return None if key is None else values[key]


def find_key(values: Mapping[str, Any], name: str) -> str | None:
    """Return the first key whose plain name is ``name``, None if there is none."""
    for key in values:
        if plain_name(key) == name:
            return key
    return None


def as_object(value: Any, name: str) -> Mapping[str, Any]:
    """Return a JSON object, an empty one for null.

    Raises:
        TransformError: the value is something else.
    """
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return value
    part = name.rpartition(".")[2]
    raise TransformError(
        f"{part}_not_object", f"{name} must be an object, but is of type {type(value).__name__}"
    )
