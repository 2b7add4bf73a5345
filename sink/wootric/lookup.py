"""Looking end users up. A look-up has no effect: whatever happens to it, nothing is in doubt."""

from collections.abc import Container
from typing import Any

from sink.classify import Executed, RejectedByServer
from sink.models import Request
from sink.wootric.client import Answer, ApiClient, DeliveryContext, DeliveryEnded
from sink.wootric.delivery import EndUser
from sink.wootric.operations import UpsertEndUser
from sink.wootric.replies import detail, document, end_user, is_absent, reason
from sink.wootric.requests import Requests

NOTHING = (b"", b"null")


class Lookup:
    """Finds end users at the API."""

    __slots__ = ("_api", "_requests")

    def __init__(self, api: ApiClient, requests: Requests) -> None:
        self._api = api
        self._requests = requests

    async def by_id(self, end_user_id: int, effort: DeliveryContext) -> EndUser | None:
        """Return the end user with Wootric's id; None if there is none."""
        return end_user(await self._ask(self._requests.find_by_id(end_user_id), effort))

    async def by_key(
        self,
        effort: DeliveryContext,
        *,
        external_id: str | None,
        email: str | None,
        phone_number: str | None = None,
    ) -> EndUser | None:
        """Return the end user by external id, else by e-mail, else by phone number.

        Only the first of these that is there is asked for: it is the identity.
        """
        if external_id:
            return await self.by_external_id(external_id, effort)
        if email:
            return await self.by_email(email, effort)
        if phone_number and phone_number.startswith("+"):
            return await self.by_phone_number(phone_number, effort)
        return None

    async def by_external_id(self, external_id: str, effort: DeliveryContext) -> EndUser | None:
        """Return the end user with this external id; None if there is none.

        Somebody else's is none: a server that does not know the parameter would take the
        external id for its own.
        """
        value = await self._ask(self._requests.find_by_external_id(external_id), effort)
        found = end_user(value)
        strange = found is not None and "external_id" in value and found.external_id != external_id
        return None if strange else found

    async def by_email(self, email: str, effort: DeliveryContext) -> EndUser | None:
        """Return the end user with this e-mail; None if there is none."""
        listed = await self._ask(self._requests.find_by_email(email), effort)
        if isinstance(listed, list):
            for found in filter(None, map(end_user, listed)):
                if (found.email or "").casefold() == email.casefold():
                    return found
        return None

    async def by_phone_number(self, phone_number: str, effort: DeliveryContext) -> EndUser | None:
        """Return the end user with this phone number; None if there is none."""
        return end_user(await self._ask(self._requests.find_by_phone_number(phone_number), effort))

    async def holder(
        self, wanted: UpsertEndUser, fields: Container[str], effort: DeliveryContext
    ) -> EndUser | None:
        """Return the end user that holds one of ``fields`` as wanted; None if there is none.

        A phone number counts only where there is nothing else (families share one); the external
        id, which nobody bore a moment ago, only where it cannot be the phone number.
        """
        phone_number = wanted.phone_number if "phone_number" in fields else None
        if not wanted.email and not wanted.external_id:
            return await self.by_key(
                effort, external_id=None, email=None, phone_number=phone_number
            )
        found = None
        if wanted.email and "email" in fields:
            found = await self.by_email(wanted.email, effort)
        if found is None and wanted.external_id and "external_id" in fields and not phone_number:
            found = await self.by_external_id(wanted.external_id, effort)
        return found

    async def _ask(self, request: Request, effort: DeliveryContext) -> Any:
        """Return what an answer says, as JSON; None where it says that there is nobody.

        What cannot be read does not say so: whoever is there would be created once more, or
        not be deleted.
        """
        answer: Answer = await self._api.call(request, effort)
        match answer:
            case Executed(_, body):
                value = document(body)
                if value is None and (body or b"").strip() not in NOTHING:
                    raise DeliveryEnded(self._api.deferred("lookup_unreadable", effort))
                return value
            case RejectedByServer(status, body):
                if is_absent(status, body):
                    return None
                said = detail(body)
                raise DeliveryEnded(
                    effort.turned_away(
                        f"lookup_{reason(status, body)}", said, status=status, looking=True
                    )
                )
