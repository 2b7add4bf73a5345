"""Recording responses and declines, each once."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sink.classify import Executed, RejectedByServer
from sink.wootric.client import ApiClient, DeliveryContext, DeliveryEnded
from sink.wootric.delivery import Delivered, EndUser, Outcome, Parked, Rejected
from sink.wootric.end_users import EndUserResolver, EndUsers
from sink.wootric.matching import Conflict, candidates, is_effect_of, shows_all
from sink.wootric.operations import CreateDecline, CreateResponse, UpsertEndUser
from sink.wootric.replies import document, identifier, is_absent, reason
from sink.wootric.requests import Requests, merged_properties

Survey = CreateResponse | CreateDecline


class Surveys:
    """Records answered and declined surveys; after a doubt it looks for the effect first."""

    __slots__ = ("_api", "_end_users", "_known", "_requests")

    def __init__(
        self, api: ApiClient, end_users: EndUsers, known: EndUserResolver, requests: Requests
    ) -> None:
        self._api = api
        self._end_users = end_users
        self._known = known
        self._requests = requests

    async def record(self, survey: Survey, effort: DeliveryContext) -> Outcome:
        """Record a survey with its end user, who is created if unknown."""
        if not survey.email and not survey.external_id:
            return Rejected(reason="no_identity", detail="neither e-mail nor external id")
        known = effort.delivery.known
        if survey.properties:
            known = await self._known.user(survey, effort, look=False)
        if known is not None and known.id is not None:
            outcome = await self._record(survey, known, known.id, effort)
            if outcome is not None:
                return outcome
            self._known.clash(Conflict.GONE, effort)
        # Unknown, or gone since we knew it: an end user of this identity, found or new.
        wanted = UpsertEndUser(email=survey.email, external_id=survey.external_id)
        found = await self._end_users.identify(wanted, effort)
        outcome = None if found.id is None else await self._record(survey, found, found.id, effort)
        return outcome or self._nowhere(effort)

    def _nowhere(self, effort: DeliveryContext) -> Outcome:
        """Return the outcome where an end user who was just found is said not to be there.

        It may have been deleted in between. Said again, it is the survey that has no place there.
        """
        if not effort.delivery.refused:
            return self._api.deferred("end user is gone", effort, refused=True)
        said = "the end user is found, but not for this"
        return effort.turned_away("record_not_found", said, status=404, looking=True)

    async def _record(
        self, survey: Survey, known: EndUser, end_user_id: int, effort: DeliveryContext
    ) -> Outcome | None:
        """Send the survey unless its effect is there; None if there is no such end user."""
        after = replace(known, properties=None) if survey.properties else known
        if effort.delivery.in_doubt:
            found = await self._effects(survey, end_user_id, effort)
            if found is None:
                return None
            if len(found) > 1:
                return Parked(
                    reason="two_candidates", detail=f"{len(found)} surveys look like this one"
                )
            if found:
                return Delivered(end_user=after, remote_id=identifier(found[0]), attempts=0)
        # All properties, old under new: whether they merge or replace is not documented.
        properties = merged_properties(known, survey.properties) if survey.properties else {}
        request = self._requests.create_survey(end_user_id, survey, properties)
        answer = await self._api.call(request, effort)
        match answer:
            case Executed(status, body):
                if properties:
                    self._known.wrote(known, survey)
                remote_id = identifier(document(body))
                if remote_id is None:
                    # It exists, and which one it is will be seen: a receipt without its id
                    # would leave it to be taken for the effect of one that is just like it.
                    raise DeliveryEnded(self._api.in_doubt("the answer names no id", effort))
                return Delivered(
                    end_user=after,
                    remote_id=remote_id,
                    status=status,
                    attempts=effort.attempts,
                )
            case RejectedByServer(status, body):
                if is_absent(status, body):
                    return None
                return effort.rejected(answer, reason(status, body))

    async def _effects(
        self, survey: Survey, end_user_id: int, effort: DeliveryContext
    ) -> list[Mapping[str, Any]] | None:
        """Return what may be this survey's effect; None if there is no such end user."""
        listed = await self._list(survey, end_user_id, effort)
        if listed is None:
            return None
        found = candidates(listed, survey, claimed=effort.delivery.claimed)
        return [
            item
            for item in found
            if shows_all(item, survey)
            or is_effect_of(await self._shown(item, survey, end_user_id, effort), survey)
        ]

    async def _shown(
        self, item: Mapping[str, Any], survey: Survey, end_user_id: int, effort: DeliveryContext
    ) -> Mapping[str, Any]:
        """Return a survey as it is shown on its own; as listed, if it is not shown."""
        survey_id = identifier(item)
        if survey_id is None:
            return item
        answer = await self._api.call(
            self._requests.find_survey(end_user_id, survey, survey_id), effort
        )
        shown = document(answer.body) if isinstance(answer, Executed) else None
        return shown if isinstance(shown, dict) else item

    async def _list(
        self, survey: Survey, end_user_id: int, effort: DeliveryContext
    ) -> list[Mapping[str, Any]] | None:
        """Return all surveys of an end user; None if there is no such end user.

        The end is a page with nothing new, not a short one: a server may give fewer than asked.
        """
        listed: dict[int | None, Mapping[str, Any]] = {}
        page = 1
        while True:
            request = self._requests.list_surveys(end_user_id, survey, page=page)
            answer = await self._api.call(request, effort)
            if isinstance(answer, RejectedByServer):
                if is_absent(answer.status, answer.body):
                    return None
                # Not all can be seen (pages end at 30, for one): the effect may be beyond.
                raise _incomplete(page, reason(answer.status, answer.body))
            value = document(answer.body)
            if not isinstance(value, list):
                raise _incomplete(page, "no list")
            new = {identifier(item): item for item in value}
            if None in new:
                raise _incomplete(page, "what is listed has no id")
            if new.keys() <= listed.keys():
                return list(listed.values())
            listed = new | listed
            page += 1


def _incomplete(page: int, why: str) -> DeliveryEnded:
    """Return the end of a delivery whose effect may be where nobody can look."""
    return DeliveryEnded(Parked(reason="list_incomplete", detail=f"page {page}: {why}", attempts=0))
