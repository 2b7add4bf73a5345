"""Explain the origin of each field of an operation, and why others are omitted. Pure.

The mapping's own readers (``find_key``, ``created_key``, ``flatten`` and others) determine the
values, so there is no second mapping that could disagree.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from sink.delivery import Operation, Scalar
from sink.wootric.operations import PageView, fields_of, to_fields
from sink.wootric.requests import pixel_request_url
from stream.codec.event import TIMES as TIME_ATTRIBUTES
from stream.codec.event import Event
from stream.codec.segment_time import how_read
from stream.errors import TransformError
from stream.transform import Deliver, Skip, transform
from stream.transform.properties import FIELDS, add, flatten
from stream.transform.result import Rules
from stream.transform.track import SCORE, TEXT, either_key, time_of
from stream.transform.traits import (
    as_object,
    context_traits,
    created_key,
    find_key,
    optional_text,
    plain_name,
)

# Origin of each property, determined by the functions that make the properties


OWN_FIELD = "e-mail, phone, creation and id are not properties"


@dataclass(frozen=True, slots=True)
class Explanation:
    """``fields``: for each field of the operation, ``from`` (a path in the event) and ``how``.
    ``left_out``: the reason for which a field or a value of the event is omitted.
    """

    fields: dict[str, dict[str, str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def explain_properties(
    found: Explanation, traits: Mapping[str, Any], base: str, rules: Rules
) -> None:
    """Add the origin of each property of these traits."""
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
        steps.append("characters that Wootric rejects replaced by _")
    steps += [
        f"{suffix} added"
        for suffix in ("_date", "_amount", "_text")
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
            return "not a finite number"


AS_IT_IS = "as it is"
BY_THE_SINK = "not in the event: taken from the known end user, otherwise looked up"
HALF_UP = "rounded half up to the second"

SKIPPED: Mapping[str, str] = {
    "unsupported_type": "calls of this type have no equivalent in Wootric",
    "no_identity": "it has neither userId nor e-mail (nor, in an identify, a phone)",
    "no_url": "it has neither properties.url nor context.page.url",
    "no_email": "it has neither userId nor e-mail",
    "delete_disabled": "WOOTRIC__DELETE_USERS is false",
    "page_views_off": "WOOTRIC__PAGE_VIEWS is off",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """An event, the traits of its user, and their path."""

    event: Event
    traits: Mapping[str, Any]
    base: str


Origin: TypeAlias = tuple[str, str]
"""The path of a value in the event, and how it was read."""
Explainer: TypeAlias = Callable[[Subject], Origin]


def explain(event: Event, operation: Operation, rules: Rules) -> Explanation:
    """Return the origin of each field of an event's operation, and what was omitted."""
    page = isinstance(operation, PageView)
    subject = _subject(event)
    found = Explanation()
    for name in fields_of(operation):
        what = _reader(name, page=page)
        if name == "properties":
            explain_properties(found, subject.traits, subject.base, rules)
        elif getattr(operation, name) is not None:
            source, how = _PRESENT[what](subject)
            found.fields[name] = {"from": source, "how": how}
        else:
            found.left_out[name] = _why_absent(what, subject, page=page)
    return found


def why_skipped(event: Event, reason: str) -> str:
    """Return a sentence about why the transform skips an event."""
    if reason == "disabled" and isinstance(event.integrations, Mapping):
        named = "Wootric" in event.integrations
        return (
            f"integrations.{'Wootric' if named else find_key(event.integrations, 'all')} is false"
        )
    if reason == "unsupported_type" and event.type == "track":
        return "integrations.Wootric.eventType requests neither a response nor a decline"
    return SKIPPED[reason]


def _subject(event: Event) -> Subject:
    if event.type == "identify":
        return Subject(event, as_object(event.traits, "traits"), "traits")
    if event.type == "delete":
        return Subject(event, {}, "traits")
    return Subject(event, context_traits(event), "context.traits")


def _reader(name: str, *, page: bool) -> str:
    """Return the reader of a field. ``created_at`` is of the user in a page view, otherwise of
    the survey.
    """
    if name == "external_created_at" or (page and name == "created_at"):
        return "user_created_at"
    return "url" if name == "origin_url" else name


def _external_id(_: Subject) -> Origin:
    return "userId", AS_IT_IS


def _email(subject: Subject) -> Origin:
    key = find_key(subject.traits, "email")
    if key is not None and subject.traits[key]:
        return f"{subject.base}.{key}", AS_IT_IS
    return "userId", "looks like an e-mail"


