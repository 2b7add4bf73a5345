"""Creating, changing and deleting end users."""

from collections.abc import Callable
from dataclasses import replace

from sink.classify import Executed, RejectedByServer
from sink.wootric.client import ApiClient, DeliveryContext, DeliveryEnded
from sink.wootric.delivery import Delivered, EndUser, Outcome, Rejected, Skipped
from sink.wootric.lookup import Lookup
from sink.wootric.matching import (
    IDENTITIES,
    LEFT_AS_IT_WAS,
    Conflict,
    OfEndUser,
    SharedUserTracker,
    belongs_to_other,
    clashing,
    name_of,
    without,
)
from sink.wootric.operations import DeleteEndUser, UpsertEndUser
from sink.wootric.replies import document, end_user, is_absent, reason
from sink.wootric.requests import Requests, create_form, diff, merge

# What is known of end users from before: used as it is, or looked at where it may be outdated


class EndUserResolver:
    """Answers for what a delivery says it knows.

    ``conflict`` hears of identities that clash: the kind, and the delivery's request id.
    """

    __slots__ = ("_conflict", "_lookup", "_writers")

    def __init__(self, lookup: Lookup, conflict: Callable[[str, str], None]) -> None:
        self._lookup = lookup
        self._conflict = conflict
        self._writers = SharedUserTracker()

    async def user(
        self, operation: OfEndUser, effort: DeliveryContext, *, look: bool
    ) -> EndUser | None:
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
        if shown is None or belongs_to_other(shown, operation):
            self.clash(Conflict.GONE, effort)
            return None
        return shown

    def wrote(self, known: EndUser, operation: OfEndUser) -> None:
        """Note a write, which dates what others know of an end user that they share."""
        if known.id is not None:
            shared = known.external_id != operation.external_id
            self._writers.wrote(known.id, name_of(operation), shared=shared)

    def changed(
        self, known: EndUser, wanted: UpsertEndUser, body: bytes | None, effort: DeliveryContext
    ) -> EndUser:
        """Return what is known after a change; its answer shows who else has a hand in it."""
        if wanted.external_id and known.external_id not in {None, wanted.external_id}:
            self.clash(Conflict.TAKEN_OVER, effort)
        self.wrote(known, wanted)
        after = merge(known, wanted)
        shown = end_user(document(body))
        if shown is None or shown.id is None or shown.external_id in {None, after.external_id}:
            return after
        # It has got another user id since we knew it: what we know of it is not all.
        self._writers.wrote(shown.id, shown.external_id, shared=True)
        return replace(after, external_id=shown.external_id, properties=None)

    def clash(self, kind: Conflict, effort: DeliveryContext) -> None:
        """Tell of identities that clash."""
        self._conflict(kind.value, effort.delivery.request_id)


NONE_LEFT_OUT: frozenset[str] = frozenset()


