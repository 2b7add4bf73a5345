"""Explain the origin of each field of an operation, and why others are omitted. Pure.

The mapping's own readers (``find_email``, ``find_created``, ``flatten`` and others) determine the
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
from stream.errors import RecordError, TransformError
from stream.transform import Deliver, Skip, transform
from stream.transform.properties import FIELDS, add, flatten, layers
from stream.transform.result import Rules, unread_key
from stream.transform.track import SCORE, TEXT, either_key, time_of
from stream.transform.traits import (
    BLANKS,
    Sources,
    as_object,
    find_created,
    find_email,
    find_ip,
    find_key,
    find_phone,
    find_url,
    plain_name,
    user_traits,
)

# Origin of each property, determined by the functions that make the properties


OWN_FIELD = "e-mail, phone, creation and ids are not properties"


@dataclass(frozen=True, slots=True)
class Explanation:
    """``fields``: for each field of the operation, ``from`` (a path in the event) and ``how``.
    ``left_out``: the reason for which a field or a value of the event is omitted.
    """

    fields: dict[str, dict[str, str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def explain_properties(found: Explanation, traits: Sources, rules: Rules) -> None:
    """Add the origin of each property of these traits."""
    used = {origin["from"] for origin in found.fields.values()}
    for base, values, hidden in layers(traits):
        for key, value in values.items():
            path = f"{base}.{key}"
            if path in used:
                continue
            if key in hidden:
                found.left_out[path] = f"{hidden[key]}.{key} counts instead"
            elif plain_name(key) in FIELDS:
                found.left_out[path] = OWN_FIELD
            else:
                _explain_trait(found, path, key, value, rules)


def _explain_trait(found: Explanation, path: str, key: str, value: Any, rules: Rules) -> None:
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
ONLY_THIS_KEY = "ignored, as by Segment: only the key Wootric, in this spelling, is read"

SKIPPED: Mapping[str, str] = {
    "unsupported_type": "calls of this type have no equivalent in Wootric",
    "no_identity": "it has neither userId nor e-mail (nor, in an identify, a phone)",
    "no_url": "it has neither properties.url nor context.page.url",
    "no_email": "it has neither userId nor e-mail",
    "delete_disabled": "WOOTRIC__DELETE_USERS is false",
    "page_views_off": "WOOTRIC__PAGE_VIEWS is off",
    "tombstone": "its value is null",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """An event, and where it describes its user."""

    event: Event
    traits: Sources


Origin: TypeAlias = tuple[str, str]
"""The path of a value in the event, and how it was read."""
Explainer: TypeAlias = Callable[[Subject], Origin | None]


def explain(event: Event, operation: Operation, rules: Rules) -> Explanation:
    """Return the origin of each field of an event's operation, and what was omitted."""
    page = isinstance(operation, PageView)
    subject = Subject(event, user_traits(event))
    found = Explanation()
    for name in fields_of(operation):
        what = _reader(name, page=page)
        if name == "properties":
            explain_properties(found, subject.traits, rules)
        elif getattr(operation, name) is not None and (origin := _PRESENT[what](subject)):
            source, how = origin
            found.fields[name] = {"from": source, "how": how}
        else:
            found.left_out[name] = _why_absent(what, subject, page=page)
    key = unread_key(event.integrations)
    if key is not None:
        found.left_out[f"integrations.{key}"] = ONLY_THIS_KEY
    for name in event.extra.keys() & TIME_ATTRIBUTES.keys():
        found.left_out[name] = "no time of the years 1 to 9999 in milliseconds"
    return found


def why_skipped(event: Event, reason: str) -> str:
    """Return a sentence about why the transform skips an event."""
    why = SKIPPED.get(reason, reason)
    if reason == "disabled" and isinstance(event.integrations, Mapping):
        named = "Wootric" in event.integrations
        why = f"integrations.{'Wootric' if named else find_key(event.integrations, 'All')} is false"
    elif reason == "unsupported_type" and event.type == "track":
        why = "integrations.Wootric.eventType requests neither a response nor a decline"
    key = unread_key(event.integrations)
    return why if key is None else f"{why}; integrations.{key}: {ONLY_THIS_KEY}"


