"""page: one page view, reported through the pixel."""

import hashlib

from sink.wootric.operations import PageView
from stream.codec.event import Event
from stream.record import Deliver, Skip
from stream.transform.traits import read_created, read_url, read_user, user_traits

_DECIMALS = 16  # as of most values of Math.random()


def page(event: Event, event_id: str) -> Deliver | Skip:
    """Return the page view, or a skip if its URL or its user is unknown."""
    url = read_url(event)
    if url is None:
        return Skip("no_url")
    traits = user_traits(event)
    external_id, email = read_user(event, traits)
    lane = external_id or email
    if lane is None:
        return Skip("no_email")
    created_at, notes = read_created(traits)
    operation = PageView(
        url=url,
        random=_fraction_of(event_id),
        email=email,
        external_id=external_id,
        created_at=created_at,
    )
    return Deliver(operation=operation, lane=lane, notes=notes)


def _fraction_of(event_id: str) -> str:
    """Return a decimal in [0, 1) that is the same for every attempt of the event."""
    digest = hashlib.sha256(event_id.encode("utf-8", "surrogatepass")).digest()
    return f"0.{int.from_bytes(digest) % 10**_DECIMALS:0{_DECIMALS}d}"
