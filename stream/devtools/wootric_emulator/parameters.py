"""Parameters of the API, checked and converted as in Wootric.

Error messages follow the known one: "page does not have a valid value".
Source: docs.wootric.com, custom fields: integers under keys that end in ``_amount``,
Unix seconds under ``_date``, text otherwise; no ``$``, ``.`` or NUL in keys; no nested values.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar
from urllib.parse import unquote

# Parameters as in Rails: ``properties[plan]=pro`` is a hash in a form


Value: TypeAlias = "str | list[Value] | dict[str, Value]"
Parameters: TypeAlias = dict[str, Value]


class MalformedFormError(ValueError):
    """A name is used both for a value and for a hash."""


def parse(*encoded: str) -> Parameters:
    """Return the parameters of URL-encoded texts; later texts take precedence.

    Raises:
        MalformedFormError: a name is a value in one place and a hash in another.
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
    """Yield the names and values of a URL-encoded text, including empty values."""
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
            raise MalformedFormError(f"{parts[0]} is both a value and a hash")
        here = inner
    if not is_list:
        here[parts[-1]] = value
        return
    values = here.setdefault(parts[-1], [])
    if not isinstance(values, list):
        raise MalformedFormError(f"{parts[0]} is both a value and a list")
    values.append(value)


END_USERS_PER_PAGE_MAX = 50
PAGE_MAX = 30
PER_PAGE = 25
NUMERIC_SUFFIXES = ("_amount", "_date")
WHOLE = re.compile(r"[+-]?[0-9]{1,19}")
SECONDS_MAX = 60_000_000_000
"""About the year 3871; later times are not plausible as seconds."""
FORBIDDEN_IN_KEYS = frozenset("$.\0")

Item = TypeVar("Item")


class BadParameterError(Exception):
    """A parameter is invalid; the text names it without its value."""


def whole(parameters: Parameters, name: str) -> int | None:
    """Return an integer, None if it is absent or empty.

    Raises:
        BadParameterError: it is something else.
    """
    value = parameters.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not WHOLE.fullmatch(value):
        raise _invalid(name)
    return int(value)


def moment(parameters: Parameters, name: str) -> int | None:
    """Return a time in Unix seconds, None if it is absent or empty.

    Raises:
        BadParameterError: it is not an integer, or implausible (such as milliseconds).
    """
    at = whole(parameters, name)
    if at is not None and abs(at) > SECONDS_MAX:
        raise _invalid(name)
    return at


def text(parameters: Parameters, name: str) -> str | None:
    """Return a text, None if it is absent or empty.

    Raises:
        BadParameterError: it is a hash or a list.
    """
    value = parameters.get(name)
    if value is not None and not isinstance(value, str):
        raise _invalid(name)
    return value or None


def flag(parameters: Parameters, name: str) -> bool:
    """Return whether a parameter is true."""
    return parameters.get(name) in {"true", "1"}


def properties(value: Value, *, typed: bool) -> dict[str, str | int]:
    """Return the properties of an end user.

    Raises:
        BadParameterError: a value is nested, a key holds what no key may, or with ``typed`` a
            key announces a whole number and the value is none.
    """
    if not isinstance(value, dict):
        raise _invalid("properties")
    return {_key(key): _property(key, inner, typed=typed) for key, inner in value.items()}


def end_user(parameters: Parameters, *, typed: bool) -> dict[str, Any]:
    """Return the fields of an end user that are named, and only these.

    A creation time that is none counts as 0, as recorded replies show it.

    Raises:
        BadParameterError: one of them is invalid.
    """
    fields: dict[str, Any] = {}
    for name in ("email", "external_id", "phone_number"):
        if name in parameters:
            fields[name] = text(parameters, name)
    if "external_created_at" in parameters:
        fields["external_created_at"] = _whole_or_zero(parameters, "external_created_at")
    if "last_surveyed" in parameters:
        fields["last_surveyed"] = moment(parameters, "last_surveyed")
    if "properties" in parameters:
        fields["properties"] = properties(parameters["properties"], typed=typed)
    return fields


