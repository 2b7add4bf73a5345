"""Wootric's API, token endpoint and pixel as a function from a call to its reply."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, TypeAlias
from urllib.parse import unquote

import orjson

from stream.devtools.wootric_emulator import parameters, state, views
from stream.devtools.wootric_emulator.access import OAuthError, RateLimit, Tokens
from stream.devtools.wootric_emulator.behaviour import Behaviour
from stream.devtools.wootric_emulator.parameters import BadParameterError, Parameters
from stream.devtools.wootric_emulator.state import AlreadyTakenError, EmulatorState, EndUser

# A request and its reply, independent of web frameworks


JSON = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Call:
    """One request. ``query`` and ``form`` are URL-encoded, as received.

    ``base`` is ``/api`` on the regional hosts, which serve the same resources below it.
    """

    method: str
    path: str
    query: str = ""
    form: str = ""
    authorization: str | None = None
    base: str = ""

    @property
    def segments(self) -> tuple[str, ...]:
        """The path's parts, decoded individually: an encoded slash stays inside its part."""
        parts = self.path.strip("/").split("/")
        return tuple(unquote(part) if "%" in part else part for part in parts)


@dataclass(frozen=True, slots=True)
class EmulatorReply:
    """The reply to a call."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = JSON

    @classmethod
    def of(
        cls, status: int, document: object, headers: Mapping[str, str] | None = None
    ) -> "EmulatorReply":
        """Return a reply with ``document`` as JSON."""
        return cls(status, orjson.dumps(document), headers or {})


# Handlers of the API: one function per method and route.
#
# Source: docs.wootric.com (sources of 2018-10 and 2021-01) and the replies in the tests of public
# clients; anything unspecified is a switch of ``Behaviour``.


Path: TypeAlias = tuple[str, ...]
Orders: TypeAlias = dict[str, Callable[[Any], Any]]

BY_TIME: Orders = {
    "created_at": attrgetter("created_at", "id"),
    "updated_at": attrgetter("updated_at", "id"),
}
END_USER_ORDERS: Orders = {**BY_TIME, "email": lambda user: (user.email or "", user.id)}


ID_DIGITS_MAX = 18


class NotFoundError(Exception):
    """There is no record with this id."""


@dataclass(slots=True)
class Account:
    """The state of an account, and the behaviour of its API.

    ``waited_s`` is how long a request may have waited until the server read it.
    """

    behaviour: Behaviour
    state: EmulatorState
    waited_s: float = 0.0


def list_end_users(account: Account, _: Path, given: Parameters) -> EmulatorReply:
    """List a page of end users, or the one with an e-mail."""
    if "email" in given:
        found = account.state.find("email", parameters.text(given, "email") or "")
        users = [] if found is None or not _is_listed(account, found) else [found]
    else:
        users = parameters.page_of(
            (user for user in account.state.listed() if _is_listed(account, user)),
            given,
            END_USER_ORDERS,
            order=("email", "asc"),
            beyond_is_empty=_is_empty_beyond(account),
        )
    return EmulatorReply.of(200, [_view(account, user) for user in users])


def create_end_user(account: Account, _: Path, given: Parameters) -> EmulatorReply:
    """Create an end user with an identity."""
    fields = parameters.end_user(given, typed=_is_typed(account))
    names = ["email", "phone_number"]
    if account.behaviour.external_id_suffices:
        names.append("external_id")
    if not any(fields.get(name) for name in names):
        raise BadParameterError("email is missing")
    user = account.state.create_end_user(fields, unique=account.behaviour.unique_fields)
    return EmulatorReply.of(201, _written(account, user))


def show_end_user(account: Account, path: Path, given: Parameters) -> EmulatorReply:
    """Look up an end user by id, e-mail or external id."""
    return _looked_up(account, _look_up(account, path[0], given))


def show_by_phone_number(account: Account, path: Path, _: Parameters) -> EmulatorReply:
    """Look up an end user by phone number; without its plus sign it is treated as an id."""
    number = path[1]
    if number.startswith("+"):
        return _looked_up(account, account.state.find("phone_number", number))
    return _looked_up(account, _by_id(account, number))


def update_end_user(account: Account, path: Path, given: Parameters) -> EmulatorReply:
    """Set the given fields."""
    user = _required(_by_id(account, path[0]))
    account.state.update_end_user(
        user,
        parameters.end_user(given, typed=_is_typed(account)),
        unique=account.behaviour.unique_fields,
        keep_properties=account.behaviour.put_properties == "merge",
    )
    return EmulatorReply.of(200, _written(account, user))


def delete_end_user(account: Account, path: Path, given: Parameters) -> EmulatorReply:
    """Queue the deletion of an end user."""
    user = _required(_look_up(account, path[0], given))
    shown = _view(account, user)
    account.state.delete_end_user(user, delay_s=account.behaviour.delete_delay_s)
    return EmulatorReply.of(202, shown)


def create_response(account: Account, path: Path, given: Parameters) -> EmulatorReply:
    """Record an answered survey."""
    user = _required(_by_id(account, path[0]))
    fields = parameters.survey(given, scored=True, typed=_is_typed(account))
    if _is_repeated(account, user, "create_response", given):
        return EmulatorReply(201)
    answer = account.state.add_response(
        user, fields, keep_properties=_keeps(account), delay_s=_survey_delay_s(account)
    )
    return _recorded(account, views.response(answer, user))


def create_decline(account: Account, path: Path, given: Parameters) -> EmulatorReply:
    """Record a declined survey."""
    user = _required(_by_id(account, path[0]))
    fields = parameters.survey(given, scored=False, typed=_is_typed(account))
    if _is_repeated(account, user, "create_decline", given):
        return EmulatorReply(201)
    refusal = account.state.add_decline(
        user, fields, keep_properties=_keeps(account), delay_s=_survey_delay_s(account)
    )
    return _recorded(account, views.decline(refusal, user))


def list_responses(account: Account, path: Path, given: Parameters) -> EmulatorReply:
    """List a page of responses of the account or of one end user."""
    if path:
        held = account.state.responses_of(_required(_by_id(account, path[0])).id)
    else:
        held = account.state.visible_responses()
    page = parameters.page_of(held, given, BY_TIME, beyond_is_empty=_is_empty_beyond(account))
    shown = [views.response(one, account.state.by_id(one.end_user_id)) for one in page]
    return EmulatorReply.of(200, shown)


def list_declines(account: Account, path: Path, given: Parameters) -> EmulatorReply:
    """List a page of declines of the account or of one end user."""
    if path:
        held = account.state.declines_of(_required(_by_id(account, path[0])).id)
    else:
        held = account.state.visible_declines()
    page = parameters.page_of(held, given, BY_TIME, beyond_is_empty=_is_empty_beyond(account))
    shown = [views.decline(one, account.state.by_id(one.end_user_id)) for one in page]
    return EmulatorReply.of(200, shown)


def show_response(account: Account, path: Path, _: Parameters) -> EmulatorReply:
    """Answer with one response of an end user."""
    user_id, number = _number(path[0]), _number(path[2])
    for answer in account.state.responses_of(user_id):
        if answer.id == number:
            return EmulatorReply.of(200, views.response(answer, account.state.by_id(user_id)))
    raise NotFoundError


def show_decline(account: Account, path: Path, _: Parameters) -> EmulatorReply:
    """Answer with one decline of an end user."""
    user_id, number = _number(path[0]), _number(path[2])
    for refusal in account.state.declines_of(user_id):
        if refusal.id == number:
            return EmulatorReply.of(200, views.decline(refusal, account.state.by_id(user_id)))
    raise NotFoundError


Handler: TypeAlias = Callable[[Account, Path, Parameters], EmulatorReply]

HANDLERS: dict[tuple[str, str], Handler] = {
    ("GET", "/v1/end_users"): list_end_users,
    ("POST", "/v1/end_users"): create_end_user,
    ("GET", "/v1/end_users/{id}"): show_end_user,
    ("PUT", "/v1/end_users/{id}"): update_end_user,
    ("DELETE", "/v1/end_users/{id}"): delete_end_user,
    ("GET", "/v1/end_users/phone_number/{id}"): show_by_phone_number,
    ("GET", "/v1/end_users/{id}/responses"): list_responses,
    ("POST", "/v1/end_users/{id}/responses"): create_response,
    ("GET", "/v1/end_users/{id}/responses/{id}"): show_response,
    ("GET", "/v1/end_users/{id}/declines"): list_declines,
    ("POST", "/v1/end_users/{id}/declines"): create_decline,
    ("GET", "/v1/end_users/{id}/declines/{id}"): show_decline,
    ("GET", "/v1/responses"): list_responses,
    ("GET", "/v1/declines"): list_declines,
}


def _looked_up(account: Account, user: EndUser | None) -> EmulatorReply:
    if user is not None:
        return EmulatorReply.of(200, _view(account, user))
    match account.behaviour.lookup_absent:
        case "404":
            raise NotFoundError
        case "list":
            return EmulatorReply.of(200, [])
        case "null":
            return EmulatorReply.of(200, None)
        case "error_list":
            return EmulatorReply.of(200, views.RECORD_NOT_FOUND)


def _look_up(account: Account, name: str, given: Parameters) -> EndUser | None:
    """Find by the kind of a flag; without one, digits are an id, and other text is an e-mail.

    An e-mail in the path without a flag is the form of 2018, the flags are those of 2020.
    """
    if parameters.flag(given, "lookup_by_external_id"):
        return account.state.find("external_id", name)
    if parameters.flag(given, "lookup_by_email") or not name.isdecimal():
        return account.state.find("email", name)
    return _by_id(account, name)


def _by_id(account: Account, digits: str) -> EndUser | None:
    return account.state.by_id(_number(digits))


def _number(digits: str) -> int:
    """Return an id; invalid text becomes 0, which is never an id."""
    return int(digits) if digits.isdecimal() and len(digits) <= ID_DIGITS_MAX else 0


def _required(user: EndUser | None) -> EndUser:
    if user is None:
        raise NotFoundError
    return user


def _keeps(account: Account) -> bool:
    return account.behaviour.response_properties == "merge"


def _is_typed(account: Account) -> bool:
    return account.behaviour.typed_properties == "refuse"


def _is_empty_beyond(account: Account) -> bool:
    return account.behaviour.page_beyond == "empty"


def _is_listed(account: Account, user: EndUser) -> bool:
    if account.behaviour.list_shows == "all" or user.last_surveyed is not None:
        return True
    return bool(account.state.responses_of(user.id))


def _survey_delay_s(account: Account) -> float:
    queued = account.behaviour.survey_reply == "empty"
    return max(0.0, account.behaviour.survey_delay_s - account.waited_s) if queued else 0.0


def _is_repeated(
    account: Account, user: EndUser, kind: state.EffectKind, given: Parameters
) -> bool:
    link = parameters.unique_link(given)
    if link is None or account.behaviour.unique_link == "ignore":
        return False
    return account.state.is_repeated(user, kind, link)


def _recorded(account: Account, shown: views.Json) -> EmulatorReply:
    """Return the reply to a survey: the record, or nothing where it is only queued."""
    if account.behaviour.survey_reply == "empty":
        return EmulatorReply(201)
    return EmulatorReply.of(201, shown)


def _written(account: Account, user: EndUser) -> views.Json:
    if account.behaviour.write_reply == "2015":
        return views.written_end_user(user)
    return _view(account, user)


def _view(account: Account, user: EndUser) -> views.Json:
    return views.end_user(user, account.state.responses_of(user.id))


GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
PIXEL = "/pixel.gif"
PIXEL_PARAMETERS = ("account_token", "email", "created_at", "url", "random")
TOKEN = "/oauth/token"  # noqa: S105  (a path)
OTHER = "other"
"""The route of a call without a matching route."""

ROUTES = frozenset(route for _, route in HANDLERS) | {PIXEL, TOKEN}


class Api:
    """Handles calls on a state; ``clock`` returns Unix seconds."""

    def __init__(self, behaviour: Behaviour, clock: Callable[[], float]) -> None:
        self.account = Account(behaviour, EmulatorState(clock))
        self.tokens = Tokens(clock)
        self._limit = RateLimit(clock)

    def answer(self, call: Call) -> EmulatorReply:
        """Do what the call asks for, and return the reply."""
        self.account.state.advance()
        if call.path.startswith("/v1/"):
            return self._limited(call)
        match call.method, call.path:
            case "GET", "/pixel.gif":
                return self._pixel(call)
            case "POST", "/oauth/token":
                return self._token(call)
            case _:
                return _refusal(404, "Not found")

    def _limited(self, call: Call) -> EmulatorReply:
        per_minute = self.account.behaviour.rate_limit_per_minute
        if per_minute is None:
            return self._authorized(call)
        allowance = self._limit.take(per_minute)
        if not allowance.allowed:
            return EmulatorReply.of(429, {"error": "Rate limit exceeded"}, allowance.headers)
        reply = self._authorized(call)
        return EmulatorReply(reply.status, reply.body, allowance.headers, reply.content_type)

    def _authorized(self, call: Call) -> EmulatorReply:
        if not self.tokens.accepts(call.authorization):
            return EmulatorReply.of(401, {"error": "The access token is invalid"})
        handler = HANDLERS.get((call.method, route_of(call)))
        if handler is None:
            return _refusal(404, "Not found")
        try:
            return handler(self.account, call.segments[2:], parameters.parse(call.query, call.form))
        except (BadParameterError, parameters.MalformedFormError) as error:
            return _refusal(400, str(error))
        except AlreadyTakenError as error:
            name = error.field_name.replace("_", " ").capitalize()
            document = {"error": f"Validation failed: {name} has already been taken"}
            return EmulatorReply.of(self.account.behaviour.email_taken_status, document)
        except NotFoundError:
            return EmulatorReply.of(404, views.RECORD_NOT_FOUND)

    def _token(self, call: Call) -> EmulatorReply:
        try:
            given = parameters.parse(call.query, call.form)
            return EmulatorReply.of(200, self.tokens.grant(given, self.account.behaviour))
        except parameters.MalformedFormError:
            return EmulatorReply.of(400, {"error": "invalid_request"})
        except OAuthError as error:
            return EmulatorReply.of(error.status, {"error": error.code})

    def _pixel(self, call: Call) -> EmulatorReply:
        given = dict(parameters.pairs(call.query))
        known = {name: given[name] for name in PIXEL_PARAMETERS if name in given}
        self.account.state.add_page_view(known)
        return EmulatorReply(200, GIF, {"Cache-Control": "no-store"}, "image/gif")


def route_of(call: Call) -> str:
    """Return the call's path with ``{id}`` for variable parts, ``other`` without a route."""
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


def _refusal(status: int, message: str) -> EmulatorReply:
    return EmulatorReply.of(status, {"errors": [{"message": message}]})
