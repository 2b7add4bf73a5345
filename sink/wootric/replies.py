"""Parse Wootric's replies. Pure; unexpected content reads as absent and never raises."""

import json
import math
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import wraps
from typing import Any, TypeAlias

import orjson

from sink.classify import ABSENT
from sink.delivery import EndUser, Properties, Scalar
from sink.models import HttpResponse
from sink.wootric.operations import IDENTITY_LENGTH_MAX

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.\d+)? ?(Z|UTC|[+-]\d\d:?\d\d)?$")


def document(body: bytes | None) -> Any:
    """Return the JSON value of a body; None if it has none."""
    if not body:
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _tolerated(body)


def _tolerated(body: bytes) -> Any:
    """Parse JSON that orjson rejects: lone surrogates, numbers out of range."""
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


def scalars(document: Mapping[str, object]) -> Properties:
    """Return the properties of a reply that a form can represent.

    Null counts as absent; nested values are not allowed there.
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


def identifier(value: Any) -> int | None:
    """Return the id of an object of Wootric's; None if it has no readable one."""
    identity = value.get("id") if isinstance(value, dict) else None
    return None if isinstance(identity, bool) else whole(identity)


def whole(value: Any) -> int | None:
    """Return an integer given as a number or as text; None beyond 64 bits.

    The ledger could not store a larger one, and Python refuses to parse thousands of digits.
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


# Whether a reply that reports success or absence comes from the API: a maintenance page may do so
# too, and proves nothing


GIF = b"GIF8"
ACCEPTED = frozenset({201, 202, 204})

Accepts: TypeAlias = Callable[[HttpResponse], bool]


def _or_absence(of_success: Accepts) -> Accepts:
    """Extend a check of replies that report success to those that report absence.

    404 or 410 is the API's if its body is JSON or empty.
    """

    @wraps(of_success)
    def accepts(reply: HttpResponse) -> bool:
        if reply.status not in ABSENT:
            return of_success(reply)
        body = (reply.body or b"").strip()
        return body in (b"", b"null") or document(body) is not None

    return accepts


@_or_absence
def is_end_user(reply: HttpResponse) -> bool:
    """Return whether this is the reply to the creation or change of an end user."""
    if reply.body is None:
        return _is_json(reply)
    return identifier(document(reply.body)) is not None or is_error(reply.body)


@_or_absence
def is_accepted(reply: HttpResponse) -> bool:
    """Return whether this is the reply to a survey or a deletion, which are queued.

    201, 202 and 204 need no record, 200 needs JSON.
    """
    if reply.status in ACCEPTED:
        return not _is_html(reply)
    if reply.body is None:
        return _is_json(reply)
    return isinstance(document(reply.body), dict | list)


@_or_absence
def is_lookup(reply: HttpResponse) -> bool:
    """Return whether this is the reply to a look-up: a record, a list, an error, or null."""
    if (reply.body or b"").strip() == b"null":
        return True
    return is_list(reply) or identifier(document(reply.body)) is not None


@_or_absence
def is_list(reply: HttpResponse) -> bool:
    """Return whether this is a list of records, or an error."""
    value = document(reply.body)
    if isinstance(value, list):
        return all(isinstance(item, dict) for item in value)
    return isinstance(value, dict) and is_error(reply.body)


def is_pixel(reply: HttpResponse) -> bool:
    """Return whether the pixel was loaded: an image, or nothing."""
    if reply.status in ABSENT or reply.body == b"":
        return True
    image = reply.headers.get("Content-Type", "").startswith("image/")
    return image or (reply.body or b"").startswith(GIF)


def _is_html(reply: HttpResponse) -> bool:
    if reply.body is None or _is_type(reply, "text/html"):
        return _is_type(reply, "text/html")
    return reply.body.removeprefix(BOM_UTF8).lstrip().startswith(b"<")


def _is_json(reply: HttpResponse) -> bool:
    return _is_type(reply, "application/json")


def _is_type(reply: HttpResponse, media_type: str) -> bool:
    return reply.headers.get("Content-Type", "").lower().startswith(media_type)


# Reasons of rejections: a word from a bounded set, and Wootric's message without personal data


DETAIL_BYTES_MAX = 2048

# Starts only at the beginning of a word; otherwise the time would be quadratic in its length.
_EMAIL = re.compile(r"(?<![^\s@\"'<>:,;=&?])[^\s@\"'<>:,;=&?]+(?:@|%40)[^\s@\"'<>,;&]+")
# A plus and digits, or digits in groups, or ten or more in a row; not a date.
_PHONE = re.compile(
    r"(?<![\w.])(?!\d{4}-\d\d-\d\d)(?:\+|%2B)?\(?\d[\d ()./-]{7,17}\d(?![\w-])", re.IGNORECASE
)
# The reason for a text; the first match counts. The texts for a taken e-mail and for a record
# not found are known (WootricSDK-iOS issue 33; network mocks of rudder-transformer).
_BY_TEXT = (
    ("email has already been taken", "email_taken"),
    ("phone number has already been taken", "phone_number_taken"),
    ("already been taken", "already_taken"),
    ("record_not_found", "record_not_found"),
    ("validation", "validation"),
)
# The same, for messages only, since error pages of proxies contain such texts too. The first is
# known (tap-wootric a498cfc), the others come from the same library.
_BY_MESSAGE = (
    ("does not have a valid value", "invalid_value"),
    ("is invalid", "invalid_value"),
    ("is missing", "missing_value"),
    ("is empty", "missing_value"),
    ("can't be blank", "missing_value"),
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
_OAUTH = frozenset(  # RFC 6749, section 5.2, and RFC 6750, section 3.1
    {
        "access_denied",
        "insufficient_scope",
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "invalid_token",
        "unauthorized_client",
        "unsupported_grant_type",
    }
)


def taken(body: bytes | None) -> bool:
    """Return whether the text states that another end user holds a value.

    The status of such a reply is not documented, so the text decides, even with a 200.
    """
    return body is not None and b"already been taken" in body


def is_error(body: bytes | None) -> bool:
    """Return whether a body reports an error, regardless of the status."""
    if body is None or (b'"error' not in body and not taken(body)):
        return False
    value = document(body)
    match value:
        case dict():
            return bool(value.get("error") or value.get("errors"))
        case list():  # of messages; in a list of objects the text may be a customer's
            return any(isinstance(one, str) and taken(one.encode()) for one in value)
        case _:
            return taken(body)


def reason(status: int, body: bytes | None) -> str:
    """Return the reason of a rejection, from a bounded set of words."""
    said = message(body)
    text = f"{said or ''} {(body or b'').decode('utf-8', 'replace')}".lower()
    for words, word in _BY_TEXT:
        if words in text:
            return word
    for words, word in _BY_MESSAGE:
        if said is not None and words in said.lower():
            return word
    return _BY_STATUS.get(status, f"status_{status}")


def is_absent(status: int, body: bytes | None) -> bool:
    """Return whether a rejection means that the record does not exist."""
    return status == 404 or reason(status, body) == "record_not_found"


def oauth_error(status: int, body: bytes | None) -> str:
    """Return why no token was issued, from a bounded set of words."""
    value = document(body)
    error = value.get("error") if isinstance(value, dict) else None
    return error if isinstance(error, str) and error in _OAUTH else f"status_{status}"


def detail(body: bytes | None) -> str:
    """Return the error message of a reply, at most ``DETAIL_BYTES_MAX`` bytes.

    E-mails and phone numbers are masked.
    """
    text = message(body) or (body or b"").decode("utf-8", "replace")
    text = _EMAIL.sub("<e-mail>", text[: 2 * DETAIL_BYTES_MAX])
    return _PHONE.sub("<phone>", text).encode()[:DETAIL_BYTES_MAX].decode("utf-8", "ignore")


def message(body: bytes | None) -> str | None:
    """Return the message of an error body in one of the known shapes, or None."""
    try:
        return _message(document(body))
    except RecursionError:  # parsed, but too deeply nested to be written as text
        return None


def _message(value: Any) -> str | None:
    match value:
        case {"errors": list(errors)}:
            return "; ".join(map(_said, errors))
        case {"errors": dict(errors)}:  # by field, as Rails has it
            return "; ".join(
                f"{name} {text}" for name, texts in errors.items() for text in _listed(texts)
            )
        case {"error": str(error), "error_description": str(description)}:
            return f"{error}: {description}"
        case {"error": str(text)} | {"error": {"message": str(text)}} | {"message": str(text)}:
            return text
        case _:
            return None


def _said(error: Any) -> str:
    """Return the text of one error of a list, with the name of its field."""
    match error:
        case {"message": str(text), "field": str(name)} if name.lower() not in text.lower():
            return f"{name} {text}"
        case {"message": text}:
            return str(text)
        case _:
            return str(error)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
