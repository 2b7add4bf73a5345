"""track: an answered or declined survey, where the integrations object says so.

The event types and their fields follow RudderStack's mapping (rudder-transformer at
c98d160c), with the time of the event instead of the user's creation.
"""

import re
from collections.abc import Mapping
from typing import Any

from sink.wootric.operations import CreateDecline, CreateResponse
from stream.errors import TransformError
from stream.event import Event
from stream.segment_time import as_seconds
from stream.transform.fields import (
    context_traits,
    is_number,
    number_text,
    optional_text,
    read_url,
    read_user,
)
from stream.transform.lookup import as_object, find
from stream.transform.outcome import Deliver, Rules, Skip
from stream.transform.properties import read_properties

_SCORE_TEXT = re.compile(r"[0-9]{1,2}")
_SCORE_MAX = 10


def track(event: Event, rules: Rules) -> Deliver | Skip:
    """Return the response or decline to record; other tracks are skipped."""
    event_type = _event_type(event.integrations)
    if event_type not in {"create response", "create decline"}:
        return Skip("unsupported_type")
    traits = context_traits(event)
    external_id, email = read_user(event, traits)
    lane = external_id or email
    if lane is None:
        return Skip("no_identity")
    survey: dict[str, Any] = {
        "email": email,
        "external_id": external_id,
        "ip_address": optional_text(as_object(event.context, "context").get("ip")),
        "origin_url": read_url(event),
        "created_at": _event_seconds(event),
        "properties": read_properties(traits, rules),
    }
    if event_type == "create decline":
        return Deliver(operation=CreateDecline(**survey), lane=lane)
    answer = as_object(event.properties, "properties")
    response = CreateResponse(
        score=_score(_either(answer, "score", "feedbackscore")),
        text=_text(_either(answer, "text", "feedbacktext")),
        **survey,
    )
    return Deliver(operation=response, lane=lane)


def _event_type(integrations: Any) -> str | None:
    match integrations:
        case {"Wootric": {"eventType": str(event_type)}}:
            return event_type.lower()
        case _:
            return None


def _event_seconds(event: Event) -> int | None:
    """Return when the survey was answered: the first of the event's times that is known."""
    times_ms = (
        event.timestamp_ms,
        event.original_timestamp_ms,
        event.received_at_ms,
        event.sent_at_ms,
    )
    return next((as_seconds(time_ms) for time_ms in times_ms if time_ms is not None), None)


def _either(values: Mapping[str, Any], first: str, second: str) -> Any:
    value = find(values, first)
    return find(values, second) if value is None else value


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
