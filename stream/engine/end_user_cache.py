"""Cache of what is known of each end user, and the rule to skip unchanged profiles."""

from collections.abc import Iterable
from itertools import islice

from msgspec.structs import replace

from sink.delivery import EffectClass, EndUser, Operation, QueueClass
from stream.engine.checkpoint import UncommittedChanges
from stream.engine.lanes import Lane, PendingEvent, PendingRequest
from stream.engine.scheduler import NEEDS_LOOKUP
from stream.state.ledger import UserEntry, encode, read_user, user_key

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
        expires = operation.writes_profile or entry.end_user.id is None
        return None if expires and self._is_stale(entry, now_ms) else entry.end_user

    def skip_reason(self, operation: Operation, event: PendingEvent, now_ms: int) -> str | None:
        """Return why nothing has to be sent for an operation, or None."""
        if not operation.writes_profile:
            return None
        entry = self._read_entry(operation)
        if entry is None:
            return None
        newest_ms = entry.newest_event_at_ms
        outdated = newest_ms is not None and event.time_ms < newest_ms
        if outdated and event.replayed and not event.forced:
            return STALE
        if self._is_stale(entry, now_ms) or not operation.is_unchanged(entry.end_user):
            return None
        return UNCHANGED

    def queue_class(self, request: PendingRequest) -> QueueClass:
        """Estimate the class of a request without decoding its user's entry."""
        operation = request.operation
        if request.queue_class is not None:
            return request.queue_class
        if operation is None or request.in_doubt:
            return QueueClass.UNLIMITED if request.is_unlimited else QueueClass.UPDATE
        queue_class = operation.queue_class(None)
        if queue_class in NEEDS_LOOKUP and self.contains(operation):
            return operation.queue_class(UNKNOWN_USER)
        return queue_class

    def promote(self, lane: Lane) -> None:
        """Move a request that no rate limit counts ahead of those that it may overtake."""
        position = lane.find_unlimited()
        operation = lane.waiting[position].operation if position else None
        if operation is None:
            return
        entry = self._read_entry(operation)
        earlier = (request.operation for request in islice(lane.waiting, position))
        if (
            entry is not None
            and entry.sent_at_ms > 0
            and operation.may_overtake(earlier, entry.end_user)
        ):
            lane.promote(position)

    def store(self, request: PendingRequest, end_user: EndUser | None, now_ms: int) -> None:
        """Store what is known of the request's user after its outcome."""
        operation = request.operation
        if operation is None:
            return
        if end_user is None:
            if operation.effect is not EffectClass.UNOBSERVABLE:
                self.invalidate(operation, request.events)
            return
        if end_user == request.known and not operation.writes_profile:
            return
        key = user_key(operation)
        if key is None:
            return
        times_ms = [event.time_ms for event in request.events]
        previous = self._read_entry(operation)
        if previous is not None and previous.newest_event_at_ms is not None:
            times_ms.append(previous.newest_event_at_ms)
        entry = UserEntry(
            end_user=end_user,
            sent_at_ms=now_ms,
            newest_event_at_ms=max(times_ms, default=None),
        )
        value = encode(entry)
        if len(value) > ENTRY_BYTES_MAX:
            value = encode(replace(entry, end_user=replace(end_user, properties=None)))
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
            nobody = EndUser(id=None, email=email)
            placeholder = UserEntry(end_user=nobody, sent_at_ms=0, newest_event_at_ms=newest_ms)
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
