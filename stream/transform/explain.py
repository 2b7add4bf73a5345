"""Where each field of an operation comes from, and why others are left out. Pure.

The mapping's own readers are asked which value they take (``find_key``, ``created_key``,
``flatten`` and the like), so that there is no second mapping that could disagree.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from sink.wootric.operations import Operation, PageView, fields_of
from stream.codec.event import Event
from stream.codec.segment import TIMES as TIME_ATTRIBUTES
from stream.codec.segment_time import how_read
from stream.transform.explain_properties import Explanation, explain_properties
from stream.transform.lookup import as_object, find_key
from stream.transform.result import Rules
from stream.transform.track import SCORE, TEXT, either_key, time_of
from stream.transform.traits import context_traits, created_key, optional_text

AS_IT_IS = "as it is"
BY_THE_SINK = "not in the event: from what is known of the user, else looked up"
HALF_UP = "rounded half up to the second"

SKIPPED: Mapping[str, str] = {
    "unsupported_type": "calls of this type are none of Wootric's",
    "no_identity": "it has neither userId nor e-mail (nor, in an identify, a phone)",
    "no_url": "it has neither properties.url nor context.page.url",
    "no_email": "it has neither userId nor e-mail",
    "delete_disabled": "WOOTRIC__DELETE_USERS is false",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """An event and the part of it that describes its user."""

    event: Event
    traits: Mapping[str, Any]
    base: str


Origin: TypeAlias = tuple[str, str]
"""The path of a value in the event, and how it was read."""
Explainer: TypeAlias = Callable[[Subject], Origin]


def explain(event: Event, operation: Operation, rules: Rules) -> Explanation:
    """Return the origin of each field of an event's operation, and what was left out."""
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
    """Return in words why the transform skips an event."""
    if reason == "disabled" and isinstance(event.integrations, Mapping):
        named = "Wootric" in event.integrations
        return (
            f"integrations.{'Wootric' if named else find_key(event.integrations, 'all')} is false"
        )
    if reason == "unsupported_type" and event.type == "track":
        return "integrations.Wootric.eventType asks for no response and no decline"
    return SKIPPED[reason]


def _subject(event: Event) -> Subject:
    if event.type == "identify":
        return Subject(event, as_object(event.traits, "traits"), "traits")
    if event.type == "delete":
        return Subject(event, {}, "traits")
    return Subject(event, context_traits(event), "context.traits")


def _reader(name: str, *, page: bool) -> str:
    """Tell when a user was created from when a survey was answered: both are ``created_at``."""
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
    return source, "its hash as a decimal, the same on every attempt"


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