def survey(parameters: Parameters, *, scored: bool, typed: bool) -> dict[str, Any]:
    """Return the fields of a response (``scored``) or a decline that are named.

    Raises:
        BadParameterError: one of them is invalid, or the score is missing.
    """
    fields: dict[str, Any] = {}
    if scored:
        score = whole(parameters, "score")
        if score is None:
            raise BadParameterError("score is missing")
        if not 0 <= score <= 10:
            raise _invalid("score")
        fields["score"] = score
    for name in ("text", "ip_address", "origin_url") if scored else ("ip_address", "origin_url"):
        if (value := text(parameters, name)) is not None:
            fields[name] = value
    if (created_at := moment(parameters, "created_at")) is not None:
        fields["created_at"] = created_at
    person = parameters.get("end_user", {})
    if not isinstance(person, dict):
        raise _invalid("end_user")
    if "properties" in person:
        fields["properties"] = properties(person["properties"], typed=typed)
    return fields


def unique_link(parameters: Parameters) -> str | None:
    """Return ``survey[unique_link]``, by which the SDKs mark repetitions of one survey."""
    survey = parameters.get("survey", {})
    return text(survey, "unique_link") if isinstance(survey, dict) else None


def page_of(
    items: Iterable[Item],
    parameters: Parameters,
    keys: dict[str, Callable[[Item], Any]],
    *,
    order: tuple[str, str] = ("created_at", "desc"),
    beyond_is_empty: bool,
) -> list[Item]:
    """Return one page of a list: filtered by time and sorted, by ``order`` unless asked.

    ``keys`` names what may be sorted by; ``created_at`` and ``updated_at`` may also be
    filtered by, as ``created[gte]=`` and so on, in Unix seconds. With ``beyond_is_empty``
    pages after the last that can be asked for are empty instead of refused.

    Raises:
        BadParameterError: a page, a size, an order or a bound cannot be accepted.
    """
    page = _within(parameters, "page", 1, None if beyond_is_empty else PAGE_MAX)
    size = _within(parameters, "per_page", PER_PAGE, END_USERS_PER_PAGE_MAX)
    sort_key = text(parameters, "sort_key") or order[0]
    direction = text(parameters, "sort_order") or order[1]
    if direction not in {"asc", "desc"}:
        raise _invalid("sort_order")
    if sort_key not in keys:
        raise _invalid("sort_key")
    chosen = [item for item in items if _in_time(item, parameters)]
    if page > PAGE_MAX:
        return []
    chosen.sort(key=keys[sort_key], reverse=direction == "desc")
    return chosen[(page - 1) * size : page * size]


def _in_time(item: object, parameters: Parameters) -> bool:
    for name in ("created", "updated"):
        bounds = parameters.get(name)
        if bounds is None:
            continue
        if not isinstance(bounds, dict) or not bounds.keys() <= COMPARISONS.keys():
            raise _invalid(name)
        at = getattr(item, f"{name}_at")
        for comparison in bounds:
            try:
                bound = whole(bounds, comparison)
            except BadParameterError:
                raise BadParameterError(f"{name}[{comparison}] is invalid") from None
            if bound is not None and not COMPARISONS[comparison](at, bound):
                return False
    return True


COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "eq": int.__eq__,
    "lt": int.__lt__,
    "lte": int.__le__,
    "gt": int.__gt__,
    "gte": int.__ge__,
}


def _within(parameters: Parameters, name: str, default: int, most: int | None) -> int:
    number = whole(parameters, name)
    if number is None:
        return default
    if number < 1 or (most is not None and number > most):
        raise _invalid(name)
    return number


def _whole_or_zero(parameters: Parameters, name: str) -> int | None:
    try:
        return whole(parameters, name)
    except BadParameterError:
        return 0


def _key(key: str) -> str:
    if not key or FORBIDDEN_IN_KEYS.intersection(key):
        raise _invalid("properties")
    return key


def _property(key: str, value: Value, *, typed: bool) -> str | int:
    if not isinstance(value, str):
        raise BadParameterError("properties must not be nested")
    if not key.endswith(NUMERIC_SUFFIXES):
        return value
    if WHOLE.fullmatch(value):
        return int(value)
    if typed:
        raise _invalid(f"properties[{key}]")
    return value


def _invalid(name: str) -> BadParameterError:
    return BadParameterError(f"{name} does not have a valid value")
