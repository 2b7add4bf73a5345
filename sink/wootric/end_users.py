"""Finding, creating, changing and deleting end users."""

from collections.abc import Callable, Container
from typing import Any

from msgspec.structs import replace

from sink.classify import ABSENT, Executed, RejectedByServer
from sink.delivery import Conflict, Delivered, EndUser, Outcome, Rejected, Skipped
from sink.models import Request
from sink.wootric.client import ApiClient, DeliveryContext, DeliveryFailedError, Reply
from sink.wootric.matching import (
    IDENTITIES,
    TAKEN,
    DeletedUsers,
    OfEndUser,
    SharedUserTracker,
    belongs_to_other,
    conflicting_fields,
    identity_of,
    same_email,
    without,
)
from sink.wootric.operations import CreateDecline, CreateResponse, DeleteEndUser, UpsertEndUser
from sink.wootric.replies import detail, document, end_user, is_absent, reason
from sink.wootric.requests import Requests, create_form, diff, merge, merged_properties

# Look-ups have no effect: they are never in doubt


class Lookup:
    """Finds end users through the API."""

    __slots__ = ("_api", "_requests")

    def __init__(self, api: ApiClient, requests: Requests) -> None:
        self._api = api
        self._requests = requests

    async def by_id(self, end_user_id: int, context: DeliveryContext) -> EndUser | None:
        """Return the end user with this id of Wootric's; None if there is none."""
        return end_user(await self._ask(self._requests.find_by_id(end_user_id), context))

    async def by_key(
        self,
        context: DeliveryContext,
        *,
        external_id: str | None,
        email: str | None,
        phone_number: str | None = None,
    ) -> EndUser | None:
        """Return the end user by external id, or else e-mail, or else phone number.

        Only the first of these that is given is looked up: it is the identity.
        """
        if external_id:
            return await self.by_external_id(external_id, context)
        if email:
            return await self.by_email(email, context)
        if phone_number and phone_number.startswith("+"):
            return await self.by_phone_number(phone_number, context)
        return None

    async def by_external_id(self, external_id: str, context: DeliveryContext) -> EndUser | None:
        """Return the end user with this external id; None if there is none.

        A reply with another external id counts as none: a server that ignores the parameter would
        treat the external id as its own id.
        """
        value = await self._ask(self._requests.find_by_external_id(external_id), context)
        found = end_user(value)
        strange = found is not None and "external_id" in value and found.external_id != external_id
        return None if strange else found

    async def by_email(self, email: str, context: DeliveryContext) -> EndUser | None:
        """Return the end user with this e-mail; None if there is none."""
        found = end_user(await self._ask(self._requests.find_by_email(email), context))
        return found if found is not None and same_email(found.email, email) else None

    async def by_email_anywhere(self, email: str, context: DeliveryContext) -> EndUser | None:
        """Return the end user with this e-mail, by the look-up or else by the list.

        Neither is known to show everybody: the list may hide who was never surveyed. One request
        more, for what must not overlook anybody.
        """
        found = await self.by_email(email, context)
        if found is None:
            listed = await self._ask(self._requests.list_by_email(email), context)
            users = map(end_user, listed) if isinstance(listed, list) else ()
            found = next((one for one in users if one and same_email(one.email, email)), None)
        return found

    async def by_phone_number(self, phone_number: str, context: DeliveryContext) -> EndUser | None:
        """Return the end user with this phone number; None if there is none."""
        return end_user(await self._ask(self._requests.find_by_phone_number(phone_number), context))

    async def holder(
        self, wanted: UpsertEndUser, fields: Container[str], context: DeliveryContext
    ) -> EndUser | None:
        """Return the end user that holds the wanted value of one of ``fields``; None if none does.

        A phone number is used only without other identities, because families share one. The
        external id, which nobody had a moment ago, is used only if the conflict cannot be the
        phone number's.
        """
        phone_number = wanted.phone_number if "phone_number" in fields else None
        if not wanted.email and not wanted.external_id:
            return await self.by_key(
                context, external_id=None, email=None, phone_number=phone_number
            )
        found = None
        if wanted.email and "email" in fields:
            found = await self.by_email_anywhere(wanted.email, context)
        if found is None and wanted.external_id and "external_id" in fields and not phone_number:
            found = await self.by_external_id(wanted.external_id, context)
        return found

    async def _ask(self, request: Request, context: DeliveryContext) -> Any:
        """Return the JSON value of the reply; None if it states that there is nobody.

        Raises:
            DeliveryFailedError: the look-up was refused.
        """
        reply: Reply = await self._api.call(request, context)
        match reply:
            case Executed(_, body):
                return document(body)
            case RejectedByServer(status, body):
                if is_absent(status, body):
                    return None
                raise DeliveryFailedError(
                    context.refused_for_good(
                        f"lookup_{reason(status, body)}",
                        detail(body),
                        status=status,
                        is_lookup=True,
                    )
                )