def _reader(name: str, *, page: bool) -> str:
    """Return the reader of a field. ``created_at`` is of the user in a page view, otherwise of
    the survey.
    """
    if name == "external_created_at" or (page and name == "created_at"):
        return "user_created_at"
    return "url" if name == "origin_url" else name


def _external_id(_: Subject) -> Origin:
    return "userId", AS_IT_IS


def _email(subject: Subject) -> Origin | None:
    found = find_email(subject.event, subject.traits)
    if found is None:
        return None
    stripped = found.value != found.value.strip(BLANKS)
    steps = [] if found.path != "userId" else ["looks like an e-mail"]
    steps += ["blanks around it removed"] if stripped else []
    return found.path, ", ".join(steps) or AS_IT_IS


def _phone_number(subject: Subject) -> Origin | None:
    found = find_phone(subject.traits)
    if found is None:
        return None
    if not isinstance(found.value, str):
        return found.path, "number, as text"
    stripped = found.value != found.value.strip(BLANKS)
    return found.path, "blanks around it removed" if stripped else AS_IT_IS


def _user_created_at(subject: Subject) -> Origin | None:
    found = find_created(subject.traits)
    return None if found is None else (found.path, f"{how_read(found.value)}; {HALF_UP}")


def _url(subject: Subject) -> Origin | None:
    found = find_url(subject.event)
    return None if found is None else (found.path, AS_IT_IS)


def _random(subject: Subject) -> Origin:
    source = "messageId" if subject.event.message_id else "the record's place or bytes"
    return source, "its hash as a decimal, the same for every attempt"


def _score(subject: Subject) -> Origin:
    properties = as_object(subject.event.properties, "properties")
    key = either_key(properties, SCORE) or ""
    digits = isinstance(properties[key], str)
    return f"properties.{key}", "digits, read as a number" if digits else AS_IT_IS


def _text(subject: Subject) -> Origin:
    properties = as_object(subject.event.properties, "properties")
    key = either_key(properties, TEXT) or ""
    text = isinstance(properties[key], str)
    return f"properties.{key}", AS_IT_IS if text else "number, as text"


def _ip_address(subject: Subject) -> Origin | None:
    found = find_ip(subject.event)
    return None if found is None else (found.path, AS_IT_IS)


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
    "email": "no email in {objects}, and no userId that looks like an e-mail",
    "phone_number": "no phone in {objects}",
    "user_created_at": "neither created nor createdAt in {objects}",
    "url": "neither properties.url nor context.page.url",
    "text": "neither properties.text nor properties.feedbackText",
    "ip_address": "neither context.ip nor request_ip",
    "created_at": "the event has no time",
}


def _why_absent(what: str, subject: Subject, *, page: bool) -> str:
    created = find_created(subject.traits) if what == "user_created_at" else None
    if created is not None:
        return f"{created.path} cannot be read as a time"
    if page and what in {"email", "user_created_at"}:
        return BY_THE_SINK
    objects = [path or "the event" for path, _ in subject.traits]
    if what == "email" and subject.event.type == "track":
        objects.append("properties")
    return _ABSENT[what].format(objects=" or ".join(objects))


# Preview of an event's outcome, without side effects


_LINE: Mapping[str, Any] = {
    "outcome": "deliver",
    "reason": None,
    "operation": None,
    "request": None,
}


def refused(error: RecordError, *, explained: bool = False) -> dict[str, Any]:
    """Return the line of what is rejected, without a message id."""
    line = {"message_id": None, **_LINE, "outcome": "reject", "reason": error.reason}
    return line | {"explain": {"reject": error.detail}} if explained else line


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
    line = {"message_id": event.message_id, **_LINE}
    try:
        outcome = transform(event, event_id=event_id, rules=rules)
    except TransformError as error:
        return {**refused(error, explained=explained), "message_id": event.message_id}
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
