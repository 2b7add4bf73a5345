"""Responses and declines, each recorded once."""

from collections.abc import Mapping
from typing import Any

from sink.classify import Executed, RejectedByServer
from sink.delivery import Conflict, Delivered, EndUser, Outcome, Parked, Rejected, claims_of
from sink.wootric.client import ApiClient, DeliveryContext, DeliveryFailedError
from sink.wootric.end_users import EndUserResolver, EndUsers, Lookup
from sink.wootric.matching import (
    candidates,
    claim,
    is_effect_of,
    shows_all,
)
from sink.wootric.operations import CreateDecline, CreateResponse, UpsertEndUser
from sink.wootric.replies import document, identifier, is_absent, reason
from sink.wootric.requests import PAGES_MAX, Requests

Survey = CreateResponse | CreateDecline


class Surveys:
    """Records answered and declined surveys; one in doubt is searched for first."""

    __slots__ = ("_api", "_end_users", "_known", "_lookup", "_requests")

    def __init__(
        self,
        api: ApiClient,
        lookup: Lookup,
        end_users: EndUsers,
        known: EndUserResolver,
        requests: Requests,
    ) -> None:
        self._api = api
        self._lookup = lookup
        self._end_users = end_users
        self._known = known
        self._requests = requests

    async def record(self, survey: Survey, context: DeliveryContext) -> Outcome:
        """Record a survey for its end user, which is created if it does not exist."""
        if not survey.email and not survey.external_id:
            return Rejected(reason="no_identity", detail="neither e-mail nor external id")
        known = context.delivery.known
        if survey.properties:
            known = await self._known.user(survey, context, refetch=False)
        if known is not None and known.id is not None:
            outcome = await self._record(survey, known, known.id, context)
            if outcome is not None:
                return outcome
            self._known.report_conflict(Conflict.GONE, context)
        # Unknown or deleted meanwhile: find or create an end user with this identity.
        wanted = UpsertEndUser(
            email=survey.email, external_id=survey.external_id, properties=survey.properties
        )
        found = await self._end_users.identify(wanted, context)
        outcome = None if found.id is None else await self._record(survey, found, found.id, context)
        return outcome or self._nowhere(context)

    async def find(self, survey: Survey, context: DeliveryContext) -> list[int]:
        """Return the ids of the surveys that may be this one's effect. Sends only look-ups.

        The end user is looked up if the delivery does not know it; without one there are no ids.
        """
        known = context.delivery.known
        if known is None:
            known = await self._lookup.by_key(
                context, external_id=survey.external_id, email=survey.email
            )
        if known is None or known.id is None:
            return []
        found = await self._effects(survey, known.id, context)
        return [one for item in found or () if (one := identifier(item)) is not None]

    def _nowhere(self, context: DeliveryContext) -> Outcome:
        """Return the outcome when an end user that was just found is reported as absent.

        It may have been deleted in between, so retry once. The second time the survey itself is
        refused.
        """
        if not context.delivery.refused:
            return self._api.deferred("end user is gone", context, refused=True)
        message = "the end user exists, but its surveys do not"
        return context.refused_for_good("record_not_found", message, status=404, is_lookup=True)

    async def _record(
        self, survey: Survey, known: EndUser, end_user_id: int, context: DeliveryContext
    ) -> Outcome | None:
        """Send the survey unless its effect exists; None if the end user does not exist."""
        if context.delivery.in_doubt:
            found = await self._effects(survey, end_user_id, context)
            if found is None:
                return None
            if found:
                return _recognized(found, known)
        user = await self._end_users.set_properties(known, survey, context)
        if user is None:
            return None
        request = self._requests.create_survey(
            end_user_id, survey, request_id=context.delivery.request_id
        )
        reply = await self._api.call(request, context)
        match reply:
            case Executed(status, body):
                return Delivered(
                    end_user=user,
                    remote_id=identifier(document(body)),
                    claim=claim(end_user_id, survey),
                    status=status,
                    attempts=context.attempts,
                )
            case RejectedByServer(status, body):
                if is_absent(status, body):
                    return None
                return context.rejected(reply, reason(status, body))

    async def _effects(
        self, survey: Survey, end_user_id: int, context: DeliveryContext
    ) -> list[Mapping[str, Any]] | None:
        """Return the surveys that may be this one's effect; None if the end user does not exist."""
        listed = await self._list(survey, end_user_id, context)
        if listed is None:
            return None
        claimed = context.delivery.claimed
        found = [
            item
            for item in candidates(listed, survey, claimed=claimed)
            if shows_all(item, survey)
            or is_effect_of(await self._shown(item, survey, end_user_id, context), survey)
        ]
        return found[claims_of(claim(end_user_id, survey), claimed) :]

    async def _shown(
        self, item: Mapping[str, Any], survey: Survey, end_user_id: int, context: DeliveryContext
    ) -> Mapping[str, Any]:
        """Return the survey fetched by its id; as listed if that fails."""
        survey_id = identifier(item)
        if survey_id is None:
            return item
        reply = await self._api.call(
            self._requests.find_survey(end_user_id, survey, survey_id), context
        )
        shown = document(reply.body) if isinstance(reply, Executed) else None
        return shown if isinstance(shown, dict) else item

    async def _list(
        self, survey: Survey, end_user_id: int, context: DeliveryContext
    ) -> list[Mapping[str, Any]] | None:
        """Return all surveys of an end user; None if the end user does not exist.

        The list ends with a page without new entries, not with a short one: a server may return
        fewer than requested.
        """
        listed: dict[int | None, Mapping[str, Any]] = {}
        page = 1
        while True:
            request = self._requests.list_surveys(end_user_id, survey, page=page)
            reply = await self._api.call(request, context)
            if isinstance(reply, RejectedByServer):
                if is_absent(reply.status, reply.body):
                    return None
                # The list is not complete (pages may end at 30): the effect may be beyond.
                raise _incomplete(page, reason(reply.status, reply.body))
            value = document(reply.body)
            new = {identifier(item): item for item in value}
            if None in new:
                raise _incomplete(page, "an entry has no id")
            if new.keys() <= listed.keys():
                return list(listed.values())
            if page == PAGES_MAX:
                raise _incomplete(page, "later pages are always empty")
            listed = new | listed
            page += 1


def _recognized(found: list[Mapping[str, Any]], user: EndUser) -> Outcome:
    """Return the outcome of a survey whose effect is among these."""
    if len(found) > 1:
        return Parked(reason="two_candidates", detail=f"{len(found)} surveys match this one")
    return Delivered(end_user=user, remote_id=identifier(found[0]), attempts=0)


def _incomplete(page: int, why: str) -> DeliveryFailedError:
    """Return the error of a delivery whose effect may be in an unreadable part of the list."""
    return DeliveryFailedError(
        Parked(reason="list_incomplete", detail=f"page {page}: {why}", attempts=0)
    )
