"""What Wootric should hold after some traffic, worked out without the service. Pure.

The same transform says what each event asks for; order, dedupe and what a user is by then
are done again here in the plainest way, so that a comparison means something.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sink.wootric.operations import (
    CreateDecline,
    CreateResponse,
    DeleteEndUser,
    Operation,
    PageView,
    UpsertEndUser,
)
from stream.judge import Judged
from stream.transform import Deliver, Skip

EXAMPLES_MAX = 10


@dataclass(slots=True)
class User:
    """An end user as they should be; properties as the text that a form carries."""

    email: str | None = None
    created_at: int | None = None
    properties: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class World:
    """What should be, or what is: users by external id, and how often each thing is there."""

    users: dict[str, User] = field(default_factory=dict)
    responses: Counter[tuple[Any, ...]] = field(default_factory=Counter)
    declines: Counter[tuple[Any, ...]] = field(default_factory=Counter)
    page_views: Counter[tuple[Any, ...]] = field(default_factory=Counter)


@dataclass(slots=True)
class Expectation:
    """The world that should be, and what should become of the events that do not reach it."""

    world: World = field(default_factory=World)
    outcomes: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[bytes] = field(default_factory=Counter)


def expect(judged: Iterable[Judged]) -> Expectation:
    """Return what should come of records that were judged in their order."""
    expectation = Expectation()
    seen: set[str] = set()
    for event in judged:
        verdict = event.verdict
        if isinstance(verdict, Skip):
            expectation.outcomes["skipped"] += 1
        elif event.event_id in seen:
            expectation.outcomes["duplicate"] += 1
        else:
            seen.add(event.event_id)
            if isinstance(verdict, Deliver):
                outcome = _apply(verdict.operation, expectation.world)
                expectation.outcomes[outcome] += 1
            else:
                expectation.outcomes["rejected"] += 1
                expectation.dead_letters[event.record.value or b""] += 1
    return expectation


def _apply(operation: Operation, world: World) -> str:
    """Let an operation have its effect; return what kind of effect it is."""
    name = operation.external_id or operation.email or ""
    match operation:
        case UpsertEndUser():
            user = world.users.setdefault(name, User())
            user.email = operation.email or user.email
            if operation.external_created_at is not None:
                user.created_at = operation.external_created_at
            user.properties.update(_texts(operation.properties))
            return "end users"
        case PageView():
            known = world.users.get(name)
            email = operation.email or (known.email if known is not None else None)
            if email is None:
                return "skipped"
            world.page_views[email, operation.url] += 1
            return "page views"
        case CreateResponse() | CreateDecline():
            user = world.users.setdefault(name, User(email=operation.email))
            user.properties.update(_texts(operation.properties))
            if isinstance(operation, CreateResponse):
                key = (name, operation.created_at, operation.score, operation.text)
                world.responses[key] += 1
                return "responses"
            world.declines[name, operation.created_at, operation.origin_url] += 1
            return "declines"
        case DeleteEndUser():
            world.users.pop(name, None)
            return "end users"


def observed(state: Mapping[str, Any]) -> World:
    """Return the world that the emulator's state document describes."""
    world = World()
    names: dict[int, str] = {}
    for user in state["end_users"]:
        name = user["external_id"] or user["email"] or f"#{user['id']}"
        names[user["id"]] = name
        if name in world.users:
            name = f"{name} (a second one)"
        world.users[name] = User(
            email=user["email"],
            created_at=user["external_created_at"],
            properties=_texts(user["properties"]),
        )
    for one in state["responses"]:
        key = (
            names.get(one["end_user_id"]),
            _seconds(one["created_at"]),
            one["score"],
            one["text"],
        )
        world.responses[key] += 1
    for one in state["declines"]:
        at = _seconds(one["created_at"])
        world.declines[names.get(one["end_user_id"]), at, one["origin_url"]] += 1
    world.page_views.update((view["email"], view["url"]) for view in state["page_views"])
    return world


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report: how many there should be, are, are too many and are missing."""

    kind: str
    expected: int
    held: int
    extra: int
    missing: int
    parked: int = 0

    @property
    def agrees(self) -> bool:
        """Whether nothing is too much, and nothing is missing that is not parked."""
        return self.extra == 0 and self.missing <= self.parked


def compare(
    expected: Expectation,
    held: World,
    *,
    dead_letters: Counter[bytes],
    parked_pages: int,
) -> list[Row]:
    """Return how the world that is differs from the one that should be."""
    world = expected.world
    same_users = sum(1 for name, user in world.users.items() if held.users.get(name) == user)
    extra_users = len(held.users.keys() - world.users.keys())
    return [
        Row(
            "end users, final state",
            len(world.users),
            len(held.users),
            extra_users,
            len(world.users) - same_users,
        ),
        _row("responses", world.responses, held.responses),
        _row("declines", world.declines, held.declines),
        _row("page views", world.page_views, held.page_views, parked_pages),
        _row("dead letters", expected.dead_letters, dead_letters),
    ]


def differences(expected: Expectation, held: World) -> list[str]:
    """Return some end users that are not as they should be, by what differs, not by value."""
    found = []
    for name, user in expected.world.users.items():
        other = held.users.get(name)
        if other is None:
            found.append(f"{name}: missing")
        elif other != user:
            fields = [
                label
                for label in ("email", "created_at", "properties")
                if getattr(user, label) != getattr(other, label)
            ]
            found.append(f"{name}: {', '.join(fields)}")
        if len(found) == EXAMPLES_MAX:
            break
    return found


def _row(kind: str, expected: Counter[Any], held: Counter[Any], parked: int = 0) -> Row:
    extra = sum((held - expected).values())
    missing = sum((expected - held).values())
    return Row(kind, sum(expected.values()), sum(held.values()), extra, missing, parked)


def _texts(properties: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in properties.items()}


def _seconds(moment: Any) -> int:
    """Return the Unix seconds of a moment as the API prints it."""
    return int(moment) if isinstance(moment, int) else parse_moment(str(moment))


def parse_moment(text: str) -> int:
    """Return Unix seconds of a text such as ``2018-01-02 23:03:41 -0800``."""
    return int(datetime.strptime(text, "%Y-%m-%d %H:%M:%S %z").timestamp())
