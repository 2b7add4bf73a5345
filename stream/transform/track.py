"""track: an answered or declined survey, if the integrations object requests it.

The event types and their fields follow RudderStack's mapping (rudder-transformer at
c98d160c), with the time of the event instead of the user's creation.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sink.wootric.operations import CreateDecline, CreateResponse
from stream.codec.event import Event
from stream.codec.segment_time import as_seconds
from stream.errors import TransformError
from stream.record import Deliver, Skip
from stream.transform.properties import read_properties
from stream.transform.result import Rules
from stream.transform.traits import (
    as_object,
    find_ip,
    is_number,
    number_text,
    read_url,
    read_user,
    user_traits,
)

SCORE = ("score", "feedbackScore")
TEXT = ("text", "feedbackText")
"""These names count as they are written here: an answer is recorded once and stays."""
TIMES = ("timestamp_ms", "original_timestamp_ms", "received_at_ms", "sent_at_ms")

_SCORE_TEXT = re.compile(r"[0-9]{1,2}")
_SCORE_MAX = 10


def track(event: Event, rules: Rules, record_time_ms: int | None) -> Deliver | Skip:
    """Return the response or decline to record; other tracks are skipped."""
    event_type = _event_type(event.integrations)
    if event_type not in {"create response", "create decline"}:
        return Skip("unsupported_type")
    traits = user_traits(event)
    external_id, email = read_user(event, traits)
    lane = external_id or email
    if lane is None:
        return Skip("no_identity")
    ip = find_ip(event)
    survey: dict[str, Any] = {
        "email": email,
        "external_id": external_id,
        "ip_address": ip.value if ip else None,
        "origin_url": read_url(event),
        "created_at": _event_seconds(event, record_time_ms),
        "properties": read_properties(traits, rules),
    }
    if event_type == "create decline":
        return Deliver(operation=CreateDecline(**survey), lane=lane)
    answer = as_object(event.properties, "properties")
    response = CreateResponse(
        score=_score(_value(answer, SCORE)),
        text=_text(_value(answer, TEXT)),
        **survey,
    )
    return Deliver(operation=response, lane=lane)


def _event_type(integrations: Any) -> str | None:
    match integrations:
        case {"Wootric": {"eventType": str(event_type)}}:
            return event_type.lower()
        case _:
            return None


def _event_seconds(event: Event, record_time_ms: int | None) -> int | None:
    """Return the time of the answer in Unix seconds: the first known time, else the record's.

    Without one, two surveys of an end user that are otherwise equal look the same in lists.
    """
    name = time_of(event)
    time_ms = record_time_ms if name is None else getattr(event, name)
    return None if time_ms is None else as_seconds(time_ms)


def time_of(event: Event) -> str | None:
    """Return the attribute with the time of the event: the first one that is set."""
    return next((name for name in TIMES if getattr(event, name) is not None), None)


def either_key(values: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """Return the first of these names whose value is not null; None if there is none."""
    return next((name for name in names if values.get(name) is not None), None)


def _value(values: Mapping[str, Any], names: Sequence[str]) -> Any:
    key = either_key(values, names)
    return None if key is None else values[key]


def _score(value: Any) -> int:
    if isinstance(value, str) and _SCORE_TEXT.fullmatch(value):
        value = int(value)
    if is_number(value) and value in range(_SCORE_MAX + 1):
        return int(value)
    raise TransformError("invalid_score", f"score must be a whole number from 0 to {_SCORE_MAX}")


def _text(value: Any) -> str | None:
    match value:
        case None | "":
            return None
        case str():
            return value
        case int() | float() if is_number(value):
            return number_text(value)
        case _:
            raise TransformError("invalid_text", "text must be a text or a number")
