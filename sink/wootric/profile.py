"""What is known of an end user against what is wanted: the fields that have to be sent. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeAlias

from sink.wootric.delivery import EndUser
from sink.wootric.operations import NO_PROPERTIES, Properties, Scalar, UpsertEndUser

Form: TypeAlias = list[tuple[str, str]]

HEAD = ("email", "external_id", "phone_number", "external_created_at")


def form_text(value: Scalar) -> str:
    """Return a value as a form carries it; a whole float as JavaScript writes it, without a dot."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def changes(known: EndUser, wanted: UpsertEndUser) -> Form:
    """Return the fields that bring ``known`` to ``wanted``; none when nothing would change.

    Where one property differs, all are sent, old under new: whether a PUT merges or replaces
    the properties is not documented, and so it is right either way.
    """
    form = [
        (name, form_text(value))
        for name in HEAD
        if (value := getattr(wanted, name)) is not None and value != getattr(known, name)
    ]
    held = known.properties or NO_PROPERTIES
    if _differs(held, wanted.properties):
        form += property_fields({**held, **wanted.properties})
    return form


def creation(wanted: UpsertEndUser) -> Form:
    """Return the fields of a new end user."""
    form = [
        (name, form_text(value)) for name in HEAD if (value := getattr(wanted, name)) is not None
    ]
    return form + property_fields(wanted.properties)


def merged(known: EndUser, wanted: UpsertEndUser) -> EndUser:
    """Return what is known once ``wanted`` holds."""
    head = {name: value for name in HEAD if (value := getattr(wanted, name)) is not None}
    return replace(known, **head, properties=merged_properties(known, wanted.properties))


def merged_properties(known: EndUser, wanted: Properties) -> Properties:
    """Return all properties, old under new."""
    held = known.properties or NO_PROPERTIES
    return {**held, **wanted} if wanted else held


def property_fields(properties: Properties, *, within: str = "properties") -> Form:
    """Return properties in Rails' brackets, as ``properties[plan]``."""
    return [(f"{within}[{key}]", form_text(value)) for key, value in properties.items()]


def scalars(document: Mapping[str, object]) -> Properties:
    """Return the properties of a reply that a form could carry back.

    Null is the same as absent, and nothing nested is allowed there.
    """
    return dict(_scalars(document.items()))


def _scalars(items: Iterable[tuple[str, object]]) -> Iterable[tuple[str, Scalar]]:
    for key, value in items:
        match value:
            case bool():
                yield key, "true" if value else "false"
            case str() | int() | float():
                yield key, value
            case _:
                pass


def _differs(held: Properties, wanted: Properties) -> bool:
    """Compare as text: a form knows nothing else, and replies may type what was sent as text."""
    return any(
        key not in held or form_text(held[key]) != form_text(value) for key, value in wanted.items()
    )