def _phone_number(subject: Subject) -> Origin:
    key = find_key(subject.traits, "phone") or ""
    text = isinstance(subject.traits[key], str)
    return f"{subject.base}.{key}", AS_IT_IS if text else "number, as text"


def _user_created_at(subject: Subject) -> Origin:
    key = created_key(subject.traits) or ""
    return f"{subject.base}.{key}", f"{how_read(subject.traits[key])}; {HALF_UP}"


def _url(subject: Subject) -> Origin:
    properties = as_object(subject.event.properties, "properties")
    key = find_key(properties, "url")
    if key is not None and optional_text(properties[key]):
        return f"properties.{key}", AS_IT_IS
    page = as_object(as_object(subject.event.context, "context").get("page"), "context.page")
    return f"context.page.{find_key(page, 'url')}", AS_IT_IS


def _random(subject: Subject) -> Origin:
    source = "messageId" if subject.event.message_id else "the record's place or bytes"
    return source, "its hash as a decimal, the same for every attempt"


def _score(subject: Subject) -> Origin:
    properties = as_object(subject.event.properties, "properties")
    key = either_key(properties, *SCORE) or ""
    digits = isinstance(properties[key], str)
    return f"properties.{key}", "digits, read as a number" if digits else AS_IT_IS


def _text(subject: Subject) -> Origin:
    properties = as_object(subject.event.properties, "properties")
    key = either_key(properties, *TEXT) or ""
    text = isinstance(properties[key], str)
    return f"properties.{key}", AS_IT_IS if text else "number, as text"


def _ip_address(_: Subject) -> Origin:
    return "context.ip", AS_IT_IS


def _created_at(subject: Subject) -> Origin:
    attribute = time_of(subject.event)
    name = next(name for name, known in TIME_ATTRIBUTES.items() if known == attribute)
    return name, HALF_UP


_PRESENT: Mapping[str, Explainer] = {
    "external_id": _external_id,
    "email": _email,
    "phone_number": _phone_number,
    "user_created_at": _user_created_at,
    "url": _url,
    "random": _random,
    "score": _score,
    "text": _text,
    "ip_address": _ip_address,
    "created_at": _created_at,
}


_ABSENT: Mapping[str, str] = {
    "external_id": "no userId",
    "email": "no {base}.email, and no userId that looks like an e-mail",
    "phone_number": "no {base}.phone",
    "user_created_at": "neither {base}.created nor {base}.createdAt",
    "url": "neither properties.url nor context.page.url",
    "text": "neither properties.text nor properties.feedbackText",
    "ip_address": "no context.ip",
    "created_at": "the event has no time",
}


def _why_absent(what: str, subject: Subject, *, page: bool) -> str:
    key = created_key(subject.traits) if what == "user_created_at" else None
    if key is not None:
        return f"{subject.base}.{key} cannot be read as a time"
    if page and what in {"email", "user_created_at"}:
        return BY_THE_SINK
    return _ABSENT[what].format(base=subject.base)


# Preview of an event's outcome, without side effects


def preview(
    event: Event,
    *,
    event_id: str,
    rules: Rules,
    account_token: str | None,
    pixel_url: str,
    explained: bool = False,
) -> dict[str, Any]:
    """Return the line that ``wootric-stream transform`` prints, with all five keys.

    Only a page view has its request, since the others start with a look-up. ``explained`` adds
    a sixth key with the origin of each field.
    """
    line: dict[str, Any] = {
        "message_id": event.message_id,
        "outcome": "deliver",
        "reason": None,
        "operation": None,
        "request": None,
    }
    try:
        outcome = transform(event, event_id=event_id, rules=rules)
    except TransformError as error:
        line |= {"outcome": "reject", "reason": error.reason}
        return line | {"explain": {"reject": error.detail}} if explained else line
    match outcome:
        case Skip(reason):
            line |= {"outcome": "skip", "reason": reason}
            why = why_skipped(event, reason) if explained else ""
            return line | {"explain": {"skip": why}} if explained else line
        case Deliver(operation=operation):
            line["operation"] = to_fields(operation)
            if isinstance(operation, PageView):
                url = pixel_request_url(pixel_url, account_token=account_token, page=operation)
                line["request"] = {"method": "GET", "url": url}
            if explained:
                line["explain"] = asdict(explain(event, operation, rules))
            return line
