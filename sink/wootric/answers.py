"""Wootric's answers, read. Pure; anything unexpected reads as "not there", never as an error."""

import re
from datetime import datetime
from typing import Any

import orjson

from sink.delivery import EndUser
from sink.wootric.profile import scalars

DETAIL_BYTES_MAX = 2048

_EMAIL = re.compile(r"[^\s@\"'<>:,;]+@[^\s@\"'<>,;]+")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.\d+)? ?(Z|UTC|[+-]\d\d:?\d\d)?$")

# What a refusal's text says, as a word; the first that matches. The texts of e-mails taken and
# of records not found are known (WootricSDK-iOS issue 33; network mocks of rudder-transformer).
_BY_TEXT = (
    ("email has already been taken", "email_taken"),
    ("phone number has already been taken", "phone_number_taken"),
    ("already been taken", "already_taken"),
    ("record_not_found", "record_not_found"),
    ("validation", "validation"),
)
_BY_STATUS = {
    400: "bad_request",
    404: "record_not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    409: "conflict",
    410: "gone",
    413: "too_large",
    414: "too_large",
    415: "unsupported_media_type",
    422: "validation",
    423: "locked",
    431: "too_large",
}


def document(body: bytes | None) -> Any:
    """Return the JSON value of a body; None when there is none."""
    if not body:
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
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
    """Return a whole number, written as one or as text."""
    match value:
        case bool():
            return None
        case int():
            return value
        case str() if value.isascii() and value.removeprefix("-").isdigit():
            return int(value)
        case _:
            return None


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


def taken(body: bytes | None) -> bool:
    """Return whether the answer says that another end user holds a value, by text.

    The status of that answer is not documented; so that its words decide, even under a 200.
    """
    return body is not None and b"already been taken" in body


def is_error(body: bytes | None) -> bool:
    """Return whether an answer says that something failed, whatever its status says."""
    return _message(document(body)) is not None


def reason(status: int, body: bytes | None) -> str:
    """Return one word, of a bounded set, for why something was refused."""
    text = (body or b"").decode("utf-8", "replace").lower()
    for words, word in _BY_TEXT:
        if words in text:
            return word
    return _BY_STATUS.get(status, f"status_{status}")


def detail(body: bytes | None) -> str:
    """Return the answer's own words, with e-mails masked, of at most ``DETAIL_BYTES_MAX`` bytes."""
    text = _message(document(body)) or (body or b"").decode("utf-8", "replace")
    masked = _EMAIL.sub("<e-mail>", text[: 2 * DETAIL_BYTES_MAX])
    return masked.encode()[:DETAIL_BYTES_MAX].decode("utf-8", "ignore")


def _message(value: Any) -> str | None:
    """Return the message of an error in one of the shapes that are known, or None."""
    if not isinstance(value, dict):
        return None
    errors = value.get("errors")
    if isinstance(errors, list):
        messages = [
            str(error.get("message", error)) if isinstance(error, dict) else str(error)
            for error in errors
        ]
        return "; ".join(messages)
    error = value.get("error")
    return error if isinstance(error, str) else None


def _text(value: Any) -> str | None:
    """Return an identity as text; an external id may come back as a number."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value) or None
