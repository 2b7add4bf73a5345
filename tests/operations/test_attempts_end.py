"""One person whom Wootric always fails: the others go on, and somebody can act."""

import asyncio
from typing import Any

import pytest
from stack import Stack
from town import ask, identify
from waiting import stretched, until

from stream.devtools.wootric_emulator import Answer

pytestmark = pytest.mark.kafka

PARKED = 'wootric_records_settled_total{outcome="parked",reason="attempts_exhausted"}'
ENDED = {"WOOTRIC__ATTEMPTS_OVER_S": stretched(8)}


SPENT_MAX = 20
"""Ten while somebody else is served between any two tries; a slow machine may not manage that."""


def change(name: str, timestamp: str) -> dict[str, Any]:
    return {
        "type": "identify",
        "messageId": name,
        "userId": "ann",
        "timestamp": timestamp,
        "traits": {"plan": name},
    }


@pytest.mark.parametrize("method", ["PUT", "GET"], ids=["update", "look-up"])
async def test_a_person_whom_wootric_always_fails_holds_nobody_up(
    stack: Stack, method: str
) -> None:
    worker = stack.worker("w1", **ENDED)
    worker.start()
    await worker.until_ready()
    path = "/v1/end_users/ann"
    if method == "PUT":
        await asyncio.to_thread(stack.publish, [identify("ann", "first")])
        await stack.until_caught_up()
        (ann,) = stack.wootric.state.end_users
        path = f"/v1/end_users/{ann}"
    stack.wootric.on(method, path, Answer(status=500), always=True)
    journal = stack.wootric.journal.entries
    before = len(journal)
    await asyncio.to_thread(stack.publish, [change("fails", "2026-11-01T00:00:00Z")])
    others: list[str] = []

    goes_on = True

    async def everybody_else() -> None:
        while goes_on:
            others.append(f"other-{len(others)}")
            await asyncio.to_thread(stack.publish, [identify(others[-1], others[-1])])
            await asyncio.sleep(0.02)

    async def is_parked() -> bool:
        return (await worker.metrics()).get(PARKED) == 1

    publishing = asyncio.create_task(everybody_else())
    await until(is_parked, "the event is parked", lambda: len(journal), every_s=0.3)
    goes_on = False
    await publishing
    await stack.until_caught_up()
    held = {user.external_id for user in stack.wootric.state.end_users.values()}
    assert held >= set(others)
    spent = [entry.method for entry in journal[before:] if entry.path == path]
    assert spent.count(method) >= 4
    assert len(spent) <= SPENT_MAX

    await asyncio.to_thread(stack.publish, [change("waits", "2026-11-01T00:00:01Z")])
    await stack.until_caught_up()
    again = [entry for entry in journal[before:] if entry.path == path]
    assert len(again) == len(spent), "not tried: the person is suspended"

    stack.wootric.faults = type(stack.wootric.faults)()
    listed = (await ask(stack, "in-doubt", "list", "--parked"))["parked"]
    places = {one["message_id"]: one["place"] for one in listed}
    assert set(places) == {"fails", "waits"}
    for name in ("fails", "waits"):
        resend = ("in-doubt", "resolve", places[name], "--as", "resend", "--yes")
        for _ in range(2):
            assert (await ask(stack, *resend))["done"] == 1
    await stack.until_caught_up()
    (ann,) = (one for one in stack.wootric.state.end_users.values() if one.external_id == "ann")
    assert ann.properties["plan"] == "waits"
    assert (await ask(stack, "in-doubt", "list", "--parked"))["open"] == 0
    assert await asyncio.to_thread(worker.stop) == 0
