"""Creating, changing and deleting end users."""

from sink.classify import Executed, Refused
from sink.delivery import Delivered, EndUser, Outcome, Skipped
from sink.wootric.answers import document, end_user, is_error, reason, taken
from sink.wootric.effort import Effort, Ended
from sink.wootric.lookup import Lookup
from sink.wootric.operations import DeleteEndUser, UpsertEndUser
from sink.wootric.profile import changes, creation, merged
from sink.wootric.request import Requests
from sink.wootric.upstream import Upstream


class EndUsers:
    """Brings end users to the state that is wanted. One write of each kind at most."""

    __slots__ = ("_api", "_lookup", "_requests")

    def __init__(self, api: Upstream, lookup: Lookup, requests: Requests) -> None:
        self._api = api
        self._lookup = lookup
        self._requests = requests

    async def upsert(self, wanted: UpsertEndUser, effort: Effort) -> Outcome:
        """Change the end user if there is one, else create it."""
        delivery = effort.delivery
        known = delivery.known
        if known is not None and known.id is not None:
            if known.properties is None or delivery.in_doubt:
                known = await self._lookup.by_id(known.id, effort)
            if known is not None:
                outcome = await self._change(known, wanted, effort)
                if outcome is not None:
                    return outcome
        found = await self._find(wanted, effort)
        if found is not None:
            outcome = await self._change(found, wanted, effort)
            if outcome is not None:
                return outcome
        return await self.create(wanted, effort)

    async def create(self, wanted: UpsertEndUser, effort: Effort) -> Outcome:
        """Create the end user; if another one holds what must be unique, change that one."""
        answer = await self._api.call(self._requests.create_end_user(creation(wanted)), effort)
        created = end_user(document(answer.body)) if isinstance(answer, Executed) else None
        if created is not None:
            return self._delivered(merged(EndUser(id=created.id), wanted), answer.status, effort)
        if taken(answer.body) or answer.status == 409:
            holder = await self._holder(wanted, effort)
            outcome = await self._change(holder, wanted, effort) if holder is not None else None
            if outcome is not None:
                return outcome
            return effort.rejected(Refused(answer.status, answer.body), "already_taken")
        if isinstance(answer, Refused) or is_error(answer.body):
            refusal = Refused(answer.status, answer.body)
            return effort.rejected(refusal, reason(answer.status, answer.body))
        return self._delivered(None, answer.status, effort)

    async def delete(self, wanted: DeleteEndUser, effort: Effort) -> Outcome:
        """Delete the end user; that there is none is as good."""
        gone = EndUser(id=None, email=wanted.email, external_id=wanted.external_id)
        known = effort.delivery.known
        if known is None or known.id is None:
            known = await self._lookup.by_key(
                effort, external_id=wanted.external_id, email=wanted.email
            )
        if known is None or known.id is None:
            return Delivered(end_user=gone, attempts=effort.attempts)
        answer = await self._api.call(self._requests.delete_end_user(known.id), effort)
        if isinstance(answer, Refused) and answer.status not in {404, 410}:
            return effort.rejected(answer, reason(answer.status, answer.body))
        return self._delivered(gone, answer.status, effort)

    async def identify(self, wanted: UpsertEndUser, effort: Effort) -> EndUser:
        """Return the end user that a response belongs to, created if there is none.

        Raises:
            Ended: there is none and none can be created.
        """
        found = await self._find(wanted, effort)
        if found is not None:
            return found
        outcome = await self.create(wanted, effort)
        if not isinstance(outcome, Delivered | Skipped):
            raise Ended(outcome)
        created = outcome.end_user or await self._find(wanted, effort)
        if created is None:
            # It was created just now, in an answer that could not be read: it will be found.
            raise Ended(self._api.not_now("created user not found yet", effort))
        return created

    async def _find(self, wanted: UpsertEndUser, effort: Effort) -> EndUser | None:
        return await self._lookup.by_key(
            effort,
            external_id=wanted.external_id,
            email=wanted.email,
            phone_number=wanted.phone_number,
        )

    async def _holder(self, wanted: UpsertEndUser, effort: Effort) -> EndUser | None:
        """Return the end user that holds one of the identities wanted."""
        if wanted.external_id:
            found = await self._lookup.by_external_id(wanted.external_id, effort)
            if found is not None:
                return found
        if wanted.email:
            found = await self._lookup.by_email(wanted.email, effort)
            if found is not None:
                return found
        return await self._lookup.by_key(
            effort, external_id=None, email=None, phone_number=wanted.phone_number
        )

    async def _change(
        self, known: EndUser, wanted: UpsertEndUser, effort: Effort
    ) -> Outcome | None:
        """Send what differs, in one request; None if there is no such end user any more."""
        after = merged(known, wanted)
        form = changes(known, wanted)
        if known.id is None:
            return None
        if not form:
            if effort.delivery.in_doubt or effort.attempts:
                return Delivered(end_user=after, attempts=effort.attempts)
            return Skipped(reason="unchanged", end_user=after)
        answer = await self._api.call(self._requests.update_end_user(known.id, form), effort)
        match answer:
            case Executed(status):
                return self._delivered(after, status, effort)
            case Refused(status=404):
                return None
            case Refused(status, body):
                return effort.rejected(answer, reason(status, body))

    @staticmethod
    def _delivered(user: EndUser | None, status: int, effort: Effort) -> Delivered:
        return Delivered(end_user=user, status=status, attempts=effort.attempts)
