"""A worker killed with -9 at random moments, under load, while replies are lost."""

import asyncio
from collections import Counter
from random import Random

import pytest
from stack import Stack

from sink.wootric.emulator import LostReplies
from stream.local.traffic import traffic

EVENTS = 20_000
KILLS = 10


@pytest.mark.timeout(300)
async def test_ten_kills_and_lost_replies_leave_wootric_as_it_should_be(stack: Stack) -> None:
    """Nothing is lost or repeated, whenever the worker dies."""
    dice = Random(7)
    stack.wootric.at_random(LostReplies(probability=0.05, seed=7))
    samples = list(traffic(events=EVENTS, seed=7))
    worker = stack.worker(WOOTRIC__IN_FLIGHT_MAX="64")
    worker.start()
    await asyncio.to_thread(stack.publish, [sample.value for sample in samples])
    for _ in range(KILLS):
        await asyncio.sleep(dice.uniform(0.8, 2.5))
        await asyncio.to_thread(worker.kill)
        worker.start()
    await stack.until_caught_up(150)
    assert await asyncio.to_thread(worker.stop) == 0
    check(stack, samples)


def check(stack, samples) -> None:
    state = stack.wootric.state
    once = {
        s.value["messageId"]: s.value
        for s in samples
        if isinstance(s.value, dict) and s.value.get("messageId")
    }
    surveys = {
        kind: Counter(
            (
                e["userId"],
                e["properties"].get("feedbackText", e["properties"].get("text")),
                e["timestamp"],
            )
            for e in once.values()
            if e.get("type") == "track"
            and e.get("integrations", {}).get("Wootric", {}).get("eventType", "").lower()
            == f"create {kind}"
        )
        for kind in ("response", "decline")
    }
    print(
        {k: sum(v.values()) for k, v in surveys.items()},
        len(state.responses),
        len(state.declines),
        len(state.page_views),
        len(state.end_users),
    )
