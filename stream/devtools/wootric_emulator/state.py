"""The state of Wootric, and the list of all its changes.

It is independent of HTTP and has no own clock. ``effects`` is the oracle of the tests: one entry
for each change that really happened, whether or not a reply reported it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Any, Literal, TypeAlias

EffectKind: TypeAlias = Literal[
    "create_end_user",
    "update_end_user",
    "delete_end_user",
    "create_response",
    "create_decline",
    "page_view",
]
Fields: TypeAlias = Mapping[str, Any]

LOOKED_UP = ("email", "external_id", "phone_number")


class AlreadyTakenError(Exception):
    """Another end user holds this value of a unique field."""

    def __init__(self, field_name: str) -> None:
        super().__init__(field_name)
        self.field_name = field_name


@dataclass(slots=True, kw_only=True)
class EndUser:
    """A person who may be surveyed. All times are in Unix seconds."""

    id: int
    created_at: int
    updated_at: int
    email: str | None = None
    external_id: str | None = None
    phone_number: str | None = None
    external_created_at: int | None = None
    last_surveyed: int | None = None
    properties: dict[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answered survey. All times are in Unix seconds."""

    id: int
    end_user_id: int
    score: int
    created_at: int
    updated_at: int
    text: str | None = None
    ip_address: str | None = None
    origin_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decline:
    """A survey that was shown and declined. All times are in Unix seconds."""

    id: int
    end_user_id: int
    created_at: int
    updated_at: int
    ip_address: str | None = None
    origin_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PageView:
    """One load of the pixel: its parameters as received, at Unix time ``at``."""

    id: int
    at: float
    account_token: str | None = None
    email: str | None = None
    created_at: str | None = None
    url: str | None = None
    random: str | None = None


@dataclass(frozen=True, slots=True)
class Effect:
    """One change of the state: the object created, changed or deleted, and its fields.

    ``id`` is the object's, ``end_user_id`` the end user's (None for a page view);
    ``at`` is in Unix seconds.
    """

    kind: EffectKind
    id: int
    end_user_id: int | None
    fields: Fields
    at: float


@dataclass(slots=True)
class Index:
    """Index of end users by one field; the oldest holder comes first."""

    holders: dict[str, list[int]] = field(default_factory=dict)

    def first(self, value: str) -> int | None:
        """Return the id of the oldest holder of ``value``."""
        ids = self.holders.get(value)
        return ids[0] if ids else None

    def move(self, end_user_id: int, old: str | None, new: str | None) -> None:
        """Record a changed value of an end user; None means no value."""
        if old == new:
            return
        if old is not None:
            ids = self.holders[old]
            ids.remove(end_user_id)
            if not ids:
                del self.holders[old]
        if new is not None:
            self.holders.setdefault(new, []).append(end_user_id)


class EmulatorState:
    """The state of one account; ``clock`` returns Unix seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last_id = 0
        self._indexes = {name: Index() for name in LOOKED_UP}
        self._answers: dict[int, list[Response]] = {}
        self._refusals: dict[int, list[Decline]] = {}
        self.end_users: dict[int, EndUser] = {}
        self.responses: dict[int, Response] = {}
        self.declines: dict[int, Decline] = {}
        self.page_views: list[PageView] = []
        self.effects: list[Effect] = []

    def find(self, field_name: str, value: str) -> EndUser | None:
        """Return the end user whose e-mail, external id or phone number is ``value``."""
        end_user_id = self._indexes[field_name].first(value)
        return None if end_user_id is None else self.end_users[end_user_id]

    def responses_of(self, end_user_id: int) -> list[Response]:
        """Return the responses of one end user, in the order in which they arrived."""
        return self._answers.get(end_user_id, [])

    def declines_of(self, end_user_id: int) -> list[Decline]:
        """Return the declines of one end user, in the order in which they arrived."""
        return self._refusals.get(end_user_id, [])

    def create_end_user(self, fields: Fields, *, unique: Collection[str]) -> EndUser:
        """Add an end user.

        Raises:
            AlreadyTakenError: another one holds the same value of a unique field.
        """
        self._check_free(fields, unique, own_id=None)
        now = int(self._clock())
        user = EndUser(id=self._next_id(), created_at=now, updated_at=now)
        self._assign(user, fields, keep_properties=False)
        self.end_users[user.id] = user
        self._note("create_end_user", user.id, user.id, fields)
        return user

    def update_end_user(
        self, user: EndUser, fields: Fields, *, unique: Collection[str], keep_properties: bool
    ) -> None:
        """Set ``fields``; other properties are kept if ``keep_properties``.

        Raises:
            AlreadyTakenError: another one holds the same value of a unique field.
        """
        self._check_free(fields, unique, own_id=user.id)
        self._assign(user, fields, keep_properties=keep_properties)
        user.updated_at = int(self._clock())
        self._note("update_end_user", user.id, user.id, fields)

    def delete_end_user(self, user: EndUser) -> None:
        """Remove an end user; the account's lists keep the responses and declines."""
        for name, index in self._indexes.items():
            index.move(user.id, getattr(user, name), None)
        del self.end_users[user.id]
        self._note("delete_end_user", user.id, user.id, {})

    def add_response(self, user: EndUser, fields: Fields, *, keep_properties: bool) -> Response:
        """Record an answered survey, with the end user's properties if there are any."""
        answer = Response(id=self._next_id(), end_user_id=user.id, **self._survey(fields))
        self._describe(user, fields, keep_properties=keep_properties)
        self.responses[answer.id] = answer
        self._answers.setdefault(user.id, []).append(answer)
        self._note("create_response", answer.id, user.id, fields)
        return answer

    def add_decline(self, user: EndUser, fields: Fields, *, keep_properties: bool) -> Decline:
        """Record a declined survey, with the end user's properties if there are any."""
        decline = Decline(id=self._next_id(), end_user_id=user.id, **self._survey(fields))
        self._describe(user, fields, keep_properties=keep_properties)
        self.declines[decline.id] = decline
        self._refusals.setdefault(user.id, []).append(decline)
        self._note("create_decline", decline.id, user.id, fields)
        return decline

    def add_page_view(self, fields: Fields) -> PageView:
        """Record one load of the pixel."""
        view = PageView(id=self._next_id(), at=self._clock(), **fields)
        self.page_views.append(view)
        self._note("page_view", view.id, None, fields)
        return view

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _note(self, kind: EffectKind, thing: int, end_user_id: int | None, fields: Fields) -> None:
        self.effects.append(Effect(kind, thing, end_user_id, fields, self._clock()))

    def _check_free(self, fields: Fields, unique: Collection[str], *, own_id: int | None) -> None:
        for name in unique:
            value = fields.get(name)
            if value is not None and self._indexes[name].first(value) not in {None, own_id}:
                raise AlreadyTakenError(name)

    def _assign(self, user: EndUser, fields: Fields, *, keep_properties: bool) -> None:
        for name, value in fields.items():
            if name == "properties":
                user.properties = {**user.properties, **value} if keep_properties else dict(value)
                continue
            if name in self._indexes:
                self._indexes[name].move(user.id, getattr(user, name), value)
            setattr(user, name, value)

    def _describe(self, user: EndUser, fields: Fields, *, keep_properties: bool) -> None:
        if "properties" in fields:
            properties = {"properties": fields["properties"]}
            self._assign(user, properties, keep_properties=keep_properties)
            user.updated_at = int(self._clock())

    def _survey(self, fields: Fields) -> dict[str, Any]:
        now = int(self._clock())
        own = {name: value for name, value in fields.items() if name != "properties"}
        return {"created_at": now, **own, "updated_at": now}


