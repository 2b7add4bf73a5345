"""Whether the event is meant for Wootric at all."""

from collections.abc import Mapping
from typing import Any

from stream.transform.lookup import find


def enabled(integrations: Any) -> bool:
    """Judge the integrations object as Segment does.

    Only a boolean under ``All`` (in any case) counts. ``Wootric`` is case-sensitive and
    goes before; anything there but false enables, since options imply "on".
    Source: segmentio/facade 3.2.3, ``enabled()``.
    """
    if not isinstance(integrations, Mapping):
        return True
    if "Wootric" in integrations:
        return integrations["Wootric"] is not False
    return find(integrations, "all") is not False
