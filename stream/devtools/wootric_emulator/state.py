"""The state of Wootric, and the list of all its changes.

It is independent of HTTP and has no own clock. ``effects`` is the oracle of the tests: one entry
for each change that really happened, whether or not a reply reported it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeAlias, TypeVar

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
    listed_from: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decline:
    """A survey that was shown and declined. All times are in Unix seconds."""

    id: int
    end_user_id: int
    created_at: int
    updated_at: int
    ip_address: str | None = None
    origin_url: str | None = None
    listed_from: float = 0.0


Survey = TypeVar("Survey", Response, Decline)


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
        self._links: set[tuple[int, EffectKind, str]] = set()
        self._queue: list[tuple[float, Callable[[], None]]] = []
        self.end_users: dict[int, EndUser] = {}
        self.leaving: dict[int, EndUser] = {}
        """Deleted end users, who are found and changed until the deletion takes them."""
        self.responses: dict[int, Response] = {}
        self.declines: dict[int, Decline] = {}
        self.page_views: list[PageView] = []
        self.effects: list[Effect] = []

    def advance(self) -> None:
        """Do what was queued and is due by now."""
        now = self._clock()
        due = [act for at, act in self._queue if at <= now]
        self._queue = [(at, act) for at, act in self._queue if at > now]
        for act in due:
            act()

    def find(self, field_name: str, value: str) -> EndUser | None:
        """Return the end user whose e-mail, external id or phone number is ``value``."""
        end_user_id = self._indexes[field_name].first(value)
        return None if end_user_id is None else self.by_id(end_user_id)

    def by_id(self, end_user_id: int) -> EndUser | None:
        """Return the end user with this id, also one whose deletion is queued."""
        return self.end_users.get(end_user_id) or self.leaving.get(end_user_id)

    def listed(self) -> list[EndUser]:
        """Return every end user who can be found."""
        return [*self.end_users.values(), *self.leaving.values()]

    def responses_of(self, end_user_id: int) -> list[Response]:
        """Return the listed responses of one end user, in the order in which they arrived."""
        return self._visible(self._answers.get(end_user_id, ()))

    def declines_of(self, end_user_id: int) -> list[Decline]:
        """Return the listed declines of one end user, in the order in which they arrived."""
        return self._visible(self._refusals.get(end_user_id, ()))

    def visible_responses(self) -> list[Response]:
        """Return every listed response of the account."""
        return self._visible(self.responses.values())

    def visible_declines(self) -> list[Decline]:
        """Return every listed decline of the account."""
        return self._visible(self.declines.values())

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

    def delete_end_user(self, user: EndUser, *, delay_s: float = 0.0) -> None:
        """Remove an end user, after a delay; responses and declines stay in the account's lists.

        A second deletion in the meantime changes nothing.
        """
        if self.end_users.pop(user.id, None) is None:
            return
        self.leaving[user.id] = user
        self._note("delete_end_user", user.id, user.id, {})
        self._later(delay_s, partial(self._remove, user))

    def _remove(self, user: EndUser) -> None:
        del self.leaving[user.id]
        for name, index in self._indexes.items():
            index.move(user.id, getattr(user, name), None)

    def is_repeated(self, user: EndUser, kind: EffectKind, link: str) -> bool:
        """Return whether an end user already has a survey of this kind and link, and note it."""
        key = (user.id, kind, link)
        repeated = key in self._links
        self._links.add(key)
        return repeated

    def add_response(
        self, user: EndUser, fields: Fields, *, keep_properties: bool, delay_s: float = 0.0
    ) -> Response:
        """Record an answered survey, with the end user's properties if there are any.

        It is held from now on. It is listed, and changes properties, after ``delay_s``.
        """
        answer = Response(id=self._next_id(), end_user_id=user.id, **self._survey(fields, delay_s))
        self._describe(user, fields, delay_s, keep_properties=keep_properties)
        self.responses[answer.id] = answer
        self._answers.setdefault(user.id, []).append(answer)
        self._note("create_response", answer.id, user.id, fields)
        return answer

    def add_decline(
        self, user: EndUser, fields: Fields, *, keep_properties: bool, delay_s: float = 0.0
    ) -> Decline:
        """Record a declined survey, as a response is recorded."""
        decline = Decline(id=self._next_id(), end_user_id=user.id, **self._survey(fields, delay_s))
        self._describe(user, fields, delay_s, keep_properties=keep_properties)
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

    def _describe(
        self, user: EndUser, fields: Fields, delay_s: float, *, keep_properties: bool
    ) -> None:
        if "properties" not in fields:
            return

        def change() -> None:
            properties = {"properties": fields["properties"]}
            self._assign(user, properties, keep_properties=keep_properties)
            user.updated_at = int(self._clock())

        self._later(delay_s, change)

    def _later(self, delay_s: float, act: Callable[[], None]) -> None:
        if delay_s > 0:
            self._queue.append((self._clock() + delay_s, act))
        else:
            act()

    def _survey(self, fields: Fields, delay_s: float) -> dict[str, Any]:
        now = self._clock()
        own = {name: value for name, value in fields.items() if name != "properties"}
        listed_from = now + delay_s if delay_s > 0 else 0.0
        return {"created_at": int(now), **own, "updated_at": int(now), "listed_from": listed_from}

    def _visible(self, surveys: Iterable[Survey]) -> list[Survey]:
        now = self._clock()
        return [one for one in surveys if one.listed_from <= now]