# Wootric's objects in replies.
#
# Source: docs.wootric.com, objects of end users, responses and declines (sources of 2018-10
# and 2021-01): times are text in the account's zone, ``external_created_at`` alone is a number.


Json: TypeAlias = dict[str, Any]

ACCOUNT_ID = 1
SURVEY_ID = 1
ZONE = timezone(timedelta(hours=-8))
"""Wootric's examples have Pacific time; a client must parse the offset, not assume UTC."""

RECORD_NOT_FOUND: Json = {
    "type": "error_list",
    "errors": [
        {
            "status": "record_not_found",
            "message": "The record could not be found",
            "field": None,
        }
    ],
}

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=4096)
def time_text(at: int | None) -> str | None:
    """Return Unix seconds in Wootric's format: ``2018-01-02 23:03:41 -0800``."""
    if at is None:
        return None
    return f"{(EPOCH + timedelta(seconds=at)).astimezone(ZONE):%Y-%m-%d %H:%M:%S %z}"


def end_user(user: EndUser, responses: Sequence[Response]) -> Json:
    """Return an end user with the last response."""
    return {
        "id": user.id,
        "created_at": time_text(user.created_at),
        "updated_at": time_text(user.updated_at),
        "email": user.email,
        "last_surveyed": time_text(user.last_surveyed),
        "external_created_at": user.external_created_at,
        "last_seen_at": None,
        "properties": user.properties,
        "phone_number": user.phone_number,
        "external_id": user.external_id,
        "last_response": _last_response(responses[-1]) if responses else None,
        "settings": _settings(),
    }


def response(answer: Response) -> Json:
    """Return an answered survey."""
    return {
        "id": answer.id,
        "created_at": time_text(answer.created_at),
        "updated_at": time_text(answer.updated_at),
        "score": answer.score,
        "text": answer.text,
        "ip_address": answer.ip_address,
        "origin_url": answer.origin_url,
        "end_user_id": answer.end_user_id,
        "user_id": ACCOUNT_ID,
        "survey_id": SURVEY_ID,
    }


def decline(refusal: Decline) -> Json:
    """Return a declined survey as in lists: without address and origin."""
    return {
        "id": refusal.id,
        "end_user_id": refusal.end_user_id,
        "created_at": time_text(refusal.created_at),
        "updated_at": time_text(refusal.updated_at),
        "user_id": ACCOUNT_ID,
        "survey_id": SURVEY_ID,
    }


def single_decline(refusal: Decline) -> Json:
    """Return a declined survey as fetched by its id."""
    origin = {"ip_address": refusal.ip_address, "origin_url": refusal.origin_url}
    return {**decline(refusal), **origin}


def _last_response(last: Response) -> Json:
    return {"id": last.id, "score": last.score, "text": last.text, "survey": {"channel": "web"}}


def _settings() -> Json:
    return {
        "email_nps": True,
        "mobile_nps": True,
        "web_nps": True,
        "force_web_survey": None,
        "force_mobile_survey": None,
    }
