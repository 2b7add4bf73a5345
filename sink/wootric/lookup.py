"""Look-ups of end users. A look-up has no effect, so it is never in doubt."""

from collections.abc import Container
from typing import Any

from sink.classify import Executed, RejectedByServer
from sink.delivery import EndUser
from sink.models import Request
from sink.wootric.client import ApiClient, DeliveryContext, DeliveryFailedError, Reply
from sink.wootric.matching import same_email
from sink.wootric.operations import UpsertEndUser
from sink.wootric.replies import detail, document, end_user, is_absent, reason
from sink.wootric.requests import Requests


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
