"""A Wootric that is asked for nothing: it writes down what would be sent, and answers itself.

Whoever is looked for is not there, and every write succeeds. Ids that Wootric would give are
negative here, so that they are told from real ones.
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
IF_NOTHING_HELD = "the look-up finds nothing of the profile: only what differs is sent"
IF_NO_EFFECT = "the list does not show the effect of an earlier attempt"

_BY_ID = re.compile(r"/end_users/(-?\d+)$")
_NEW_ID = re.compile(r"/end_users/-(\d+)")
_ACCOUNT_TOKEN = re.compile(r"([?&]account_token=)[^&]*")


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request as it would leave, its secrets masked.

    ``condition`` is what a look-up before it would have to say; None for what is certain.
    """

    name: str
    method: str
    url: str
    form: Mapping[str, str] | None
    condition: str | None


@dataclass(slots=True)
class RecordingTransport:
    """Answers requests and keeps them; ``take`` hands over those since it was asked last."""

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
        """Write the request down and answer it; nothing leaves, so no lease is asked for."""
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
        return HttpResponse(200, {}, b"")

    def take(self) -> list[RecordedRequest]:
        """Return what one delivery asked for; the next one begins without conditions."""
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