# End users known from earlier deliveries: used as they are, or fetched where possibly outdated


class EndUserResolver:
    """Resolves the end user that a delivery knows from an earlier one.

    ``conflict`` is called with the kind of an identity conflict and the delivery's request id.
    """

    __slots__ = ("_conflict", "_deleted", "_lookup", "_writers")

    def __init__(self, lookup: Lookup, conflict: Callable[[str, str], None]) -> None:
        self._lookup = lookup
        self._conflict = conflict
        self._writers = SharedUserTracker()
        self._deleted = DeletedUsers()

    async def user(
        self, operation: OfEndUser, context: DeliveryContext, *, refetch: bool
    ) -> EndUser | None:
        """Return the known end user, fetched if its profile may be incomplete or outdated.

        ``refetch`` fetches in any case. None if nobody is known, or if the end user no longer
        exists or no longer belongs to this operation.
        """
        known = context.delivery.known
        if known is None or known.id is None:
            return None
        outdated = self._writers.outdated(known.id, identity_of(operation))
        if known.properties is not None and not refetch and not outdated:
            return known
        shown = await self._lookup.by_id(known.id, context)
        if shown is None or belongs_to_other(shown, operation):
            self.report_conflict(Conflict.GONE, context)
            return None
        return shown

    def deleted(self, end_user_id: int) -> None:
        """Record a deletion, which may take days."""
        self._deleted.add(end_user_id)

    def check_deletion(self, known: EndUser, context: DeliveryContext) -> None:
        """Report a write to an end user whose deletion is pending: it is lost with them."""
        if known.id in self._deleted:
            self.report_conflict(Conflict.DELETION_PENDING, context)

    def wrote(self, known: EndUser, operation: OfEndUser) -> None:
        """Record a write, which makes the knowledge of others that share the end user outdated."""
        if known.id is not None:
            shared = known.external_id != operation.external_id
            self._writers.wrote(known.id, identity_of(operation), shared=shared)

    def changed(
        self, known: EndUser, wanted: UpsertEndUser, body: bytes | None, context: DeliveryContext
    ) -> EndUser:
        """Return the end user after a change; its reply may show that it is shared."""
        if wanted.external_id and known.external_id not in {None, wanted.external_id}:
            self.report_conflict(Conflict.TAKEN_OVER, context)
        self.wrote(known, wanted)
        after = merge(known, wanted)
        shown = end_user(document(body))
        if shown is None or shown.id is None or shown.external_id in {None, after.external_id}:
            return after
        # Another user id was assigned to it meanwhile, so its profile may have other changes.
        self._writers.wrote(shown.id, shown.external_id, shared=True)
        return replace(after, external_id=shown.external_id, properties=None)

    def report_conflict(self, kind: Conflict, context: DeliveryContext) -> None:
        """Report an identity conflict."""
        self._conflict(kind.value, context.delivery.request_id)


NONE_LEFT_OUT: frozenset[str] = frozenset()


