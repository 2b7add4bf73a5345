"""Page views, reported through the pixel."""

from msgspec.structs import replace

from sink.classify import Executed
from sink.delivery import Delivered, EndUser, Outcome, Skipped
from sink.wootric.client import ApiClient, DeliveryContext
from sink.wootric.end_users import Lookup
from sink.wootric.operations import PageView
from sink.wootric.replies import reason
from sink.wootric.requests import Requests


class Pages:
    """Loads the pixel for end users whose e-mail is known or can be looked up."""

    __slots__ = ("_lookup", "_pixel", "_requests")

    def __init__(self, pixel: ApiClient, lookup: Lookup, requests: Requests) -> None:
        self._pixel = pixel
        self._lookup = lookup
        self._requests = requests

    async def view(self, page: PageView, context: DeliveryContext) -> Outcome:
        """Report a page view; skip it if the end user's e-mail is not known."""
        user = context.delivery.known
        if page.needs_lookup(user):
            user = await self._lookup.by_key(
                context, external_id=page.external_id, email=page.email
            ) or _absent(page)
        if user is not None:
            created_at = page.created_at
            page = replace(
                page,
                email=page.email or user.email,
                created_at=user.external_created_at if created_at is None else created_at,
            )
        if not page.email:
            return Skipped(reason="no_email", end_user=user)
        reply = await self._pixel.call(self._requests.view_page(page), context)
        if isinstance(reply, Executed):
            return Delivered(end_user=user, status=reply.status, attempts=context.attempts)
        return context.rejected(reply, reason(reply.status, reply.body))


def _absent(page: PageView) -> EndUser:
    """Return an end user that does not exist, under the identity that was looked up."""
    if page.external_id:
        return EndUser(id=None, external_id=page.external_id)
    return EndUser(id=None, email=page.email)
