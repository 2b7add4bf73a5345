"""Settings of the transform, and the gate of Segment's ``integrations``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stream.transform.traits import INVALID_CREATED_AT, find, plain_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The settings of the mapping.

    ``amount_suffix`` appends Wootric's ``_amount`` to the names of integer properties.
    """

    amount_suffix: bool = False
    delete_users: bool = False
    page_views: bool = True


IGNORED_INTEGRATION = "ignored_integration"
INVALID_TIMESTAMP = "invalid_timestamp"
NOTES = (INVALID_CREATED_AT, INVALID_TIMESTAMP, IGNORED_INTEGRATION)
"""Why something of an event is left out without rejecting it."""


# Whether the event is intended for Wootric


def enabled(integrations: Any) -> bool:
    """Return whether the integrations object enables Wootric, by Segment's rules.

    Under ``All`` (in any case), only false disables. ``Wootric`` is case-sensitive and takes
    precedence; any value except false enables, since options imply "on".
    Source: segmentio/facade 3.2.3, ``enabled()``.
    """
    if not integrations or not isinstance(integrations, Mapping):
        return True
    if "Wootric" in integrations:
        return integrations["Wootric"] is not False
    return find(integrations, "All") is not False


def unread_key(integrations: Any) -> str | None:
    """Return a key that means Wootric but is not spelled ``Wootric``, so that Segment ignores it.

    None if reading it would make no difference. RudderStack also reads ``wootric`` and
    ``WOOTRIC``, and Segment's user interface shows another name.
    """
    if not integrations or not isinstance(integrations, Mapping) or "Wootric" in integrations:
        return None
    key = next((key for key in integrations if "wootric" in plain_name(key)), None)
    if key is None:
        return None
    value = integrations[key]
    requested = isinstance(value, Mapping) and value.get("eventType") is not None
    changes = (value is not False) != enabled(integrations)
    return key if requested or changes else None
