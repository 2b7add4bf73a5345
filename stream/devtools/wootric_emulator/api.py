"""Wootric's API, token endpoint and pixel as one function from a call to its reply."""

import base64
from collections.abc import Callable

from stream.devtools.wootric_emulator import forms, views
from stream.devtools.wootric_emulator.behaviour import Behaviour
from stream.devtools.wootric_emulator.call import Call, Reply
from stream.devtools.wootric_emulator.limits import RateLimit
from stream.devtools.wootric_emulator.oauth import Refused, Tokens
from stream.devtools.wootric_emulator.parameters import BadParameter
from stream.devtools.wootric_emulator.resources import HANDLERS, Account, NotFound
from stream.devtools.wootric_emulator.state import State, Taken

GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
PIXEL = "/pixel.gif"
PIXEL_PARAMETERS = ("account_token", "email", "created_at", "url", "random")
TOKEN = "/oauth/token"  # noqa: S105  (a path)
OTHER = "other"
"""The route of a call that no route fits."""

ROUTES = frozenset(route for _, route in HANDLERS) | {PIXEL, TOKEN}


class Api:
    """Answers calls from a state; ``clock`` gives Unix seconds."""

    def __init__(self, behaviour: Behaviour, clock: Callable[[], float]) -> None:
        self.account = Account(behaviour, State(clock))
        self.tokens = Tokens(clock)
        self._limit = RateLimit(clock)

    def answer(self, call: Call) -> Reply:
        """Do what the call asks for, and return the reply."""
        if call.path.startswith("/v1/"):
            return self._limited(call)
        match call.method, call.path:
            case "GET", "/pixel.gif":
                return self._pixel(call)
            case "POST", "/oauth/token":
                return self._token(call)
            case _:
                return _refusal(404, "Not found")

    def _limited(self, call: Call) -> Reply:
        per_minute = self.account.behaviour.rate_limit_per_minute
        if per_minute is None:
            return self._authorized(call)
        allowance = self._limit.take(per_minute)
        if not allowance.allowed:
            return Reply.of(429, {"error": "Rate limit exceeded"}, allowance.headers)
        reply = self._authorized(call)
        return Reply(reply.status, reply.body, allowance.headers, reply.content_type)

    def _authorized(self, call: Call) -> Reply:
        if not self.tokens.accepts(call.authorization):
            return Reply.of(401, {"error": "The access token is invalid"})
        handler = HANDLERS.get((call.method, route_of(call)))
        if handler is None:
            return _refusal(404, "Not found")
        try:
            return handler(self.account, call.segments[2:], forms.parse(call.query, call.form))
        except (BadParameter, forms.MalformedForm) as error:
            return _refusal(400, str(error))
        except Taken as error:
            name = error.field_name.replace("_", " ").capitalize()
            document = {"error": f"Validation failed: {name} has already been taken"}
            return Reply.of(self.account.behaviour.email_taken_status, document)
        except NotFound:
            return Reply.of(404, views.RECORD_NOT_FOUND)

    def _token(self, call: Call) -> Reply:
        try:
            given = forms.parse(call.query, call.form)
            return Reply.of(200, self.tokens.grant(given, self.account.behaviour))
        except forms.MalformedForm:
            return Reply.of(400, {"error": "invalid_request"})
        except Refused as error:
            return Reply.of(error.status, {"error": error.code})

    def _pixel(self, call: Call) -> Reply:
        given = dict(forms.pairs(call.query))
        known = {name: given[name] for name in PIXEL_PARAMETERS if name in given}
        self.account.state.add_page_view(known)
        return Reply(200, GIF, {"Cache-Control": "no-store"}, "image/gif")


def route_of(call: Call) -> str:
    """Return the call's path with ``{id}`` for what varies, ``other`` if nothing is there."""
    if call.path in ROUTES:
        return call.path
    match call.segments:
        case "v1", "end_users", "phone_number", _:
            return "/v1/end_users/phone_number/{id}"
        case "v1", "end_users", _:
            return "/v1/end_users/{id}"
        case "v1", "end_users", _, kind:
            route = f"/v1/end_users/{{id}}/{kind}"
        case "v1", "end_users", _, kind, _:
            route = f"/v1/end_users/{{id}}/{kind}/{{id}}"
        case _:
            return OTHER
    return route if route in ROUTES else OTHER


def _refusal(status: int, message: str) -> Reply:
    return Reply.of(status, {"errors": [{"message": message}]})
