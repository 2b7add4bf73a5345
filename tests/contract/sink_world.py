"""A sink and the Wootric that it is tested against."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from readings import LIKELY
from waiting import STILL_S, Stillness

from sink.delivery import Delivered, Delivery, EndUser, Operation, Outcome, SinkListener
from sink.http_session import HttpSession
from sink.wootric.auth import WootricAccount
from sink.wootric.operations import (
    CreateDecline,
    CreateResponse,
    DeleteEndUser,
    PageView,
    UpsertEndUser,
)
from sink.wootric.sink import WootricSink
from stream.devtools.wootric_emulator import Behaviour, Emulator

AT = 1_533_310_127
URL = "https://shop.example/cart"

UPSERT = UpsertEndUser(
    email="ada@example.com",
    external_id="ada",
    external_created_at=AT,
    properties={"plan": "pro", "seats_amount": 3},
)
PAGE = PageView(url=URL, random="0.5", external_id="ada", email="ada@example.com", created_at=AT)
RESPONSE = CreateResponse(
    score=9,
    text="fine",
    email="ada@example.com",
    external_id="ada",
    origin_url=URL,
    created_at=AT,
    properties={"plan": "free"},
)
DECLINE = CreateDecline(
    email="ada@example.com",
    external_id="ada",
    origin_url=URL,
    created_at=AT,
    properties={"plan": "free"},
)
DELETE = DeleteEndUser(external_id="ada")


QUIET_S = 0.03


WRITES: dict[str, tuple[str, str]] = {
    "create_end_user": ("POST", "/v1/end_users"),
    "update_end_user": ("PUT", "/v1/end_users/{id}"),
    "delete_end_user": ("DELETE", "/v1/end_users/{id}"),
    "create_response": ("POST", "/v1/end_users/{id}/responses"),
    "create_decline": ("POST", "/v1/end_users/{id}/declines"),
    "page_view": ("GET", "/pixel.gif"),
}
"""The request that makes each kind of effect."""


@dataclass(slots=True)
class Heard:
    """What the sink told its listener."""

    requests: list[tuple[str, str, int | None]] = field(default_factory=list)
    circuits: list[tuple[str, bool, str]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    tokens: list[bool] = field(default_factory=list)
    refusals: list[tuple[str, int]] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    limits: list[tuple[str, int]] = field(default_factory=list)
    allowances: list[tuple[str, int, int]] = field(default_factory=list)
    paces: list[float] = field(default_factory=list)

    def hooks(self) -> SinkListener:
        return SinkListener(
            request_finished=lambda name, word, code, _: self.requests.append((name, word, code)),
            throttled=self.waits.append,
            circuit_changed=lambda *change: self.circuits.append(change),
            token_refreshed=self.tokens.append,
            token_refused=lambda *refusal: self.refusals.append(refusal),
            identity_conflict=lambda kind, _: self.conflicts.append(kind),
            concurrency_changed=lambda *change: self.limits.append(change),
            allowance_changed=lambda *change: self.allowances.append(change),
            pace_changed=self.paces.append,
        )


@dataclass(slots=True)
class World:
    """A sink, its Wootric, and what passed between them."""

    wootric: Emulator
    sink: WootricSink
    heard: Heard
    lease: bool = True

    async def deliver(self, operation: Operation, **fields: Any) -> Outcome:
        """Deliver; what is in doubt after the quiet period, as the engine does."""
        if fields.get("in_doubt"):
            await asyncio.sleep(QUIET_S)
        fields = {"request_id": "r", "may_send": lambda: self.lease, **fields}
        return await self.sink.deliver(Delivery(operation=operation, **fields))

    def effects(self, *kinds: str) -> list[str]:
        """The effects that Wootric holds, of these kinds or of all."""
        return [
            effect.kind
            for effect in self.wootric.state.effects
            if not kinds or effect.kind in kinds
        ]

    def requests(self, method: str = "", path: str = "") -> list[tuple[str, str]]:
        """The requests that arrived, without those for tokens."""
        return [
            (entry.method, entry.path)
            for entry in self.wootric.journal.entries
            if entry.path != "/oauth/token"
            and (not method or entry.method == method)
            and entry.path.startswith(path)
        ]

    def token_requests(self) -> int:
        """How often a token was asked for."""
        return sum(entry.path == "/oauth/token" for entry in self.wootric.journal.entries)

    def hold(self, **fields: Any) -> EndUser:
        """Let Wootric hold an end user, as if from long ago; return what is known of it."""
        held = {"email": "ada@example.com", "external_id": "ada", "properties": {}, **fields}
        user = self.wootric.state.create_end_user(held, unique=())
        self.wootric.state.effects.clear()
        return EndUser(id=user.id, **held)

    def let_late_effects_come(self) -> None:
        """Let what a `LateEffect` holds back happen now."""
        for handle in tuple(self.wootric._late):
            perform = handle._callback
            handle.cancel()
            perform()

    def user(self, external_id: str = "ada") -> Any:
        """The end user as Wootric holds it."""
        return self.wootric.state.find("external_id", external_id)


def claimed_by(outcome: Delivered, number: int = 0) -> int:
    """What the receipt of an outcome claims, after so many of surveys just like it."""
    if outcome.remote_id is not None:
        return outcome.remote_id
    assert outcome.claim is not None
    return -(outcome.claim + number)


async def as_soon_as(condition: Callable[[], object], what: str) -> None:
    """Return in the very turn of the loop after the one in which the condition came to hold.

    No timer fires in between, however slow the machine: what a fault delays has not happened yet.
    """
    stillness = Stillness()
    while not condition():
        stillness.check(what)
        await asyncio.sleep(0)


def within_one_minute() -> Callable[[], float]:
    """A clock for a Wootric whose minute does not end while a test runs."""
    minute = int(time.time()) // 60 + 1
    return lambda: minute * 60.0


@asynccontextmanager
async def world(
    behaviour: Behaviour | None = None,
    *,
    wall_clock: Callable[[], float] = time.time,
    server_clock: Callable[[], float] = time.time,
    **account: Any,
) -> AsyncIterator[World]:
    """A sink before an emulator; ``account`` are settings that differ from the usual."""
    heard = Heard()
    async with Emulator(behaviour or LIKELY, clock=server_clock) as wootric:
        config = WootricAccount(
            **{
                "account_token": "NPS-4aeb53c1",
                "api_url": wootric.url,
                "pixel_url": wootric.pixel_url,
                "client_id": "id",
                "client_secret": "secret",
                "request_timeout_s": STILL_S,
                "in_flight_max": 16,
                **account,
            }
        )
        limits = {
            "in_flight_max": config.in_flight_max,
            "request_timeout_s": config.request_timeout_s,
        }
        async with HttpSession(**limits) as session:
            sink = WootricSink(
                config,
                session=session,
                wall_clock=wall_clock,
                random=lambda: 0.5,
                hooks=heard.hooks(),
            )
            yield World(wootric, sink, heard)
            await sink.close()