class EndUsers:
    """Creates, changes and deletes end users; one write each unless identities conflict."""

    __slots__ = ("_api", "_known", "_lookup", "_requests")

    def __init__(
        self, api: ApiClient, lookup: Lookup, known: EndUserResolver, requests: Requests
    ) -> None:
        self._api = api
        self._lookup = lookup
        self._known = known
        self._requests = requests

    async def upsert(self, wanted: UpsertEndUser, context: DeliveryContext) -> Outcome:
        """Update the end user if it exists, otherwise create it."""
        known = await self._known.user(wanted, context, refetch=context.delivery.in_doubt)
        if known is not None:
            outcome = await self._change(known, wanted, context)
            if outcome is not None:
                return outcome
            self._known.report_conflict(Conflict.GONE, context)
        found = await self._find(wanted, context)
        if found is not None:
            outcome = await self._change(found, wanted, context)
            if outcome is not None:
                return outcome
        return await self.create(wanted, context)

    async def create(self, wanted: UpsertEndUser, context: DeliveryContext) -> Outcome:
        """Create the end user; if another one holds a unique value, update that one."""
        if not _findable(wanted):
            return Rejected(
                reason="phone_number_not_findable",
                detail="Wootric finds only phone numbers that begin with +",
                attempts=context.attempts,
            )
        reply = await self._api.call(self._requests.create_end_user(create_form(wanted)), context)
        if isinstance(reply, RejectedByServer):
            return await self._resolve(wanted, reply, context)
        created = end_user(document(reply.body))
        known = None if created is None else merge(EndUser(id=created.id), wanted)
        return self._delivered(known, reply.status, context)

    async def set_properties(
        self, known: EndUser, survey: CreateResponse | CreateDecline, context: DeliveryContext
    ) -> EndUser | None:
        """Return the end user with the survey's properties; None if it no longer exists.

        They are sent before the survey and not with it: Wootric queues surveys, and a queued
        property could replace the value of a later event.

        Raises:
            DeliveryFailedError: Wootric refuses them.
        """
        self._known.check_deletion(known, context)
        form = diff(known, UpsertEndUser(properties=survey.properties))
        if not form or known.id is None:
            return known
        reply = await self._api.call(self._requests.update_end_user(known.id, form), context)
        if isinstance(reply, Executed):
            self._known.wrote(known, survey)
            return replace(known, properties=merged_properties(known, survey.properties))
        if is_absent(reply.status, reply.body):
            return None
        raise DeliveryFailedError(context.rejected(reply, reason(reply.status, reply.body)))

    async def delete(self, wanted: DeleteEndUser, context: DeliveryContext) -> Outcome:
        """Delete the end user; skip it as ``absent`` if there is none to be found."""
        gone = EndUser(id=None, email=wanted.email, external_id=wanted.external_id)
        # A delete cannot be undone, so fetch first: it may belong to somebody else by now.
        known = await self._known.user(wanted, context, refetch=True)
        if known is None and wanted.external_id:
            known = await self._lookup.by_external_id(wanted.external_id, context)
        if known is None and wanted.email:
            known = await self._lookup.by_email_anywhere(wanted.email, context)
            if wanted.external_id and known and known.external_id not in {None, wanted.external_id}:
                known = None  # it belongs to another user id by now
        if known is None or known.id is None:
            if context.delivery.in_doubt:
                return Delivered(attempts=context.attempts)
            return Skipped(reason="absent", end_user=gone)
        reply = await self._api.call(self._requests.delete_end_user(known.id), context)
        if isinstance(reply, RejectedByServer) and reply.status not in ABSENT:
            return context.rejected(reply, reason(reply.status, reply.body))
        self._known.deleted(known.id)
        return self._delivered(None, reply.status, context)

    async def identify(self, wanted: UpsertEndUser, context: DeliveryContext) -> EndUser:
        """Return the end user that a response belongs to, created if there is none.

        Raises:
            DeliveryFailedError: there is none, and none could be created.
        """
        found = await self._find(wanted, context)
        if found is not None:
            return found
        outcome = await self.create(wanted, context)
        if not isinstance(outcome, Delivered | Skipped):
            raise DeliveryFailedError(outcome)
        created = outcome.end_user or await self._find(wanted, context)
        if created is None:
            # It was just created, but the reply was unreadable. Retry until a look-up finds it:
            # an end user without e-mail would otherwise be created again.
            raise DeliveryFailedError(
                self._api.in_doubt("created user not found yet", context, isolated=True)
            )
        return created

    async def _find(self, wanted: UpsertEndUser, context: DeliveryContext) -> EndUser | None:
        return await self._lookup.by_key(
            context,
            external_id=wanted.external_id,
            email=wanted.email,
            phone_number=wanted.phone_number,
        )

    async def _resolve(
        self, wanted: UpsertEndUser, refusal: RejectedByServer, context: DeliveryContext
    ) -> Outcome:
        """Update the end user that holds the identity, since creating another one failed."""
        fields = conflicting_fields(refusal.status, refusal.body)
        if not fields:
            return context.rejected(refusal, reason(refusal.status, refusal.body))
        holder = await self._lookup.holder(wanted, fields, context)
        if holder is not None:
            if holder.external_id in {None, wanted.external_id} or wanted.external_id is None:
                self._known.report_conflict(Conflict.JOINED, context)
            outcome = await self._change(holder, wanted, context)
            if outcome is not None:
                return outcome
        elif wanted.phone_number and "phone_number" in fields and identity_of(wanted):
            self._known.report_conflict(Conflict.PHONE_NUMBER_TAKEN, context)
            return await self.create(without(wanted, {"phone_number"}), context)
        else:
            return context.rejected(refusal, "taken_but_not_found")
        return context.rejected(refusal, "already_taken")

    async def _change(
        self,
        known: EndUser,
        wanted: UpsertEndUser,
        context: DeliveryContext,
        left_out: frozenset[str] = NONE_LEFT_OUT,
    ) -> Outcome | None:
        """Send the fields that differ, in one request; None if the end user no longer exists.

        An identity that another end user holds is left unchanged, and the rest is sent.
        """
        if known.id is None:
            return None
        self._known.check_deletion(known, context)
        form = diff(known, wanted)
        if not form:
            return self._as_it_is(merge(known, wanted), context, left_out)
        reply = await self._api.call(self._requests.update_end_user(known.id, form), context)
        if isinstance(reply, Executed):
            after = self._known.changed(known, wanted, reply.body, context)
            return self._delivered(after, reply.status, context)
        if is_absent(reply.status, reply.body):
            return None
        sent = {name for name, _ in form}
        fields = conflicting_fields(reply.status, reply.body) & sent
        if not fields:
            return context.rejected(reply, reason(reply.status, reply.body))
        for name in IDENTITIES:
            if name in fields:
                self._known.report_conflict(TAKEN[name], context)
        rest = without(wanted, fields)
        return await self._change(known, rest, context, left_out | fields)

    @staticmethod
    def _as_it_is(known: EndUser, context: DeliveryContext, left_out: frozenset[str]) -> Outcome:
        """Return the outcome when no field differs, or no longer does."""
        if context.delivery.in_doubt or (context.attempts and not left_out):
            return Delivered(end_user=known, attempts=context.attempts)
        if left_out:
            return Skipped(reason="identity_taken", end_user=known)
        return Skipped(reason="unchanged", end_user=known)

    @staticmethod
    def _delivered(user: EndUser | None, status: int, context: DeliveryContext) -> Delivered:
        return Delivered(end_user=user, status=status, attempts=context.attempts)


def _findable(wanted: UpsertEndUser) -> bool:
    """Return whether a look-up could find it; otherwise every identify would create it again."""
    phone_number = wanted.phone_number or ""
    return bool(wanted.external_id or wanted.email or phone_number.startswith("+"))
