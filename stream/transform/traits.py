"""Readers of the fields of an end user and of an event."""

import math
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from sink.wootric.operations import IDENTITY_LENGTH_MAX
from stream.codec.event import Event
from stream.codec.segment_time import as_seconds, read_time_ms
from stream.errors import TransformError

_LINE_ENDS = re.compile(r"[\n\r\u2028\u2029]")
BLANKS = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\u200b\ufeff"
"""White space of all scripts, and the marks without width that are copied along with a text."""

INVALID_CREATED_AT = "invalid_created_at"


class Found(NamedTuple):
    """A value of the event, and the path at which it is."""

    path: str
    value: Any


Source: TypeAlias = tuple[str, Mapping[str, Any]]
"""The path of an object in the event, and the object."""
Sources: TypeAlias = Sequence[Source]
"""Objects that are read for the same values. The first that has a value counts."""


def user_traits(event: Event) -> Sources:
    """Return where the event describes its user: an identify first in its traits.

    Segment's delete has no traits. Its e-mail may be at the top level.

    Raises:
        TransformError: the traits, the context or its traits are not an object.
    """
    if event.type == "delete":
        return (("", event.extra),)
    context = as_object(event.context, "context")
    inner = ("context.traits", as_object(context.get("traits"), "context.traits"))
    if event.type == "identify":
        return ("traits", as_object(event.traits, "traits")), inner
    return (inner,)


def read_user(event: Event, traits: Sources) -> tuple[str | None, str | None]:
    """Return the external id and the e-mail; a user id may be both.

    Raises:
        TransformError: the user id or the e-mail is not text, or is too long.
    """
    if event.extra.get("userId") is not None:
        raise TransformError("invalid_user_id", "userId must be a text")
    external_id = _bounded("invalid_user_id", "userId", event.user_id) or None
    found = find_email(event, traits)
    if found is None:
        return external_id, None
    if not isinstance(found.value, str):
        kind = type(found.value).__name__
        raise TransformError("invalid_email", f"email must be a text, not {kind}")
    return external_id, _bounded("invalid_email", "email", found.value.strip(BLANKS))


def find_email(event: Event, traits: Sources) -> Found | None:
    """Return the user's e-mail as it is in the event, or a value that is no e-mail.

    It is that of the traits, otherwise the user id, otherwise in a track that of the properties.

    Raises:
        TransformError: the properties of a track are not an object.
    """
    found = _first(traits, "email")
    if found is not None:
        return found
    if event.user_id and _looks_like_email(event.user_id):
        return Found("userId", event.user_id)
    if event.type == "track":
        return _first([("properties", as_object(event.properties, "properties"))], "email")
    return None


def read_phone(traits: Sources) -> str | None:
    """Return the phone number as text, without blanks around it.

    Raises:
        TransformError: it is neither text nor a number, or is too long.
    """
    found = find_phone(traits)
    match found.value if found else None:
        case None:
            return None
        case str(phone):
            return _bounded("invalid_phone", "phone", phone.strip(BLANKS))
        case (int() | float()) as number if is_number(number):
            return number_text(number)
        case _:
            raise TransformError("invalid_phone", "phone must be a text or a number")


def find_phone(traits: Sources) -> Found | None:
    """Return the phone number as it is in the event, or a value that is none."""
    return _first(traits, "phone")


def read_created(traits: Sources) -> tuple[int | None, tuple[str, ...]]:
    """Return when the user was created, in Unix seconds, and a note if it cannot be read."""
    found = find_created(traits)
    if found is None:
        return None, ()
    time_ms = read_time_ms(found.value)
    return (None, (INVALID_CREATED_AT,)) if time_ms is None else (as_seconds(time_ms), ())


def find_created(traits: Sources) -> Found | None:
    """Return the user's creation time: ``created``, otherwise ``createdAt``.

    Values that are false in JavaScript (0, an empty text) count as absent.
    """
    for base, values in traits:
        for name in ("created", "createdAt"):
            key = find_key(values, name)
            if key is not None and _is_true(values[key]):
                return Found(f"{base}.{key}", values[key])
    return None


def _first(sources: Sources, name: str) -> Found | None:
    """Return the first value of this name that is neither null nor blank."""
    for base, values in sources:
        key = find_key(values, name)
        if key is not None and not _is_blank(values[key]):
            return Found(f"{base}.{key}" if base else key, values[key])
    return None


def read_url(event: Event) -> str | None:
    """Return the page's URL: ``properties.url``, otherwise ``context.page.url``.

    Raises:
        TransformError: properties, context or its page is not an object.
    """
    found = find_url(event)
    return found.value if found else None


def find_url(event: Event) -> Found | None:
    """Return the page's URL and its path; otherwise like ``read_url``."""
    properties = as_object(event.properties, "properties")
    key = find_key(properties, "url")
    if key is not None and optional_text(properties[key]):
        return Found(f"properties.{key}", properties[key])
    page = as_object(as_object(event.context, "context").get("page"), "context.page")
    key = find_key(page, "url")
    if key is not None and optional_text(page[key]):
        return Found(f"context.page.{key}", page[key])
    return None


def find_ip(event: Event) -> Found | None:
    """Return the user's IP address: ``context.ip``, otherwise the names of RudderStack.

    Raises:
        TransformError: the context is not an object.
    """
    context = as_object(event.context, "context")
    for name in ("ip", "request_ip"):
        if optional_text(context.get(name)):
            return Found(f"context.{name}", context[name])
    address = optional_text(event.extra.get("request_ip"))
    return None if address is None else Found("request_ip", address)


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


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip(BLANKS))


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


_PUNCTUATION = re.compile(r"[\x00-\-/:-@\[-`{-\x7f]+")
"""All of ASCII but letters, digits and the dot."""


def plain_name(name: str) -> str:
    """Return the name without case and ASCII punctuation: ``Created_At`` is ``createdat``.

    Source: segmentio/obj-case 0.2.1, by which Segment finds traits. It also drops the letters of
    all other scripts, which makes a user's email of ``担当email``; here they are letters.
    """
    if name.isascii() and name.isalnum():  # covers most names at a third of the cost
        return name.lower()
    return _PUNCTUATION.sub("", name).lower()


def find(values: Mapping[str, Any], name: str) -> Any:
    """Return the value of the key that ``find_key`` returns; None if there is none."""
    key = find_key(values, name)
    return None if key is None else values[key]


def find_key(values: Mapping[str, Any], name: str) -> str | None:
    """Return ``name`` if it is a key, otherwise the first key that has its plain name."""
    if name in values:
        return name
    plain, length = name.lower(), len(name)
    for key in values:
        if len(key) >= length and plain_name(key) == plain:
            return key
    return None


def as_object(value: Any, name: str) -> Mapping[str, Any]:
    """Return a JSON object, an empty one for null and for ``[]``, which PHP writes for it.

    Raises:
        TransformError: the value is none of these.
    """
    # Most are a dict, and that is asked at a third of the cost.
    if type(value) is dict or isinstance(value, Mapping):
        return value
    if value is None or value == []:
        return {}
    part = name.rpartition(".")[2]
    raise TransformError(
        f"{part}_not_object", f"{name} must be an object, but is of type {type(value).__name__}"
    )