class EndUsers:
    """Brings end users to the state that is wanted. One write, if no identities clash."""

    __slots__ = ("_api", "_known", "_lookup", "_requests")

    def __init__(
        self, api: ApiClient, lookup: Lookup, known: EndUserResolver, requests: Requests
    ) -> None:
        self._api = api
        self._lookup = lookup
        self._known = known
        self._requests = requests

    async def upsert(self, wanted: UpsertEndUser, effort: DeliveryContext) -> Outcome:
        """Change the end user if there is one, else create it."""
        known = await self._known.user(wanted, effort, look=effort.delivery.in_doubt)
        if known is not None:
            outcome = await self._change(known, wanted, effort)
            if outcome is not None:
                return outcome
            self._known.clash(Conflict.GONE, effort)
        found = await self._find(wanted, effort)
        if found is not None:
            outcome = await self._change(found, wanted, effort)
            if outcome is not None:
                return outcome
        return await self.create(wanted, effort)

    async def create(self, wanted: UpsertEndUser, effort: DeliveryContext) -> Outcome:
        """Create the end user; if another one holds what must be unique, change that one."""
        if not _findable(wanted):
            return Rejected(
                reason="phone_number_not_findable",
                detail="Wootric finds phone numbers that begin with + only",
                attempts=effort.attempts,
            )
        answer = await self._api.call(self._requests.create_end_user(create_form(wanted)), effort)
        if isinstance(answer, RejectedByServer):
            return await self._resolve(wanted, answer, effort)
        created = end_user(document(answer.body))
        known = None if created is None else merge(EndUser(id=created.id), wanted)
        return self._delivered(known, answer.status, effort)

    async def delete(self, wanted: DeleteEndUser, effort: DeliveryContext) -> Outcome:
        """Delete the end user; that there is none is as good."""
        gone = EndUser(id=None, email=wanted.email, external_id=wanted.external_id)
        # What cannot be undone is looked at first: by now it may be another one's.
        known = await self._known.user(wanted, effort, look=True)
        if known is None:
            known = await self._lookup.by_key(
                effort, external_id=wanted.external_id, email=wanted.email
            )
        if known is None and wanted.external_id and wanted.email:
            known = await self._lookup.by_email(wanted.email, effort)
            if known is not None and known.external_id not in {None, wanted.external_id}:
                known = None  # it is another one's by now
        if known is None or known.id is None:
            return Delivered(end_user=gone, attempts=effort.attempts)
        answer = await self._api.call(self._requests.delete_end_user(known.id), effort)
        if isinstance(answer, RejectedByServer) and answer.status not in {404, 410}:
            return effort.rejected(answer, reason(answer.status, answer.body))
        return self._delivered(gone, answer.status, effort)

    async def identify(self, wanted: UpsertEndUser, effort: DeliveryContext) -> EndUser:
        """Return the end user that a response belongs to, created if there is none.

        Raises:
            DeliveryEnded: there is none and none can be created.
        """
        found = await self._find(wanted, effort)
        if found is not None:
            return found
        outcome = await self.create(wanted, effort)
        if not isinstance(outcome, Delivered | Skipped):
            raise DeliveryEnded(outcome)
        created = outcome.end_user or await self._find(wanted, effort)
        if created is None:
            # It was created just now, in an answer that could not be read: it will be found. Not
            # before it can be, or whoever has no e-mail is created once more.
            raise DeliveryEnded(self._api.in_doubt("created user not found yet", effort))
        return created

    async def _find(self, wanted: UpsertEndUser, effort: DeliveryContext) -> EndUser | None:
        return await self._lookup.by_key(
            effort,
            external_id=wanted.external_id,
            email=wanted.email,
            phone_number=wanted.phone_number,
        )

    async def _resolve(
        self, wanted: UpsertEndUser, refusal: RejectedByServer, effort: DeliveryContext
    ) -> Outcome:
        """Bring what could not be created to the end user who holds the identity."""
        fields = clashing(refusal.status, refusal.body)
        if not fields:
            return effort.rejected(refusal, reason(refusal.status, refusal.body))
        holder = await self._lookup.holder(wanted, fields, effort)
        if holder is not None:
            if holder.external_id in {None, wanted.external_id} or wanted.external_id is None:
                self._known.clash(Conflict.JOINED, effort)
            outcome = await self._change(holder, wanted, effort)
            if outcome is not None:
                return outcome
        elif wanted.phone_number and "phone_number" in fields and name_of(wanted):
            self._known.clash(Conflict.PHONE_NUMBER_TAKEN, effort)
            return await self.create(without(wanted, {"phone_number"}), effort)
        return effort.rejected(refusal, "already_taken")

    async def _change(
        self,
        known: EndUser,
        wanted: UpsertEndUser,
        effort: DeliveryContext,
        left_out: frozenset[str] = NONE_LEFT_OUT,
    ) -> Outcome | None:
        """Send what differs, in one request; None if there is no such end user any more.

        An identity that another end user holds is left as it is, and the rest sent.
        """
        if known.id is None:
            return None
        form = diff(known, wanted)
        if not form:
            return self._as_it_is(merge(known, wanted), effort, left_out)
        answer = await self._api.call(self._requests.update_end_user(known.id, form), effort)
        if isinstance(answer, Executed):
            after = self._known.changed(known, wanted, answer.body, effort)
            return self._delivered(after, answer.status, effort)
        if is_absent(answer.status, answer.body):
            return None
        sent = {name for name, _ in form}
        fields = clashing(answer.status, answer.body) & sent
        if not fields:
            return effort.rejected(answer, reason(answer.status, answer.body))
        for name in IDENTITIES:
            if name in fields:
                self._known.clash(LEFT_AS_IT_WAS[name], effort)
        rest = without(wanted, fields)
        return await self._change(known, rest, effort, left_out | fields)

    @staticmethod
    def _as_it_is(known: EndUser, effort: DeliveryContext, left_out: frozenset[str]) -> Outcome:
        """Return the outcome where nothing differs (any more)."""
        if effort.delivery.in_doubt or (effort.attempts and not left_out):
            return Delivered(end_user=known, attempts=effort.attempts)
        if left_out:
            return Skipped(reason="identity_taken", end_user=known)
        return Skipped(reason="unchanged", end_user=known)

    @staticmethod
    def _delivered(user: EndUser | None, status: int, effort: DeliveryContext) -> Delivered:
        return Delivered(end_user=user, status=status, attempts=effort.attempts)


def _findable(wanted: UpsertEndUser) -> bool:
    """Return whether it could be found again: who cannot would be created again and again."""
    phone_number = wanted.phone_number or ""
    return bool(wanted.external_id or wanted.email or phone_number.startswith("+"))
