"""What Wootric should hold beside what it holds. Pure."""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from stream.devtools.world import (
    DEAD_LETTERS,
    DECLINES,
    END_USERS,
    KINDS,
    PAGE_VIEWS,
    RESPONSES,
    Expectation,
    World,
    expect,
    observed,
)

__all__ = ["Row", "compare", "differences", "expect", "observed"]

EXAMPLES_MAX = 10
NOBODY = "an event that nobody sent"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report: how many there should be, are, are too many and are missing.

    ``asked`` of the events ask for such a thing, and ``receipts`` of them the ledger knows.
    Of what is missing, ``parked`` are kept for a person to decide.
    """

    kind: str
    expected: int
    held: int
    extra: int
    missing: int
    parked: int = 0
    asked: int = 0
    receipts: int = 0

    @property
    def agrees(self) -> bool:
        """Whether nothing is too much or unsettled, and nothing missing that is not parked."""
        return self.extra == 0 and self.missing <= self.parked and self.asked == self.receipts


def compare(
    expected: Expectation,
    held: World,
    *,
    dead_letters: Counter[bytes],
    parked_pages: int = 0,
    parked_pixels: Collection[str] | None = None,
    receipts: Collection[str] | None = None,
) -> list[Row]:
    """Return how the world that is differs from the one that should be.

    With ``parked_pixels`` page views are told apart one by one instead of by address, and
    with ``receipts``, the ids of settled events, each event must have one.
    """
    world = expected.world
    same_users = sum(1 for name, user in world.users.items() if held.users.get(name) == user)
    asked = Counter(expected.asked.values()) if receipts is not None else Counter()
    settled = Counter(expected.asked[name] for name in receipts or () if name in expected.asked)
    pages = _counts(world.page_views, held.page_views)
    if parked_pixels is not None:
        pages = _counts(world.pixels, held.pixels)
        parked_pages = len((world.pixels.keys() - held.pixels.keys()) & set(parked_pixels))
    counts = {
        END_USERS: (
            len(world.users),
            len(held.users),
            len(held.users.keys() - world.users.keys()),
            len(world.users) - same_users,
        ),
        RESPONSES: _counts(world.responses, held.responses),
        DECLINES: _counts(world.declines, held.declines),
        PAGE_VIEWS: pages,
        DEAD_LETTERS: _counts(expected.dead_letters, dead_letters),
    }
    parked = {PAGE_VIEWS: parked_pages}
    return [
        Row(kind, *counts[kind], parked.get(kind, 0), asked[kind], settled[kind]) for kind in KINDS
    ]


def differences(
    expected: Expectation,
    held: World,
    *,
    parked_pixels: Collection[str] | None = None,
    dead_letters: Counter[bytes] | None = None,
) -> list[str]:
    """Return up to ten of what is not as it should be, by the event's id and never by value.

    Page views are looked at with ``parked_pixels`` only, dead letters when they are given.
    """
    world = expected.world
    pairs: dict[str, tuple[Counter[Any], Counter[Any]]] = {
        RESPONSES: (world.responses, held.responses),
        DECLINES: (world.declines, held.declines),
    }
    if parked_pixels is not None:
        excused = set(parked_pixels) - held.pixels.keys()
        due = Counter({pixel: n for pixel, n in world.pixels.items() if pixel not in excused})
        pairs[PAGE_VIEWS] = (due, held.pixels)
    if dead_letters is not None:
        pairs[DEAD_LETTERS] = (expected.dead_letters, dead_letters)

    def found() -> Iterator[str]:
        yield from _differing_users(expected, held)
        for kind, (due, there) in pairs.items():
            for thing in due - there:
                yield f"{expected.sources.get((kind, thing), NOBODY)}: {kind}, missing"
            for thing in there - due:
                yield f"{expected.sources.get((kind, thing), NOBODY)}: {kind}, too many"

    return list(islice(found(), EXAMPLES_MAX))


def _differing_users(expected: Expectation, held: World) -> Iterator[str]:
    for name, user in expected.world.users.items():
        other = held.users.get(name)
        event = expected.sources.get((END_USERS, name), "a survey's user")
        if other is None:
            yield f"{event}: {END_USERS}, missing"
        elif other != user:
            fields = [
                label
                for label in ("email", "created_at", "properties")
                if getattr(user, label) != getattr(other, label)
            ]
            yield f"{event}: {END_USERS}, {', '.join(fields)}"
    for _ in held.users.keys() - expected.world.users.keys():
        yield f"{NOBODY}: {END_USERS}, too many"


def _counts(expected: Counter[Any], held: Counter[Any]) -> tuple[int, int, int, int]:
    extra = sum((held - expected).values())
    missing = sum((expected - held).values())
    return sum(expected.values()), sum(held.values()), extra, missing
