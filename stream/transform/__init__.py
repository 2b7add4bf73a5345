"""Mapping of one Segment call to one Wootric operation. Pure.

| call | with | becomes |
|---|---|---|
| identify | user id, e-mail or phone | ``UpsertEndUser`` |
| page | a URL, and a user id or e-mail | ``PageView`` |
| track | ``integrations.Wootric.eventType`` | ``CreateResponse``, ``CreateDecline`` |
| delete | ``Rules.delete_users`` | ``DeleteEndUser`` |

Anything else is skipped with a reason. Source: Segment's Wootric destination
(analytics.js-integration-wootric 2.2.0), carried over to Wootric's REST API.
"""

from msgspec.structs import replace

from stream.codec.event import TIMES, Event, is_time_ms
from stream.errors import TransformError
from stream.record import Deliver, Skip, TransformResult
from stream.transform.identify import delete, identify
from stream.transform.page import page
from stream.transform.result import (
    IGNORED_INTEGRATION,
    INVALID_TIMESTAMP,
    Rules,
    enabled,
    unread_key,
)
from stream.transform.track import track

__all__ = ["Deliver", "Rules", "Skip", "transform"]


def transform(
    event: Event, *, event_id: str, rules: Rules, record_time_ms: int | None = None
) -> TransformResult:
    """Return the operation for Wootric, or the reason for which there is none.

    ``event_id`` identifies the event: its message id, otherwise one made by the caller.

    Raises:
        TransformError: the event can never be mapped.
    """
    if event.is_null:
        return Skip("tombstone")
    is_invalid = not event.extra.keys().isdisjoint(TIMES)
    if record_time_ms is not None and not is_time_ms(record_time_ms):
        record_time_ms, is_invalid = None, True
    outcome = _outcome(event, event_id, rules, record_time_ms)
    notes = outcome.notes
    if is_invalid and isinstance(outcome, Deliver):
        notes = (*notes, INVALID_TIMESTAMP)
    if unread_key(event.integrations) is not None:
        notes = (*notes, IGNORED_INTEGRATION)
    return outcome if notes is outcome.notes else replace(outcome, notes=notes)


def _outcome(
    event: Event, event_id: str, rules: Rules, record_time_ms: int | None
) -> TransformResult:
    if not enabled(event.integrations):
        return Skip("disabled")
    match event.type:
        case "identify":
            return identify(event, rules)
        case "page":
            return page(event, event_id) if rules.page_views else Skip("page_views_off")
        case "track":
            return track(event, rules, record_time_ms)
        case "delete":
            return delete(event, rules)
        case None | "":
            raise TransformError("invalid_event", "type must be a non-empty text")
        case _:
            return Skip("unsupported_type")
