"""Few requests: what waits for Wootric's rate merges, and what needs no request waits for none.

The service's own loop, flow and sink, on a simulated clock (``tests.bench.simulated``).
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from stream.kafka.producer import record_of
from stream.state.ledger import EVENT, EventEntry, decode
from tests.bench import economy
from tests.bench.simulated import Figures, World

PEOPLE = 60
PER_MINUTE = 60


@pytest.fixture
def world() -> Iterator[World]:
    """A Wootric that knows everybody, and a ledger that does."""
    with World() as world:
        world.run(record(0, identify(user, "known")) for user in range(PEOPLE))
        yield world


def record(at: float, document: dict[str, Any]) -> tuple[float, bytes | None, bytes | None]:
    return (at, *record_of(json.dumps(document).encode()))


def identify(user: int, plan: str) -> dict[str, Any]:
    return {
        "type": "identify",
        "messageId": f"{user}-{plan}",
        "userId": f"u{user}",
        "traits": {"email": f"u{user}@example.com", "createdAt": 1420070400, "plan": plan},
    }


def page(user: int, number: int) -> dict[str, Any]:
    url = "https://example.com/"
    name = f"page-{user}-{number}"
    return {
        "type": "page",
        "messageId": name,
        "userId": f"u{user}",
        "properties": {"url": url},
    }


def receipts(world: World) -> dict[str, EventEntry]:
    return {
        key.removeprefix(EVENT): entry
        for state in world.states.values()
        for key, value in state._values.items()
        if key.startswith(EVENT) and isinstance(entry := decode(value), EventEntry)
    }


def writes(figures: Figures) -> int:
    return figures.named("update_end_user")


@pytest.mark.parametrize(
    ("allowed", "settings"),
    [(None, {"requests_per_minute": PER_MINUTE}), (PER_MINUTE, {})],
    ids=["own pace", "told by replies"],
)
def test_what_waits_for_the_rate_merges_until_it_may_be_sent(
    world: World, allowed: int | None, settings: dict[str, int]
) -> None:
    """Nothing is frozen long before its turn: what comes seconds later rides along."""
    first = [record(0, identify(user, "pro")) for user in range(PEOPLE)]
    later = [record(9, identify(user, "max")) for user in range(PEOPLE)]
    figures = world.run([*first, *later], per_minute=allowed, **settings)
    at_once = PER_MINUTE // 2 if allowed else 1
    assert PEOPLE <= writes(figures) <= PEOPLE + at_once + 9 + 2
    assert figures.requests["update_end_user", "throttled"] == 0
    held = world.api.account.state.end_users.values()
    assert {user.properties["plan"] for user in held} == {"max"}
    found = receipts(world)
    together = [
        user
        for user in range(PEOPLE)
        if found[f"{user}-pro"].request_id == found[f"{user}-max"].request_id
    ]
    assert len(together) == 2 * PEOPLE - writes(figures)
    assert len({entry.request_id for entry in found.values()}) == PEOPLE + writes(figures)


def test_page_views_of_people_we_know_do_not_wait_for_the_rate(world: World) -> None:
    """Also where the same person has a change that waits for minutes."""
    changes = [record(0, identify(user, "pro")) for user in range(PEOPLE)]
    views = [record(2 + user / 10, page(user, user)) for user in range(PEOPLE)]
    figures = world.run([*changes, *views], requests_per_minute=20)
    assert max(figures.api_waits_s) > 120
    assert max(figures.pixel_waits_s) < 2


def test_the_rate_is_used_up(world: World) -> None:
    """A request leaves whenever one may: look-ups and writes in turn."""
    strangers = [record(0, identify(1_000 + user, "free")) for user in range(PEOPLE)]
    changes = [record(0, identify(user, "pro")) for user in range(PEOPLE)]
    figures = world.run([*strangers, *changes], requests_per_minute=PER_MINUTE)
    assert figures.named("find_end_user", "create_end_user", "update_end_user") == 3 * PEOPLE
    assert figures.took_s < 3 * PEOPLE + 3


def test_the_economy_of_the_demos_traffic_beside_rudderstacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A tenth of what `make bench` measures: at most a third of the requests, and no page lost."""
    monkeypatch.setattr(economy, "EVENTS", 1_000)
    monkeypatch.setattr(economy, "PEOPLE", 100)
    events = economy.trace()
    mine = economy.ours(events, "waiting", pace=None, limit=economy.PER_MINUTE)
    other = economy.theirs(events, "waiting", pace=None, limit=economy.PER_MINUTE)
    assert other.per_identify == pytest.approx(2, abs=0.05)
    assert mine.api * 6 < other.api
    assert mine.took_s * 5 < other.took_s
    assert sum(events.floor) <= mine.api
