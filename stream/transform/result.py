"""Settings of the transform, and the gate of Segment's ``integrations``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stream.transform.traits import find


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The settings of the mapping.

    ``amount_suffix`` appends Wootric's ``_amount`` to the names of integer properties.
    """

    amount_suffix: bool = False
    delete_users: bool = False
    page_views: bool = True


# Whether the event is intended for Wootric


def enabled(integrations: Any) -> bool:
    """Return whether the integrations object enables Wootric, by Segment's rules.

    Under ``All`` (in any case), only false disables. ``Wootric`` is case-sensitive and takes
    precedence; any value except false enables, since options imply "on".
    Source: segmentio/facade 3.2.3, ``enabled()``.
    """
    if not isinstance(integrations, Mapping):
        return True
    if "Wootric" in integrations:
        return integrations["Wootric"] is not False
    return find(integrations, "all") is not False
