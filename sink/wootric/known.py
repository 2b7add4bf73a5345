"""What is known of end users from before: used as it is, or looked at where it may be outdated."""

from collections.abc import Callable
from dataclasses import replace

from sink.wootric.delivery import EndUser
from sink.wootric.effort import Effort
from sink.wootric.identity import Conflict, OfEndUser, Writers, is_stranger, name_of
from sink.wootric.lookup import Lookup
from sink.wootric.operations import UpsertEndUser
from sink.wootric.profile import merged
from sink.wootric.replies import document, end_user


class Known:
    """Answers for what a delivery says it knows.

    ``conflict`` hears of identities that clash: the kind, and the delivery's request id.
    """

    __slots__ = ("_conflict", "_lookup", "_writers")

    def __init__(self, lookup: Lookup, conflict: Callable[[str, str], None]) -> None:
        self._lookup = lookup
        self._conflict = conflict
        self._writers = Writers()

    async def user(self, operation: OfEndUser, effort: Effort, *, look: bool) -> EndUser | None:
        """Return the end user as known, looked at if its profile is not known for certain.

        ``look`` looks in any case. None if nobody is known, or if it is not there, or not this
        operation's, any more.
        """
        known = effort.delivery.known
        if known is None or known.id is None:
            return None
        outdated = self._writers.outdated(known.id, name_of(operation))
        if known.properties is not None and not look and not outdated:
            return known
        shown = await self._lookup.by_id(known.id, effort)
        if shown is None or is_stranger(shown, operation):
            self.clash(Conflict.GONE, effort)
            return None
        return shown

    def wrote(self, known: EndUser, operation: OfEndUser) -> None:
        """Note a write, which dates what others know of an end user that they share."""
        if known.id is not None:
            shared = known.external_id != operation.external_id
            self._writers.wrote(known.id, name_of(operation), shared=shared)

    def changed(
        self, known: EndUser, wanted: UpsertEndUser, body: bytes | None, effort: Effort
    ) -> EndUser:
        """Return what is known after a change; its answer shows who else has a hand in it."""
        if wanted.external_id and known.external_id not in {None, wanted.external_id}:
            self.clash(Conflict.TAKEN_OVER, effort)
        self.wrote(known, wanted)
        after = merged(known, wanted)
        shown = end_user(document(body))
        if shown is None or shown.id is None or shown.external_id in {None, after.external_id}:
            return after
        # It has got another user id since we knew it: what we know of it is not all.
        self._writers.wrote(shown.id, shown.external_id, shared=True)
        return replace(after, external_id=shown.external_id, properties=None)

    def clash(self, kind: Conflict, effort: Effort) -> None:
        """Tell of identities that clash."""
        self._conflict(kind.value, effort.delivery.request_id)
