"""Wootric's answers, read. Pure; anything unexpected reads as "not there", never as an error."""

import json
import math
import re
from datetime import datetime
from typing import Any

import orjson

from sink.wootric.delivery import EndUser
from sink.wootric.operations import IDENTITY_LENGTH_MAX
from sink.wootric.profile import scalars

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.\d+)? ?(Z|UTC|[+-]\d\d:?\d\d)?$")


def document(body: bytes | None) -> Any:
    """Return the JSON value of a body; None when there is none."""
    if not body:
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _tolerated(body)


def _tolerated(body: bytes) -> Any:
    """Return what other writers of JSON let through: halves of pairs, numbers beyond all."""
    try:
        value = json.loads(body, parse_float=_finite, parse_constant=_nothing)
        return orjson.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _nothing(_: str) -> None:
    return None


def end_user(value: Any) -> EndUser | None:
    """Return the end user that an object describes; None if it has no id."""
    if not isinstance(value, dict) or (identity := identifier(value)) is None:
        return None
    properties = value.get("properties")
    return EndUser(
        id=identity,
        email=_text(value.get("email")),
        external_id=_text(value.get("external_id")),
        phone_number=_text(value.get("phone_number")),
        external_created_at=seconds(value.get("external_created_at")),
        properties=scalars(properties) if isinstance(properties, dict) else {},
    )


def identifier(value: Any) -> int | None:
    """Return the id that Wootric gave to a thing; None if there is none to be read."""
    identity = value.get("id") if isinstance(value, dict) else None
    return None if isinstance(identity, bool) else whole(identity)


def whole(value: Any) -> int | None:
    """Return a whole number, written as one or as text; one beyond 64 bits is none.

    The ledger could not hold it, and Python does not even read some thousands of digits.
    """
    match value:
        case bool():
            return None
        case int():
            number = value
        case str() if value.isascii() and value.removeprefix("-").isdigit() and len(value) <= 20:
            number = int(value)
        case _:
            return None
    return number if -(2**63) <= number < 2**63 else None


def seconds(value: Any) -> int | None:
    """Return a time in Unix seconds: a number, its digits, or ``2018-01-02 23:03:41 -0800``.

    A text without a zone is UTC.
    """
    number = whole(value)
    if number is not None or not isinstance(value, str):
        return number
    match = _TIME.fullmatch(value.strip())
    if match is None:
        return None
    date, time, zone = match.groups()
    offset = "+0000" if zone in {None, "Z", "UTC"} else zone
    try:
        moment = datetime.strptime(f"{date} {time} {offset}", "%Y-%m-%d %H:%M:%S %z")
    except ValueError:
        return None
    return int(moment.timestamp())


def _text(value: Any) -> str | None:
    """Return an identity as text; an external id may come back as a number."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value)
    return text if 0 < len(text) <= IDENTITY_LENGTH_MAX else None
