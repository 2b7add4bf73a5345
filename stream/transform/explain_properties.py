"""Where each property comes from, told by the very functions that make them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sink.wootric.operations import Scalar
from stream.transform.lookup import plain_name
from stream.transform.properties import FIELDS, add, flatten
from stream.transform.result import Rules

OWN_FIELD = "e-mail, phone, creation and id are no properties"


@dataclass(frozen=True, slots=True)
class Explanation:
    """``fields``: for each field of the operation ``from`` (a path in the event) and ``how``.
    ``left_out``: why a field, or a value of the event, is not in it.
    """

    fields: dict[str, dict[str, str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def explain_properties(
    found: Explanation, traits: Mapping[str, Any], base: str, rules: Rules
) -> None:
    """Add the origin of each property that these traits stand for."""
    used = {origin["from"] for origin in found.fields.values()}
    for key, value in traits.items():
        path = f"{base}.{key}"
        if plain_name(key) in FIELDS:
            if path not in used:
                found.left_out[path] = OWN_FIELD
            continue
        places = [place for place, _ in flatten(path, value, joint=".")]
        if not places:
            found.left_out[path] = "an empty object"
        for place, (name, leaf) in zip(places, flatten(key, value), strict=True):
            _explain_leaf(found, place, name, leaf, rules)


def _explain_leaf(found: Explanation, place: str, name: str, leaf: Any, rules: Rules) -> None:
    properties: dict[str, Scalar] = {}
    add(properties, name, leaf, rules)
    if not properties:
        found.left_out[place] = _why_nothing(leaf)
    for property_name, value in properties.items():
        label = f"properties.{property_name}"
        earlier = found.fields.get(label)
        if earlier is not None:
            found.left_out[earlier["from"]] = f"overwritten by {place}"
        found.fields[label] = {"from": place, "how": _how(name, leaf, property_name, value)}


def _how(name: str, leaf: Any, property_name: str, value: Scalar) -> str:
    steps = []
    if isinstance(leaf, list):
        steps.append("list, joined")
    if isinstance(leaf, str | list) and not isinstance(value, str):
        steps.append("ISO date, in seconds, rounded half up")
    if isinstance(leaf, int | float) and isinstance(value, str):
        steps.append("as text")
    if not property_name.startswith(name):
        steps.append("characters that Wootric refuses replaced by _")
    steps += [
        f"{suffix} added"
        for suffix in ("_date", "_amount")
        if property_name.endswith(suffix) and not name.endswith(suffix)
    ]
    return ", ".join(steps) or "as it is"


def _why_nothing(leaf: Any) -> str:
    match leaf:
        case None:
            return "null"
        case list():
            return "an empty list"
        case dict():
            return "an empty object"
        case _:
            return "no number that can be written"
