"""Transport of a dry run: records the requests that would be sent and replies to them itself.

Look-ups find nobody and writes succeed. Ids that Wootric would assign are negative here, which
distinguishes them from real ones.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

import orjson

from sink.models import HttpResponse, Request, SendResult

LOOKUPS = frozenset({"find_end_user", "find_responses", "find_declines"})
LISTS = frozenset({"list_responses", "list_declines"})
CREATIONS = frozenset({"create_end_user", "create_response", "create_decline"})

IF_ABSENT = "the look-up finds nobody"
IF_NOTHING_HELD = "the profile found is empty; otherwise only the fields that differ are sent"
IF_NO_EFFECT = "the list does not show the effect of an earlier attempt"

_BY_ID = re.compile(r"/end_users/(-?\d+)$")
_NEW_ID = re.compile(r"/end_users/-(\d+)")
_ACCOUNT_TOKEN = re.compile(r"([?&]account_token=)[^&]*")


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request as it would be sent, with secrets masked.

    ``condition`` is the result of an earlier look-up on which the request depends; None if it
    depends on none.
    """

    name: str
    method: str
    url: str
    form: Mapping[str, str] | None
    condition: str | None


@dataclass(slots=True)
class RecordingTransport:
    """Records requests and replies to them; ``take`` returns those since its last call."""

    _requests: list[RecordedRequest] = field(default_factory=list)
    _condition: str | None = None
    _last_id: int = 0

    async def send(
        self,
        request: Request,
        headers: Mapping[str, str],
        *,
        may_send: Callable[[], bool] = lambda: True,
    ) -> SendResult:
        """Record ``request`` and return a reply. The lease is not checked: nothing is sent."""
        del headers, may_send
        if request.name == "token":
            return _reply(200, {"access_token": "none", "token_type": "bearer"})
        self._note(request)
        if request.name in LISTS:
            self._condition = IF_NO_EFFECT
            return _reply(200, [])
        if request.name in LOOKUPS:
            return self._looked_up(request)
        if request.name in CREATIONS:
            self._last_id -= 1
            return _reply(201, {"id": self._last_id})
        if request.name == "page_view":
            return HttpResponse(200, {}, b"")
        return _reply(200, {"id": 0})

    def take(self) -> list[RecordedRequest]:
        """Return and forget the requests of one delivery, and reset the condition."""
        requests, self._requests, self._condition = self._requests, [], None
        return requests

    def _looked_up(self, request: Request) -> SendResult:
        known = _BY_ID.search(request.url.raw_path)
        if known is not None and not request.url.raw_query_string:
            self._condition = IF_NOTHING_HELD
            return _reply(200, {"id": int(known[1])})
        self._condition = IF_ABSENT
        return _reply(404, {"errors": [{"status": "record_not_found"}]})

    def _note(self, request: Request) -> None:
        url = _ACCOUNT_TOKEN.sub(r"\1***", str(request.url))
        body = None if request.body is None else request.body.decode("ascii")
        form = None if body is None else dict(parse_qsl(body, keep_blank_values=True))
        self._requests.append(
            RecordedRequest(
                name=request.name,
                method=request.method,
                url=_NEW_ID.sub(r"/end_users/{new-\1}", url),
                form=form,
                condition=self._condition,
            )
        )


def _reply(status: int, document: object) -> HttpResponse:
    return HttpResponse(status, {}, orjson.dumps(document))
