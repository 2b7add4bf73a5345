"""Readers of the fields of an end user and of an event."""

import math
import re
import sys
from collections.abc import Mapping
from typing import Any

from sink.wootric.operations import IDENTITY_LENGTH_MAX
from stream.codec.event import Event
from stream.codec.segment_time import as_seconds, read_time_ms
from stream.errors import TransformError

_LINE_ENDS = re.compile(r"[\n\r\u2028\u2029]")


def read_user(event: Event, traits: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return the external id and the e-mail; a user id may be both.

    Raises:
        TransformError: the user id or the e-mail is not text, or is too long.
    """
    if event.extra.get("userId") is not None:
        raise TransformError("invalid_user_id", "userId must be a text")
    external_id = _bounded("invalid_user_id", "userId", event.user_id) or None
    email = find(traits, "email")
    if email is not None and not isinstance(email, str):
        raise TransformError("invalid_email", f"email must be a text, not {type(email).__name__}")
    if not email and external_id and _looks_like_email(external_id):
        email = external_id
    return external_id, _bounded("invalid_email", "email", email) or None


def read_phone(traits: Mapping[str, Any]) -> str | None:
    """Return the phone number as text.

    Raises:
        TransformError: it is neither text nor a number, or is too long.
    """
    match find(traits, "phone"):
        case None | "":
            return None
        case str(phone):
            return _bounded("invalid_phone", "phone", phone)
        case (int() | float()) as number if is_number(number):
            return number_text(number)
        case _:
            raise TransformError("invalid_phone", "phone must be a text or a number")


def read_created(traits: Mapping[str, Any]) -> tuple[int | None, tuple[str, ...]]:
    """Return when the user was created, in Unix seconds, and a note if it cannot be read.

    Values that are false in JavaScript (0, an empty text) count as absent.
    """
    key = created_key(traits)
    if key is None:
        return None, ()
    time_ms = read_time_ms(traits[key])
    return (None, ("invalid_created_at",)) if time_ms is None else (as_seconds(time_ms), ())


def created_key(traits: Mapping[str, Any]) -> str | None:
    """Return the key of the user's creation time: ``created``, otherwise ``createdAt``."""
    for name in ("created", "createdat"):
        key = find_key(traits, name)
        if key is not None and _is_true(traits[key]):
            return key
    return None


def read_url(event: Event) -> str | None:
    """Return the page's URL: ``properties.url``, otherwise ``context.page.url``.

    Raises:
        TransformError: properties, context or its page is not an object.
    """
    url = optional_text(find(as_object(event.properties, "properties"), "url"))
    if url:
        return url
    context = as_object(event.context, "context")
    return optional_text(find(as_object(context.get("page"), "context.page"), "url"))


def context_traits(event: Event) -> Mapping[str, Any]:
    """Return the traits in the context of a page or track.

    Raises:
        TransformError: the context or its traits are not an object.
    """
    return as_object(as_object(event.context, "context").get("traits"), "context.traits")


def optional_text(value: Any) -> str | None:
    """Return a non-empty text; None for any other value."""
    return value if isinstance(value, str) and value else None


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number within the range of a double."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max
    )


def number_text(number: float) -> str:
    """Return a number as JavaScript writes it: integral floats without a fraction."""
    return f"{number:.0f}" if isinstance(number, float) and number.is_integer() else str(number)


def _bounded(reason: str, name: str, text: str | None) -> str | None:
    if text is not None and len(text) > IDENTITY_LENGTH_MAX:
        raise TransformError(reason, f"{name} has more than {IDENTITY_LENGTH_MAX:,} characters")
    return text


def _is_true(value: Any) -> bool:
    """Return whether the value is true in JavaScript: empty lists and objects are, NaN is not."""
    if isinstance(value, float) and math.isnan(value):
        return False
    return bool(value) or isinstance(value, list | dict)


def _looks_like_email(text: str) -> bool:
    r"""Return whether ``.+@.+\..+`` matches, in linear time."""
    for line in _LINE_ENDS.split(text):
        at = line.find("@", 1)
        dot = line.find(".", at + 2) if at > 0 else -1
        if 0 < dot < len(line) - 1:
            return True
    return False


# Look-up of a value by its name, ignoring case and punctuation


_PUNCTUATION = re.compile(r"[^a-zA-Z0-9.]+")


def plain_name(name: str) -> str:
    """Return the name without case and punctuation: ``Created_At`` is ``createdat``.

    Source: segmentio/obj-case 0.2.1, by which Segment finds traits.
    """
    if name.isascii() and name.isalnum():  # covers most names at a third of the cost
        return name.lower()
    return _PUNCTUATION.sub("", name).lower()


def find(values: Mapping[str, Any], name: str) -> Any:
    """Return the first value whose plain name is ``name``; None if there is none."""
    key = find_key(values, name)
    return None if key is None else values[key]


def find_key(values: Mapping[str, Any], name: str) -> str | None:
    """Return the first key whose plain name is ``name``; None if there is none."""
    for key in values:
        if plain_name(key) == name:
            return key
    return None


def as_object(value: Any, name: str) -> Mapping[str, Any]:
    """Return a JSON object, an empty one for null.

    Raises:
        TransformError: the value is neither.
    """
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return value
    part = name.rpartition(".")[2]
    raise TransformError(
        f"{part}_not_object", f"{name} must be an object, but is of type {type(value).__name__}"
    )
