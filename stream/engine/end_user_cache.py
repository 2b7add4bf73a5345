"""Cache of what Wootric holds of each end user, and the rule to skip unchanged profiles."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

from sink.wootric.delivery import EndUser
from sink.wootric.operations import (
    CreateDecline,
    CreateResponse,
    Operation,
    PageView,
    UpsertEndUser,
)
from stream.engine.checkpoint import UncommittedChanges
from stream.engine.lanes import Lane, PendingEvent, PendingRequest
from stream.engine.scheduler import NEEDS_LOOKUP, QueueClass, classify
from stream.state.ledger import UserEntry, changes_nothing, encode, read_user, user_key

ENTRY_BYTES_MAX = 256 * 1024
"""A larger entry is stored without its profile, which is looked up instead: the ledger would reject
it."""
UNCHANGED = "unchanged"
STALE = "stale"
UNKNOWN_USER = EndUser(id=0)
"""Placeholder for a user whose entry has not been read yet."""


class EndUserCache:
    """The user entries of one partition. A lost entry costs a look-up, never correctness."""

    def __init__(self, uncommitted: UncommittedChanges, *, unchanged_resend_after_s: float) -> None:
        self._uncommitted = uncommitted
        self._resend_after_s = unchanged_resend_after_s
        self._last_read: tuple[Operation, bytes | None, UserEntry | None] | None = None

    def contains(self, operation: Operation) -> bool:
        """Return whether the operation's user has an entry. Cheaper than reading it."""
        key = user_key(operation)
        return key is not None and self._uncommitted.get(key) is not None

    def get(self, operation: Operation, now_ms: int) -> EndUser | None:
        """Return the operation's user as of the last settled operation, or None.

        A profile older than ``unchanged_resend_after_s`` is not returned: it is looked up, and the
        differences are sent again. A user who was not found is not returned after that time either.
        """
        entry = self._read_entry(operation)
        if entry is None or not entry.sent_at_ms:
            return None
        expires = isinstance(operation, UpsertEndUser) or entry.id is None
        if expires and self._is_stale(entry, now_ms):
            return None
        return _to_end_user(entry)

    def skip_reason(self, operation: Operation, event: PendingEvent, now_ms: int) -> str | None:
        """Return why nothing has to be sent for an operation, or None."""
        if not isinstance(operation, UpsertEndUser):
            return None
        entry = self._read_entry(operation)
        if entry is None:
            return None
        newest_ms = entry.newest_event_at_ms
        outdated = newest_ms is not None and event.time_ms < newest_ms
        if outdated and event.replayed and not event.forced:
            return STALE
        unchanged = not self._is_stale(entry, now_ms) and changes_nothing(operation, entry)
        return UNCHANGED if unchanged else None

    def queue_class(self, request: PendingRequest) -> QueueClass:
        """Estimate the class of a request without decoding its user's entry."""
        operation = request.operation
        if request.queue_class is not None:
            return request.queue_class
        if operation is None or request.in_doubt:
            return QueueClass.PIXEL_ONLY if request.is_page else QueueClass.API_UPDATE
        queue_class = classify(operation, None)
        if queue_class in NEEDS_LOOKUP and self.contains(operation):
            return classify(operation, UNKNOWN_USER)
        return queue_class

    def promote_page_view(self, lane: Lane) -> None:
        """Move a page view ahead of requests that wait for the API and do not affect it."""
        position = lane.find_page_view()
        if position:
            page, earlier = lane.waiting[position], islice(lane.waiting, position)
            if isinstance(page.operation, PageView) and self.unaffected_by(
                page.operation, (request.operation for request in earlier)
            ):
                lane.promote(position)

    def unaffected_by(self, page: PageView, earlier: Iterable[Operation | None]) -> bool:
        """Return whether a page view's user is known and unaffected by ``earlier`` operations."""
        entry = self._read_entry(page)
        return (
            entry is not None
            and entry.sent_at_ms > 0
            and bool(entry.email)
            and all(_keeps_pixel_fields(operation, entry) for operation in earlier)
        )

    def store(self, request: PendingRequest, end_user: EndUser | None, now_ms: int) -> None:
        """Store what is known of the request's user after its outcome."""
        operation = request.operation
        if operation is None:
            return
        if end_user == request.known and not isinstance(operation, UpsertEndUser):
            return
        if end_user is None:
            if not isinstance(operation, PageView):
                self.invalidate(operation, request.events)
            return
        key = user_key(operation)
        if key is None:
            return
        times_ms = [event.time_ms for event in request.events]
        previous = self._read_entry(operation)
        if previous is not None and previous.newest_event_at_ms is not None:
            times_ms.append(previous.newest_event_at_ms)
        entry = UserEntry(
            id=end_user.id,
            email=end_user.email,
            external_id=end_user.external_id,
            phone_number=end_user.phone_number,
            created_at=end_user.external_created_at,
            properties=None if end_user.properties is None else dict(end_user.properties),
            sent_at_ms=now_ms,
            newest_event_at_ms=max(times_ms, default=None),
        )
        value = encode(entry)
        if len(value) > ENTRY_BYTES_MAX:
            value = encode(replace(entry, properties=None))
        self._uncommitted.put(key, value)

    def touch(self, operation: Operation, event: PendingEvent) -> None:
        """Record the time of an unchanged event: from now on, replays of older events are stale."""
        key, entry = user_key(operation), self._read_entry(operation)
        if key is None or entry is None:
            return
        if entry.newest_event_at_ms is None or entry.newest_event_at_ms < event.time_ms:
            self._uncommitted.put(key, encode(replace(entry, newest_event_at_ms=event.time_ms)))

    def invalidate(self, operation: Operation | None, events: Iterable[PendingEvent] = ()) -> None:
        """Drop what is known of the user, so that the next operation looks it up.

        The time of the user's newest event is kept, including the times of ``events``: otherwise a
        replay of an older event would win over it.
        """
        key = None if operation is None else user_key(operation)
        if operation is None or key is None:
            return
        entry = self._read_entry(operation)
        newest_ms = None if entry is None else entry.newest_event_at_ms
        times_ms = [newest_ms or 0, *(event.time_ms for event in events)]
        if any(times_ms):
            # An entry found by e-mail is valid only if it has that e-mail.
            email = operation.email if operation.external_id is None else None
            newest_ms = max(times_ms)
            placeholder = UserEntry(
                id=None, email=email, sent_at_ms=0, newest_event_at_ms=newest_ms
            )
            self._uncommitted.put(key, encode(placeholder))
        elif self._uncommitted.get(key) is not None:
            self._uncommitted.put(key, None)

    def _is_stale(self, entry: UserEntry, now_ms: int) -> bool:
        # abs(): an entry from a clock that was far ahead would otherwise never become stale.
        return abs(now_ms - entry.sent_at_ms) >= self._resend_after_s * 1000

    def _read_entry(self, operation: Operation) -> UserEntry | None:
        """Return the entry of the operation's user. A repeated call does not decode it again."""
        key = user_key(operation)
        if key is None:
            return None
        value = self._uncommitted.get(key)
        if (
            self._last_read is None
            or self._last_read[0] is not operation
            or self._last_read[1] != value
        ):
            self._last_read = (operation, value, read_user(value, operation))
        return self._last_read[2]


def _keeps_pixel_fields(operation: Operation | None, entry: UserEntry) -> bool:
    """Return whether an operation leaves the fields that the pixel sends unchanged."""
    if isinstance(operation, UpsertEndUser):
        return operation.email in (None, entry.email) and operation.external_created_at in (
            None,
            entry.created_at,
        )
    return isinstance(operation, CreateResponse | CreateDecline | PageView)


def _to_end_user(entry: UserEntry) -> EndUser:
    return EndUser(
        id=entry.id,
        email=entry.email,
        external_id=entry.external_id,
        phone_number=entry.phone_number,
        external_created_at=entry.created_at,
        properties=entry.properties,
    )
