"""One Segment call, as decoded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A Segment call.

    ``traits``, ``properties``, ``context`` and ``integrations`` are the parsed JSON values
    as they came: an object is expected, but anything JSON can hold may be there.
    ``extra`` holds top-level fields that have no attribute of their own, and values of the
    wrong type for theirs. Times are in milliseconds since 1970, UTC.
    """

    type: str | None = None
    message_id: str | None = None
    user_id: str | None = None
    anonymous_id: str | None = None
    event: str | None = None
    name: str | None = None
    timestamp_ms: int | None = None
    original_timestamp_ms: int | None = None
    sent_at_ms: int | None = None
    received_at_ms: int | None = None
    traits: Any = field(default_factory=lambda: NOTHING)
    properties: Any = field(default_factory=lambda: NOTHING)
    context: Any = field(default_factory=lambda: NOTHING)
    integrations: Any = field(default_factory=lambda: NOTHING)
    extra: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
