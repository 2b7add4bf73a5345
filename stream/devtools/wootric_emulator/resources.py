"""What each resource of the API does: one function for each method and route.

Source: docs.wootric.com (sources of 2018-10 and 2021-01) and the replies that public clients
are tested with; what neither says is a switch of ``Behaviour``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeAlias

from stream.devtools.wootric_emulator import parameters, views
from stream.devtools.wootric_emulator.behaviour import Behaviour
from stream.devtools.wootric_emulator.call import Reply
from stream.devtools.wootric_emulator.forms import Parameters
from stream.devtools.wootric_emulator.parameters import BadParameter
from stream.devtools.wootric_emulator.state import EndUser, State

Path: TypeAlias = tuple[str, ...]
Orders: TypeAlias = dict[str, Callable[[Any], Any]]

BY_TIME: Orders = {
    "created_at": attrgetter("created_at", "id"),
    "updated_at": attrgetter("updated_at", "id"),
}
END_USER_ORDERS: Orders = {**BY_TIME, "email": lambda user: (user.email or "", user.id)}


ID_DIGITS_MAX = 18


class NotFound(Exception):  # noqa: N818  (named as Wootric does)
    """There is no record with this id."""


@dataclass(slots=True)
class Account:
    """What an account holds, and how Wootric behaves towards it."""

    behaviour: Behaviour
    state: State


def list_end_users(account: Account, _: Path, given: Parameters) -> Reply:
    """Answer with a page of end users, or with the one who has an e-mail."""
    if "email" in given:
        found = account.state.find("email", parameters.text(given, "email") or "")
        users = [] if found is None else [found]
    else:
        users = parameters.page_of(account.state.end_users.values(), given, END_USER_ORDERS)
    return Reply.of(200, [_view(account, user) for user in users])


def create_end_user(account: Account, _: Path, given: Parameters) -> Reply:
    """Create an end user who can be told from others."""
    fields = parameters.end_user(given)
    names = ["email", "phone_number"]
    if account.behaviour.external_id_suffices:
        names.append("external_id")
    if not any(fields.get(name) for name in names):
        raise BadParameter("email is missing")
    user = account.state.create_end_user(fields, unique=account.behaviour.unique_fields)
    return Reply.of(201, _view(account, user))


def show_end_user(account: Account, path: Path, given: Parameters) -> Reply:
    """Look one end user up: by id, e-mail or external id."""
    return _looked_up(account, _look_up(account, path[0], given))


def show_by_phone_number(account: Account, path: Path, _: Parameters) -> Reply:
    """Look one end user up by phone number; without its plus sign it is taken for an id."""
    number = path[1]
    if number.startswith("+"):
        return _looked_up(account, account.state.find("phone_number", number))
    return _looked_up(account, _by_id(account, number))


def update_end_user(account: Account, path: Path, given: Parameters) -> Reply:
    """Set the fields that are named."""
    user = _required(_by_id(account, path[0]))
    account.state.update_end_user(
        user,
        parameters.end_user(given),
        unique=account.behaviour.unique_fields,
        keep_properties=account.behaviour.put_properties == "merge",
    )
    return Reply.of(200, _view(account, user))


def delete_end_user(account: Account, path: Path, given: Parameters) -> Reply:
    """Delete an end user, at once where Wootric waits for the next morning."""
    user = _required(_look_up(account, path[0], given))
    shown = _view(account, user)
    account.state.delete_end_user(user)
    return Reply.of(200, shown)


def create_response(account: Account, path: Path, given: Parameters) -> Reply:
    """Record an answered survey."""
    user = _required(_by_id(account, path[0]))
    fields = parameters.survey(given, scored=True)
    answer = account.state.add_response(user, fields, keep_properties=_keeps(account))
    return Reply.of(201, views.response(answer))


def create_decline(account: Account, path: Path, given: Parameters) -> Reply:
    """Record a declined survey."""
    user = _required(_by_id(account, path[0]))
    fields = parameters.survey(given, scored=False)
    refusal = account.state.add_decline(user, fields, keep_properties=_keeps(account))
    return Reply.of(201, views.single_decline(refusal))


def list_responses(account: Account, path: Path, given: Parameters) -> Reply:
    """Answer with a page of the account's responses, or of one end user's."""
    if path:
        held = account.state.responses_of(_required(_by_id(account, path[0])).id)
    else:
        held = list(account.state.responses.values())
    return Reply.of(200, [views.response(one) for one in parameters.page_of(held, given, BY_TIME)])


def list_declines(account: Account, path: Path, given: Parameters) -> Reply:
    """Answer with a page of the account's declines, or of one end user's."""
    if path:
        held = account.state.declines_of(_required(_by_id(account, path[0])).id)
    else:
        held = list(account.state.declines.values())
    return Reply.of(200, [views.decline(one) for one in parameters.page_of(held, given, BY_TIME)])


def show_response(account: Account, path: Path, _: Parameters) -> Reply:
    """Answer with one response of an end user."""
    answer = account.state.responses.get(_number(path[2]))
    if answer is None or answer.end_user_id != _number(path[0]):
        raise NotFound
    return Reply.of(200, views.response(answer))


def show_decline(account: Account, path: Path, _: Parameters) -> Reply:
    """Answer with one decline of an end user, with its address and origin."""
    refusal = account.state.declines.get(_number(path[2]))
    if refusal is None or refusal.end_user_id != _number(path[0]):
        raise NotFound
    return Reply.of(200, views.single_decline(refusal))


Handler: TypeAlias = Callable[[Account, Path, Parameters], Reply]

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


def _looked_up(account: Account, user: EndUser | None) -> Reply:
    if user is not None:
        return Reply.of(200, _view(account, user))
    match account.behaviour.lookup_absent:
        case "404":
            raise NotFound
        case "empty":
            return Reply(200)
        case "list":
            return Reply.of(200, [])
        case "null":
            return Reply.of(200, None)
        case "error_list":
            return Reply.of(200, views.RECORD_NOT_FOUND)


def _look_up(account: Account, name: str, given: Parameters) -> EndUser | None:
    """Find by the kind that a flag names; else digits are an id, and the rest is an e-mail.

    The e-mail in the path without a flag is the form of 2018, the flags are those of 2020.
    """
    if parameters.flag(given, "lookup_by_external_id"):
        return account.state.find("external_id", name)
    if parameters.flag(given, "lookup_by_email") or not name.isdecimal():
        return account.state.find("email", name)
    return _by_id(account, name)


def _by_id(account: Account, digits: str) -> EndUser | None:
    return account.state.end_users.get(_number(digits))


def _number(digits: str) -> int:
    """Return an id; what is none becomes 0, which nobody has."""
    return int(digits) if digits.isdecimal() and len(digits) <= ID_DIGITS_MAX else 0


def _required(user: EndUser | None) -> EndUser:
    if user is None:
        raise NotFound
    return user


def _keeps(account: Account) -> bool:
    return account.behaviour.response_properties == "merge"


def _view(account: Account, user: EndUser) -> views.Json:
    return views.end_user(user, account.state.responses_of(user.id))
