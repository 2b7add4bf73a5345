"""Whose failure it is, as the sink tells the engine; and how many deliveries it runs at once."""

import asyncio

import pytest
from msgspec.structs import replace
from sink_world import PAGE, UPSERT, World, world

from sink.delivery import Deferred, Delivered, Delivery, EndUser, InDoubt
from sink.models import HttpResponse, NotSent, Request, SendResult
from sink.wootric.auth import WootricAccount
from sink.wootric.end_users import EndUsers
from sink.wootric.operations import UpsertEndUser
from sink.wootric.sink import WootricSink
from stream.devtools.wootric_emulator import Answer

BOB = UpsertEndUser(external_id="bob", email="bob@example.com", properties={"plan": "pro"})


async def serve_bob(here: World, known: EndUser | None) -> None:
    assert isinstance(await here.deliver(BOB, known=known, request_id="bob"), Delivered)


async def test_a_write_that_fails_while_anothers_is_served_is_isolated() -> None:
    async with world() as here:
        ada, bob = here.hold(), here.hold(external_id="bob", email="bob@example.com")
        here.wootric.on("PUT", f"/v1/end_users/{ada.id}", Answer(status=500), always=True)
        found = []
        for served in (False, True, False):
            if served:
                await serve_bob(here, bob)
            outcome = await here.deliver(UPSERT, known=ada, request_id="ada")
            assert isinstance(outcome, InDoubt)
            found.append((outcome.isolated, outcome.requests))
        assert found == [(False, 1), (True, 1), (False, 1)]


async def test_a_look_up_that_fails_alone_is_not_asked_again_at_once() -> None:
    async with world() as here:
        here.wootric.on("GET", "/v1/end_users/ada", Answer(status=500), always=True)
        first = await here.deliver(UPSERT, request_id="ada")
        assert isinstance(first, Deferred)
        assert not first.isolated
        assert first.requests > 1, "perhaps the host failed for a moment"
        await serve_bob(here, None)
        again = await here.deliver(UPSERT, request_id="ada")
        assert isinstance(again, Deferred)
        assert (again.isolated, again.requests) == (True, 1)


async def test_a_defect_is_isolated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the operation that meets it would be tried for ever."""

    async def broken(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(EndUsers, "upsert", broken)
    async with world() as here:
        outcome = await here.deliver(UPSERT)
        assert isinstance(outcome, Deferred)
        assert outcome.isolated


class Waiting:
    """A transport that answers when it is told to, and counts."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.answers = asyncio.Event()

    async def send(self, request: Request, *_: object, **__: object) -> SendResult:
        self.now += 1
        self.most = max(self.most, self.now)
        await self.answers.wait()
        self.now -= 1
        return HttpResponse(200, {}, b'{"access_token": "t"}' if request.name == "token" else b"")


async def test_no_more_deliveries_run_than_the_account_allows() -> None:
    """Over both hosts: each alone would allow as many."""
    transport = Waiting()
    account = WootricAccount(
        account_token="NPS-1",
        pixel_url="http://p",
        client_id="id",
        client_secret="secret",
        in_flight_max=2,
    )
    sink = WootricSink(account, session=transport)
    known = EndUser(id=1, email="a@example.com", external_id="ada", properties={})
    operations = [replace(PAGE, email="a@example.com", created_at=1), UPSERT] * 3
    deliveries = [
        asyncio.create_task(
            sink.deliver(
                Delivery(
                    request_id=str(number),
                    operation=operation,
                    may_send=lambda: True,
                    known=known,
                )
            )
        )
        for number, operation in enumerate(operations)
    ]
    for _ in range(100):
        await asyncio.sleep(0)
    assert transport.most == 2
    transport.answers.set()
    await asyncio.gather(*deliveries)
    assert transport.most == 2
    await sink.close()


class Failing(Waiting):
    """Its second request finds no connection."""

    count = 0

    async def send(self, request: Request, *arguments: object, **others: object) -> SendResult:
        self.count += 1
        if self.count == 2:
            return NotSent("ConnectionRefusedError")
        return await super().send(request, *arguments, **others)


async def test_the_time_of_a_delivery_begins_when_it_runs() -> None:
    """A wait for others leaves it the time to try again."""
    transport, now = Failing(), 0.0
    account = WootricAccount(account_token="NPS-1", pixel_url="http://p", in_flight_max=1)
    sink = WootricSink(account, session=transport, clock=lambda: now)
    page = replace(PAGE, email="a@example.com", created_at=1)
    first, second = (
        asyncio.create_task(
            sink.deliver(Delivery(request_id=name, operation=page, may_send=lambda: True))
        )
        for name in ("first", "second")
    )
    while not transport.count:
        await asyncio.sleep(0)
    now = 100.0
    transport.answers.set()
    assert isinstance(await first, Delivered)
    assert isinstance(await second, Delivered)
    await sink.close()
