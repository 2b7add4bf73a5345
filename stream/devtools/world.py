"""What Wootric should hold after some traffic, worked out without the service. Pure.

The same transform says what each event asks for; order, dedupe and what a user is by then
are done again here in the plainest way, so that a comparison means something.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, assert_never

from sink.wootric.operations import (
    CreateDecline,
    CreateResponse,
    DeleteEndUser,
    Operation,
    PageView,
    UpsertEndUser,
)
from stream.engine.prepare import Judged
from stream.transform import Deliver, Skip

END_USERS = "end users"
RESPONSES = "responses"
DECLINES = "declines"
PAGE_VIEWS = "page views"
DEAD_LETTERS = "dead letters"
KINDS = (END_USERS, RESPONSES, DECLINES, PAGE_VIEWS, DEAD_LETTERS)


@dataclass(slots=True)
class User:
    """An end user as they should be; properties as the text that a form carries."""

    email: str | None = None
    created_at: int | None = None
    properties: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class World:
    """What should be, or what is: users by external id, and how often each thing is there.

    ``pixels`` tells page views apart by their cache breaker, which an event's id decides.
    """

    users: dict[str, User] = field(default_factory=dict)
    responses: Counter[tuple[Any, ...]] = field(default_factory=Counter)
    declines: Counter[tuple[Any, ...]] = field(default_factory=Counter)
    page_views: Counter[tuple[Any, ...]] = field(default_factory=Counter)
    pixels: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Expectation:
    """The world that should be, and what should become of the events that do not reach it.

    ``asked`` says by event id which kind of thing each event asks for, ``sources`` by kind and
    thing which event it comes from.
    """

    world: World = field(default_factory=World)
    outcomes: Counter[str] = field(default_factory=Counter)
    skips: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[bytes] = field(default_factory=Counter)
    asked: dict[str, str] = field(default_factory=dict)
    sources: dict[tuple[str, Any], str] = field(default_factory=dict)


def expect(judged: Iterable[Judged]) -> Expectation:
    """Return what should come of records that were judged in their order."""
    expectation = Expectation()
    for event in judged:
        verdict = event.verdict
        if isinstance(verdict, Skip):
            expectation.outcomes["skipped"] += 1
            expectation.skips[verdict.reason] += 1
        elif event.event_id in expectation.asked:
            expectation.outcomes["duplicate"] += 1
        elif isinstance(verdict, Deliver):
            kind = _apply(verdict.operation, expectation, event.event_id)
            expectation.asked[event.event_id] = kind
        else:
            expectation.outcomes["rejected"] += 1
            value = event.record.value or b""
            expectation.dead_letters[value] += 1
            expectation.asked[event.event_id] = DEAD_LETTERS
            expectation.sources[DEAD_LETTERS, value] = event.event_id
    return expectation


def _apply(operation: Operation, expectation: Expectation, event_id: str) -> str:
    """Let an operation have its effect; return what kind of thing it asks for."""
    world = expectation.world
    name = operation.external_id or operation.email or ""
    thing: Any = name
    match operation:
        case UpsertEndUser():
            kind = END_USERS
            user = world.users.setdefault(name, User())
            user.email = operation.email or user.email
            if operation.external_created_at is not None:
                user.created_at = operation.external_created_at
            user.properties.update(_texts(operation.properties))
        case PageView():
            kind, thing = PAGE_VIEWS, operation.random
            known = world.users.get(name)
            email = operation.email or (known.email if known is not None else None)
            if email is None:
                expectation.outcomes["skipped"] += 1
                expectation.skips["no_email"] += 1
                return kind
            world.page_views[email, operation.url] += 1
            world.pixels[operation.random] += 1
        case CreateResponse() | CreateDecline():
            user = world.users.setdefault(name, User(email=operation.email))
            user.properties.update(_texts(operation.properties))
            if isinstance(operation, CreateResponse):
                kind = RESPONSES
                thing = (name, operation.created_at, operation.score, operation.text)
                world.responses[thing] += 1
            else:
                kind, thing = DECLINES, (name, operation.created_at, operation.origin_url)
                world.declines[thing] += 1
        case DeleteEndUser():
            kind = END_USERS
            world.users.pop(name, None)
        case _:
            assert_never(operation)
    expectation.outcomes[kind] += 1
    expectation.sources[kind, thing] = event_id
    return kind


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
    world.pixels.update(view["random"] for view in state["page_views"])
    return world


def _texts(properties: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in properties.items()}


def _seconds(moment: Any) -> int:
    """Return the Unix seconds of a moment as the API prints it."""
    return int(moment) if isinstance(moment, int) else parse_moment(str(moment))


def parse_moment(text: str) -> int:
    """Return Unix seconds of a text such as ``2018-01-02 23:03:41 -0800``."""
    return int(datetime.strptime(text, "%Y-%m-%d %H:%M:%S %z").timestamp())
